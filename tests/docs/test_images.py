"""Every command and line of docs/images.md runs, and writes what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sam2track.cli.main import main

DOC = Path(__file__).parent.parent.parent / "docs" / "images.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    assert len(lines) > 8
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "python":
            subprocess.run([sys.executable, *arguments], check=True, timeout=60)
            continue
        done = CliRunner().invoke(main, arguments, prog_name=program)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    names = {f"shapes.candidate-1-{k}.png" for k in (1, 2, 3)}
    names |= {"shapes.mask.png", "shapes.overlay.png", "shapes.json"}
    assert {path.name for path in Path("point").iterdir()} == names
    assert set(np.unique(Image.open("box/shapes.mask.png"))) == {0, 255}
    assert set(np.unique(Image.open("boxes/shapes.mask.png"))) == {0, 1, 2, 3}
    assert np.asarray(Image.open("cut/shapes.cutout.png")).shape == (240, 320, 4)
    assert len(np.unique(Image.open("all/shapes.mask.png"))) > 3
    blue = np.asarray(Image.open("blue/shapes.background-removed.png"))
    assert blue[0, 0].tolist() == [135, 206, 235]

    (code,) = blocks("python")
    known: dict[str, object] = {"__name__": "example"}
    exec(compile(code, str(DOC), "exec"), known)
    assert known["boxes"].labels.shape == (240, 320)
    assert known["result"].masks.any() and len(known["found"]) > 3
