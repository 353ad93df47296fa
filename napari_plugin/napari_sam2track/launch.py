"""Start napari with pictures or a project, and the widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["launch"]


def launch(path: Path | None = None, *, show: bool = True, **reading: Any) -> None:
    """Open a viewer, and a path in it where one is given; return when it is closed.

    Parameters
    ----------
    path : Path, optional
        A project, or what ``open_source`` opens.
    show : bool
    **reading
        How the latter is read.
    """
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_sam2track.files import source_layer
    from sam2track.errors import Sam2TrackError

    viewer = napari.Viewer(show=show)
    failed = ""
    if path is not None:
        try:
            if Path(path).suffix == ".s2t":
                viewer.open(str(path), plugin="sam2track")
            else:  # not by a reader, which napari would ask for any folder or TIFF
                data, about, _ = source_layer(Path(path), **reading)
                viewer.add_image(data, **about)
        except Sam2TrackError as error:  # said in the viewer, where another one can be opened
            failed = str(error)
    _, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
    if failed:
        widget.tell(failed)
    # The dock takes some of the room, once all is laid out.
    QApplication.processEvents()
    viewer.reset_view()
    try:
        napari.run()
    except KeyboardInterrupt:  # from the terminal: no window is closed, and no project with it
        widget.shut()
        raise
