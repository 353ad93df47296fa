"""Which axis of a layer is time, and which picture of it the model sees on a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError

__all__ = ["Axes", "Channels", "Frames", "axes_read", "guess_axes", "is_channel"]

_TIME = {"t", "time", "frame", "frames"}
_DEPTH = {"z", "depth", "plane"}
_CHANNEL = {"c", "ch", "channel", "channels"}


@dataclass(frozen=True)
class Axes:
    """How a layer's axes are read; the last two, before colours, are rows and columns.

    Parameters
    ----------
    shape : tuple of int
        Of the layer's data without its colours.
    rgb : bool
        Whether a last axis of colours follows.
    time : int
        The axis along which objects are followed.
    fixed : tuple of (axis, index or None)
        Each axis left over: the index that is looked at, None for the maximum along it.
    channels : (axis, indices), optional
        Of an axis of channels the two or three that are seen as colours; masks lie on all of it.
    """

    shape: tuple[int, ...]
    rgb: bool
    time: int
    fixed: tuple[tuple[int, int | None], ...] = ()
    channels: tuple[int, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        count = len(self.shape)
        if count < 3:
            raise UsageError(
                f"the layer has shape {self.shape}; it needs time, rows and columns (T, Y, X): "
                f"open a stack or a video"
            )
        if not 0 <= self.time < count - 2:
            raise UsageError(f"axis {self.time} cannot be time; allowed are 0 to {count - 3}")
        left = [axis for axis in range(count - 2) if axis != self.time]
        if sorted(axis for axis, _ in self.fixed) != left:
            raise UsageError(f"say what is looked at along each of the axes {left}")
        for axis, index in self.fixed:
            if index is not None and not 0 <= index < self.shape[axis]:
                raise UsageError(
                    f"index {index} of axis {axis}; allowed are 0 to {self.shape[axis] - 1}"
                )
        if self.channels is not None:
            axis, seen = self.channels
            if axis not in left or dict(self.fixed)[axis] is not None or self.rgb:
                raise UsageError(f"axis {axis} cannot be one of channels that are seen as colours")
            if not 2 <= len({i for i in seen if 0 <= i < self.shape[axis]}) == len(seen) <= 3:
                raise UsageError(
                    f"channels {', '.join(map(str, seen))}; give two or three different ones from "
                    f"0 to {self.shape[axis] - 1}"
                )
        if max(self.shape[:-2]) < 2:
            raise UsageError(
                f"the layer has shape {self.shape}, a single frame: there is nothing to follow an "
                f"object along; open a stack or a video of two frames or more"
            )
        if self.shape[self.time] < 2:
            raise UsageError(
                f"axis {self.time} has a single frame, nothing to track along; choose another "
                f"axis as time"
            )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.shape[self.time]

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[-2]

    @property
    def width(self) -> int:
        """Columns."""
        return self.shape[-1]

    def shows(self, position: Sequence[float]) -> bool:
        """Whether a position of the layer lies on what is looked at."""
        return all(index is None or round(position[axis]) == index for axis, index in self.fixed)

    def has(self, position: Sequence[float]) -> bool:
        """Whether there is a frame at a position: other layers may have more."""
        return 0 <= round(float(position[self.time])) < self.frames

    def frame(self, position: Sequence[float]) -> int:
        """The frame of a position; the first or the last where it lies before or behind them."""
        return int(min(max(round(float(position[self.time])), 0), self.frames - 1))

    def position(
        self, frame: float, y: float, x: float, beside: Sequence[float] | None = None
    ) -> tuple[float, ...]:
        """Where a pixel of a frame lies in the layer.

        Parameters
        ----------
        beside : sequence of float, optional
            A position; along axes of which the maximum is looked at it lies there, else at 0.
        """
        found = [0.0] * len(self.shape)
        for axis, index in self.fixed:
            found[axis] = float(index or 0)
            if index is None and beside is not None:
                found[axis] = float(min(max(round(beside[axis]), 0), self.shape[axis] - 1))
        found[self.time], found[-2], found[-1] = float(frame), float(y), float(x)
        return tuple(found)

    def each_channel(self) -> list[Axes]:
        """These axes for each of the channels that are seen as colours; as they are without any."""
        if self.channels is None:
            return [self]
        axis, seen = self.channels
        fixed = [tuple((a, i if a == axis else at) for a, at in self.fixed) for i in seen]
        return [replace(self, fixed=one, channels=None) for one in fixed]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``Axes.of`` is the same again."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Axes:
        """From ``to_dict``, also after JSON made lists of its tuples."""
        channels = values.get("channels")
        return cls(
            tuple(values["shape"]),
            bool(values["rgb"]),
            int(values["time"]),
            tuple((int(a), None if i is None else int(i)) for a, i in values["fixed"]),
            None if channels is None else (int(channels[0]), tuple(map(int, channels[1]))),
        )


def is_channel(label: object) -> bool:
    """Whether a layer says by its label that an axis is one of channels."""
    return str(label).strip().lower() in _CHANNEL


def guess_axes(
    shape: Sequence[int], labels: Sequence[str] = (), *, rgb: bool = False, at: Sequence[float] = ()
) -> Axes:
    """Read axes from their labels, where they have any; otherwise the first is time.

    Parameters
    ----------
    shape : sequence of int
        Of the data, colours included.
    labels : sequence of str
        One for each axis but colours.
    rgb : bool
        Whether the last axis is one of colours.
    at : sequence of float
        Where the viewer stands: the index of other axes.

    Raises
    ------
    UsageError
        Where there are no frames to follow anything through, or labels say that the last two axes
        are no rows and columns.
    """
    whole = tuple(int(size) for size in (shape[:-1] if rgb else shape))
    names = [str(label).strip().lower() for label in labels]
    if len(names) != len(whole):
        names = [""] * len(whole)
    behind = [name for name in names[-2:] if name in _TIME | _CHANNEL]
    if behind:  # what is tracked then is no picture
        raise UsageError(
            f"axis {behind[0]} of {', '.join(map(str, labels))} lies where rows and columns are, "
            f"which are the last two axes; transpose the layer's data to (T, Y, X), and channels "
            f"or depth before Y, or give its axes the labels that they have"
        )
    ahead = range(max(0, len(whole) - 2))
    # Nothing can be followed along an axis of one frame, whatever its name.
    long = [axis for axis in ahead if whole[axis] > 1]
    time = next((axis for axis in long if names[axis] in _TIME), None)
    if time is None:
        # Without time, depth is followed as if it were; without names, the first long axis.
        depth = next((axis for axis in long if names[axis] in _DEPTH), None)
        plain = [axis for axis in long if names[axis] not in _CHANNEL]
        time = depth if depth is not None else next(iter([*plain, *long]), 0)
    fixed = []
    for axis in ahead:
        if axis != time:
            here = round(at[axis]) if axis < len(at) else whole[axis] // 2
            fixed.append((axis, min(max(here, 0), whole[axis] - 1)))
    return Axes(whole, rgb, time, tuple(fixed))


def axes_read(shape: Sequence[int], reading: Mapping[str, Any], *, rgb: bool) -> Axes | None:
    """Read axes as a stack's source did, by its ``options``; None where the shape is another.

    Parameters
    ----------
    shape : sequence of int
        Of the data without colours.
    reading : mapping
        With ``axes``, and ``channel`` and ``z`` where they were chosen.
    rgb : bool
        Whether there are colours.
    """
    letters, z = str(reading["axes"]), reading.get("z")
    if letters[len(shape) :] != ("S" if rgb else "") or letters[len(shape) - 2 :][:2] != "YX":
        return None
    time = letters.find("T" if z is not None or "Z" not in letters else "Z")
    seen = tuple(reading.get("channel") or (0,))
    at = {"Z": None if z == "max" else z or 0, "C": seen[0] if len(seen) == 1 else None}
    fixed = [(axis, at.get(letters[axis], 0)) for axis in range(len(shape) - 2) if axis != time]
    channels = (letters.index("C"), seen) if len(seen) > 1 else None
    try:
        return Axes(tuple(shape), rgb, time, tuple(fixed), channels)
    except UsageError:
        return None


class Frames:
    """A layer's data as (T, H, W) or (T, H, W, C), read one frame at a time.

    Parameters
    ----------
    data : array
        numpy, dask, zarr, xarray or anything that takes basic indices.
    axes : Axes
    """

    def __init__(self, data: Any, axes: Axes) -> None:
        self._data, self._axes = data, axes
        colours = (int(data.shape[-1]),) if axes.rgb else ()
        self.shape = (axes.frames, axes.height, axes.width, *colours)
        self.dtype = np.dtype(data.dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self._axes.frames

    def __getitem__(self, frame: int) -> npt.NDArray[Any]:
        fixed = dict(self._axes.fixed)
        key: list[Any] = [slice(None)] * len(self._axes.shape)
        key[self._axes.time] = int(frame)
        most = [axis for axis, index in fixed.items() if index is None]
        for axis, index in fixed.items():
            if index is not None:
                key[axis] = index
        values = np.asarray(self._data[tuple(key)])
        # What is left ahead of rows and columns are the axes to take the maximum along.
        return np.asarray(values.max(axis=tuple(range(len(most))))) if most else values


class Channels:
    """Frames of one shape as the channels of one picture: (T, C, H, W), a plane at a time."""

    def __init__(self, channels: Sequence[Frames]) -> None:
        self._channels = list(channels)
        frames, *size = self._channels[0].shape
        self.shape = (frames, len(self._channels), *size)
        self.dtype = np.result_type(*[channel.dtype for channel in self._channels])
        self.ndim = 4

    def __getitem__(self, key: tuple[int, int]) -> npt.NDArray[Any]:
        frame, channel = key
        return self._channels[channel][frame]
