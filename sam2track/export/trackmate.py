"""TrackMate: the XML file of ImageJ's tracker, with a contour for each object and frame.

As its reader (``TmXmlReader``, versions 7 and 8) and its files have it: spots lie by frame, tracks
are the connected parts of a graph, lengths and times in the image's units, contours relative to
their spot; the centre of the first pixel is (0, 0). Which pixels a contour holds the even-odd rule
says, of their centres (``SpotRoi``).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import pi, sqrt
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.graphs import Families, Seen, Tracks, seen
from sam2track.export.polygons import border, inside
from sam2track.export.reading import Reading
from sam2track.export.sequence import Sequenced, Shot
from sam2track.export.spool import Spool
from sam2track.export.xml import Xml
from sam2track.frames.bounds import MAX_FRAMES, check_size
from sam2track.frames.opening import find_source
from sam2track.lazy import Masks

__all__ = ["read", "write"]

_VERSION = "7.11.1"  # whose files these are like
_OBJECT = "SAM2TRACK_OBJECT"
_UNITS = {"nm": "nm", "um": "µm", "mm": "mm", "m": "m"}

# Kind of feature: its key, name, short name, dimension and whether it is a whole number.
_FEATURES = {
    "Spot": (
        ("QUALITY", "Quality", "Quality", "QUALITY", False),
        ("POSITION_X", "X", "X", "POSITION", False),
        ("POSITION_Y", "Y", "Y", "POSITION", False),
        ("POSITION_Z", "Z", "Z", "POSITION", False),
        ("POSITION_T", "T", "T", "TIME", False),
        ("FRAME", "Frame", "Frame", "NONE", True),
        ("RADIUS", "Radius", "R", "LENGTH", False),
        ("VISIBILITY", "Visibility", "Visibility", "NONE", True),
        ("AREA", "Area", "Area", "AREA", False),
        (_OBJECT, "Object", "Object", "NONE", True),
    ),
    "Edge": (
        ("SPOT_SOURCE_ID", "Source spot ID", "Source ID", "NONE", True),
        ("SPOT_TARGET_ID", "Target spot ID", "Target ID", "NONE", True),
        ("LINK_COST", "Edge cost", "Cost", "COST", False),
    ),
    "Track": (
        ("TRACK_INDEX", "Track index", "Index", "NONE", True),
        ("TRACK_ID", "Track ID", "ID", "NONE", True),
        ("NUMBER_SPOTS", "Number of spots in track", "N spots", "NONE", True),
    ),
}

# TrackMate wants all of them: one that is left out is taken for 0, and without any it says that
# something is wrong with the file.
_DISPLAY = {
    "name": "CurrentDisplaySettings",
    "spotUniformColor": "204, 51, 204, 255",
    "spotColorByType": "TRACKS",
    "spotColorByFeature": "TRACK_INDEX",
    "spotDisplayRadius": 1.0,
    "spotDisplayedAsRoi": True,
    "spotMin": 0.0,
    "spotMax": 10.0,
    "spotShowName": False,
    "trackMin": 0.0,
    "trackMax": 10.0,
    "trackColorByType": "TRACKS",
    "trackColorByFeature": "TRACK_INDEX",
    "trackUniformColor": "204, 204, 51, 255",
    "undefinedValueColor": "0, 0, 0, 255",
    "missingValueColor": "89, 89, 89, 255",
    "highlightColor": "51, 230, 51, 255",
    "trackDisplayMode": "LOCAL",
    "colormap": "Jet",
    "limitZDrawingDepth": False,
    "drawingZDepth": 10.0,
    "fadeTracks": True,
    "fadeTrackRange": 30,
    "useAntialiasing": True,
    "spotVisible": True,
    "trackVisible": True,
    "font": {"name": "Arial", "style": 1, "size": 12},
    "lineThickness": 1.0,
    "selectionLineThickness": 4.0,
    "trackschemeBackgroundColor1": "128, 128, 128, 255",
    "trackschemeBackgroundColor2": "192, 192, 192, 255",
    "trackschemeForegroundColor": "0, 0, 0, 255",
    "trackschemeDecorationColor": "0, 0, 0, 255",
    "trackschemeFillBox": False,
    "spotFilled": False,
    "spotTransparencyAlpha": 1.0,
}


def write(path: Path, sequence: Sequenced) -> None:
    """Write a file that TrackMate opens; frames are those of the source."""
    sequence.label_type("trackmate", largest=2**31 - 1)
    families = Families.of(sequence)
    space = "pixel" if sequence.pixel_size is None else _UNITS[sequence.unit]
    time = "frame" if sequence.interval is None else "sec"
    with path.open("wb") as file:
        xml = Xml(file)
        with xml.element("TrackMate", version=_VERSION):
            xml.put("Log", f"Written by sam2track, of {sequence.name}.")
            with xml.element("Model", spatialunits=space, timeunits=time):
                _declare(xml)
                _write_tracks(xml, sequence, _write_spots(xml, sequence, families))
            _write_settings(xml, sequence)
            xml.put("GUIState", state="ConfigureViews")
            xml.put("DisplaySettings", json.dumps(_DISPLAY, indent=2))
    families.lose("trackmate", sequence)


def _declare(xml: Xml) -> None:
    """Write what attributes of spots, edges and tracks mean."""
    with xml.element("FeatureDeclarations"):
        for kind, features in _FEATURES.items():
            with xml.element(f"{kind}Features"):
                for key, name, short, dimension, whole in features:
                    about = {"name": name, "shortname": short, "dimension": dimension}
                    xml.put("Feature", feature=key, **about, isint=whole)


def _write_tracks(xml: Xml, sequence: Sequenced, edges: Mapping[int, array[int]]) -> None:
    """Write the edges by family, and that none is filtered out."""
    with xml.element("AllTracks"):
        for index, (founder, links) in enumerate(edges.items()):
            name = sequence.names.get(founder) or f"Track_{index}"
            number = {"TRACK_ID": index, "TRACK_INDEX": index, "NUMBER_SPOTS": len(links) // 2 + 1}
            with xml.element("Track", name=name, **number):
                for one, other in zip(links[::2], links[1::2], strict=True):
                    xml.put("Edge", SPOT_SOURCE_ID=one, SPOT_TARGET_ID=other, LINK_COST=-1.0)
    with xml.element("FilteredTracks"):
        for index in range(len(edges)):
            xml.put("TrackID", TRACK_ID=index)


def _shown(sequence: Sequenced) -> Iterator[tuple[Shot, dict[int, Seen]]]:
    """Yield frames on which there are objects, with their rows."""
    rows = seen(sequence)
    ahead = next(rows, None)
    for shot in sequence.shots():
        if ahead is not None and ahead[0] == shot.frame:
            if ahead[1]:
                yield shot, ahead[1]
            ahead = next(rows, None)


def _write_spots(xml: Xml, sequence: Sequenced, families: Families) -> dict[int, array[int]]:
    """Write all spots; return the ends of the edges, by the object that begins the family."""
    edges: dict[int, array[int]] = {}
    last: dict[int, int] = {}  # spot of each object
    spot = 0
    with xml.element("AllSpots"):
        for shot, here in _shown(sequence):
            with xml.element("SpotsInFrame", frame=shot.frame):
                for object_id, at in here.items():
                    before = last.get(object_id, last.get(families.mothers.get(object_id, 0)))
                    if before is not None:
                        family = families.paths[object_id][1]
                        edges.setdefault(family, array("q")).extend((before, spot))
                    mask = shot.masks[object_id]
                    _write_spot(xml, sequence, spot, object_id, shot.frame, mask, at)
                    last[object_id] = spot
                    spot += 1
    return edges


def _write_spot(
    xml: Xml,
    sequence: Sequenced,
    spot: int,
    object_id: int,
    frame: int,
    mask: npt.NDArray[np.bool_],
    at: Seen,
) -> None:
    height, width = sequence.pixel_size or (1.0, 1.0)
    x, y = at.centroid
    contour = (border(mask) - (x, y)) * (width, height)
    area = at.area * (width * height)
    xml.put(
        "Spot",
        " ".join(f"{value:.9g}" for value in contour.ravel().tolist()),
        ID=spot,
        name=sequence.names.get(object_id) or f"ID{object_id}",
        # What TrackMate takes for how sure a spot is; a mask that a person gave is.
        QUALITY=1.0 if at.predicted_iou is None else at.predicted_iou,
        POSITION_T=frame * (sequence.interval or 1.0),
        POSITION_X=x * width,
        POSITION_Y=y * height,
        POSITION_Z=0.0,
        FRAME=frame,
        RADIUS=sqrt(area / pi),
        VISIBILITY=1,
        AREA=area,
        **{_OBJECT: object_id},
        ROI_N_POINTS=len(contour),
    )


def _write_settings(xml: Xml, sequence: Sequenced) -> None:
    """Write where the image is and how it is calibrated, and that people made the spots."""
    height, width = sequence.pixel_size or (1.0, 1.0)
    count = len(sequence.times)
    source = find_source(sequence.meta, sequence.results.folder)
    if sequence.meta.get("reading", {}).get("crop"):
        source = None  # its pictures are larger, and spots would lie elsewhere on them
        sequence.warnings.append(
            "the file names no image, since spots lie in a part of the pictures; to see both, cut "
            "that part out and open it in TrackMate"
        )
    sides = {"x": sequence.width, "y": sequence.height, "z": 1, "t": count}
    crop = [(f"{axis}start", 0) for axis in sides]
    crop += [(f"{axis}end", side - 1) for axis, side in sides.items()]
    with xml.element("Settings"):
        xml.put(
            "ImageData",
            filename="" if source is None else source.name,
            folder="" if source is None else source.absolute().parent,
            width=sequence.width,
            height=sequence.height,
            nslices=1,
            nframes=count,
            pixelwidth=width,
            pixelheight=height,
            voxeldepth=1.0,
            timeinterval=sequence.interval or 1.0,
        )
        xml.put("BasicSettings", "", **dict(crop))
        xml.put("DetectorSettings", DETECTOR_NAME="MANUAL_DETECTOR", RADIUS=5.0)
        xml.put("InitialSpotFilter", feature="QUALITY", value=0.0, isabove=True)
        xml.put("SpotFilterCollection")
        xml.put("TrackerSettings", TRACKER_NAME="MANUAL_TRACKER")
        xml.put("TrackFilterCollection")
        with xml.element("AnalyzerCollection"):
            for kind in ("SpotAnalyzers", "EdgeAnalyzers", "TrackAnalyzers"):
                xml.put(kind)


@dataclass
class _Found:
    """What a file says, spot by spot and edge by edge; contours are in a temporary file.

    Attributes
    ----------
    spots : list of (int, int, int)
        Id, frame and object, 0 where it has none.
    names : dict of int to str
        Of spots.
    edges : list of (int, int, int)
        Track, and the spots at either end.
    shown : set of int or None
        Tracks that are not filtered out; None where the file does not say.
    hidden, round : int
        How many spots are filtered out, and have no contour.
    image : dict of str to str
        Size and calibration.
    """

    shapes: Spool = field(default_factory=Spool)
    spots: list[tuple[int, int, int]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    edges: list[tuple[int, int, int]] = field(default_factory=list)
    shown: set[int] | None = None
    image: dict[str, str] = field(default_factory=dict)
    hidden: int = 0
    round: int = 0


def read(path: Path, kind: str) -> Reading:
    """Read a file of TrackMate: spots that are shown, with their contours.

    An object is a path without branches, as of a graph of GEFF; its name is that of its spots,
    where all have one. Spots without a contour are discs of their radius.
    """
    found = _parsed(path)
    try:
        height, width = _whole(found.image["height"]), _whole(found.image["width"])
        count, slices = _whole(found.image["nframes"]), _whole(found.image.get("nslices", "1"))
        scale = tuple(float(found.image[key]) for key in ("pixelwidth", "pixelheight"))
    except KeyError as error:
        raise SourceError(
            f"{path} does not say {error.args[0]} of its image (Settings, ImageData), without "
            "which its contours have no pixels"
        ) from error
    if slices != 1:
        raise SourceError(f"{path} is of an image of {slices} slices; tracks in planes are read")
    check_size(str(path), height, width)
    if count > MAX_FRAMES:
        raise SourceError(f"{path} claims {count} frames; at most {MAX_FRAMES} are read")
    if not all(0 < side < float("inf") for side in scale):
        raise SourceError(f"{path} is of an image of {width} x {height} pixels of size {scale}")
    warnings: list[str] = []
    shown = {track for track, *_ in found.edges} if found.shown is None else found.shown
    left = {spot for track, *ends in found.edges if track not in shown for spot in ends}
    if left:
        warnings.append(f"{len(left)} spots of tracks that are filtered out are left out")
    if found.hidden:
        warnings.append(f"{found.hidden} spots that are filtered out are left out")
    if found.round:
        warnings.append(f"{found.round} spots have no contour: they are discs of their radius")
    spots = np.array([spot for spot in found.spots if spot[0] not in left], np.int64).reshape(-1, 3)
    ids, frames, labels = spots.T
    if ((frames < 0) | (frames >= count)).any():
        raise SourceError(f"{path} has spots of other frames than the {count} of its image")
    edges = np.array([ends for track, *ends in found.edges if track in shown], np.int64).reshape(
        -1, 2
    )
    if len(np.unique(spots[:, 1:], axis=0)) < len(spots):
        labels = np.zeros_like(labels)  # a spot that was copied in TrackMate has those of the other
    tracks = Tracks.of(ids, frames, labels, edges, warnings, path, directed=False)
    objects, mothers = tracks.objects()
    object_of = dict(zip(ids.tolist(), objects.tolist(), strict=True))
    bare = "spots that cover the centre of no pixel are left out"

    def mask(text: str) -> npt.NDArray[np.bool_]:
        drawn = _drawn(text, scale, height, width)
        if bare not in warnings and not drawn.any():
            warnings.append(bare)
        return drawn

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in range(count):
            here = {
                object_of[spot]: partial(mask, text)
                for spot, text in found.shapes.masks(frame).items()
                if spot in object_of
            }
            yield frame, Masks({i: here[i] for i in sorted(here)})

    names = _names(found.names, object_of)
    return Reading(path, kind, height, width, range(count), shots, names, mothers, warnings)


def _parsed(path: Path) -> _Found:
    """Read the elements one by one; none is kept."""
    found = _Found()
    hidden: set[int] = set()
    root = frame = track = None
    try:
        with path.open("rb") as file:
            for event, element in ElementTree.iterparse(file, ("start", "end")):
                if root is None:
                    root = element
                    if root.tag != "TrackMate":
                        raise SourceError(f"{path} is no file of TrackMate: it is of {root.tag}")
                said = element.attrib
                match element.tag, event:
                    case "SpotsInFrame", "start":
                        frame = _whole(said["frame"])
                    case "Spot", "end":
                        if _whole(said.get("VISIBILITY", "1")) == 0:
                            hidden.add(_whole(said["ID"]))
                        elif frame is not None:
                            _keep_spot(found, frame, element, path)
                    case "Track", "start":
                        track = _whole(said["TRACK_ID"])
                    case "Edge", "end" if track is not None:
                        ends = _whole(said["SPOT_SOURCE_ID"]), _whole(said["SPOT_TARGET_ID"])
                        if not hidden.intersection(ends):
                            found.edges.append((track, *ends))
                    case "FilteredTracks", "start":
                        found.shown = set()
                    case "TrackID", "end" if found.shown is not None:
                        found.shown.add(_whole(said["TRACK_ID"]))
                    case "ImageData", "end":
                        found.image = dict(said)
                if event == "end" and element.tag in ("Log", "SpotsInFrame", "Track", "Feature"):
                    element.clear()
    except ElementTree.ParseError as error:
        raise SourceError(f"cannot read {path} as XML: {error}") from error
    found.hidden = len(hidden)
    return found


def _whole(text: str) -> int:
    """A whole number, which files of some versions and programs have as 4.0."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(f"{text} is no whole number")
    return int(value)


