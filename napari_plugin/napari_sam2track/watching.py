"""What happens around a session: images come, go and change, and others are chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer

from napari_sam2track.canvas import make_current
from napari_sam2track.showing import Showing
from napari_sam2track.sync import NOT_FLAT

__all__ = ["Watching"]


class Watching(Showing):
    """The panel that answers to what becomes of the viewer's layers and of what is chosen."""

    _other_project: Path | None = None  # that was last said not to be open

    end: Callable[..., None]
    _begin_soon: Callable[[], None]
    _on_step: Callable[..., None]

    def _watch(self) -> None:
        layers, dims = self.viewer.layers.events, self.viewer.dims.events
        layers.inserted.connect(self._on_inserted)
        layers.removing.connect(self._on_removing)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self.form.reset_choices)
        dims.point.connect(self._on_step)
        dims.ndisplay.connect(self._on_ndisplay)
        dims.order.connect(self._on_ndisplay)
        self.form.chose.connect(self._on_chosen)
        self.form.model_box.textActivated.connect(self._on_other_model)
        self.form.device_box.textActivated.connect(self._on_other_model)
        self.form.project_edit.editingFinished.connect(self._on_other_project)

    def _watch_no_more(self) -> None:
        """End it, but for layers that go, which is needed until the last of them went."""
        layers, dims = self.viewer.layers.events, self.viewer.dims.events
        layers.inserted.disconnect(self._on_inserted)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self.form.reset_choices)
        dims.point.disconnect(self._on_step)
        dims.ndisplay.disconnect(self._on_ndisplay)
        dims.order.disconnect(self._on_ndisplay)

    def _on_chosen(self) -> None:
        """Say which image is open, where another one is chosen."""
        layers, image = self.layers, self.form.image
        if layers is not None and image is not None and image is not layers.image:
            self.tell(
                f"{layers.image.name} is still the one that is open; press Begin to go on with "
                f"{image.name}",
                calm=True,
            )

    def _on_other_model(self, name: str) -> None:
        """Say which model goes on, and where, if another one or another place is chosen."""
        if self.session is None:
            return
        model = self.session.model
        if name not in ("auto", model.name, str(model.device).partition(":")[0]):
            self.tell(
                f"{model.name} on {model.device} goes on; press Begin to go on with {name}",
                calm=True,
            )

    def _on_other_project(self) -> None:
        """Say which project goes on, if another one is chosen for the image that is open."""
        session, layers, path = self.session, self.layers, self.form.project
        if session is None or layers is None or self.form.image is not layers.image:
            return
        if path.absolute() == session.path.absolute():
            self._other_project = None
        elif path != self._other_project:  # a field says again, on leaving it, that it was edited
            self._other_project = path
            self.tell(
                f"{session.path.name} is still the one that is open; press Begin to go on in "
                f"{path}",
                calm=True,
            )

    def _on_inserted(self, event: Any) -> None:
        self.form.reset_choices()
        about = getattr(event.value, "metadata", {}).get("sam2track")
        if about is None:
            return
        # Opened by this plugin, to be tracked.
        if event.value is self.form.image:
            self._begin_soon()
        elif self.layers is not None:
            self.tell(
                f"{self.layers.image.name} is still the one that is open; choose "
                f"{event.value.name} beside Image, and press Begin, to go on with that",
                calm=True,
            )

    def _on_removing(self, event: Any) -> None:
        make_current(self.viewer)
        if self.layers is not None and self.viewer.layers[event.index] in self.layers.needed:
            self.layers.take_painted()  # while the viewer still shows where it was painted

    def _on_removed(self, event: Any) -> None:
        self.form.reset_choices()
        if self.layers is None:
            return
        if event.value in self.layers.needed:
            self._end_soon()
        elif event.value is self.layers.tracks:
            self.layers.leave_tracks()
            self._soon(self._tell_tracks_left)

    def _end_soon(self) -> None:
        """Close what is open once napari is through: it may be removing several layers."""
        layers = self.layers

        def end() -> None:
            if layers is None or self.layers is not layers or self.session is None:
                return
            if layers.image in self.viewer.layers:
                self.end("a layer of the session was removed; press Begin to go on where you were")
            else:
                path = self.session.path
                self.end(f"the layer that was tracked is gone; what was done is saved in {path}")

        self._soon(end)

    def _tell_tracks_left(self) -> None:
        """Say what becomes of tracks whose layer was removed; of all layers, other things are."""
        if self.layers is not None:
            self.tell(
                "the layer of tracks is gone, and stays so until Begin is pressed; all else goes "
                "on",
                calm=True,
            )

    def _soon(self, what: Callable[[], None]) -> None:
        soon = QTimer(self)  # which goes with the widget
        soon.setSingleShot(True)
        soon.timeout.connect(what)
        soon.start(0)

    def _on_replaced(self, _: Any = None) -> None:
        self.end("the layer holds other data now; what was done is saved: press Begin to track it")

    def _on_masks_replaced(self, _: Any = None) -> None:
        if self.layers is not None and self.layers.masks.data is not self.layers.data:
            self.end(
                "the layer of masks was given other data, of which nothing is saved: the session "
                "is closed; press Begin to go on with what is in the project"
            )

    def _on_ndisplay(self, _: Any = None) -> None:
        if self.layers is not None and not self.layers.flat:
            self.tell(NOT_FLAT)

    def _on_unanswered(self) -> None:
        """Say which layers have undo and redo, where none of them is active."""
        if self.layers is not None:
            names = ", ".join(layer.name for layer in (self.layers.image, *self.layers.own))
            self.tell(
                f"select one layer in the list, and that alone, for undo and redo: one of {names}",
                calm=True,
            )
