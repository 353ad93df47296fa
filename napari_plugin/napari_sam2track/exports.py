"""What the button of exports calls: the usual outputs, or one of the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog

from napari_sam2track.commands import Commands, Run
from napari_sam2track.session import Session
from sam2track.export.exporting import FORMATS

__all__ = ["Exports"]


class Exports(Commands):
    """Commands that write what the project holds, for others."""

    def export(self) -> None:
        """Write what the command line writes, into a folder."""
        if not self._something():
            return
        folder = QFileDialog.getExistingDirectory(self, "Folder for masks, videos and table")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write masks, videos and table into a folder; Stop ends it, and nothing is left of it."""
        folder = Path(folder)
        begun = self._exporting(folder)
        if begun is not None:
            session, at = begun
            at.said = f"masks, videos and table are in {folder}"
            self._worker.run("export", lambda: session.export(folder))

    def export_format(self, name: str) -> None:
        """Ask where one of ``FORMATS`` is to be written, and write it there."""
        session, how = self._something(), FORMATS[name]
        if session is None:
            return
        place = session.path.with_name(f"{session.path.stem}-{name}{how.suffix}")
        what = "A new folder" if how.folder else "A file"
        chosen, _ = QFileDialog.getSaveFileName(self, f"{what} for {name}", str(place))
        if chosen:
            self.export_as(name, Path(chosen))

    def export_as(self, name: str, path: Path) -> None:
        """Write one of ``FORMATS``; Stop ends it, and nothing is left of it."""
        path = Path(path)
        begun = self._exporting(path)
        if begun is None:
            return
        session, at = begun

        def write(passed: Callable[[Any], None]) -> None:
            done = session.export_as(name, path, passed)
            at.said = "\n".join([*done.warnings, f"{path} is written"])
            at.written = True

        self._worker.call("export", write)

    def _exporting(self, path: Path) -> tuple[Session, Run] | None:
        """Show that an export begins; None where it cannot, which is said."""
        session = self._something()
        if session is None:
            return None
        return session, self._under_way("export", f"writing {path} …")

    def _something(self) -> Session | None:
        """The session, where it holds something that can be written now; else why not is said."""
        session = self._open_session()
        if session is None or self.view is None:
            return None
        if not self.view.rows():
            self.tell("there is nothing to write yet; click on an object first")
            return None
        return None if self._busy() else session