def _keep_spot(found: _Found, frame: int, element: Any, path: Path) -> None:
    said = element.attrib
    spot, points = _whole(said["ID"]), _whole(said.get("ROI_N_POINTS", "0"))
    values = [float(value) for value in (element.text or "").split()]
    if points > 2 and len(values) != 2 * points:
        raise SourceError(
            f"{path}: spot {spot} has {len(values)} coordinates where {points} points have "
            f"{2 * points}; contours in planes are read"
        )
    x, y = float(said["POSITION_X"]), float(said["POSITION_Y"])
    radius = 0.0 if points > 2 else float(said["RADIUS"])
    shape = json.dumps([x, y, radius, *(values if points > 2 else ())])
    if not found.shapes.put(frame, spot, shape):
        raise SourceError(f"{path} has spot {spot} twice")
    found.round += points < 3
    label = _whole(said.get(_OBJECT, "0"))
    found.spots.append((spot, frame, label))
    name = said.get("name", "")
    # Where nobody gave a name we call spots by their object, TrackMate by their own id.
    if name and name != f"ID{label or spot}":
        found.names[spot] = name


def _drawn(text: str, scale: tuple[float, ...], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The pixels whose centres are in a contour, or in a disc where there is none."""
    x, y, radius, *values = json.loads(text)
    if values:
        with np.errstate(over="ignore"):  # what is too far away for a number is said below
            contour = (np.reshape(values, (-1, 2)) + np.array([x, y])) / scale
        return inside(contour, height, width)
    columns, rows = np.arange(width) * scale[0] - x, np.arange(height) * scale[1] - y
    wide, high = (np.flatnonzero(np.abs(away) <= radius) for away in (columns, rows))
    drawn = np.zeros((height, width), np.bool_)
    drawn[np.ix_(high, wide)] = np.hypot(columns[wide], rows[high, None]) <= radius
    return drawn


def _names(said: Mapping[int, str], object_of: Mapping[int, int]) -> dict[int, str]:
    """Names of objects all of whose spots have the same one."""
    names: dict[int, set[str]] = {}
    for spot, object_id in object_of.items():
        names.setdefault(object_id, set()).add(said.get(spot, ""))
    return {object_id: name for object_id, (name, *more) in names.items() if name and not more}
