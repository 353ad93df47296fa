"""Copying clicks and boxes to other frames; of napari's own paste nobody is told."""

from __future__ import annotations

from collections.abc import Mapping

from napari_sam2track.exports import Exports
from napari_sam2track.view import Said
from napari_sam2track.words import numbered

__all__ = ["Pasting"]


class Pasting(Exports):
    """Commands that hold clicks and boxes, and say them on other frames."""

    _held: Mapping[int, Said] = {}

    def copy_prompts(self) -> None:
        """Hold the clicks and boxes that are selected."""
        if self.layers is None:
            return
        found = self.layers.selected()
        if not found:
            self.tell("select clicks or boxes first, with napari's own tools (S)", calm=True)
            return
        self._held = found
        told = f"copied what is selected of {numbered(found)}"
        self.tell(f"{told}; Ctrl+V says it on the frame shown then", calm=True)

    def paste_prompts(self) -> None:
        """Say what is held on the frame that is shown, of the objects that it was said of."""
        if self.layers is None or self.view is None:
            return
        if not self._held:
            self.tell("nothing is copied; select clicks or boxes and press Ctrl+C", calm=True)
            return
        if (frame := self._here()) is None:
            return
        there = {row.object_id for row in self.view.rows()}
        self.layers.say(frame, {i: held for i, held in self._held.items() if i in there})
        gone = [i for i in self._held if i not in there]
        if gone:  # its number belongs to no other; told last, so that it stands beside the answer
            are, them = ("are", "them") if len(gone) > 1 else ("is", "it")
            self.tell(
                f"{numbered(gone)} {are} gone, of which this was copied; bring {them} back first"
            )
