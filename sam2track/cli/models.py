"""``sam2track models``: the zoo, and the weights on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.group("models")
def command() -> None:
    """List, download, find, verify and describe models.

    NAME is a model's name in any usual spelling: sam2.1-large, sam2.1_hiera_large,
    facebook/sam2.1-hiera-large or large. FILE is a checkpoint, or a folder of Transformers.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def list_models(as_json: bool) -> None:
    """List the models that are known, and which are on this machine."""
    from sam2track.models.weights import weights_on_disk
    from sam2track.models.zoo import ZOO

    rows = []
    for model in ZOO.values():
        found = weights_on_disk(model)
        rows.append(asdict(model) | {"path": None if found is None else str(found)})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(
        f"{'name':<18}{'parameters':>11}{'file':>9}{'memory':>9}{'speed':>8}{'J&F':>7}  "
        f"{'licence':<12}here"
    )
    for row in rows:
        speed = "-" if row["speed"] is None else f"{row['speed']:.1f}"
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.1f}"
        click.echo(
            f"{row['name']:<18}{row['parameters']:>9.1f} M{row['megabytes']:>6} MB"
            f"{row['memory']:>6.1f} GB{speed:>8}{accuracy:>7}  {row['licence']:<12}"
            f"{'yes' if row['path'] else 'no'}"
        )
    click.echo(
        "speed: frames a second of the official predictor on an A100; J&F: on SA-V test; both "
        "published by Meta.\nmemory: one object, float32, on a CPU; estimated for base-plus and "
        "large."
    )


@command.command("download")
@click.argument("name")
def download_model(name: str) -> None:
    """Download the weights of NAME, check them and print where they lie."""
    from sam2track.models import trust
    from sam2track.models.weights import find_weights, pinned
    from sam2track.models.zoo import resolve

    model = resolve(name)
    path = find_weights(model)
    if path.is_file() and pinned(model, path):
        trust.check(path, pinned(model, path))
    click.echo(path)


@command.command("path")
@click.argument("name")
def path_of(name: str) -> None:
    """Print where the weights of NAME lie; nothing is downloaded."""
    from sam2track.errors import WeightsNotFoundError
    from sam2track.models.weights import address, weights_on_disk
    from sam2track.models.zoo import resolve

    model = resolve(name)
    found = weights_on_disk(model)
    if found is None:
        raise WeightsNotFoundError(
            f"the weights of {model.name} are not on this machine; get them with `sam2track models "
            f"download {model.name}`, or put {model.file}, which is at {address(model)}, into a "
            "folder named in SAM2TRACK_MODELS"
        )
    click.echo(found)


@command.command("verify")
@click.argument("name", metavar="NAME|FILE")
@click.option("--accept", is_flag=True, help="Take a file that changed as what it is now.")
def verify(name: str, accept: bool) -> None:
    """Check weights: by the published hash, or by that of their first use."""
    from sam2track.models.inspection import verified

    for line in verified(_given(name), accept=accept):
        click.echo(line)


@command.command("info")
@click.argument("name", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(name: str, as_json: bool) -> None:
    """Say what is known of a model, and what its weights hold where they are here."""
    from sam2track.models.inspection import described

    found = described(_given(name))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    told = {key: value for key, value in found.items() if value != ""}  # of what is embedded
    width = max(len(key) for key in told) + 2
    for key, value in told.items():
        click.echo(f"{key.replace('_', ' '):<{width}}{_plain(value)}")


def _given(name: str) -> str | Path:
    """A path where there is a file or folder of that name, else a model's name."""
    from sam2track.errors import UsageError

    if not name.strip():
        raise UsageError("the model's name is empty; `sam2track models list` shows them")
    path = Path(name).expanduser()
    return path if path.exists() else name


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
