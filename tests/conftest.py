"""What every test starts from."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# A machine that does other things beside takes longer; hung tests end by pytest's time-out.
settings.register_profile("sam2track", deadline=None)
settings.load_profile("sam2track")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell has Ctrl-C ignored, and would pass that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = "SAM2TRACK_TEST_DATA"
REQUIRE_GPU = "SAM2TRACK_REQUIRE_GPU"
NO_VIEWER = "SAM2TRACK_NO_VIEWER"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Record the hashes of weights in a folder that goes with the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _restore_random_state() -> Iterator[None]:
    """Let no test change the random numbers of the next."""
    torch = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()
    cpu = torch.get_rng_state() if torch else None
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    if torch:
        torch.set_rng_state(cpu)


@pytest.fixture
def test_data(request: pytest.FixtureRequest) -> Path:
    """Give the folder of real media, or skip.

    A test that wants one file or folder names it:
    ``@pytest.mark.parametrize("test_data", ["video/pumavos_chair"], indirect=True)``.
    """
    wanted = getattr(request, "param", "")
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"{DATA} is not set; wants {wanted or 'real media'}")
    path = Path(folder) / wanted
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("viewer") and os.environ.get(NO_VIEWER):
        pytest.skip(os.environ[NO_VIEWER])
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            if os.environ.get(REQUIRE_GPU):
                pytest.fail("no CUDA device is here", pytrace=False)
            pytest.skip("no CUDA device is here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if reason := os.environ.get(NO_VIEWER):
        terminalreporter.write_line(f"viewer tests did not run: {reason}", yellow=True)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no socket connect."""
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
