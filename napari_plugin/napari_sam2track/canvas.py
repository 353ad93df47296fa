"""The canvas of a viewer: where OpenGL's objects of a layer are let go of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtOpenGLWidgets import QOpenGLWidget

if TYPE_CHECKING:
    import napari

__all__ = ["make_current"]


def make_current(viewer: napari.viewer.Viewer) -> None:
    """Make the canvas's own OpenGL context the current one, as is needed where a layer goes.

    napari 0.9 deletes a layer's programs and textures at once, in whatever context is current:
    outside of drawing that is the one in which Qt puts the window together. With Mesa's software
    renderer the canvas then loses the program that it drew with last, and where an image alone is
    left to be drawn with it, drawing crashes.
    """
    for canvas in viewer.window.main_menu.window().findChildren(QOpenGLWidget):
        if canvas.isValid():
            canvas.makeCurrent()
