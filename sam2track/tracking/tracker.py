"""Follow objects through one video: prompts, corrections, streams."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from sam2track.arguments import Direction, check_flag
from sam2track.errors import ModelError, PromptError, UsageError
from sam2track.frames.opening import open_source
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking import detected, identity, saying
from sam2track.tracking.advancing import advance
from sam2track.tracking.book import Book
from sam2track.tracking.engine import Engine
from sam2track.tracking.features import new_store
from sam2track.tracking.history import History, Life
from sam2track.tracking.memory import Rules
from sam2track.tracking.result import FrameResult
from sam2track.tracking.run import Run, planned
from sam2track.tracking.spill import SpillFile
from sam2track.tracking.stream import StreamSource

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from sam2track.frames.source import FrameSource

__all__ = ["Tracker"]


class Tracker:
    """Track objects through a video.

    Parameters
    ----------
    model : Model, SAM2Base, str or path
        What to track with; anything but a Model goes through ``load_model``.
    source : path, array or FrameSource, optional
        The video; without one, frames come through ``update``.
    history : History, optional
        Where the past is kept, a Project for example; a temporary file by default. Objects that
        it holds are gone on with.
    max_cond_frames : int
        How many prompted frames a frame looks at where the module sets no limit itself.
    max_batch : int
        Most objects in one batch.
    features_budget : int, optional
        Bytes of features of recent frames that are kept, so that prompting and second passes
        do not encode them again; an eighth of the free memory by default, 512 MiB at most.
    features_on_disk : int, optional
        Bytes of features beyond that, on the disk of the history, in a file without a name; an
        eighth of what is free there by default, 8 GiB at most. None of a GPU, which encodes a
        frame sooner than it is read, of a stream, and where ``features_budget`` is 0.

    Notes
    -----
    A Tracker is single-threaded; who drives it from several threads serialises.
    Coordinates are (x, y) pixels of the upright frame, frames count from 0.

    Each call that says something is one step that ``undo`` takes back; where it fails, nothing
    of it is kept. What is asked of an object that is not there, that is locked, or of a frame
    that is not there or on which the object has ended, is a PromptError.
    """

    def __init__(
        self,
        model: Model | SAM2Base | str,
        source: Any = None,
        *,
        history: History | None = None,
        max_cond_frames: int = 8,
        max_batch: int = 16,
        features_budget: int | None = None,
        features_on_disk: int | None = None,
    ) -> None:
        for setting, value, least in (
            ("max_cond_frames", max_cond_frames, 2),
            ("max_batch", max_batch, 1),
            ("features_budget", 0 if features_budget is None else features_budget, 0),
            ("features_on_disk", 0 if features_on_disk is None else features_on_disk, 0),
        ):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise UsageError(
                    f"{setting} {value!r}; allowed are {least} and more, whole numbers"
                )
        if history is not None and not hasattr(history, "bind"):
            raise UsageError(
                f"history {history!r:.100} keeps nothing; give a Project that is open for writing "
                f"(Project.open(path, writable=True)), or leave it out"
            )
        self.model = load_model(model)
        if not self.model.tracks:
            raise ModelError(
                f"{self.model.name} has no weights for video (a Sam2Model of Transformers); take "
                f"a Sam2VideoModel, or use it on single images"
            )
        if not self.model.module.directly_add_no_mem_embed:
            # Of the one token that it would look at instead, SAM 2's rotary code makes none.
            raise ModelError(
                f"{self.model.name} says directly_add_no_mem_embed=False, with which SAM 2's own "
                f"code cannot begin a video; take modules where it is True, or single images"
            )
        self.source: FrameSource | StreamSource = (
            StreamSource() if source is None else open_source(source)
        )
        self.history: History = SpillFile() if history is None else history
        if source is None and self.history.lives():
            raise UsageError(
                "the project holds objects already, and a stream begins with none; give another "
                "project (history), or the source that it was made from"
            )
        self.max_batch = max_batch
        count = None if isinstance(self.source, StreamSource) else len(self.source)
        rules = Rules.of(self.model.module, count, max_cond_frames)
        store = new_store(
            self.model.device,
            features_budget,
            on_disk=features_on_disk,
            # Frames of a stream are gone.
            folder=None if count is None else self.history.folder,
        )
        self._engine = Engine(self.model, self.source, self.history, rules, store)
        self._run: Run | None = None
        self._left = False
        made_with: dict[str, Any] = {
            "image_size": self.model.image_size,
            "precision": self.model.precision,
            "weights": self.model.fingerprint,
        }
        if count is not None:
            made_with |= {
                "height": self.source.height,
                "width": self.source.width,
                "frames": count,
                "fingerprint": self.source.fingerprint,
            }
        self.history.bind(self._leave, made_with)
        given = ((self.source, source), (self.history, history))
        owned = [thing for thing, what in given if thing is not what]
        # Of a tracker that is dropped, too, and at once: nothing it holds may hold it.
        self._let_go = weakref.finalize(self, _closed, owned)
        self._let_go.atexit = False
        settle = weakref.WeakMethod(self._settle)
        self._book = Book(
            self.source, self.history, self._engine, before_step=lambda: _call(settle)
        )

    def close(self) -> None:
        """Let go of the video and the temporary file, where they were opened here.

        A run that was left stands where it is; a history that was given stays open.
        """
        if not self._left:
            self._leave()
        self._engine.store.clear()
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _leave(self) -> None:
        """Keep where a run stands, and do no more: the history is closed, or serves another."""
        if self._run is not None:
            self._run.save()
            self._run.ended = True
        self._left = True

    def _check_here(self) -> None:
        if self._left:
            raise UsageError(
                "this tracker or its history was closed, or the history is used by another "
                "tracker; go on with that one, or make a new tracker"
            )

    def _settle(self) -> None:
        """Keep where a run stands that was left in the middle, before something else is done."""
        self._check_here()
        if self._run is not None:
            self._run.save()

    # -- what is known ------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects, ascending."""
        return tuple(sorted(self._book.objects))

    @property
    def names(self) -> dict[int, str]:
        """The objects' names, of those that have one."""
        return {i: item.name for i, item in sorted(self._book.objects.items()) if item.name}

    def life(self, object_id: int) -> Life:
        """Return an object's name, birth, end, mother, lock, and what has to be run of it."""
        return self._book.known(object_id, changes=False).life

    def spans(self) -> dict[int, tuple[int, int]]:
        """First and last prompted frame of each object."""
        return {i: (item.first, item.last) for i, item in sorted(self._book.objects.items())}

    def prompted(self, object_id: int) -> tuple[int, ...]:
        """The frames on which a person said something of an object, ascending."""
        return tuple(sorted(self._book.known(object_id, changes=False).prompted))

    def result(self, frame: int) -> FrameResult:
        """What is known of a frame: prompts and what tracking gave, nothing new computed.

        Of a stream without a project the last thousand frames are known; of one before these a
        PromptError says so.
        """
        frame = self._book.check_frame(frame)
        self._book.check_kept(frame)
        return self._book.result(frame)

    def prepare(self, frame: int) -> None:
        """Encode a frame ahead of time, so that what is said of it is answered at once."""
        self._engine.features(self._book.check_frame(frame))

    # -- what is said -------------------------------------------------------------------

    def prompt(
        self,
        object_id: int,
        frame: int,
        *,
        points: Iterable[Iterable[float]] | None = None,
        labels: Iterable[int] | None = None,
        box: Iterable[float] | None = None,
        mask: npt.ArrayLike | None = None,
        absent: bool | np.bool_ = False,
        alone: bool = False,
    ) -> FrameResult:
        """Say where an object is on a frame; replaces what was said of it there.

        Parameters
        ----------
        object_id : int
            A positive integer; a new one begins an object.
        frame : int
            Index of the frame.
        points : sequence of (x, y), optional
            Clicks in pixels.
        labels : sequence of int, optional
            1 (object) or 0 (background) for each point; 1 where left out.
        box : (x0, y0, x1, y1), optional
            Half-open, in pixels.
        mask : (H, W) bool or integer array, optional
            Reported as given on this frame; with points or a box it is refined by them.
        absent : bool
            The object is not on this frame.
        alone : bool
            Whether the result is of this object alone; of hundreds all others are read for it.

        Returns
        -------
        FrameResult
            The frame as it is now, with all objects that are known there.

        Raises
        ------
        PromptError
            Where the prompt, the object or the frame cannot be.
        """
        prompt = Prompt(
            points=() if points is None else points,
            labels=() if labels is None else labels,
            box=box,
            mask=mask,
            absent=absent,
        )
        return self.add(object_id, frame, prompt, alone=alone)

    def add(
        self, object_id: int, frame: int, prompt: Prompt, *, name: str = "", alone: bool = False
    ) -> FrameResult:
        """As ``prompt``, with a Prompt, and a name for the object where one is given."""
        alone = check_flag("alone", alone)
        saying.add(self._book, object_id, frame, prompt, name)
        return self._now(object_id, frame, alone)

    def _now(self, object_id: int, frame: int, alone: bool) -> FrameResult:
        """What is known of a frame after something was said of an object there."""
        return self._book.result(int(frame), int(object_id) if alone else None)

    def edit(
        self, object_id: int, frame: int, mask: npt.ArrayLike, *, alone: bool = False
    ) -> FrameResult:
        """Replace an object's mask on a frame by a painted one, (H, W) bool; result as ``prompt``.

        It is reported as given, conditions what is tracked, and is overwritten by nothing but
        what a person says of the frame. An empty one says that the object is not there.
        """
        prompt = Prompt.painted(mask)
        given = np.shape(mask)
        if given != (self.source.height, self.source.width):
            raise PromptError(
                f"the mask has shape {given}; a frame has ({self.source.height}, "
                f"{self.source.width})"
            )
        return self.add(object_id, frame, prompt, alone=alone)

    def confirm(self, object_id: int, frame: int, *, alone: bool = False) -> FrameResult:
        """Say that what is shown of an object on a frame is right: as ``edit`` with that mask.

        A frame that is prompted or edited is right already.
        """
        alone = check_flag("alone", alone)
        saying.confirm(self._book, object_id, frame)
        return self._now(object_id, frame, alone)

    def clear(self, object_id: int, frame: int, *, alone: bool = False) -> FrameResult:
        """Take back what was said of an object on a frame; no memory of it is left.

        What tracking gave there before holds again, where nothing was said of the object on
        other frames since; else the object is not on the frame until it is run again. Nor is it on
        those that were run forward from its first prompt, or backward from its last, where that is
        cleared. An object without any other prompt is removed.
        """
        alone = check_flag("alone", alone)
        saying.clear(self._book, object_id, frame)
        return self._now(object_id, frame, alone)

    def remove(self, object_id: int) -> None:
        """Forget an object altogether; its daughters have no mother then."""
        saying.remove(self._book, object_id)

    def lock(self, object_id: int, *, locked: bool = True) -> None:
        """Let nothing change an object any more, or let it be changed again.

        While it is locked, label maps give its pixels to no other object that is not.
        """
        saying.lock(self._book, object_id, locked=locked)

    def rename(self, object_id: int, name: str) -> None:
        """Name an object."""
        saying.rename(self._book, object_id, name)

    # -- identity -----------------------------------------------------------------------

    def merge(self, object_id: int, other_id: int) -> None:
        """Let two objects be one, the first: it has all frames of both, unions where both have.

        Refused where the one object would exist before its birth or after its division.
        """
        identity.merge(self._book, object_id, other_id)

    def split_from(self, object_id: int, frame: int, new_id: int | None = None) -> int:
        """Let an object end before a frame, and what it was from there on be a new one.

        Returns
        -------
        int
            The new object; where no number is given, the lowest that no object has or had.
        """
        return identity.split_from(self._book, object_id, frame, new_id)

    def swap_from(self, object_id: int, other_id: int, frame: int) -> None:
        """Exchange two objects from a frame on, with what was said of them from there on."""
        identity.swap_from(self._book, object_id, other_id, frame)

    def end_at(self, object_id: int, frame: int | None) -> None:
        """Let an object end before a frame; None takes its end back."""
        identity.end_at(self._book, object_id, frame)

    def divide(
        self,
        mother_id: int,
        frame: int,
        daughters: Mapping[int, npt.NDArray[np.bool_] | None] | Iterable[int],
    ) -> None:
        """Let an object end before a frame, on which its daughters begin.

        Parameters
        ----------
        mother_id : int
        frame : int
        daughters : mapping of int to (H, W) bool array, or iterable of int
            By number: the mask of each on that frame; None, or numbers alone, for objects that
            are there already and begin on the frame or later.
        """
        if not isinstance(daughters, Iterable):
            raise UsageError(f"daughters {daughters!r}; give their numbers, or masks by number")
        given = (
            daughters
            if isinstance(daughters, Mapping)
            else dict.fromkeys(map(check_object_id, daughters))
        )
        identity.divide(self._book, mother_id, frame, given)

    # -- back and forth -----------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all that is done within, each as a step of its own, or nothing of it.

        Quicker than the steps one by one, each of which would wait for the disk. Not of a stream.
        """
        self._book.refuse_stream("take back what fails in")
        with self._book.together():
            yield

    def undo(self) -> dict[str, Any] | None:
        """Take back the last step; nothing is computed.

        A run that is under way ends.

        Returns
        -------
        dict or None
            What was taken back: ``action`` and its details; None where there is nothing.
        """
        return next(iter(self.undo_while(lambda: False)), None)

    def redo(self) -> dict[str, Any] | None:
        """Put back the step that was taken back last, if nothing was done since."""
        return next(iter(self.redo_while(lambda: False)), None)

    def undo_while(self, more: Callable[[], bool]) -> list[dict[str, Any]]:
        """Take back the last step, and one more as long as this says so, asked after each.

        As ``undo``; objects are read anew once, not after each step.
        """
        return self._turn(self.history.undo, more)

    def redo_while(self, more: Callable[[], bool]) -> list[dict[str, Any]]:
        """Put back steps, as ``undo_while`` takes them back."""
        return self._turn(self.history.redo, more)

    def _turn(
        self, turn: Callable[[], dict[str, Any] | None], more: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        self._book.refuse_stream("undo")
        self._settle()
        done: list[dict[str, Any]] = []
        try:
            while (action := turn()) is not None:
                done.append(action)
                if not more():
                    break
            if done:
                self._book.load()
        except BaseException:  # a step may have been turned before an interrupt
            self._book.unread()
            raise
        return done

    # -- tracking -----------------------------------------------------------------------

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
        objects: Iterable[int] | None = None,
        *,
        unfinished: bool = False,
        until_prompted: bool = False,
    ) -> Generator[FrameResult]:
        """Carry the masks through the video.

        Parameters
        ----------
        start, stop : int, optional
            Frames [start, stop), whatever the direction; ``stop`` is clamped to the end.
            Without a range, objects that changed are run, from where they changed.
        direction : {"forward", "backward", "both"}
            ``forward`` runs each object from its first prompted frame, ``backward`` from
            its last; ``both`` runs forward from the first and then backward from that same
            frame on fresh memory.
        objects : iterable of int, optional
            Only these; otherwise all that are not locked.
        unfinished : bool
            Within a range too, run only what has not been run since it changed.
        until_prompted : bool
            Run each object no further than to its next prompted or edited frame; what lies
            behind that one counts as right. With ``both`` the part backward, too, begins where
            the object changed.

        Yields
        ------
        FrameResult
            One for each frame and direction, with the objects that were run there. All of a
            run is one step for ``undo``; what was yielded is kept, also of a run that is left.
            An earlier run that is under way ends.

        Raises
        ------
        UsageError, PromptError
            At once, not when the first frame is asked for. A UsageError also in the middle, where
            the tracker or its history was closed, or another tracker took over the history.
        """
        self._check_here()
        plan = planned(
            self._book,
            start,
            stop,
            direction,
            objects,
            unfinished=unfinished,
            until_prompted=until_prompted,
        )
        if self._run is not None:
            self._run.save()
            self._run.ended = True
        self._run = Run(self._book, plan, self.max_batch)
        self._run.begin()
        return self._frames(self._run)

    def _frames(self, run: Run) -> Generator[FrameResult]:
        """Yield a run's frames, and hold the tracker meanwhile: with it its files would go."""
        yield from run.frames()
        if run.cut:  # whoever waits for the rest would take what came for all of it
            self._check_here()

    def detect(self, frame: int, detections: Any, *, min_iou: float = 0.5) -> FrameResult:
        """Take a detector's boxes, or a segmenter's masks, on a frame.

        What lies on an object, as it was tracked or prompted there, refreshes it: it is a prompt
        like another. Any other begins an object, named by its class. What was said of an object
        on the frame before stays, and locked objects do.

        Parameters
        ----------
        frame : int
        detections : Detections, supervision.Detections, or (N, 4) array
            As ``as_detections``; what lies outside the frame is cut off.
        min_iou : float
            Least intersection over union of a box and an object's. Of masks, how much of the
            smaller one they share: with the object on that frame, on the one before, or where it
            is lost, on the last on which it was prompted.

        Returns
        -------
        FrameResult
            The frame as it is now.
        """
        return detected.take(self._book, frame, detections, min_iou)

    def update(
        self, frame_array: npt.NDArray[np.uint8], detections: Any = None, *, min_iou: float = 0.5
    ) -> FrameResult:
        """Take one more frame of a stream and track all objects on it.

        A frame that was not tracked to its end, at Ctrl-C for one, was not taken: the next one has
        its number.

        Parameters
        ----------
        frame_array : (H, W, 3) or (H, W) uint8 array
            RGB or grey; every frame has the size of the first.
        detections, min_iou
            Boxes of a detector on this frame, as ``detect``.

        Returns
        -------
        FrameResult
            Its ``frame`` is what ``prompt`` takes to say something of this frame, until the
            next one comes.

        Raises
        ------
        UsageError
            Where the tracker has a source, or the frame cannot be used.
        """
        if not isinstance(self.source, StreamSource):
            raise UsageError("this tracker reads a source; make one without a source for streams")
        self._check_here()
        # Before the frame is taken: it would be tracked twice where it is handed over again.
        boxes = detected.checked([] if detections is None else detections, min_iou)
        picture = self.source.checked(frame_array)
        self.history.extend(len(self.source), *picture.shape[:2])
        with self.source.taken(picture) as (frame, latest):
            result = advance(self._book, frame, latest, max_batch=self.max_batch)
        return result if detections is None else self.detect(frame, boxes, min_iou=min_iou)


def _closed(owned: Iterable[FrameSource | StreamSource | History]) -> None:
    for thing in owned:
        thing.close()


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    held = method()
    if held is not None:
        held()
