"""Which packets of a video stream make which frames, found without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt

from sam2track.frames.bounds import USUAL_FPS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["NO_STAMP", "PacketIndex", "coded_packets", "index_packets"]

Stamps = npt.NDArray[np.int64]

NO_STAMP = int(np.iinfo(np.int64).min)
"""Stands for a time stamp that a packet does not carry."""

_PATIENCE = 100_000  # packets of other streams in a row
_UNORDERED = frozenset({"asf", "avi", "mxf"})


@dataclass(frozen=True)
class PacketIndex:
    """All packets of one stream, and the frames that they make.

    A *position* counts packets in the order in which the file holds them; a *frame* counts
    pictures in the order in which they are shown.

    Attributes
    ----------
    pts, dts : (P,) int64 array
        Stamps of each packet in ticks of the stream; ``NO_STAMP`` where it carries none.
    sizes : (P,) int64 array
        Bytes of each packet.
    keyframes : (K,) int64 array
        Positions at which decoding can start, shown or not, rising.
    order : (T,) int64 array
        Position of the packet of each frame.
    rank : (P,) int64 array
        Frame of each packet; -1 where the packet is not shown.
    times : (T,) float64 array
        Seconds from the first frame, rising.
    ordered : bool
        Whether the stamps tell the order in which frames are shown. Where they do not, frames
        are only known by counting what the decoder gives from the start of the file, and
        ``order`` and ``rank`` are of no use.
    encrypted : bool
        Whether packets are marked as encrypted.
    warnings : tuple of str
        What was odd.
    """

    pts: Stamps
    dts: Stamps
    sizes: Stamps
    keyframes: Stamps
    order: Stamps
    rank: Stamps
    times: npt.NDArray[np.float64]
    ordered: bool
    encrypted: bool
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.order)

    def anchor(self, frame: int) -> int:
        """Return the position from which decoding gives ``frame``; 0 is the start of the file.

        A keyframe that is shown after ``frame`` does not do: pictures that follow it in the file
        and precede it on screen may need the pictures before it.
        """
        if not self.ordered:
            return 0
        position, stamp = int(self.order[frame]), self._stamp(int(self.order[frame]))
        at = int(np.searchsorted(self.keyframes, position, side="right")) - 1
        while at >= 0 and self._stamp(int(self.keyframes[at])) > stamp:
            at -= 1
        return int(self.keyframes[at]) if at >= 0 else 0

    def anchor_before(self, position: int) -> int:
        """Return the nearest keyframe before ``position``; 0 where there is none."""
        at = int(np.searchsorted(self.keyframes, position, side="left")) - 1
        return int(self.keyframes[at]) if at >= 0 else 0

    def first_anchored(self, start: int, stop: int) -> int:
        """Return the first frame of [start, stop) that is a keyframe, else ``start``."""
        if not self.ordered:
            return start
        frames = self.rank[self.keyframes]
        inside = frames[(frames >= start) & (frames < stop)]
        return int(inside.min()) if inside.size else start

    def _stamp(self, position: int) -> int:
        pts = int(self.pts[position])
        return pts if pts != NO_STAMP else int(self.dts[position])


def coded_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of a stream that hold data, from where the container stands.

    Every pass over a file must count the same packets, so all of them go through here.
    """
    fruitless = 0
    while True:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    fruitless = 0
                    yield packet
            return
        except IndexError:
            # A stream that is first seen along the way is unknown to PyAV, which stops at each of
            # its packets; the next one can be asked for.
            fruitless += 1
            if fruitless > _PATIENCE:
                raise


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets of ``stream`` and say which frames they make.

    Decodes nothing and believes no header: neither the frame count nor the rate, but for a
    stream whose packets carry no time at all.
    """
    codec = stream.codec_context.name
    rows: list[tuple[int, int, int]] = []
    keyframes: list[int] = []
    hidden: list[int] = []
    warnings: list[str] = []
    encrypted = "enc_key_id" in stream.metadata  # so Matroska says it
    try:
        for packet in coded_packets(container, stream):
            if packet.is_keyframe:
                keyframes.append(len(rows))
            if packet.is_discard or _is_hidden(codec, packet):
                hidden.append(len(rows))
            encrypted = encrypted or packet.has_sidedata("encryption_info")
            pts, dts = packet.pts, packet.dts
            rows.append(
                (
                    NO_STAMP if pts is None else pts,
                    NO_STAMP if dts is None else dts,
                    packet.size,
                )
            )
    except av.FFmpegError as error:
        warnings.append(f"the file cannot be read past packet {len(rows)} ({error.strerror})")
    table = np.array(rows, np.int64).reshape(-1, 3)
    shown = np.ones(len(table), bool)
    shown[hidden] = False
    if stream.frames > len(table):
        warnings.append(f"the header claims {stream.frames} frames, the file holds {len(table)}")

    stamps = np.where(table[:, 0] != NO_STAMP, table[:, 0], table[:, 1])
    positions = np.flatnonzero(shown)
    order = positions[np.argsort(stamps[positions], kind="stable")]
    rank = np.full(len(table), -1, np.int64)
    rank[order] = np.arange(len(order))
    untimed = bool((stamps[positions] == NO_STAMP).any())
    ordered = not untimed and not _lacks_order(container, stream, table[positions, 0])
    if not ordered:
        warnings.append(
            "its packets do not say in which order they are shown, so that reaching a frame means "
            "decoding from the start; to speed this up, convert it to MP4"
        )
    if untimed:
        rate = float(stream.guessed_rate or USUAL_FPS)
        times = np.arange(len(order)) / rate
        warnings.append(f"it carries no times: {rate:g} frames per second are assumed")
    else:
        ticks, tied = _rising(stamps[order])
        times = ticks * float(stream.time_base or 1)
        if tied:
            warnings.append(f"{tied} frames carry the time of another and are spread evenly")
    return PacketIndex(
        pts=table[:, 0],
        dts=table[:, 1],
        sizes=table[:, 2],
        keyframes=np.array(keyframes, np.int64),
        order=order,
        rank=rank,
        times=times,
        ordered=ordered,
        encrypted=encrypted,
        warnings=tuple(warnings),
    )


def _lacks_order(container: InputContainer, stream: VideoStream, pts: Stamps) -> bool:
    """Whether the pictures are shown in another order than that of their packets, unsaid."""
    if not stream.codec_context.has_b_frames:
        return False
    if (pts == NO_STAMP).any():
        return True
    # These have no presentation times: libavformat makes them up, and for H.264 simply counts.
    return container.format.name in _UNORDERED and bool((np.diff(pts) > 0).all())


def _rising(stamps: Stamps) -> tuple[npt.NDArray[np.float64], int]:
    """Return sorted stamps from 0 on, ties spread up to the next one, and how many were tied."""
    if not len(stamps):
        return np.zeros(0), 0
    values, first, counts = np.unique(stamps, return_index=True, return_counts=True)
    if len(values) == len(stamps):
        return (stamps - stamps[0]).astype(np.float64), 0
    steps = np.append(np.diff(values), 1)
    within = np.arange(len(stamps)) - np.repeat(first, counts)
    ticks = np.repeat(values - values[0], counts) + within * np.repeat(steps / counts, counts)
    return ticks.astype(np.float64), len(stamps) - len(values)


def _is_hidden(codec: str, packet: Packet[VideoStream]) -> bool:
    """Whether the packet only feeds later ones, as the alternate references of VP8 and VP9 do."""
    if codec not in {"vp8", "vp9", "libvpx", "libvpx-vp9"}:
        return False
    data = memoryview(packet)
    if codec in {"vp8", "libvpx"}:
        return not data[0] >> 4 & 1
    if data[-1] & 0xE0 == 0xC0:
        return False  # a superframe: what it hides comes along with what it shows
    profile = (data[0] >> 5 & 1) | (data[0] >> 4 & 1) << 1
    flags = data[0] << 1 if profile == 3 else data[0]
    shows_existing, shows = flags >> 3 & 1, flags >> 1 & 1
    return not shows_existing and not shows
