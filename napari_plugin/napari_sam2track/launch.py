"""Start napari with a video, a folder of pictures or a project, and the widget."""

from __future__ import annotations

from pathlib import Path

__all__ = ["launch"]


def launch(path: Path | None = None, *, show: bool = True) -> None:
    """Open a viewer, and a path in it where one is given; return when it is closed."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_sam2track.files import folder_layer
    from sam2track.errors import Sam2TrackError

    viewer = napari.Viewer(show=show)
    failed = ""
    if path is not None:
        try:
            if Path(path).is_dir():  # not by a reader, which napari would ask for any folder
                data, about, _ = folder_layer(Path(path))
                viewer.add_image(data, **about)
            else:
                viewer.open(str(path), plugin="sam2track")
        except Sam2TrackError as error:  # said in the viewer, where another one can be opened
            failed = str(error)
    _, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
    if failed:
        widget.tell(failed)
    # The dock takes some of the room, once all is laid out.
    QApplication.processEvents()
    viewer.reset_view()
    napari.run()
