"""What happens where the file of the project that is open is removed or replaced."""

from __future__ import annotations

from napari_sam2track.identity import Identity

__all__ = ["Keeping"]


class Keeping(Identity):
    """Commands, of which nothing is lost where somebody takes the project's file away."""

    _keeping = False  # whether it is being written anew
    _not_kept = False  # whether it was told that this cannot be done

    def look_after_file(self) -> None:
        """Have the project written anew where its file is gone; asked every now and then."""
        session = self.session
        if session is None or self._keeping:
            return
        if session.in_place:
            self._is_back()
            return
        if self._not_kept and self._at is not None:
            return  # a run would begin anew each time
        self._keeping = True
        self.change("keep", lambda s: s.keep(), scores=False)

    def kept(self, told: str) -> None:
        """Go on with the file that it was written to."""
        if not told or self.session is None or self.view is None:
            self._is_back()
            return
        self._not_kept = False
        self.view.reopen(self.session.path)
        if self.layers is not None:
            self.form.set_project(self.layers.image, str(self.session.path))
        self.tell(told)

    def _is_back(self) -> None:
        """Say that the file is there again, where it was said to be gone."""
        if self._not_kept and self.session is not None:
            self._not_kept = False
            self.tell(f"{self.session.path} is there again, and goes on", calm=True)

    def not_kept(self, why: str, *, written: bool = False) -> None:
        """Say once that it cannot be written, or gone on with; it is tried again."""
        if self._not_kept:
            return
        self._not_kept = True
        if not written:
            why = (
                f"the project's file was removed or replaced, and cannot be written anew: {why}; "
                f"all of it is still open: leave the viewer open, and it is tried again"
            )
        self.tell(why)
