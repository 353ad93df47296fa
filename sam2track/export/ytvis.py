"""YouTube-VIS: a JSON file with a list of masks, one for each frame, for each object.

The format is that of the dataset (Yang et al., Video Instance Segmentation, 2019), as its readers
take it: ``videos`` say their size and files, ``annotations`` have lists as long as the video is.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import mask_of, runs
from sam2track.export.images import write_jpegs
from sam2track.export.reading import Reading, name_of
from sam2track.export.sequence import Sequenced
from sam2track.export.spool import Spool, items, spread
from sam2track.frames.bounds import check_size
from sam2track.lazy import Masks
from sam2track.masks import measure

__all__ = ["read", "write"]


def write(path: Path, sequence: Sequenced) -> None:
    """Write a file; with pictures a folder with ``annotations.json`` and ``JPEGImages/NAME/``.

    Masks are lists of runs, as the dataset has them: TrackEval takes no other ones for the truth.
    ``first_frame`` of the video is ours, and says which frame of the source is its first.
    """
    if path.is_dir():
        write_jpegs(path / "JPEGImages" / sequence.name, sequence)
        path = path / "annotations.json"
    kinds = sorted({sequence.category(i) for i in sequence.objects})
    category = {kind: number for number, kind in enumerate(kinds, start=1)}
    span, size = sequence.span, [sequence.height, sequence.width]
    of_all = {"width": size[1], "height": size[0], "length": len(span)}
    # Of one object after the other, where shots are of one frame after the other.
    spool = Spool()
    seen: set[int] = set()
    for shot in sequence.shots():
        for object_id, mask in shot.masks.items():
            seen.add(object_id)
            area, _, box = measure(mask)
            x0, y0, x1, y1 = box or (0, 0, 0, 0)
            code = {"size": size, "counts": runs(mask).tolist()}
            text = json.dumps([code, [x0, y0, x1 - x0, y1 - y0], area])
            spool.put(shot.frame, object_id, text)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": ')
        file.write(json.dumps({"description": sequence.name, "version": "1.0"}))
        names = [f"{sequence.name}/{frame:05d}.jpg" for frame in span]
        video = {"id": 1, **of_all, "first_frame": span.start, "file_names": names}
        file.write(f',\n"videos": [{json.dumps(video)}],\n"categories": ')
        file.write(json.dumps([{"id": n, "name": kind} for kind, n in category.items()]))
        file.write(',\n"annotations": [')
        for number, object_id in enumerate(sorted(seen)):
            about = {
                "id": object_id,
                "video_id": 1,
                "category_id": category[sequence.category(object_id)],
                "iscrowd": 0,
                **of_all,
            }
            file.write(f"{',' if number else ''}\n{json.dumps(about)[:-1]}")
            boxes, areas = [], []
            for place, frame in enumerate(span):
                found = spool.mask(frame, object_id)
                code, box, area = json.loads(found or "[null, null, null]")
                boxes.append(box)
                areas.append(area)
                head = ", " if place else ', "segmentations": ['
                file.write(head + json.dumps(code, separators=(",", ":")))
            file.write(f'], "bboxes": {json.dumps(boxes)}, "areas": {json.dumps(areas)}}}')
        file.write("]}\n")
    sequence.lose("ytvis", lineage=True)


def read(path: Path, kind: str) -> Reading:
    """Read the objects of one video; frames are in the order of its files."""
    file = path / "annotations.json" if path.is_dir() else path
    videos = list(items(file, "videos.item"))
    if len(videos) != 1:
        raise SourceError(f"{file} holds {len(videos)} videos; give a file of YouTube-VIS with one")
    (video,) = videos
    height, width, first = (int(video.get(k, 0)) for k in ("height", "width", "first_frame"))
    check_size(str(file), height, width)
    if "file_names" not in video:
        raise SourceError(f"{file} does not name the pictures of its video (file_names)")
    length = len(video["file_names"])
    kinds = {c["id"]: name_of(c.get("name")) for c in items(file, "categories.item")}
    about: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    counts: Counter[int] = Counter()
    spool = Spool()  # by the number of the annotation: what it is called may come behind its masks
    for number, key, value in spread(file, "annotations.item", "segmentations"):
        if key != "segmentations":
            about[number][key] = value
            continue
        if value is not None:
            spool.put(first + counts[number], number, json.dumps(value))
        counts[number] += 1
    ids: dict[int, int] = {}
    names: dict[int, str] = {}
    for number in sorted({*about, *counts}):
        said = about[number]
        if "id" not in said:
            raise SourceError(f"{file} has an annotation without an id")
        ids[number] = object_id = int(said["id"])
        if object_id in names:
            raise SourceError(f"{file} has two annotations {object_id}")
        if said.get("video_id") not in (None, video.get("id")):
            raise SourceError(
                f"{file}: annotation {object_id} is of video {said['video_id']}, which is not there"
            )
        if counts[number] != length:
            raise SourceError(
                f"{file}: annotation {object_id} has {counts[number]} masks, its video {length} "
                "frames; each frame has one, or null"
            )
        names[object_id] = kinds.get(said.get("category_id"), "")
    frames = range(first, first + length)

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in frames:
            here = sorted((ids[number], text) for number, text in spool.masks(frame).items())
            yield frame, Masks({i: partial(mask_of, text, height, width) for i, text in here})

    return Reading(path, kind, height, width, frames, shots, names)
