"""How well ``nano`` follows things: held-out families, the samples, and a real clip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

RESULTS = Path(__file__).parent / "results"


def _visible(labels: np.ndarray, most: int, rng: np.random.Generator) -> list[int]:
    """Draw some of the objects that cover at least half a percent of the first frame."""
    ids, areas = np.unique(labels[0], return_counts=True)
    fit = [int(i) for i, a in zip(ids, areas, strict=True) if i and a >= 0.005 * labels[0].size]
    return sorted(int(i) for i in rng.permutation(fit)[:most])


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def follow(model: Any, frames: Any, labels: np.ndarray, ids: Sequence[int], kind: str) -> Any:
    """Track objects from the first frame and return J and F of the frames behind it."""
    from sam2track import Tracker
    from sam2track.metrics import j_and_f

    tracker = Tracker(model, frames)
    for object_id in ids:
        mask = labels[0] == object_id
        prompt = {"box": _box(mask)} if kind == "box" else {"mask": mask}
        tracker.prompt(object_id, 0, **prompt)
    found = [result.labels for result in tracker.propagate()]
    return j_and_f(labels[1:], found[1:], ids)


def held_out(model: Any, clips: int, length: int = 60) -> Iterator[dict[str, Any]]:
    """Yield J and F of each held-out family."""
    from sam2track.training.scenes import HELD_OUT, draw_clip

    for name, family in HELD_OUT.items():
        scores: dict[str, list[Any]] = {"box": [], "mask": []}
        for seed in range(clips):
            rng = np.random.default_rng([2024, seed])
            clip = draw_clip(family, rng, size=256, times=range(length))
            ids = _visible(clip.labels, 3, rng)
            if not ids:
                continue
            for kind, values in scores.items():
                values.append(follow(model, clip.frames, clip.labels, ids, kind))
        for kind, values in scores.items():
            yield {
                "what": f"held-out family {name}",
                "clips": len(values),
                "prompt": kind,
                "j": float(np.mean([v.j for v in values])),
                "f": float(np.mean([v.f for v in values])),
            }


def samples(model: Any) -> Iterator[dict[str, Any]]:
    """Yield J and F of the samples, with the prompts that come with them."""
    from sam2track import Prompts, Tracker
    from sam2track.export.pngs import read_label_png
    from sam2track.metrics import j_and_f
    from sam2track.pictures import read_mask
    from sam2track.prompt_files import load_prompts
    from sam2track.samples import sample_folder, sample_names

    for name in sample_names():
        folder = sample_folder() / name
        prompts: Prompts = load_prompts(folder / "prompts.json", read_mask=read_mask)
        tracker = Tracker(model, str(folder / "video.mp4"))
        for object_id, frame, prompt in prompts:
            tracker.add(object_id, frame, prompt)
        truth = [read_label_png(path) for path in sorted((folder / "truth").glob("*.png"))]
        found = [np.zeros(t.shape, np.int32) for t in truth]
        for result in tracker.propagate():
            found[result.frame] = result.labels
        first = min(frame for _, frame, _ in prompts) + 1
        score = j_and_f(truth[first:], found[first:], tracker.object_ids)
        yield {"what": f"sample {name}", "clips": 1, "prompt": "box", "j": score.j, "f": score.f}


def chair(model: Any, data: Path) -> dict[str, Any]:
    """Return J and F of the PUMaVOS chair from its first mask."""
    from sam2track.export.pngs import read_label_png

    folder = data / "video" / "pumavos_chair"
    labels = np.stack([read_label_png(path) for path in sorted((folder / "masks").glob("*.png"))])
    score = follow(model, str(folder / "video.mp4"), labels, [1], "mask")
    return {"what": "chair (PUMaVOS)", "clips": 1, "prompt": "mask", "j": score.j, "f": score.f}


def measure(weights: str = "nano", clips: int = 12, out: Path = RESULTS) -> list[dict[str, Any]]:
    """Measure, print, and write ``nano.json`` and ``nano.md``."""
    from sam2track import load_model

    model = load_model(weights, device="cpu")
    rows = list(held_out(model, clips))
    for kind in ("box", "mask"):
        mine = [row for row in rows if row["prompt"] == kind]
        rows.append(
            {
                "what": "mean of held-out families",
                "clips": sum(row["clips"] for row in mine),
                "prompt": kind,
                "j": float(np.mean([row["j"] for row in mine])),
                "f": float(np.mean([row["f"] for row in mine])),
            }
        )
    rows += samples(model)
    data = os.environ.get("SAM2TRACK_TEST_DATA")
    if data:
        rows.append(chair(model, Path(data)))
    lines = ["| what | clips | prompt | J | F | J&F |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r['what']} | {r['clips']} | {r['prompt']} | {r['j']:.3f} | {r['f']:.3f} "
        f"| {(r['j'] + r['f']) / 2:.3f} |"
        for r in rows
    ]
    print("\n".join(lines))
    out.mkdir(parents=True, exist_ok=True)
    (out / "nano.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (out / "nano.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rows


@click.command()
@click.option("--weights", default="nano", show_default=True, help="A model's name or file.")
@click.option("--clips", default=12, show_default=True, help="Of each held-out family.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def nano(weights: str, clips: int, out: Path) -> None:
    """Measure how well nano follows what it was not trained on."""
    measure(weights, clips, out)
