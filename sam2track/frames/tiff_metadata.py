"""What a TIFF file says of itself: size of a pixel, interval of frames, names of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sam2track.frames.units import channel_names, micrometres, pixel_size, seconds

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

__all__ = ["about"]

_UNITS = {2: "inch", 3: "cm"}  # of the tag ResolutionUnit


def about(file: TiffFile, series: TiffPageSeries, number: int) -> dict[str, Any]:
    """Pixel size, frame interval and names of channels, as far as the file has them.

    Parameters
    ----------
    file : TiffFile
    series : TiffPageSeries
    number : int
        Which of the file's series it is.
    """
    try:
        if file.is_ome:
            return _ome(file, number)
        if file.is_imagej:
            return _imagej(file, series)
        size = _resolution(series, None)
        return {"pixel_size_um": None if size is None or _is_screen(size) else size}
    except (AttributeError, LookupError, TypeError, ValueError, ZeroDivisionError):
        return {}  # odd metadata are no reason to refuse the pictures


def _ome(file: TiffFile, number: int) -> dict[str, Any]:
    import tifffile

    image = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]
    pixels = (image[number] if isinstance(image, list) else image)["Pixels"]
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    height, width = (
        (pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "YX"
    )
    return {
        "channels": channel_names(channels, "Name"),
        "pixel_size_um": pixel_size(height, width),
        "frame_interval_s": seconds(
            pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
        ),
    }


def _imagej(file: TiffFile, series: TiffPageSeries) -> dict[str, Any]:
    told = file.imagej_metadata or {}
    return {
        "pixel_size_um": _resolution(series, told.get("unit")),
        "frame_interval_s": seconds(told.get("finterval"), told.get("tunit", "s")),
    }


def _resolution(series: TiffPageSeries, unit: str | None) -> tuple[float, float] | None:
    """Height and width of a pixel by the tags of the first page, which hold pixels per unit."""
    tags = series.keyframe.tags
    if unit is None:
        unit = _UNITS.get(int(tags["ResolutionUnit"].value))
    size = []
    for name in ("YResolution", "XResolution"):
        above, below = tags[name].value
        length = micrometres(below / above, unit)
        if length is None:
            return None
        size.append(length)
    return size[0], size[1]


def _is_screen(size: tuple[float, float]) -> bool:
    """Whether pixels are those of a screen, which programs write that know of no size."""
    screens = [25_400 / dots for dots in (72, 96)]  # micrometres
    return any(all(abs(length / a - 1) < 0.01 for length in size) for a in screens)
