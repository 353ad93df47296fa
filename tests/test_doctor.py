"""What the doctor finds, and errors of torch that are turned into ours."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sam2track import display, doctor
from sam2track.cli.main import main
from sam2track.errors import DeviceError, ModelError, OutOfMemoryError, UsageError
from sam2track.faults import explained


def test_a_line_for_each_thing() -> None:
    done = CliRunner().invoke(main, ["doctor"])
    whole = done.stdout
    for what in ("python", "torch", "torch's CUDA", "threads", "sam2._C", "video encoders", "nano"):
        assert f" {what}: " in whole, what
    assert all(line[:3] in ("ok ", "-- ", "!! ") for line in whole.splitlines())
    assert done.exit_code == ("!! " in whole)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, []),
        ({"DISPLAY": ":0"}, [":0"]),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, ["wayland-0", ":0"]),
        ({"QT_QPA_PLATFORM": "offscreen"}, ["offscreen"]),
        ({"QT_QPA_PLATFORM": "vnc:size=800x600"}, ["vnc"]),
        ({"QT_QPA_PLATFORM": "wayland;xcb"}, []),
        ({"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":0"}, [":0"]),
    ],
)
def test_displays_that_are_named(
    said: dict[str, str], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(monkeypatch, said)
    assert display.named() == shown


def _say(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is a display")
def test_a_display_counts_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (":54321", "localhost:54321.0", "", "a..b:0", f"{'x' * 70}:0"):
        _say(monkeypatch, {"DISPLAY": name})
        assert display.display() is None, name
    _say(monkeypatch, {"QT_QPA_PLATFORM": "offscreen"})
    assert display.display() == "offscreen"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(display, "_TCP", server.getsockname()[1] - 7)
        _say(monkeypatch, {"DISPLAY": "127.0.0.1:7.0"})
        assert display.display() == "127.0.0.1:7.0"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/wayland-9")
        server.listen()
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        _say(monkeypatch, {"DISPLAY": ":54321", "WAYLAND_DISPLAY": "wayland-9"})
        assert display.display() == "wayland-9"
        _say(monkeypatch, {"DISPLAY": ":54321", "WAYLAND_DISPLAY": "wayland-8"})
        assert display.display() is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0/tmp/.X11-unix/X54322")
        server.listen()
        _say(monkeypatch, {"DISPLAY": "unix:54322"})
        assert display.display() == "unix:54322"


def test_folders_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = os.pathsep.join([str(tmp_path), str(tmp_path / "none")])
    monkeypatch.setenv("SAM2TRACK_MODELS", places)
    done = CliRunner().invoke(main, ["doctor"])
    assert f"ok SAM2TRACK_MODELS: {tmp_path}\n" in done.stdout
    assert f"!! SAM2TRACK_MODELS: {tmp_path / 'none'} is no folder; make it" in done.stdout
    assert done.exit_code == 1


def test_json_says_the_same() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    rows = json.loads(done.stdout)
    assert {"what", "state", "found", "fix"} == set(rows[0])
    (nano,) = [row for row in rows if row["what"] == "nano"]
    assert nano["state"] == "ok" and "embedded" in nano["found"]


@pytest.mark.parametrize(
    ("built", "driver", "works", "state", "fix"),
    [
        ("13.0", "13.1", True, "ok", ""),
        (None, None, False, "ok", ""),
        (None, "12.4", False, "problem", "--torch-backend auto"),
        ("12.8", None, False, "note", "install its driver"),
        ("13.0", "12.4", False, "problem", "update the driver, or install a torch for CUDA 12.4"),
        ("12.10", "12.9", False, "problem", "update the driver"),
        ("12.4", "12.9", False, "problem", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_cuda_of_torch_and_driver(
    built: str | None, driver: str | None, works: bool, state: str, fix: str
) -> None:
    found = doctor.cuda_finding(built, driver, works)
    assert found.state == state
    assert fix in found.fix and bool(fix) == bool(found.fix)


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken() -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "_LOOKS", (_broken,))
    (found,) = doctor.examine()
    assert (found.what, found.state) == ("broken", "problem")
    assert "libcudart" in found.found


# As torch says them.
MESSAGES = {
    "CUDA error: no kernel image is available for execution on the device": "does not fit the GPU",
    "The NVIDIA driver on your system is too old (found version 11040).": "update the driver",
    "Found no NVIDIA driver on your system.": "--device cpu works meanwhile",
    "Torch not compiled with CUDA enabled": "--torch-backend auto",
    "The detected CUDA version (11.8) mismatches the version that was used to compile\n"
    "PyTorch (12.4).": "a system nvcc is not needed",
    "_C.so: undefined symbol: _ZN3c106detail14torchCheckFailEv": "SAM2_BUILD_CUDA=0",
    "Input type (c10::BFloat16) and bias type (float) should be the same": "outside of torch.aut",
    "mat1 and mat2 must have the same dtype, but got BFloat16 and Float": "--precision",
    "expected scalar type Float but found BFloat16": "hand modules in as float32",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_errors_of_the_guides_point_to_their_fix(message: str) -> None:
    known = explained(RuntimeError(message))
    assert isinstance(known, DeviceError)
    assert MESSAGES[message] in str(known)
    assert "\n" not in str(known)


def test_memory_and_checkpoints() -> None:
    known = explained(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert isinstance(known, OutOfMemoryError) and "--image-size" in str(known)
    for short in (
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ):
        known = explained(short)
        assert isinstance(known, OutOfMemoryError), short
        assert "memory" in str(known) and "what was done is kept" in str(known)
    missing = FileNotFoundError(2, "No such file or directory", "checkpoints/sam2_hiera_large.pt")
    known = explained(missing)
    assert isinstance(known, ModelError) and "models download" in str(known)
    assert explained(RuntimeError("something else")) is None
    assert explained(UsageError("ours")) is None


def test_the_command_line_says_them_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(doctor, "examine", fail)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1 and "update the driver" in done.stderr
