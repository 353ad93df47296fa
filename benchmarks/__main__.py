"""``python -m benchmarks``: run a measurement and write its results."""

from __future__ import annotations

import click

from benchmarks.corrections import corrections
from benchmarks.decoding import decoding
from benchmarks.gpu import gpu
from benchmarks.linking import linking
from benchmarks.load import load
from benchmarks.memory import memory
from benchmarks.nano import nano
from benchmarks.review import review
from benchmarks.soak import soak
from benchmarks.speed.command import speed
from benchmarks.viewer import viewer
from benchmarks.whole import whole


@click.group()
def main() -> None:
    """Measure speed, memory and accuracy."""


main.add_command(corrections)
main.add_command(decoding)
main.add_command(gpu)
main.add_command(linking)
main.add_command(load)
main.add_command(memory)
main.add_command(nano)
main.add_command(review)
main.add_command(soak)
main.add_command(speed)
main.add_command(viewer)
main.add_command(whole)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
