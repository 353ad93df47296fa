"""What is compared with the official predictor: dimensions, and all pairs of their values."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from sam2track.prompts import Prompt
from tests.parity.oracle import SIZE

DIMENSIONS: dict[str, tuple[object, ...]] = {
    "model": ("tiny", "nano"),
    "postprocessing": (True, False),
    "objects": (1, 3, 9),
    "kind": ("point", "background", "box", "box+points", "mask"),
    "prompted": (1, 2, 6),
    "first": (0, 5, 17),
    "length": (5, 12, 16, 40),
    "backward": (False, True),
}


@dataclass(frozen=True)
class Scenario:
    """One run of both."""

    model: str
    postprocessing: bool
    objects: int
    kind: str
    prompted: int
    first: int
    length: int
    backward: bool

    def __str__(self) -> str:
        return (
            f"{self.model}-{'post' if self.postprocessing else 'plain'}-{self.objects}obj-"
            f"{self.kind}-{self.prompted}prompted-from{self.first}-{self.length}frames-"
            f"{'backward' if self.backward else 'forward'}"
        )

    @property
    def cost(self) -> float:
        """About how many seconds it takes on one slow core."""
        frame = (0.22 + 0.07 * self.objects) / (1 if self.model == "tiny" else 4)
        return 0.3 + self.length * frame

    @property
    def possible(self) -> bool:
        """Whether the video is long enough for its prompts."""
        return self.first + self.prompted <= self.length

    def prompts(self) -> dict[int, dict[int, Prompt]]:
        """Prompts of all objects; later objects begin a little later where there is room."""
        rng = np.random.default_rng(self.objects * 100 + self.prompted)
        room = self.length - self.first
        found: dict[int, dict[int, Prompt]] = {}
        for index in range(self.objects):
            begin = self.first + (index % 3) * max(0, min(2, (room - self.prompted) // 3))
            step = max(1, (self.length - begin) // (self.prompted + 1))
            found[index + 1] = {
                begin + k * step: _prompt(rng, self.kind) for k in range(self.prompted)
            }
        return found


def _prompt(rng: np.random.Generator, kind: str) -> Prompt:
    x, y = (float(v) for v in rng.uniform(20, SIZE - 40, 2))
    other = tuple(float(v) for v in rng.uniform(5, SIZE - 5, 2))
    box = (x, y, x + float(rng.uniform(10, 35)), y + float(rng.uniform(10, 35)))
    if kind == "point":
        return Prompt(points=((x, y),))
    if kind == "background":
        return Prompt(points=((x, y), other), labels=(1, 0))
    if kind == "box":
        return Prompt(box=box)
    if kind == "box+points":
        return Prompt(box=box, points=((x + 5, y + 5), other), labels=(1, 0))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    radius = rng.uniform(6, 25)
    return Prompt(mask=(rows - y) ** 2 + (columns - x) ** 2 < radius**2)


def every() -> list[Scenario]:
    """The full product, of what is possible."""
    product = itertools.product(*DIMENSIONS.values())
    scenarios = (Scenario(*values) for values in product)  # type: ignore[arg-type]
    return [scenario for scenario in scenarios if scenario.possible]


def pairwise() -> list[Scenario]:
    """A cheap set in which every possible pair of values occurs (greedy)."""
    # Backward from a prompt on the first frame alone there is nothing to track.
    candidates = [s for s in every() if not (s.backward and s.first == 0 and s.prompted == 1)]
    names = list(DIMENSIONS)

    def pairs(scenario: Scenario) -> set[tuple[object, ...]]:
        return {
            (a, getattr(scenario, a), b, getattr(scenario, b))
            for a, b in itertools.combinations(names, 2)
        }

    missing = set().union(*(pairs(scenario) for scenario in candidates))
    chosen = []
    known = {scenario: pairs(scenario) for scenario in candidates}
    while missing:
        best = max(candidates, key=lambda s: len(known[s] & missing) / s.cost)
        chosen.append(best)
        missing -= known[best]
    return chosen
