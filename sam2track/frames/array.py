"""Arrays in memory, or ones that load frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.arguments import LENGTHS, is_length
from sam2track.errors import UsageError
from sam2track.frames.blocks import Blocks, chunks_of
from sam2track.frames.bounds import USUAL_FPS
from sam2track.frames.stack import Read, Stack, StackSource, read_axes

__all__ = ["ArraySource", "array_stack", "usual_axes"]


class ArraySource(StackSource):
    """A numpy-like array as a sequence of RGB frames.

    Read one frame at a time by ``array[t]``, so that dask, zarr and xarray stay lazy.

    Parameters
    ----------
    array : array
        (T, H, W), or (T, H, W, C) of 1 (grey), 3 (RGB) or 4 (RGBA; its alpha is dropped) channels;
        bool, integer or floating. With ``axes``, or where it has named dimensions (xarray), any.
    fps : float
        Frames per second.
    limits : (float, float), sequence of these or "per-frame", optional
        As ``StackSource``.
    axes : str or sequence of str, optional
        A letter or name for each axis, such as "TZCYX".
    channel, z
        As ``StackSource``.
    pixel_size_um, frame_interval_s
        As ``Stack``, or one side of a square pixel: what projects, tables and exports say of
        lengths and times.

    Raises
    ------
    UsageError
        Where shape, type or any option cannot be.
    """

    def __init__(
        self,
        array: Any,
        fps: float = USUAL_FPS,
        limits: object = None,
        *,
        axes: str | Sequence[str] | None = None,
        channel: Sequence[int | str] | int | str | None = None,
        z: int | Literal["max"] | None = None,
        pixel_size_um: float | Sequence[float] | None = None,
        frame_interval_s: float | None = None,
    ) -> None:
        pixel = _told("pixel_size_um", pixel_size_um, (2,))
        interval = _told("frame_interval_s", frame_interval_s, ())
        stack = array_stack(array, axes=axes, pixel_size_um=pixel, frame_interval_s=interval)
        super().__init__(stack, fps=fps, channel=channel, z=z, limits=limits)


def _told(name: str, value: object, shape: tuple[int, ...]) -> Any:
    """Return lengths or times as floats of Python, which a project can keep.

    Raises
    ------
    UsageError
        Where they are none: a project of them would be called damaged when it is opened.
    """
    if value is None:
        return None
    try:
        given = np.asarray(value)
    except ValueError:  # sequences of different lengths
        given = np.empty(0, object)
    fits = given.dtype.kind in "iuf" and given.shape in ((), shape)
    if not fits or not all(map(is_length, given.ravel())):
        several = ", or a height and a width of such" if shape else ""
        raise UsageError(f"{name} {value!r}; give {LENGTHS}{several}")
    return np.broadcast_to(given, shape).astype(np.float64).tolist()


def array_stack(
    array: Any, *, axes: str | Sequence[str] | None = None, name: str | None = None, **about: Any
) -> Stack:
    """Return an array as a stack.

    Parameters
    ----------
    array : array
        Anything with ``shape`` and ``[]``.
    axes : str or sequence of str, optional
        Else its ``dims`` (xarray), else by its shape.
    name : str, optional
        For messages.
    **about
        Further attributes of the stack.

    Raises
    ------
    UsageError
        Where axes do not fit, or cannot be guessed.
    """
    try:
        shape = tuple(int(size) for size in array.shape)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"an array of the shape {array.shape}; its sizes must be known (of dask: "
            "compute_chunk_sizes)"
        ) from error
    dtype = _dtype(array, shape)
    name = name or f"array {'x'.join(map(str, shape))} {dtype}"
    dims = getattr(array, "dims", None)
    if 0 in shape:
        raise UsageError(f"{name} has the shape {shape}; it holds no frames")
    if axes is None:
        axes = dims if isinstance(dims, tuple) else usual_axes(shape, name)
    if dims is not None and getattr(array, "chunks", None) and hasattr(array, "data"):
        array = array.data  # the dask array within; of any other xarray reads all there is
    letters = read_axes(axes, shape, name)
    chunks = chunks_of(array) or ()
    if any(size > 1 and axis not in "YXS" for axis, size in zip(letters, chunks, strict=False)):
        blocks = Blocks(array, letters, chunks, dtype.itemsize)
        return Stack(name, letters, shape, dtype, blocks, close=blocks.clear, **about)
    return Stack(name, letters, shape, dtype, _reader(array, letters), **about)


def _dtype(array: Any, shape: tuple[int, ...]) -> np.dtype[Any]:
    try:
        named: np.dtype[Any] = np.dtype(array.dtype)
        return named
    except (AttributeError, TypeError):  # torch has types of its own
        kind: Any = np.uint8 if 0 in shape else np.asarray(array[0]).dtype
        found: np.dtype[Any] = np.dtype(kind)
        return found


def usual_axes(shape: tuple[int, ...], name: str) -> str:
    """Return the axes of an array that has no names for them.

    Raises
    ------
    UsageError
        Where they may be one thing or another.
    """
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3 and not (shape[2] in (3, 4) and min(shape[:2]) > 16):
        return "TYX"
    if len(shape) == 4 and shape[3] in (1, 3, 4):
        return "TYXS"
    raise UsageError(
        f"{name} has the shape {shape}; without further word it must be (T, H, W) or (T, H, W, C) "
        "with C of 1, 3 or 4; name the axes (open_source(..., axes=), or --axes), such as TZYX, or "
        "YXS for one colour picture"
    )


def _reader(array: Any, axes: str) -> Read:
    def read(at: Mapping[str, int]) -> npt.NDArray[Any]:
        index: list[Any] = [at.get(axis, 0) if axis not in "YXS" else slice(None) for axis in axes]
        while len(index) > 1 and index[-1] == slice(None):
            index.pop()
        return np.asarray(array[index[0] if len(index) == 1 else tuple(index)])

    return read
