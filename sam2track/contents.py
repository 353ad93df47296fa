"""What a project holds: objects, prompts, masks and rows, read from its database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.arguments import whole_number
from sam2track.errors import ProjectError, UsageError
from sam2track.prompts import Prompt, Prompts
from sam2track.soundness import faults, odd_pointers
from sam2track.stored import STORED, Stored
from sam2track.table import Observation, Source, TrackRow, row
from sam2track.tracking.codes import dequantise
from sam2track.tracking.ledger import Ledger, how

__all__ = ["Contents"]

_PART = 20_000  # rows that are read at once, or those of a frame
_LEAST = np.finfo(np.float32).tiny  # what a pixel of a mask has, whatever its logit
_UNREAD = rle.encode(np.ones((1, 1), np.bool_))  # stands for a mask that is not looked at
_LOCKED = 100  # above all logits that are kept: by this those of locked objects are raised


class Contents(Ledger):
    """A ledger with the pictures that it is of, as ``Project`` is one; see there."""

    path: Path
    meta: dict[str, Any]

    @property
    def height(self) -> int:
        """Height of the upright frame in pixels."""
        return int(self.meta["height"])

    @property
    def width(self) -> int:
        """Width of the upright frame in pixels."""
        return int(self.meta["width"])

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames that hold results, ascending."""
        with self._errors():
            rows = self._db.execute("SELECT DISTINCT frame FROM results ORDER BY frame")
            return tuple(frame for (frame,) in rows)

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        with self._errors():
            return tuple(i for (i,) in self._db.execute("SELECT id FROM objects ORDER BY id"))

    @property
    def names(self) -> dict[int, str]:
        """Names of the objects by id; empty where a person gave none (a Tracker leaves it out)."""
        with self._errors():
            return dict(self._db.execute("SELECT id, name FROM objects"))

    @property
    def lineage(self) -> dict[int, int]:
        """Mother of each object that is a daughter."""
        return {life.object_id: life.mother for life in self.lives() if life.mother is not None}

    def time(self, frame: int) -> float:
        """When a frame is, in seconds: frame times interval where the source says the interval.

        That of a time-lapse is not the rate at which its pictures are played (``times``).
        """
        interval = self.meta.get("frame_interval_s")
        frame = whole_number("frame", frame)
        played = self._played(frame)
        if played is None:
            raise ProjectError(f"{self.path} knows no frame {frame}")
        return played if interval is None else frame * float(interval)

    def _played(self, frame: int) -> float | None:
        """When a frame is played, in seconds; None where there is none."""
        with self._errors():
            found = self._db.execute("SELECT seconds FROM times WHERE frame = ?", (frame,))
            value = found.fetchone()
            return None if value is None else float(value[0])

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Time at which each frame is played, in seconds, (T,) float64."""
        with self._errors():
            rows = self._db.execute("SELECT seconds FROM times ORDER BY frame").fetchall()
            return np.array([seconds for (seconds,) in rows], np.float64)

    @property
    def prompts(self) -> Prompts:
        """What was said of the objects."""
        found = Prompts(names={i: str(name) for i, name in self.names.items() if name})
        for object_id, frame, prompt in self.each_prompt():
            found.add(object_id, frame, prompt)
        return found

    def each_prompt(self) -> Iterator[tuple[int, int, Prompt]]:
        """Yield object, frame and what was said of it there; memory for one mask at a time."""
        with self._errors():
            rows = self._db.execute("SELECT object, frame, said, mask FROM prompts").fetchall()
        for object_id, frame, said, mask in rows:
            with self._errors():
                prompt = self._prompt(object_id, frame, said, mask)
            yield object_id, frame, prompt

    def prompt_at(self, object_id: int, frame: int) -> Prompt | None:
        """Return what was said of an object on a frame; None where nothing was.

        Raises
        ------
        UsageError
            Where either is no whole number.
        """
        object_id, frame = whole_number("object", object_id), whole_number("frame", frame)
        with self._errors():
            found = self._db.execute(
                "SELECT said, mask FROM prompts WHERE object = ? AND frame = ?",
                (object_id, frame),
            ).fetchone()
            return None if found is None else self._prompt(object_id, frame, *found)

    def clicked(self) -> Iterator[tuple[int, int, Prompt | None]]:
        """Yield object, frame and what was clicked there, for all prompts; no mask is read.

        Of a prompt that is a mask alone, or an absence, that is None.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT object, frame, said, mask IS NOT NULL FROM prompts"
            ).fetchall()
        known: dict[tuple[str, int], Prompt | None] = {}  # hundreds that are painted say the same
        for object_id, frame, said, masked in rows:
            if (said, masked) not in known:
                with self._errors():
                    prompt = self._prompt(object_id, frame, said, _UNREAD if masked else None)
                clicked = prompt.points or prompt.box is not None
                known[said, masked] = replace(prompt, mask=None) if clicked else None
            yield object_id, frame, known[said, masked]

    def masks(self, frame: int) -> dict[int, npt.NDArray[np.bool_]]:
        """Masks on a frame by object, (H, W) bool; they may overlap.

        Raises
        ------
        ProjectError
            Where the source has no such frame.
        UsageError
            Where it is no whole number.
        """
        makers = self.mask_makers(frame)
        with self._errors():
            return {object_id: make() for object_id, make in makers.items()}

    def mask_makers(self, frame: int) -> dict[int, Callable[[], npt.NDArray[np.bool_]]]:
        """As ``masks``, but each mask is decoded when it is called for."""
        return {
            object_id: partial(self._mask, object_id, frame, mask)
            for object_id, mask in self.packed_masks(frame).items()
        }

    def packed_masks(self, frame: int) -> dict[int, bytes]:
        """As ``masks``, but as they are stored."""
        frame = whole_number("frame", frame)
        self.time(frame)
        with self._errors():
            return dict(
                self._db.execute(
                    "SELECT object, mask FROM results WHERE frame = ? ORDER BY object", (frame,)
                )
            )

    def labels(self, frame: int, objects: Collection[int] | None = None) -> npt.NDArray[np.int32]:
        """Label map of a frame, (H, W) int32, of all objects or some.

        Where masks overlap, locked objects come before others; among either, the highest logit
        wins, as far as twelve bits tell, and ties go to the lower id.

        Raises
        ------
        ProjectError, UsageError
            As ``masks``; the latter also where objects are no ids.
        """
        frame = whole_number("frame", frame)
        self.time(frame)  # which knows whether there is such a frame
        wanted = None if objects is None else _ids(objects)
        with self._errors():
            rows = self._db.execute(
                "SELECT object, mask, codes, side, object IN (SELECT id FROM objects WHERE locked) "
                "FROM results WHERE frame = ? ORDER BY object",
                (frame,),
            ).fetchall()
            if wanted is not None:
                rows = [row for row in rows if row[0] in wanted]
            return self._painted(frame, rows)

    def _painted(
        self, frame: int, rows: Sequence[tuple[int, bytes, bytes, int, int]]
    ) -> npt.NDArray[np.int32]:
        labels = np.zeros((self.height, self.width), np.int32)
        found = []
        for object_id, packed, codes, side, locked in rows:
            one = self._boxed(object_id, frame, packed)
            found.append((object_id, one.place, one.part, codes, side, locked))
        if len(found) < 2:
            for object_id, part, mask, *_ in found:
                labels[part][mask] = object_id
            return labels
        covered = np.zeros(labels.shape, np.uint16)
        for _, part, mask, *_ in found:
            covered[part] += mask
        shared = covered > 1
        contested = bool(shared.any())
        best = np.zeros(labels.shape, np.float32) if contested else None
        for object_id, part, mask, codes, side, locked in found:
            if best is None:
                labels[part][mask] = object_id
                continue
            labels[part][mask & ~shared[part]] = object_id
            here = mask & shared[part]
            if not here.any():
                continue
            import cv2

            # Of logits, as masks are: between probabilities another might win.
            small = dequantise(self._codes(object_id, frame, codes, side))
            size = (self.width, self.height)
            large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)[part]
            large = np.maximum(large, _LEAST) + np.float32(locked * _LOCKED)
            wins = here & (large > best[part])
            labels[part][wins] = object_id
            best[part][wins] = large[wins]
        return labels

    def observations(
        self, frames: Iterable[int] | Mapping[int, Collection[int]] | None = None
    ) -> Iterator[tuple[int, list[Observation]]]:
        """Yield frames with their begun objects and masks, by object; one is held at a time.

        Parameters
        ----------
        frames : iterable of int or mapping of int to collection of int, optional
            All that hold results, ascending, if not given; of a mapping those objects alone.
        """
        names = self.names
        if frames is not None and not isinstance(frames, Iterable):
            raise UsageError(f"frames {frames!r}; give their numbers, such as [{frames!r}]")
        with self._errors():
            carried = set(self.meta.get("carried", ()))
        for asked in self.frames if frames is None else frames:
            frame = whole_number("frame", asked)
            time = self.time(frame)
            with self._errors():
                rows = self._db.execute(
                    "SELECT object, source, score, iou, mask, codes, side FROM results "
                    "WHERE frame = ? ORDER BY object",
                    (frame,),
                ).fetchall()
                found = []
                some = frames[frame] if isinstance(frames, Mapping) else None
                for object_id, source, score, iou, packed, codes, side in rows:
                    if some is not None and object_id not in some:
                        continue
                    origin = how(source)
                    if frame in carried and origin in ("forward", "backward"):
                        origin = "carried"
                    part = self._boxed(object_id, frame, packed)
                    one = row(
                        part.part,
                        corner=(part.place[1].start, part.place[0].start),
                        frame=frame,
                        time=time,
                        object_id=object_id,
                        source=cast(Source, origin),
                        name=str(names.get(object_id, "")),
                        object_score=float(score),
                        predicted_iou=float(iou),
                    )
                    read = partial(self._codes, object_id, frame, codes, side)
                    found.append(Observation(one, part, read))
            yield frame, found

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[TrackRow]:
        """Yield one row for each begun object and frame of [start, stop), by frame and object.

        Places and areas are stored, so that no mask is read.
        """
        for part in self._stored(start, stop):
            with self._errors():
                yield from part.rows()

    def lines(self) -> Iterator[str]:
        """Yield the lines of ``tracks.csv``, many at once: `rows` as text."""
        for part in self._stored():
            with self._errors():
                lines = part.lines()
            yield lines

    def _stored(self, start: int = 0, stop: int | None = None) -> Iterator[Stored]:
        start = whole_number("start", start)
        stop = None if stop is None else whole_number("stop", stop)
        names = self.names
        frames = [t for t in self.frames if t >= start and (stop is None or t < stop)]
        with self._errors():
            carried = set(self.meta.get("carried", ()))
            interval = self.meta.get("frame_interval_s")
        # In parts, so that whoever stops in the middle leaves no query open.
        many = max(1, _PART // max(1, len(names)))
        for at in range(0, len(frames), many):
            span = (frames[at], frames[min(at + many, len(frames)) - 1])
            with self._errors():
                times = self._db.execute(
                    "SELECT frame, seconds FROM times WHERE frame BETWEEN ? AND ?", span
                ).fetchall()
                found = self._db.execute(
                    f"SELECT {STORED} FROM results WHERE frame BETWEEN ? AND ? "
                    "ORDER BY frame, object",
                    span,
                ).fetchall()
                if interval is not None:
                    times = [(frame, frame * float(interval)) for frame, _ in times]
            yield Stored(found, names, dict(times), carried)

    def summary(self) -> list[dict[str, Any]]:
        """Each object's id, name, first and last frame, and mean object score."""
        with self._errors():
            # Summed up before they are joined: else SQLite copies whole rows with their masks.
            rows = self._db.execute(
                "SELECT o.id, o.name, r.first, r.last, r.score FROM objects AS o LEFT JOIN ("
                "SELECT object, min(frame) AS first, max(frame) AS last, avg(score) AS score "
                "FROM results GROUP BY object) AS r ON r.object = o.id ORDER BY o.id"
            ).fetchall()
        keys = ("id", "name", "first", "last", "mean_score")
        return [dict(zip(keys, values, strict=True)) for values in rows]

    def _mask(self, object_id: int, frame: int, data: bytes) -> npt.NDArray[np.bool_]:
        return self._boxed(object_id, frame, data).whole()

    def _boxed(self, object_id: int, frame: int, data: bytes) -> rle.Part:
        """As ``_mask``, of what lies in its box: whole ones of a thousand cells are gigabytes."""
        found = self._part_of(object_id, frame, data)
        if found.size != (self.height, self.width):
            raise self._damaged(object_id, frame, "its mask is not of the size of the frames")
        return found

    def check(self) -> None:
        """Read all that is stored of every frame, one at a time, and see that nothing is gone.

        Raises
        ------
        ProjectError
            At the first thing that is damaged, saying whose it is.
        """
        self.check_whole()
        with self._errors():
            for where, why, _ in odd_pointers(self._db, self.check_states()):
                raise self._damaged_at(where, why)
        for frame in self.frames:
            with self._errors():
                rows = self._db.execute(
                    "SELECT object, mask, area FROM results WHERE frame = ?", (frame,)
                ).fetchall()
            for object_id, mask, area in rows:
                if int(np.count_nonzero(self._boxed(object_id, frame, mask).part)) != area:
                    raise self._damaged(object_id, frame, "its mask has not the area that it had")
                self.get(object_id, frame)
        for object_id, frame, _ in self.each_prompt():
            self.said(object_id, frame)

    def check_whole(self) -> None:
        """See that nothing is gone, without reading what is stored of each frame.

        Raises
        ------
        ProjectError
            At the first thing that is gone, or does not go with the others.
        """
        with self._errors():
            for where, why, replays in faults(self._db, self.meta):
                raise self._damaged_at(where, why, replays=replays)

    def info(self) -> dict[str, Any]:
        """What it holds, as JSON values: settings, objects, counts and sizes in bytes."""
        with self._errors():
            frames, results = self._db.execute(
                "SELECT count(DISTINCT frame), count(*) FROM results"
            ).fetchone()
            sizes = self._db.execute(
                "SELECT sum(length(mask)), sum(length(codes)), sum(length(pointer)) FROM results"
            ).fetchone()
            (past,) = self._db.execute(
                "SELECT count(*) FROM all_results, head "
                "WHERE NOT (since <= position AND position < until)"
            ).fetchone()
            (states,) = self._db.execute("SELECT sum(length(data)) FROM states").fetchone()
            (prompts,) = self._db.execute("SELECT count(*) FROM prompts").fetchone()
        objects = [
            one
            | {
                "birth": life.birth,
                "end": life.end,
                "mother": life.mother,
                "locked": life.locked,
                "to_run": {"forward": life.forward, "backward": life.backward},
            }
            for one, life in zip(self.summary(), self.lives(), strict=True)
        ]
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise ProjectError(
                f"{self.path} is not where it was opened ({error.strerror}); put it back, or open "
                "it where it is now"
            ) from error
        per_result = {
            name: round((many or 0) / max(1, results), 1)
            for name, many in zip(("mask", "logits", "pointer"), sizes, strict=True)
        }
        return {
            "version": 1,
            "path": str(self.path),
            "file_bytes": size,
            "source": self.meta,
            "frames": frames,
            "results": results,
            "bytes_per_result": per_result,
            "replaced_results": past,
            "state_bytes": states or 0,
            "prompts": prompts,
            "objects": objects,
            "journal": self.journal(),
        }


def _ids(objects: Iterable[int]) -> frozenset[int]:
    """Return ids as ints."""
    try:
        return frozenset(whole_number("object", object_id) for object_id in objects)
    except TypeError:
        raise UsageError(f"objects {objects!r}; give ids, such as [1, 2]") from None
