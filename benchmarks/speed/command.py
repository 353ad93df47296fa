"""Speed beside what a user would run instead: ``python -m benchmarks speed``.

Each system runs in a process of its own, by turns, through the same frames with the same weights
and boxes; medians of frames after the warm-up, then of rounds. ``python -m benchmarks.speed.child``
is one run.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory import RESULTS, machine
from benchmarks.speed.case import FULL, SYSTEMS, Case
from benchmarks.told import check, kept

PARTS = ("read", "encode", "attend", "decode", "remember", "write")


def run(case: Case, masks: Path) -> dict[str, Any] | None:
    """Run a case in a process of its own; None where it fails."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.child", json.dumps(vars(case)), str(masks)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        click.echo(f"{case.system} in {case.precision} failed: {last}", err=True)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def medians(frames: Sequence[Mapping[str, float]], warm_up: int) -> dict[str, float]:
    """Median seconds of a frame and of its parts."""
    counted = frames[warm_up:]
    return {
        name: statistics.median(frame.get(name, 0.0) for frame in counted)
        for name in ("all", *PARTS)
    }


def overlap(one: Path, other: Path) -> float:
    """Mean IoU of two runs' masks, over all but the first frame."""
    with np.load(one) as a, np.load(other) as b:
        first, second = np.unpackbits(a["masks"], axis=1), np.unpackbits(b["masks"], axis=1)
    common = (first & second).sum(axis=1)
    either = (first | second).sum(axis=1)
    return float(np.mean(np.where(either, common / np.maximum(either, 1), 1.0)))


def compare(case: Case, systems: Sequence[tuple[str, str]], rounds: int) -> dict[str, Any]:
    """Run systems by turns; each is a name and a precision."""
    runs: dict[str, list[dict[str, Any]]] = {f"{s} {p}": [] for s, p in systems}
    agreement: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        masks = {key: Path(folder) / f"{n}.npz" for n, key in enumerate(runs)}
        for round_, (system, precision) in itertools.product(range(rounds), systems):
            if round_ and not any(runs.values()):
                break  # nor will it the next time
            key = f"{system} {precision}"
            found = run(case.of(system, precision), masks[key])
            if found is not None:
                runs[key].append(found)
                click.echo(
                    f"{key}: {medians(found['frames'], case.warm_up)['all']:.3f} s", err=True
                )
        ours = next((masks[key] for key in runs if key.startswith("ours") and runs[key]), None)
        for key, path in masks.items():
            # A second click is fed the first mask by official, and answered anew by ours.
            if ours is not None and path.is_file() and not case.again:
                agreement[key] = overlap(ours, path)
    return {
        "case": vars(case),
        "systems": {
            key: {
                "seconds": {
                    name: statistics.median(each[name] for each in parts)
                    for name in ("all", *PARTS)
                },
                "rounds": [each["all"] for each in parts],
                "flops": statistics.median(each["flops"] for each in held),
                "ram": max(each["ram"] for each in held),
                "gpu": max(each["gpu"] for each in held),
                "agreement": agreement.get(key),
            }
            for key, held in runs.items()
            if held
            for parts in [[medians(each["frames"], case.warm_up) for each in held]]
        },
    }


def ratio(measured: Mapping[str, Any]) -> float | None:
    """How many times as fast as the best other one ours is."""
    held = {key: value["seconds"]["all"] for key, value in measured["systems"].items()}
    ours = [seconds for key, seconds in held.items() if key.startswith("ours")]
    others = [seconds for key, seconds in held.items() if not key.startswith("ours")]
    return min(others) / min(ours) if ours and others else None


def title(case: Mapping[str, Any]) -> str:
    """Name a case as the tables do."""
    objects = "1 object" if case["objects"] == 1 else f"{case['objects']} objects"
    again = ", again after a click" if case["again"] else ""
    video = f", {Path(case['video']).name}" if case["video"] else ""
    return f"{case['model']}, {case['image_size']}, {objects}{again}{video}"


