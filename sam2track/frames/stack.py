"""Stacks: arrays with named axes, as microscopes write them, and what is shown of them."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.frames.bounds import USUAL_FPS, check_frame, check_size, even_times
from sam2track.frames.intensity import Limits, check_limits, found_limits, looked_at, sample, scaled
from sam2track.frames.source import ByFrame, Frame

__all__ = ["Read", "Stack", "StackSource", "read_axes"]

Read = Callable[[Mapping[str, int]], npt.NDArray[Any]]

_MOST_CHANNELS = 3
_LARGEST_PLANE = 2**31  # bytes; what claims more is damaged or hostile
_NAMES = {
    "T": {"t", "time", "times", "frame", "frames"},
    "Z": {"z", "depth", "plane", "slice", "slices"},
    "C": {"c", "channel", "channels", "ch", "wavelength"},
    "Y": {"y", "row", "rows", "height", "latitude"},
    "X": {"x", "column", "columns", "width", "longitude"},
    "S": {"s", "rgb", "rgba", "sample", "samples"},
}
_UNKNOWN = "QIN"  # what TIFF files call an axis that they say nothing of


@dataclass(frozen=True)
class Stack:
    """An array with named axes of which planes are read one at a time.

    Attributes
    ----------
    name : str
        Where it is from, for messages.
    axes : str
        A letter for each axis: T time, Z depth, C channel, Y row, X column, S colour.
    shape : tuple of int
        Size of each axis.
    dtype : dtype
    read : callable
        Takes an index for each axis but Y, X and S, and returns what is left, in order of axes.
    channels : tuple of str
        Names, where the file has them.
    pixel_size_um : (float, float), optional
        Height and width of a pixel in micrometres.
    frame_interval_s : float, optional
        Time between frames in seconds.
    warnings : tuple of str
        What was odd.
    key : str, optional
        Which array of its file it is.
    fingerprint : callable, optional
        Short text that changes when the content does; without it that of some planes.
    close : callable
        Releases files.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Read
    channels: tuple[str, ...] = ()
    pixel_size_um: tuple[float, float] | None = None
    frame_interval_s: float | None = None
    warnings: tuple[str, ...] = ()
    key: str | None = None
    fingerprint: Callable[[], str] | None = None
    close: Callable[[], None] = field(default=lambda: None)

    def size(self, axis: str) -> int:
        """Size of an axis, 1 where there is none."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def told(self) -> str:
        """Axes and sizes, for messages."""
        sizes = ", ".join(f"{a} {n}" for a, n in zip(self.axes, self.shape, strict=True))
        return f"{self.name} has axes {sizes}"


def read_axes(axes: str | Sequence[str], shape: tuple[int, ...], name: str) -> str:
    """Return one letter for each axis; names such as ``time`` are known, too.

    Raises
    ------
    UsageError
        Where they do not fit the shape, occur twice, or rows or columns are missing.
    """
    if not isinstance(axes, (str, list, tuple)):
        raise UsageError(f"axes {axes!r}; give a letter for each axis, such as TZCYX")
    words = list(axes)
    letters = ""
    for word, size in zip(words, shape, strict=False):
        letter = next((a for a, names in _NAMES.items() if str(word).lower() in names), "")
        letters += letter or ("?" if size == 1 else str(word)[:1].upper() or "?")
    for unknown in _UNKNOWN:
        if "T" not in letters and letters.count(unknown) == 1:
            letters = letters.replace(unknown, "T")
    given = "".join(str(w) for w in words) if all(len(str(w)) == 1 for w in words) else words
    # Of an axis without a name one place alone is read.
    known = [a for a, size in zip(letters, shape, strict=False) if a != "?" or size > 1]
    if (
        len(words) != len(shape)
        or not {"Y", "X"} <= set(known)
        or not set(known) <= set(_NAMES)
        or len(set(known)) < len(known)
    ):
        raise UsageError(
            f"{name} has the shape {shape}, which axes {given!r} do not fit; name each axis once "
            "by a letter of T, Z, C, Y, X and S (colour), such as TZCYX; Y and X are needed"
        )
    return letters


class StackSource(ByFrame):
    """What is shown of a stack, as a sequence of RGB frames.

    T is time; without it, or where it has one frame only, Z is. One to three channels are shown,
    one as grey, more as red, green and blue. ``uint8`` is taken as it is and ``bool`` as 0 and
    255; all else is scaled by the same limits in every frame, those of each channel its own. NaN
    becomes 0.

    Parameters
    ----------
    stack : Stack
    fps : float
        Frames per second.
    channel : sequence of int or str, optional
        Which channels are red, green and blue, or the one shown as grey: numbers from 0, or names.
    z : int or "max", optional
        Which plane of Z, from 0, or the brightest value of all of them.
    limits : (float, float), sequence of these or "per-frame", optional
        Values that become 0 and 255, for ``uint8`` too, the same for all channels shown or a pair
        for each. Unless given, the 0.1 and 99.9 percentiles of up to 32 frames from the whole of
        the sequence, found when first needed; "per-frame": of each frame by itself.

    Attributes
    ----------
    name : str
        Where the stack is from.
    height, width : int
        Size in pixels.
    times : (T,) float64 array
        Seconds from the first frame.
    warnings : list of str
        What was odd, one line each.

    Raises
    ------
    UsageError
        Where type, axes or any option cannot be.
    SourceError
        Where the stack is empty, or its planes are too large.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        fps: float = USUAL_FPS,
        channel: Sequence[int | str] | int | str | None = None,
        z: int | Literal["max"] | None = None,
        limits: object = None,
    ) -> None:
        self._stack = stack
        # Also where nobody closes it.
        self._release = weakref.finalize(self, stack.close)
        self.name = stack.name
        if 0 in stack.shape:
            raise SourceError(f"{stack.told()}; it holds no frames")
        if stack.dtype.kind not in "buif":
            raise UsageError(
                f"{self.name} holds {stack.dtype}; it must be bool, integer or floating"
            )
        self.height, self.width = stack.size("Y"), stack.size("X")
        colours = stack.size("S")
        if colours not in (1, 3, 4):
            raise UsageError(f"{stack.told()}; S must be 1 (grey), 3 (RGB) or 4 (RGBA)")
        check_size(self.name, self.height, self.width)
        if self.height * self.width * colours * stack.dtype.itemsize > _LARGEST_PLANE:
            raise SourceError(f"{stack.told()}; its planes are larger than 2 GiB; cut them first")
        self.warnings: list[str] = list(stack.warnings)
        self._along, self._z = self._frames_axis(z)
        self._shown = self._channels(channel)
        self._given = check_limits(limits)
        if isinstance(self._given, tuple) and len(self._given) not in (1, len(self._shown)):
            raise UsageError(
                f"{len(self._given)} pairs of limits for {len(self._shown)} channels; give one, or "
                "one for each"
            )
        self._limits = self._given if isinstance(self._given, tuple) else None
        self.times: npt.NDArray[np.float64] = even_times(stack.size(self._along), fps)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def options(self) -> dict[str, Any]:
        """What is shown, in values for JSON: with it the stack shows the same again."""
        return {
            "axes": self._stack.axes.replace("?", "Q"),
            "channel": list(self._shown),
            "z": self._z if "Z" in self._stack.axes and self._along == "T" else None,
            "limits": self._limited,
            "key": self._stack.key,
        }

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself, in values for JSON; what it does not say is left out."""
        told = {
            "axes": self._stack.axes.replace("?", "Q"),
            "channels": list(self._stack.channels) or None,
            "pixel_size_um": self._stack.pixel_size_um,
            "frame_interval_s": self._stack.frame_interval_s if self._along == "T" else None,
        }
        return {key: value for key, value in told.items() if value is not None}

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of what ``values`` gives: those of the file, else numbers; r, g, b of colours."""
        if self._stack.size("S") > 1:
            return ("r", "g", "b")
        names = self._stack.channels
        return tuple(names[c] if c < len(names) else str(c) for c in self._shown)

    @property
    def limits(self) -> tuple[Limits, ...] | None:
        """Values that become 0 and 255 in each channel; None where there are no such for all."""
        kind = self._stack.dtype
        if self._limits is None and self._given is None and kind != np.uint8 and kind.kind != "b":
            frames = looked_at(len(self))
            looks = [[sample(p, len(frames)) for p in self._values(frame)] for frame in frames]
            self._limits = tuple(found_limits(channel) for channel in zip(*looks, strict=True))
        return self._limits

    @property
    def _limited(self) -> tuple[Limits, ...] | Literal["per-frame"] | None:
        return "per-frame" if self._given == "per-frame" else self.limits

    def read(self, frame: int) -> Frame:
        """Return one frame, (H, W, 3) uint8 RGB, of its own memory.

        Raises
        ------
        SourceError
            Where there is no such frame, or the stack does not give it.
        """
        planes = self._values(check_frame(self.name, frame, len(self)))
        limits: Sequence[Limits] | None = self.limits
        if self._given == "per-frame" and self._stack.dtype.kind != "b":
            limits = [found_limits([sample(plane, 1)]) for plane in planes]
        if self._stack.dtype.kind == "b":
            shown = [plane.astype(np.uint8) * np.uint8(255) for plane in planes]
        elif limits is None:
            shown = [plane.astype(np.uint8, copy=False) for plane in planes]
        else:
            pairs = limits if len(limits) == len(planes) else [limits[0]] * len(planes)
            shown = [scaled(plane, pair) for plane, pair in zip(planes, pairs, strict=True)]
        if len(shown) == 1:
            grey = shown[0].shape[2] == 1
            # Broadcasting to three colours takes forty times as long.
            whole = cv2.cvtColor(shown[0], cv2.COLOR_GRAY2RGB) if grey else shown[0].copy(order="C")
            return np.asarray(whole, np.uint8)
        picture = np.zeros((self.height, self.width, 3), np.uint8)
        for number, plane in enumerate(shown):
            picture[..., number] = plane[..., 0]
        return picture

    def values(self, frame: int) -> npt.NDArray[Any]:
        """Return a frame as it is measured, (H, W, C): the channels shown, not scaled.

        Raises
        ------
        SourceError
            As ``read``.
        """
        return np.concatenate(self._values(check_frame(self.name, frame, len(self))), axis=-1)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits made of the content and of what is shown of it.

        Raises
        ------
        SourceError
            Where the stack cannot be read.
        """
        stack = self._stack
        digest = hashlib.sha256(f"{stack.axes} {stack.shape} {stack.dtype}".encode())
        digest.update(f"{self._along} {self._z} {self._shown} {self._limited}".encode())
        if stack.fingerprint is not None:
            try:
                digest.update(stack.fingerprint().encode())
            except OSError as error:
                raise SourceError(f"{self.name} can no longer be read: {error}") from error
        else:
            for frame in looked_at(len(self)):
                for plane in self._values(frame):
                    digest.update(np.ascontiguousarray(plane).tobytes())
        return digest.hexdigest()[:16]

    def close(self) -> None:
        """Release files; an array belongs to the caller."""
        self._release()

    def _frames_axis(self, z: int | Literal["max"] | None) -> tuple[str, int | Literal["max"]]:
        """Return the axis along which frames come, and what is taken of Z."""
        stack = self._stack
        times, depth = stack.size("T"), stack.size("Z")
        if z is None:
            if depth == 1:
                return "T", 0
            if times == 1:
                return "Z", 0
            raise UsageError(f"{stack.told()}; choose one of Z (--z N) or its maximum (--z max)")
        if "Z" not in stack.axes:
            raise UsageError(
                f"z {z!r}, but {stack.told()} and no Z; leave it out, or name the axes"
            )
        if z == "max":
            return "T", "max"
        if isinstance(z, bool) or not isinstance(z, (int, np.integer)) or not 0 <= z < depth:
            raise UsageError(f"z {z!r}; {stack.told()}: give a whole number below {depth}, or max")
        return "T", int(z)

    def _channels(self, channel: Sequence[int | str] | int | str | None) -> tuple[int, ...]:
        stack = self._stack
        count, names = stack.size("C"), list(stack.channels)
        told = stack.told() + (f" (channels {', '.join(names)})" if names else "")
        if channel is None:
            if count > _MOST_CHANNELS:
                frames = "" if set("TZ") & set(stack.axes) else "; where they are frames, name the "
                frames += f"axes {stack.axes.replace('C', 'T')} (--axes)" if frames else ""
                raise UsageError(f"{told}; choose up to three with channel (--channel 0,2){frames}")
            if count > 1:
                colours = ("red", "green", "blue")[:count]
                self.warnings.append(
                    f"its {count} channels are shown as {' and '.join(colours)}; channel "
                    "(--channel) chooses"
                )
            return tuple(range(count))
        asked = [channel] if isinstance(channel, (int, str, np.integer)) else list(channel)
        found = []
        for item in asked:
            text = str(item).strip()
            if text in names:
                found.append(names.index(text))
            elif text in map(str, range(count)):
                found.append(int(text))
            else:
                raise UsageError(f"no channel {item!r:.60}; {told}; they count from 0")
        if not 1 <= len(found) <= _MOST_CHANNELS or len(set(found)) < len(found):
            raise UsageError(f"channels {asked}; give one to three different ones")
        if len(found) > 1 and stack.size("S") > 1:
            raise UsageError(f"{told}; of coloured channels only one can be shown")
        return tuple(found)

    def _values(self, frame: int) -> list[npt.NDArray[Any]]:
        """Return what the stack holds for each channel shown, (H, W, 1 or 3)."""
        if self._z != "max":
            return [self._plane(frame, c, self._z) for c in self._shown]
        highest = []
        for c in self._shown:
            plane = self._plane(frame, c, 0)
            for z in range(1, self._stack.size("Z")):
                plane = np.fmax(plane, self._plane(frame, c, z))
            highest.append(plane)
        return highest

    def _plane(self, frame: int, c: int, z: int) -> npt.NDArray[Any]:
        stack = self._stack
        at = dict.fromkeys(stack.axes, 0) | {"C": c, "Z": z, self._along: frame}
        index = {axis: at[axis] for axis in stack.axes if axis not in "YXS"}
        try:
            plane = np.asarray(stack.read(index))
        except MemoryError as error:
            raise SourceError(f"{self.name}: frame {frame} does not fit into memory") from error
        except Exception as error:  # readers raise whatever comes to their authors' minds
            raise SourceError(f"{self.name} does not give frame {frame}: {error}") from error
        left = [axis for axis in stack.axes if axis in "YXS"]
        expected = tuple(stack.size(axis) for axis in left)
        if plane.shape != expected:
            raise SourceError(f"{self.name} gives frame {frame} as {plane.shape}, not {expected}")
        plane = plane.transpose([left.index(axis) for axis in "YXS" if axis in left])
        return plane.reshape(self.height, self.width, math.prod(plane.shape[2:]))[..., :3]
