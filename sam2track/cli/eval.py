"""``sam2track eval``: masks against a ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.telling import warn
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("eval")
@click.argument("pred", type=PATH)
@click.argument("truth", type=PATH)
@click.option("--pred-format", help="Of PRED; found from what is there if unsaid.")
@click.option("--truth-format", help="Of TRUTH.")
@click.option("--metrics", help="Some of jf,ctc,identity; all that can be, if unsaid.")
@click.option("--skip-ends", is_flag=True, help="Leave out first and last frame, as DAVIS does.")
@click.option(
    "--worst", type=click.IntRange(min=0), show_default="10", help="Frames of the lowest J and F."
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def command(
    pred: Path,
    truth: Path,
    pred_format: str | None,
    truth_format: str | None,
    metrics: str | None,
    skip_ends: bool,
    worst: int | None,
    as_json: bool,
) -> None:
    """Compare PRED with TRUTH, each a project or masks in any format.

    J, F and J&F as DAVIS defines them, by object, in per cent; SEG, DET and TRA of the Cell
    Tracking Challenge; HOTA and IDF1. In J and F, objects are the same that have the same id.
    """
    from sam2track.arguments import said_names
    from sam2track.evaluation import evaluate

    wanted = None if metrics is None else said_names(metrics)
    if wanted == []:
        raise UsageError("--metrics is empty; allowed are jf, ctc and identity")
    if wanted and "jf" not in wanted and (skip_ends or worst is not None):
        raise UsageError("--skip-ends and --worst are of J and F; add jf to --metrics")
    found = evaluate(
        pred,
        truth,
        pred_format=pred_format,
        truth_format=truth_format,
        metrics=wanted,
        skip_ends=skip_ends,
        worst=10 if worst is None else worst,
    )
    warn(*found.warnings)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    _print(found.to_dict())


_COLUMNS = ("jf", "j", "j_recall", "j_decay", "f", "f_recall", "f_decay")
_HEADS = ("J&F", "J", "recall", "decay", "F", "recall", "decay")


def _print(found: dict[str, Any]) -> None:
    sequences = found["sequences"]
    width = max([len("sequence"), *(len(s["name"]) for s in sequences)])
    if found["mean"]:
        heads = "".join(f"{head:>8}" for head in _HEADS)
        click.echo(f"{'sequence':<{width}} {'object':>6}{heads}  frames")
        for sequence in sequences:
            for object_id, values in sequence["objects"].items():
                cells = "".join(f"{100 * values[key]:8.1f}" for key in _COLUMNS)
                click.echo(f"{sequence['name']:<{width}} {object_id:>6}{cells}{values['frames']:8}")
        cells = "".join(f"{100 * found['mean'][key]:8.1f}" for key in _COLUMNS)
        click.echo(f"{'mean':<{width}} {'':>6}{cells}")
    for sequence in sequences:
        for kind in ("ctc", "identity"):
            if kind in sequence:
                values = "  ".join(f"{k} {100 * v:.1f}" for k, v in sequence[kind].items())
                click.echo(f"{sequence['name']:<{width}} {values}")
    if found["worst"]:
        click.echo("worst frames")
        for one in found["worst"]:
            click.echo(
                f"  {one['sequence']} frame {one['frame']}, object {one['object']}: "
                f"J {100 * one['j']:.1f}, F {100 * one['f']:.1f}"
            )
