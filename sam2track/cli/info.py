"""``sam2track info``: what a project holds."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import many
from sam2track.cli.telling import warn
from sam2track.terminal import one_line, printable

__all__ = ["command"]


@click.command("info")
@click.argument("project", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option("--journal", is_flag=True, help="List every step of the journal.")
@click.option("--check", is_flag=True, help="Read all that is stored, and say what is damaged.")
def command(project: Path, as_json: bool, journal: bool, check: bool) -> None:
    """Say what PROJECT holds, a .s2t file or the folder that holds one; it may be in use."""
    from sam2track.frames.opening import part_told
    from sam2track.project import Project

    with Project.open(project) as opened:
        warn(opened.warning)
        info = opened.info()
        if check:
            opened.check()
    if as_json:
        click.echo(json.dumps(info, indent=2))
        return
    told = {key: one_line(value) for key, value in info["source"].items()}
    source = defaultdict(lambda: "unknown", told)
    which = one_line(part_told(info["source"]))
    click.echo(f"{info['path']}  {_bytes(info['file_bytes'])}")
    click.echo(
        f"  source    {source['source']}{which}, {source['frames']} frames of "
        f"{source['width']} x {source['height']}"
    )
    click.echo(f"  model     {source['model']} in {source['precision']} at {source['image_size']}")
    per = info["bytes_per_result"]
    click.echo(
        f"  results   {info['results']} on {info['frames']} frames; each "
        f"{_bytes(sum(per.values()))}: mask {_bytes(per['mask'])}, "
        f"logits {_bytes(per['logits'])}, pointer {_bytes(per['pointer'])}"
    )
    if check:
        click.echo(f"  checked   all {info['results']} results can be read")
    click.echo(f"  prompts   {info['prompts']}")
    click.echo(
        f"  past      {info['replaced_results']} results that were replaced, "
        f"states {_bytes(info['state_bytes'])}"
    )
    click.echo("  objects")
    for row in info["objects"]:
        click.echo(f"    {_object(row)}")
    steps = info["journal"]
    click.echo(f"  journal   {many(len(steps), 'step')}")
    for step in steps if journal else steps[-10:]:
        click.echo(f"    {printable(_step(step))}")


def _object(row: dict[str, Any]) -> str:
    parts = [f"{row['id']}"]
    if row["name"]:
        parts.append(repr(row["name"]))
    parts.append("no frames" if row["first"] is None else f"frames {row['first']} to {row['last']}")
    if row["mean_score"] is not None:
        parts.append(f"mean score {row['mean_score']:.1f}")
    if row["mother"] is not None:
        parts.append(f"daughter of {row['mother']} since {row['birth']}")
    if row["end"] is not None:
        parts.append(f"ends before {row['end']}")
    if row["locked"]:
        parts.append("locked")
    parts += [f"to run {way} from {f}" for way, f in row["to_run"].items() if f is not None]
    return ", ".join(parts)


def _step(step: dict[str, Any]) -> str:
    """A step in one line; masks are not shown."""
    shown = []
    for key, value in step.items():
        # The command line's runs all say `unfinished`: it is how a run is asked for, not its state.
        if key in ("step", "action", "undone", "mask", "daughters", "unfinished"):
            continue
        if value in (None, False, ""):
            continue
        if key == "said":
            kinds = [kind for kind in ("points", "box", "mask", "absent") if value.get(kind)]
            shown.append("+".join(kinds))
        else:
            shown.append(f"{key} {value}")
    if step.get("daughters"):
        shown.append(f"daughters {', '.join(step['daughters'])}")
    undone = " (undone)" if step.get("undone") else ""
    return f"{step['step']:>4} {step['action']}{undone}: {', '.join(shown)}".rstrip(": ")


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
