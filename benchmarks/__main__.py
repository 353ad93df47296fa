"""``python -m benchmarks``: run a measurement and write its results."""

from __future__ import annotations

import click

from benchmarks.memory import memory


@click.group()
def main() -> None:
    """Measure speed and memory beside the official predictor."""


main.add_command(memory)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
