"""What buttons and the list do to who is who: names, locks, colours, merges, divisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from napari_sam2track.foreign import label_map, layer_of_labels, on_objects
from napari_sam2track.pasting import Pasting
from napari_sam2track.session import Session
from napari_sam2track.words import numbered
from sam2track.errors import UsageError

__all__ = ["Identity"]


class Identity(Pasting):
    """Commands on whole objects, each a step of the project that can be undone."""

    def _alter(
        self,
        what: str,
        work: Callable[[Session], Any],
        said: str | Callable[[Any], str],
        *,
        scores: bool = True,
    ) -> None:
        """Change whole objects, which may leave a run that is under way nothing to do."""
        at = self._at

        def altered(session: Session) -> Any:
            value = work(session)
            if at is not None:
                at.altered = True
            return value

        self.change(what, altered, said, scores=scores)

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name."""
        self.change(
            "rename",
            lambda s: s.tracker.rename(object_id, name),
            f"object {object_id} is called {name!r}" if name else f"object {object_id} has no name",
            scores=False,
        )

    def lock(self, object_id: int, locked: bool = True) -> None:
        """Let nothing change an object, or let it be changed again."""
        self._alter(
            "lock",
            lambda s: s.tracker.lock(object_id, locked=locked),
            f"object {object_id} is locked: nothing changes it"
            if locked
            else f"object {object_id} may be changed again",
            scores=False,
        )

    def recolour(self, object_id: int, rgba: object, shown: bool) -> None:
        """Give an object a colour where there is one, and show or hide it."""
        if self.layers is None:
            return
        colours = dict(self.layers.colours)
        hidden = set(self.layers.hidden) - {object_id}
        if rgba is not None:
            colours[object_id] = tuple(rgba)  # type: ignore[arg-type]
        if not shown:
            hidden.add(object_id)
        self.layers.recolour(colours, hidden)
        kept = {str(i): list(c) for i, c in colours.items()}
        self.change(
            "recolour",
            lambda s: s.project.set_meta(colours=kept, hidden=sorted(hidden)),
            scores=False,
        )

    def begin_from_labels(self) -> None:
        """Begin an object from each label that another layer has on this frame.

        Those that lie on an object begin none. The others have the numbers of their labels, if none
        of these is, was or may soon be taken.
        """
        if self._open_session() is None or self.layers is None or self.view is None:
            return
        if (frame := self._here()) is None:
            return
        try:
            layer = layer_of_labels(self.viewer, self.layers.own)
            labels = label_map(layer, self.layers.image, self.viewer)
        except UsageError as error:
            self.tell(str(error))
            return
        values = np.unique(labels[labels > 0]).tolist()
        if not values:
            self.tell(f"{layer.name} holds no label on frame {frame}; show one that has some")
            return
        there = on_objects(labels, self.view.labels(frame))
        left = f"; {_lying(len(there))}" if there else ""
        values = [value for value in values if value not in there]
        if not values:
            self.tell(f"all labels of {layer.name} on frame {frame} lie on objects; none begins")
            return
        last, ids = self._on_its_way(), values
        if values[0] <= last or any(self.view.next_id(v - 1) != v for v in values):
            ids = []
            for _ in values:
                ids.append(last := self.view.next_id(last))
        self._highest = max(self._highest, *ids)
        of = dict(zip(ids, values, strict=True))
        begin, them = ("begins", "it") if len(ids) == 1 else ("begin", "them")
        self.change(
            "begin objects",
            lambda s: s.begin(frame, labels, of),
            f"{numbered(ids)} {begin} on frame {frame} from {layer.name}, which is hidden now"
            f"{left}; Track runs {them}",
        )
        layer.visible = False  # it would lie over what is tracked
        self.viewer.layers.selection.active = self.layers.clicks  # whose keys do the rest
        self.select(ids[0])

    # -- identity -----------------------------------------------------------------------

    def _other(self) -> int | None:
        others = [i for i in self.table.selected() if i != self._object]
        if len(others) != 1:
            self.tell("select two objects in the list (Ctrl+click) for this")
            return None
        return others[0]

    def merge(self) -> None:
        """Let the two selected objects be one, the current one."""
        one, other = self._object, self._other()
        if other is not None:
            self._alter(
                "merge",
                lambda s: s.tracker.merge(one, other),
                f"object {other} is part of object {one} now; Track runs it again, if it is not "
                f"locked",
            )

    def swap(self) -> None:
        """Exchange the two selected objects from this frame on."""
        one, frame = self._object, self._here()
        if frame is not None and (other := self._other()) is not None:
            self._alter(
                "swap",
                lambda s: s.tracker.swap_from(one, other, frame),
                f"objects {one} and {other} are exchanged from frame {frame} on; Track runs them "
                f"again from there",
            )

    def split(self) -> None:
        """Let the object be a new one from this frame on."""
        one, frame = self._object, self._here()
        if frame is None:
            return
        if self.view is not None:
            self._highest = max(self._highest + 1, self.view.next_id())
        self._alter(
            "split",
            lambda s: s.tracker.split_from(one, frame),
            lambda new: (
                f"object {one} is object {new} from frame {frame} on; Track runs that again"
            ),
        )

    def end_here(self) -> None:
        """Let the object end before this frame."""
        one, frame = self._object, self._here()
        if frame is None:
            return
        self._alter(
            "end",
            lambda s: s.tracker.end_at(one, frame),
            f"object {one} ends before frame {frame}",
        )

    def divide(self) -> None:
        """Let the object end here, and be the mother of those that begin on this frame."""
        mother, frame = self._object, self._here()
        if frame is None:
            return
        chosen = [i for i in self.table.selected() if i != mother]
        self._alter(
            "divide",
            lambda s: s.divide(mother, frame, chosen or s.born_on(frame)),
            lambda daughters: (
                f"object {mother} divides on frame {frame} into "
                f"{' and '.join(map(str, daughters))}; Track runs them"
            ),
        )

    def delete(self) -> None:
        """Forget the object altogether, or all that are selected with it."""
        ids = self.table.selected() or [self._object]
        are, them = ("are", "them") if len(ids) > 1 else ("is", "it")
        told = f"{numbered(ids)} {are} gone; Ctrl+Z brings {them} back"
        self._alter("delete", lambda s: s.delete(ids), told)
        rows = [] if self.view is None else self.view.rows()
        if not any(row.locked and row.object_id in ids for row in rows):
            self.select_new()  # else a click before the answer would begin it again


def _lying(count: int) -> str:
    if count == 1:
        return "1 label of it lies on an object that is there, and begins none"
    return f"{count} labels of it lie on objects that are there, and begin none"