def table(results: Mapping[str, Any]) -> str:
    """Markdown of all that is kept."""
    lines = ["# Speed", ""]
    for entry in results["cases"].values():
        case, held = entry["case"], entry["machine"]
        faster = ratio(entry)
        where = "a GPU" if case["device"].startswith("cuda") else f"{held['threads']} threads"
        lines += [
            f"## {title(case)}",
            "",
            f"{held['cpu']}, {where}, torch {held['torch']}; {case['frames']} frames, the first "
            f"{case['warm_up']} not counted; float32 products {held['gflops_fp32']:.0f} GFLOP/s, "
            f"bfloat16 {held['gflops_bf16']:.0f}.",
            "",
            "| system | s a frame | reading | encoder | memory attention | decoder "
            "| memory encoder | writing | GFLOP | of the rate | RAM, GB | GPU, GB "
            "| IoU with ours |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for key, value in entry["systems"].items():
            system, precision = key.split()
            cells = [
                f"{SYSTEMS[system]}, {precision}",
                *(_seconds(value["seconds"].get(name)) for name in ("all", *PARTS)),
                *_work(value, held[f"gflops_{precision}"]),
                f"{value['ram'] / 1e9:.2f}",
                f"{value['gpu'] / 1e9:.2f}" if value["gpu"] else "",
                "" if value["agreement"] is None else f"{value['agreement']:.4f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += (
            ["", f"Ours is {faster:.2f} times as fast as the best other.", ""] if faster else [""]
        )
    return "\n".join(lines).rstrip() + "\n"


def _seconds(spent: float | None) -> str:
    return f"{spent:.3f}" if spent else ""


def _work(value: Mapping[str, Any], rate: float) -> tuple[str, str]:
    """Operations of a frame, and what part they are of those that its time is good for."""
    if not value.get("flops"):  # of a recording nothing is seen, nor were they always counted
        return "", ""
    giga = value["flops"] / 1e9
    return f"{giga:.{0 if giga > 10 else 1}f}", f"{giga / value['seconds']['all'] / rate:.0%}"


def rates(device: str) -> dict[str, Any]:
    """Describe the machine, with the rates it reaches in products of matrices."""
    import torch

    from sam2track.models.rates import matmul_rate

    name = torch.cuda.get_device_name() if device.startswith("cuda") else None
    held = machine()
    return held | {
        "cpu": held["cpu"] if name is None else name,
        "threads": torch.get_num_threads(),
        "gflops_fp32": matmul_rate(torch.float32, device, 2048) / 1e9,
        "gflops_bf16": matmul_rate(torch.bfloat16, device, 2048) / 1e9,
    }


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the machine with the mean of its rates: one that is shared has others each time."""
    mean = {name: (before[name] + after[name]) / 2 for name in before if name.startswith("gflops")}
    return {**after, **mean}


@click.command()
@click.option("--model", default="sam2.1-tiny", show_default=True)
@click.option("--image-size", type=int, default=1024, show_default=True)
@click.option("--objects", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--systems",
    default="ours:fp32,official:fp32,official:bf16",
    show_default=True,
    help="SYSTEM:PRECISION, by comma; systems are " + ", ".join(SYSTEMS) + ".",
)
@click.option("--frames", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--warm-up", type=click.IntRange(min=0), default=FULL + 1, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--again", is_flag=True, help="Measure a second pass, after a click on frame 0.")
@click.option("--video", type=click.Path(exists=True, dir_okay=False), help="A file, not drawn.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    show_default="results",
)
def speed(
    model: str,
    image_size: int,
    objects: int,
    device: str,
    systems: str,
    frames: int,
    warm_up: int,
    rounds: int,
    again: bool,
    video: str | None,
    out: Path,
) -> None:
    """Measure seconds a frame beside other ways to run SAM 2."""
    wanted = []
    for entry in systems.split(","):
        system, _, precision = entry.partition(":")
        if system not in SYSTEMS or precision not in ("fp32", "bf16"):
            raise click.BadParameter(f"{entry!r} is no SYSTEM:PRECISION", param_hint="--systems")
        if (system, precision) in wanted:
            raise click.BadParameter(f"{entry!r} is there twice", param_hint="--systems")
        wanted.append((system, precision))
    if again and any(system == "transformers" for system, _ in wanted):
        raise click.BadParameter("a second pass of transformers is not measured")
    if frames <= warm_up:
        raise click.BadParameter(f"{frames} frames leave none after a warm-up of {warm_up}")
    case = Case(
        wanted[0][0],
        model,
        image_size,
        objects,
        "fp32",
        device,
        frames,
        warm_up,
        video,
        again=again,
    )
    check(device, [model], image_size)
    path = out / "speed.json"
    results = kept(path)
    before = rates(device)
    found = compare(case, wanted, rounds)
    if not found["systems"]:
        raise click.ClickException("no system ran; nothing is kept")
    found["machine"] = between(before, rates(device))
    out.mkdir(parents=True, exist_ok=True)
    results["cases"][f"{title(found['case'])}, {device}"] = found
    path.write_text(json.dumps(results, indent=1) + "\n")
    (out / "speed.md").write_text(table(results))
    click.echo(table({"cases": {"": found}}))
