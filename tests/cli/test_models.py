"""``sam2track models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from sam2track.cli.main import main
from sam2track.models import zoo
from sam2track.models.architecture import ARCHITECTURES, build


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SAM2TRACK_MODELS", str(tmp_path))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "mine.pt"
    torch.save(build(ARCHITECTURES["nano"]).state_dict(), path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


def test_list() -> None:
    lines = invoke("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:10]] == list(zoo.ZOO)
    assert lines[1].split()[-1] == "yes" and lines[5].split()[-1] == "no"
    rows = json.loads(invoke("list", "--json").stdout)
    large = rows[4]
    assert (large["name"], large["speed"], large["accuracy"]) == ("sam2.1-large", 39.5, 79.5)
    assert all(row["memory"] > 0 and row["licence"] == "Apache-2.0" for row in rows)


def test_path_and_download() -> None:
    assert Path(invoke("path", "nano").stdout.strip()).is_file()
    assert Path(invoke("download", "nano").stdout.strip()).is_file()
    done = invoke("path", "large")
    assert done.exit_code == 1 and "models download sam2.1-large" in done.stderr
    done = invoke("download", "large")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.count("sam2.1_hiera_large.pt") == 2
    done = invoke("path", "lagre")
    assert done.exit_code == 2 and "did you mean sam2.1-large?" in done.stderr


def test_verify_and_info(mine: Path) -> None:
    assert "part of this installation" in invoke("verify", "nano").stdout
    assert "first use: recorded" in invoke("verify", mine).stdout
    assert "as at its first use on" in invoke("verify", mine).stdout
    found = json.loads(invoke("info", mine, "--json").stdout)
    assert (found["architecture"], found["layout"], found["parameters"]) == ("nano", "pt", 4.4)
    assert found["image_size"] == 256 and found["for_video"]
    assert "Apache-2.0" in invoke("info", "large").stdout
    lines = invoke("info", "nano").stdout.splitlines()
    assert all(len(line.split()) > 1 for line in lines), lines
    torch.manual_seed(2)
    torch.save(build(ARCHITECTURES["nano"]).state_dict(), mine)
    done = invoke("verify", mine)
    assert done.exit_code == 1 and "has changed" in done.stderr
    assert "accepted" in invoke("verify", mine, "--accept").stdout
    assert invoke("verify", mine).exit_code == 0
    mine.write_bytes(mine.read_bytes()[:1000])
    assert invoke("verify", mine, "--accept").exit_code == 1


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, status in (
        (tmp_path / "empty", 1),
        (tmp_path / "missing.pt", 1),
        ("nobody/nothing", 1),
        ("", 2),
    ):
        for what in ("verify", "info"):
            done = invoke(what, given)
            assert done.exit_code == status, (what, given, done.output)
            assert len(done.stderr.splitlines()) == 1
