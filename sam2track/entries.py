"""What is written into a project: settings, frames of a stream, prompts, and steps that last."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from sam2track.arguments import is_number, whole_number
from sam2track.contents import Contents
from sam2track.errors import ProjectError, PromptError, UsageError
from sam2track.frames.bounds import USUAL_FPS
from sam2track.prompts import Prompt, check_name, check_object_id, check_prompt
from sam2track.tracking.actions import pack_prompt
from sam2track.tracking.history import Life
from sam2track.values import check_settings

__all__ = ["Entries"]


class Entries(Contents):
    """Contents that can be written, as ``Project`` can; see there."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Keep all that is written within, or nothing of it; may be nested."""
        with self._alone():
            held = self._settings() if self._writing is None else nullcontext()
            with held, super().transaction() as db:
                yield db

    @contextmanager
    def _apart(self, db: sqlite3.Connection) -> Iterator[None]:
        with self._settings(), super()._apart(db):
            yield

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Hold no settings that were not kept where what is within fails."""
        before = dict(self.meta)
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # closed within
                # Ctrl-C in the moment in which they are kept comes once they are.
                rows = self._db.execute("SELECT key, value FROM meta").fetchall()
                before = {key: json.loads(value) for key, value in rows}
            self.meta.clear()
            self.meta.update(before)
            raise

    @contextmanager
    def step(self, kind: str, action: Mapping[str, Any]) -> Iterator[int]:
        """Begin a step; what a person said, and all before it, is on the disk when it ends."""
        lasts = self._lasting() if kind != "propagate" else nullcontext()
        with lasts, super().step(kind, action) as number:
            yield number

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all steps that are done within, or none; they are on the disk when it ends."""
        with self._lasting(), super().together():
            yield

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        """Let what is written within be on the disk when it ends, unless more belongs to it."""
        with self._alone():
            with self._errors():
                lasting = not self._db.in_transaction
                if lasting:
                    self._db.execute("PRAGMA synchronous = FULL")
            try:
                yield
            finally:
                if lasting:
                    with suppress(sqlite3.Error):
                        self._db.execute("PRAGMA synchronous = NORMAL")

    def set_meta(self, **values: Any) -> None:
        """Store settings, JSON values.

        Raises
        ------
        UsageError
            Where they are such that the project would be called damaged later.
        """
        values = check_settings(values)  # those that it is opened with, and not the caller's
        for key in ("height", "width"):
            if values.get(key, self.meta[key]) != self.meta[key]:
                raise UsageError(
                    f"{key} {values[key]!r:.100}; the frames have {self.meta[key]}, and keep it, "
                    "as masks are of their size: make another project"
                )
        if values.get("frames", self.meta["frames"]) != self.meta["frames"]:
            raise UsageError(
                f"frames {values['frames']!r:.100}; times are known of {self.meta['frames']}: note "
                "each one more with add_frame"
            )
        self._keep_meta(values)

    def _keep_meta(self, values: Mapping[str, Any]) -> None:
        with self.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )
        self.meta.update(values)

    def add_frame(self, frame: int, seconds: float) -> None:
        """Note that the source has one frame more, of a stream, and when it is shown.

        Raises
        ------
        UsageError
            Where it is not the frame that comes next, or not shown later than the one before.
        """
        frame, count = whole_number("frame", frame), int(self.meta["frames"])
        if frame != count:
            raise UsageError(f"frame {frame}; the one that comes next is {count}")
        before = self._played(frame - 1)
        if (
            not is_number(seconds)
            or not (-math.inf if before is None else before) < seconds < math.inf
        ):
            raise UsageError(
                f"frame {frame} at {seconds!r:.60} s; give seconds"
                + ("" if before is None else f", more than {before:g}, where the one before is")
            )
        with self.transaction() as db:
            db.execute("INSERT INTO times VALUES (?, ?)", (frame, float(seconds)))
            self._keep_meta({"frames": frame + 1})

    def extend(self, frame: int, height: int, width: int) -> None:
        """Know of a stream's next frame, 1/25 s after the one before unless `add_frame` said when.

        Raises
        ------
        ProjectError
            Where frames of the project are of another size.
        """
        if (height, width) != (self.height, self.width):
            raise ProjectError(
                f"{self.path} is of frames of {self.width} x {self.height} pixels, the stream's "
                f"have {width} x {height}; make another project for it"
            )
        # More than one where what was kept of those before was taken back with a transaction.
        for following in range(int(self.meta["frames"]), frame + 1):
            before = self._played(following - 1)
            self.add_frame(following, 0.0 if before is None else before + 1 / USUAL_FPS)

    def add_prompt(self, object_id: int, frame: int, prompt: Prompt, *, name: str = "") -> None:
        """Store a prompt as a step; a tracker that opens the project answers it.

        Raises
        ------
        PromptError
            Where the prompt, the object, its name or the frame cannot be: no tracker could go on
            with the project.
        """
        object_id, frame = check_object_id(object_id), whole_number("frame", frame)
        if not 0 <= frame < self.meta["frames"]:
            raise PromptError(
                f"frame {frame} does not exist; {self.path} is of {self.meta['frames']} frames, "
                "counted from 0"
            )
        check_prompt(prompt).check(self.height, self.width)
        name = check_name(name)
        action: dict[str, Any] = {
            "object": object_id,
            "frame": frame,
            "said": pack_prompt(prompt),
            "name": name,
        }
        known = self.lives(object_id)  # not all: with thousands each prompt would read them
        life = known[0] if known else Life(object_id, name, forward=frame, backward=frame)
        if life.locked:
            raise PromptError(f"object {object_id} is locked; unlock it first")
        life.check_alive(frame)
        life = replace(life, name=name or life.name)
        ahead, back = (frame if f is None else f for f in (life.forward, life.backward))
        with self.step("prompt", action):
            self.keep_life(replace(life, forward=min(ahead, frame), backward=max(back, frame)))
            self.say(object_id, frame, prompt)
