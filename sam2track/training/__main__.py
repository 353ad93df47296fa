"""Train the embedded model: ``python -m sam2track.training --out FOLDER --minutes N``."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.option("--out", "folder", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", type=float, default=240, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--processes", type=int, default=2, show_default=True, help="1 on a GPU.")
@click.option("--rate", type=float, default=2e-3, show_default=True)
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="muon")
@click.option("--init", type=click.Path(path_type=Path), help="Weights to start from.")
@click.option("--scale", type=int, default=1, show_default=True, help="Multiplies batches.")
@click.option("--contrast", type=float, default=0.2, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--port", default="29531")
def main(processes: int, port: str, **options: object) -> None:
    """Train the embedded model, going on from a checkpoint that is in the folder."""
    from torch.multiprocessing.spawn import spawn

    from sam2track.training.trainer import work

    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", port)
    if processes == 1:
        work(0, 1, options)
    else:
        spawn(work, (processes, options), nprocs=processes)


if __name__ == "__main__":
    main()
