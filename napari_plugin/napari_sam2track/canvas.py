"""The canvas of a viewer: when it is drawn, its keys, and where a layer's OpenGL objects go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget

if TYPE_CHECKING:
    import napari

__all__ = ["draw_later", "draw_now", "focus", "make_current"]


def _canvases(viewer: napari.viewer.Viewer) -> list[QOpenGLWidget]:
    found: list[QOpenGLWidget] = viewer.window.main_menu.window().findChildren(QOpenGLWidget)
    return found


def draw_later(viewer: napari.viewer.Viewer, milliseconds: int = 0) -> None:
    """Draw what changes from here on after this time; by default once the event loop came round.

    Else napari's slicing and the drawing after it are one stretch in which nobody is answered.
    """
    for canvas in _canvases(viewer):
        if not canvas.updatesEnabled():
            continue
        canvas.setUpdatesEnabled(False)
        soon = QTimer(canvas)  # which goes with the canvas
        soon.setSingleShot(True)
        soon.timeout.connect(partial(canvas.setUpdatesEnabled, True))
        soon.timeout.connect(soon.deleteLater)
        soon.start(milliseconds)


def draw_now(viewer: napari.viewer.Viewer) -> None:
    """Draw again, where that was put off."""
    for canvas in _canvases(viewer):
        canvas.setUpdatesEnabled(True)


def focus(viewer: napari.viewer.Viewer) -> None:
    """Let keys go to the canvas."""
    for canvas in _canvases(viewer)[:1]:
        canvas.setFocus()


def make_current(viewer: napari.viewer.Viewer) -> None:
    """Make the canvas's own OpenGL context the current one, as is needed where a layer goes.

    napari 0.9 deletes a layer's programs and textures at once, in whatever context is current:
    outside of drawing that is the one in which Qt puts the window together. With Mesa's software
    renderer the canvas then loses the program that it drew with last, and where an image alone is
    left to be drawn with it, drawing crashes.
    """
    for canvas in _canvases(viewer):
        if canvas.isValid():
            canvas.makeCurrent()
