"""Single pictures are read as those of folders are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from sam2track.errors import SourceError
from sam2track.frames.folder import ImageFolder
from sam2track.frames.still import read_picture


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_deep_tiff_is_what_a_folder_of_it_shows(tmp_path: Path, dtype: str) -> None:
    values = (np.random.default_rng(0).random((20, 30)) * 200).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    read = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(read, ImageFolder(tmp_path).read(0))
    assert len(np.unique(read)) > 50


def test_what_nothing_reads_is_not_said_to_be_tracked(tmp_path: Path) -> None:
    (tmp_path / "a.oir").write_bytes(b"OLYMPUSRAWFORMAT" + bytes(100))
    with pytest.raises(SourceError, match="is no picture that can be read"):
        read_picture(tmp_path / "a.oir")
