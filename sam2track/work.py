"""What a job does once source, prompts and project are there, and what comes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2track.arguments import Direction
from sam2track.detections import unpacked
from sam2track.errors import PromptError, SourceError
from sam2track.frames.source import FrameSource
from sam2track.models.model import Model
from sam2track.outcome import Interrupted, Outcome
from sam2track.outputs import OUTPUTS, Progress, paths_of
from sam2track.project import Project
from sam2track.sparing import a_core_spared
from sam2track.tracking.actions import repeat
from sam2track.tracking.tracker import Tracker
from sam2track.writing import Writing, write_table

__all__ = ["Work"]


@dataclass
class Work:
    """Tracking into a project, and writing what came of it.

    Parameters
    ----------
    source : FrameSource
    project : Project
        Open for writing.
    model : Model
    progress : callable, optional
        Called with a Progress now and then.
    began : float
        When the job began, by ``time.monotonic``.
    full_table : bool
        Whether the table has all measurements.
    """

    source: FrameSource
    project: Project
    model: Model
    progress: Callable[[Progress], None] | None
    began: float
    full_table: bool = False
    computed: int = 0
    warnings: list[str] = field(default_factory=list)

    def run(
        self, low: int, high: int, direction: Direction, folder: Path, wanted: list[str]
    ) -> Outcome:
        """Track through the frames [low, high), and write what is wanted into a folder."""

        def work(writing: Writing) -> None:
            self._report(0, high - low, self.began)  # the project is there
            self._track(low, high, direction, writing)
            self._warn_of_idle(low, high, direction)

        return self.finish(low, high, folder, wanted, work)

    def finish(
        self, low: int, high: int, folder: Path, wanted: list[str], work: Callable[[Writing], None]
    ) -> Outcome:
        """Do the work and write the outputs; what was done before an interruption is kept.

        The work may write pictures of frames that are final already.
        """
        outputs = {"project": str(folder / "project.s2t")}
        try:
            span = (low, high)
            try:
                with (
                    a_core_spared(self.model),
                    Writing(
                        self.project, self.source, span, folder, wanted, self.progress
                    ) as writing,
                ):
                    work(writing)
                    self._warn_of_change()
            finally:
                self._keep_carried()
            if "table" in wanted:
                write_table(self.project, folder, source=self.source, full=self.full_table)
            outputs |= paths_of(folder, wanted)
            self._warn_of_earlier(folder, wanted)
        except KeyboardInterrupt as error:
            raise Interrupted(self._outcome("interrupted", high - low, outputs)) from error
        return self._outcome("done", high - low, outputs)

    def repeat(self, journal: list[dict[str, Any]], total: int) -> None:
        """Do what a journal says."""
        tracker = Tracker(self.model, self.source, history=self.project)
        began = time.monotonic()
        for result in repeat(tracker, journal):
            if result is not None:
                self.computed += 1
                self._report(self.computed, max(total, self.computed), began)

    def _track(self, low: int, high: int, direction: Direction, writing: Writing) -> None:
        # No frame is run twice here: features that are written would not be read.
        tracker = Tracker(self.model, self.source, history=self.project, features_on_disk=0)
        began = time.monotonic()
        stored = self.project.meta.get("detections")
        # Not again what was taken: a person may have deleted or moved objects since.
        taken = {*self.project.meta.get("detected", ())}
        before = len(taken)
        try:
            # Of a run that was killed some may come again; those change nothing.
            for frame, boxes in sorted(unpacked(stored["frames"] if stored else {}).items()):
                if low <= frame < high and frame not in taken:
                    if tracker.object_ids:
                        self._go(tracker, low, frame + 1, "forward", high - low, began)
                    tracker.detect(frame, boxes)
                    taken.add(frame)
        finally:
            if len(taken) > before:
                self.project.set_meta(detected=sorted(taken))
        if not tracker.object_ids:
            raise PromptError(
                f"{self.project.path} holds no object to track: none was marked, or all of it was "
                "taken back; give a point, a box, a mask, a prompts file or detections, too"
            )
        total = self.computed + _frames_to_run(tracker, low, high, direction)
        # Where nothing goes back over a frame it is final once it was run forward.
        once = direction == "forward" or (
            direction == "both" and max(first for first, _ in tracker.spans().values()) <= low
        )
        self._go(tracker, low, high, direction, total, began, writing if once else None)

    def _go(
        self,
        tracker: Tracker,
        low: int,
        high: int,
        direction: Direction,
        total: int,
        began: float,
        writing: Writing | None = None,
    ) -> None:
        # Closed at once at an interruption, so that it is kept where tracking stands.
        with closing(tracker.propagate(low, high, direction, unfinished=True)) as results:
            for result in results:
                self.computed += 1
                if writing is not None:
                    writing.up_to(result.frame + 1)
                self._report(self.computed, max(total, self.computed), began)

    def _keep_carried(self) -> None:
        """Note which frames could not be decoded; of those of earlier runs some were not read."""
        before = self.project.meta.get("carried")
        carried = sorted({*(before or ()), *getattr(self.source, "carried", ())})
        if carried != before:
            self.project.set_meta(carried=carried)

    def _warn_of_earlier(self, folder: Path, wanted: list[str]) -> None:
        """Say which outputs of an earlier run know nothing of what was tracked now."""
        earlier = [
            kind
            for kind, name in OUTPUTS.items()
            if self.computed and kind not in wanted and (folder / name).exists()
        ]
        if earlier:
            names = ", ".join(str(folder / OUTPUTS[kind]) for kind in earlier)
            self.warnings.append(
                f"{names} {'is' if len(earlier) == 1 else 'are'} of an earlier run; write anew "
                f"what is still wanted (--resume --write {','.join(earlier)})"
            )

    def _warn_of_change(self) -> None:
        """Say where the pictures are no longer those that the project was begun with."""
        try:
            if self.source.fingerprint() == self.project.meta.get("fingerprint"):
                return
        except SourceError:
            pass
        path = self.project.meta.get("source_path")
        if path is None or os.path.lexists(path):
            how = "changed while it was read: masks may be of other pictures than it holds now"
            fix = "track it again once nothing writes to it"
        else:
            how = "was moved or removed while it was read"
            fix = "put it back to go on with the project"
        self.warnings.append(f"{self.source.name} {how}; {fix}")

    def _warn_of_idle(self, low: int, high: int, direction: Direction) -> None:
        """Say which objects have no result in the range, and why that may be."""
        for row in self.project.summary():
            first, last = row["first"], row["last"]
            if first is None or last < low or first >= high:
                self.warnings.append(
                    f"object {row['id']} has no frame in [{low}, {high}) going {direction}; "
                    f"prompt it there or take another direction"
                )

    def _report(self, done: int, total: int, began: float) -> None:
        if self.progress is not None:
            self.progress(Progress("tracking", done, total, time.monotonic() - began))

    def _outcome(self, status: str, frames: int, outputs: dict[str, str]) -> Outcome:
        return Outcome.of(
            status,
            self.project,
            self.model,
            source=self.source.name,
            frames=frames,
            computed=self.computed,
            seconds=time.monotonic() - self.began,
            outputs=outputs,
            warnings=[*self.source.warnings, *self.warnings],
        )


def _frames_to_run(tracker: Tracker, low: int, high: int, direction: Direction) -> int:
    """How many frames a fresh run of a range yields, for the progress bar."""
    firsts, lasts = [], []
    for first, last in tracker.spans().values():
        firsts.append(first)
        lasts.append(last)
    forward = max(0, high - max(low, min(firsts)))
    if direction == "forward":
        return forward
    if direction == "backward":
        return max(0, min(high, max(lasts) + 1) - low)
    return forward + max(0, min(high, max(firsts)) - low)
