"""Start napari with a video or a project and the widget."""

from __future__ import annotations

from pathlib import Path

__all__ = ["launch"]


def launch(path: Path | None = None, *, show: bool = True) -> None:
    """Open a viewer, and a path in it where one is given; return when it is closed."""
    import napari

    viewer = napari.Viewer(show=show)
    if path is not None:
        viewer.open(str(path), plugin="sam2track")
    viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
    napari.run()
