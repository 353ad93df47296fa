"""The files that are written of one picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2track.errors import UsageError
from sam2track.image.outputs import check_free


def check(folder: Path, *names: str, overwrite: bool = False) -> None:
    check_free(folder, [Path(n) for n in names], ["mask"], candidates=True, overwrite=overwrite)


def test_names_that_differ_in_case_alone_are_one(tmp_path: Path) -> None:
    """As on macOS and Windows, so that the same call does the same everywhere."""
    with pytest.raises(UsageError, match=r"A\.png and a\.jpg would be written under the same name"):
        check(tmp_path, "A.png", "a.jpg")
    check(tmp_path, "A.png", "b.jpg")
    for there in ("a.MASK.png", "A.candidate-1.png"):
        (tmp_path / there).touch()
        with pytest.raises(UsageError, match=f"{there} is there already"):
            check(tmp_path, "a.png")
        (tmp_path / there).unlink()


def test_all_files_that_are_there_are_looked_at(tmp_path: Path) -> None:
    for there in ("A.mask.png", "a.mask.png"):
        (tmp_path / there).touch()
    with pytest.raises(UsageError, match=r"is to be read and would be written over"):
        check(tmp_path, "a.png", str(tmp_path / "A.mask.png"), overwrite=True)
