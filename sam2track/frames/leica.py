"""Files of Leica's microscopes, LIF and LOF, as stacks."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.frames.choice import choose
from sam2track.frames.extras import needs
from sam2track.frames.files import ends_of_file, reading_errors
from sam2track.frames.stack import Stack, read_axes
from sam2track.frames.units import channel_names, pixel_size, seconds

__all__ = ["lif_stack"]


class _Bounded(io.BufferedReader):
    """A file of which no more is asked for than there is.

    Else room is taken for what a length within it claims, whatever comes of it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def lif_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open an image of a LIF file, the first one unless another is chosen.

    Of axes that no stack has, such as tiles of a mosaic, the first place is taken.

    Parameters
    ----------
    path : Path
    axes : str, optional
        A letter for each axis, also for those that no stack has or for none of these.
    key : str, optional
        Which image: its name, before which those of its folders may stand, with slashes, or its
        number from 0.

    Raises
    ------
    SourceError
        Where it is damaged, cut short, or holds no image.
    UsageError
        Where the package liffile is not installed, no image has that name, or the axes do not fit.
    """
    with needs("liffile", "microscopes", f"{path} is LIF"):
        import liffile
    with ExitStack() as opened, reading_errors(path, "LIF"):
        data = opened.enter_context(_Bounded(path))
        # It is not closed, which fails where it is damaged: all that it holds open is this.
        file = liffile.LifFile(data)
        images: list[Any] = [
            liffile.LifImage(file, element, name) for name, element in _elements(file.xml_element)
        ]
        if not images:
            raise SourceError(f"{path} holds no image")
        choice = choose(path, "images", [image.path for image in images], key)
        try:
            stack = _stack(path, images[choice.number], axes, data.size)
        except (SourceError, UsageError) as error:
            raise type(error)("; ".join([str(error), *choice.warnings])) from error
        close = opened.pop_all().close
    return replace(
        stack,
        warnings=(*choice.warnings, *stack.warnings),
        key=choice.key,
        fingerprint=partial(ends_of_file, path.absolute()),
        close=close,
    )


def _stack(path: Path, image: Any, axes: str | None, size: int) -> Stack:
    """An image of a file of so many bytes."""
    name = image.path
    sizes = {str(axis): int(places) for axis, places in image.sizes.items()}
    dtype, block = np.dtype(image.dtype), image.memory_block
    held = min(block.size, size - block.offset)
    if image.nbytes > held:
        raise SourceError(f"{path} is cut short: {name} claims {image.nbytes} bytes and has {held}")
    kept = [axis for axis in sizes if axis in "TZCYXS"]
    if axes is not None and len(axes) > len(kept):
        kept = list(sizes)
    shape = tuple(sizes[axis] for axis in kept)
    letters = read_axes(axes or "".join(kept), shape, f"{path}, {name}")
    told = dict(zip(kept, letters, strict=True))
    plane = {axis for axis, letter in told.items() if letter in "YXS"}
    together = set(map(str, image.frames.frame_dims))
    if plane != together:
        raise UsageError(
            f"{path}, {name}, holds planes along {' and '.join(sorted(together)) or 'no axis'}; "
            f"these have to be Y and X, and not {' and '.join(sorted(plane))}"
        )
    description = image.xml_element.find("./Data/Image/ImageDescription")
    channels, (pixel, interval) = _channels(description), _calibration(description)
    lock = threading.Lock()  # the package's files are for one thread at a time

    def read(at: Mapping[str, int]) -> npt.NDArray[Any]:
        index = {axis: at[letter] for axis, letter in told.items() if axis not in plane}
        with lock:
            return np.asarray(image.frame(**index))

    return Stack(
        str(path),
        letters,
        shape,
        dtype,
        read,
        channels=channels if len(channels) == sizes.get("C", 1) else (),
        pixel_size_um=pixel,
        frame_interval_s=interval,
        warnings=tuple(
            f"its axis {axis} has {places} places, of which the first is shown"
            for axis, places in sizes.items()
            if axis not in kept
        ),
    )


def _elements(told: Any, folder: str | None = None) -> Iterator[tuple[str, Any]]:
    """What is told of each image, with its name behind those of its folders but the outermost.

    That is the file's own. The package's list of images has the last alone of those of one name.
    Lifetimes of photons are no pictures.
    """
    for element in told.iterfind("./Element" if folder is None else "./Children/Element"):
        name = f"{folder or ''}{element.attrib['Name']}"
        kinds = {each.tag for each in element.iterfind("./Data/*")}
        if "Image" in kinds and "SingleMoleculeDetection" not in kinds:
            yield name, element
        yield from _elements(element, "" if folder is None else f"{name}/")


def _channels(told: Any) -> tuple[str, ...]:
    """Names of the colours in which channels are shown, in the order in which they are stored."""
    found = sorted(
        (each.attrib for each in told.iterfind("./Channels/ChannelDescription")),
        key=lambda said: int(said["BytesInc"]),
    )
    return channel_names(found, "LUTName")


def _calibration(told: Any) -> tuple[tuple[float, float] | None, float | None]:
    """Height and width of a pixel in micrometres, and seconds between frames, where it says so.

    The length of an axis is from its first place to its last.
    """
    steps: dict[str, tuple[object, object]] = {}
    for each in told.iterfind("./Dimensions/DimensionDescription"):
        said = each.attrib
        if (count := int(said["NumberOfElements"])) > 1:
            steps[said["DimID"]] = abs(float(said["Length"])) / (count - 1), said["Unit"]
    width, height, time = (steps.get(number, (0, "")) for number in "124")
    return pixel_size(height, width), seconds(*time)
