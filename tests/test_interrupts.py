"""Signals at odd moments: processes that end as they should, and say nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

# What Python calls where nobody catches: as long as the signal is not heard, it waits.
SWALLOWED = """
import os, signal, time
from sam2track.interrupts import hear_again
hear_again()
class Thing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
try:
    Thing()
    time.sleep(20)
except KeyboardInterrupt:
    print("heard")
"""

# A signal while Python goes down, early and late.
LATE = """
import atexit, os, signal, sys
{early}
from sam2track.cli.main import main
{late}
sys.argv[1:] = ["sample", "nothing"]
main(prog_name="sam2track")
"""


def ended(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_that_python_swallows_is_heard() -> None:
    assert ended(SWALLOWED) == (0, "heard\n", "")


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_the_end_changes_nothing(name: str, when: str) -> None:
    kill = f"atexit.register(lambda: os.kill(os.getpid(), signal.{name}))"
    program = LATE.format(**{"early": "", "late": "", when: kill})
    status, _, said = ended(program)
    assert status == 2
    assert said.startswith("sam2track: no sample named") and said.count("\n") == 1


def test_whose_arguments_are_handed_over_hears_signals_as_before() -> None:
    program = """
import signal, sys
from sam2track.cli.main import main
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
hook = sys.unraisablehook
for given in ({"args": ["sample"]}, {"args": ["sample", "nothing"]}):
    try:
        main(**given)
    except SystemExit as end:
        print(end.code)
assert sys.unraisablehook is hook
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
assert handlers == [signal.getsignal(number) for number in numbers]
"""
    status, said, _ = ended(program)
    assert status == 0
    assert said.endswith("0\n2\n")


def test_requests_that_come_together_are_one() -> None:
    program = """
import os, signal, time
from sam2track.cli.progress import interrupt_on_sigterm
interrupt_on_sigterm()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.6)
    print("kept")
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except KeyboardInterrupt:
    print("again")
"""
    assert ended(program) == (0, "kept\nagain\n", "")


def test_a_terminal_that_goes_away_is_no_matter_under_nohup() -> None:
    program = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from sam2track.cli.progress import interrupt_on_sigterm
interrupt_on_sigterm()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""
    assert ended(program) == (0, "True\n", "")
