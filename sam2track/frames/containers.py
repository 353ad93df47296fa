"""The one way in which FFmpeg opens a file to read it: that file, and no other."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
import av.container
import av.logging

from sam2track.errors import SourceError

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer

__all__ = ["Reader", "open_container", "silence"]

# What reads files or addresses that the file names, or that lie beside it.
_FOLLOWING = frozenset(
    {
        *("avisynth", "bluray", "concat", "dash", "dvdvideo", "hls", "image2", "imf", "lavfi"),
        *("libopenmpt", "rtp", "rtsp", "sap", "sdp", "vapoursynth", "vobsub", "webm_dash_manifest"),
    }
)
# PyAV 18 has to be asked to open files whose titles are not UTF-8; later ones open them all.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
)
_LISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"<MPD", b"<ASX", b"<smil", b"<Asset")


class Reader(Protocol):
    """What gives bytes, none at its end, and cannot be sought in."""

    def read(self, size: int) -> bytes:
        """Return at least one byte and at most `size`; none at the end."""
        ...


def open_container(
    path: Path, *, file: Reader | None = None, hwaccel: HWAccel | None = None
) -> InputContainer:
    """Open a video file, or what is read in its place.

    FFmpeg would follow a playlist to whatever it names, on this disk or in the network. The
    formats that do so are left out, and of the ways to reach things files alone are kept.

    Raises
    ------
    SourceError
        Where the file names others.
    av.FFmpegError, OSError
        Where it cannot be opened.
    """
    silence()
    # Absolute, as FFmpeg takes what stands before a colon for a protocol.
    whole = str(path.absolute()) if file is None else file
    options = {"protocol_whitelist": "file", "format_whitelist": _formats()}
    try:
        container: InputContainer = av.open(
            whole, "r", hwaccel=hwaccel, container_options=options, **_LENIENT
        )
    except av.FFmpegError as error:
        if file is None and _is_list(path):
            raise SourceError(
                f"{path} is a playlist or a description of others: what it names is not opened; "
                "give the video itself"
            ) from error
        raise
    return container


def silence() -> None:
    """Let FFmpeg say nothing to Python.

    PyAV takes Python's lock to pass a message on, and holds it while it frees a decoder, which
    waits for its threads: one that has something to say is then waited for for ever. Importing
    torchvision before 0.22 turns messages on.
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)


@cache
def _formats() -> str:
    """All formats that FFmpeg reads, but those that follow names and devices."""
    found = set()
    for name in av.formats_available:
        try:
            known = av.ContainerFormat(name, "r")
        except ValueError:  # for writing alone
            continue
        if known.is_input and not known.no_file and name not in _FOLLOWING:
            found.add(name)
    return ",".join(sorted(found))


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False
    inside = head.startswith(b"<") and any(mark in head for mark in _LISTS)
    return inside or head.startswith(_LISTS)
