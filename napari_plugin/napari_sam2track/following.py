"""Layers that stay on an image, wherever it or they are moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer

from napari_sam2track.places import follow, geometry

__all__ = ["Following"]

_DRAG = 200  # milliseconds after which a layer that was dragged counts as moved


class Following:
    """Layers that lie on an image: they follow it, and go back where they are moved alone.

    Parameters
    ----------
    image : Layer
    put_back : callable
        Called with the names of layers that were moved, once they are back.
    """

    def __init__(self, image: Any, put_back: Callable[[list[str]], None]) -> None:
        self._image, self._told = image, put_back
        self._layers: list[Any] = []
        self._names = tuple(geometry(image))
        self._strays = QTimer()
        self._strays.setSingleShot(True)
        self._strays.setInterval(_DRAG)
        self._strays.timeout.connect(self._put_back)
        for name in self._names:
            image.events[name].connect(self._on_image)

    def add(self, layer: Any) -> None:
        """Have a layer follow."""
        self._layers.append(layer)
        for name in self._names:
            layer.events[name].connect(self._on_layer)

    def drop(self, layer: Any) -> None:
        """Have a layer follow no more."""
        self._layers.remove(layer)
        for name in self._names:
            layer.events[name].disconnect(self._on_layer)

    def end(self) -> None:
        """Have none follow any more."""
        self._strays.stop()
        for name in self._names:
            self._image.events[name].disconnect(self._on_image)
        for layer in [*self._layers]:
            self.drop(layer)

    def _on_image(self, _: Any = None) -> None:
        for layer in self._layers:
            follow(layer, self._image)

    def _on_layer(self, _: Any = None) -> None:
        self._strays.start()

    def hurry(self) -> None:
        """Put back now what was moved, before anything is said where it lies."""
        if self._strays.isActive():
            self._strays.stop()
            self._put_back()

    def _put_back(self) -> None:
        moved = [layer.name for layer in self._layers if follow(layer, self._image)]
        if moved:
            self._told(moved)
