"""Fuzzing at length, for ``python -m tests.fuzz --cases 20000``.

Each target runs in processes of its own, so that one which dies takes nothing along. Findings are
written to a folder, one file a case, with the error beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.fuzz import running
from tests.fuzz.targets import TARGETS

SILENCE = 60.0  # seconds without a case, and a process is ended
START = 600.0  # seconds until the first: what is imported takes its time on a busy machine


def work(
    name: str, way: str, first: int, cases: int, out: Path, at: Synchronized[int], queue: Any
) -> None:
    """Try cases from one on; say how many there were of each outcome."""
    if "FUZZ_TALK" not in os.environ:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders talk
    warnings.simplefilter("ignore")
    target, counts = TARGETS[name], Counter[str]()
    seeds = running.seeds_of(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        target.read(seeds[0], folder)  # imports what it needs
        running.little_room()
        last, slowest = out / f"{name}.last", 0.0

        def one(data: bytes) -> None:
            nonlocal slowest
            last.write_bytes(data)
            at.value += 1
            began = time.process_time()
            try:
                running.tried(target, data, folder, counts)
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                kind = f"{type(error).__name__}: {str(error)[:80]}"
                counts["found"] += 1
                keep(out, name, f"{way}-{at.value}", data, kind, traceback.format_exc())
            took = time.process_time() - began
            if took > slowest:
                slowest = took
                (out / f"{name}-{way}.slowest").write_bytes(data)

        if way == "hypothesis":
            running.hypothesised(name, cases - first, one, start=first)
        else:
            for number in range(first, cases):
                one(running.case(name, number, seeds))
        last.unlink(missing_ok=True)
    queue.put((dict(counts), slowest))


def keep(out: Path, name: str, case: str, data: bytes, kind: str, trace: str) -> None:
    """Write down a finding, the first of its kind and place alone."""
    lines = [line for line in trace.splitlines() if line.strip().startswith("File ")]
    place = lines[-1].strip() if lines else ""
    seen = out / f"{name}.json"
    known = json.loads(seen.read_text()) if seen.exists() else {}
    key = f"{kind.split(':')[0]} {place}"
    if key not in known:
        (out / f"{name}-{case}.bin").write_bytes(data)
        (out / f"{name}-{case}.txt").write_text(f"{kind}\n{trace}", errors="replace")
    known[key] = known.get(key, 0) + 1
    seen.write_text(json.dumps(known, indent=1))


def run(name: str, way: str, cases: int, out: Path) -> tuple[Counter[str], float]:
    """Try all cases of a target, beginning again behind one that ends its process.

    Returns
    -------
    Counter of str
        Cases by what came of them.
    float
        Seconds of the processor that the slowest took.
    """
    counts, done = Counter[str](), 0
    while done < cases:
        at: Synchronized[int] = multiprocessing.Value("q", done)  # type: ignore[assignment]
        queue: Any = multiprocessing.Queue()
        process = multiprocessing.Process(
            target=work, args=(name, way, done, cases, out, at, queue)
        )
        process.start()
        before, still = at.value, 0.0
        while process.is_alive():
            process.join(0.5)
            # Not by the clock: all may be stopped for a while, this process as well.
            still = 0.0 if at.value != before else still + 0.5
            before = at.value
            if still > (SILENCE if before > done else START):
                process.kill()
        if process.exitcode == 0:
            rest, slowest = queue.get(timeout=10)
            counts.update(rest)
            return counts, slowest
        if at.value == done:
            raise RuntimeError(f"{name}: the process ended before its first case")
        data = (out / f"{name}.last").read_bytes() if (out / f"{name}.last").exists() else b""
        counts["found"] += 1
        counts["ended"] += at.value - done - 1
        keep(out, name, f"{way}-{at.value}", data, f"ended with {process.exitcode}", "")
        done = at.value
    return counts, SILENCE


def main() -> int:
    """Fuzz what is asked for, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=20_000, help="Of each target.")
    parser.add_argument("--only", action="append", choices=list(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    multiprocessing.set_start_method("spawn")
    found = 0
    print(
        "| what | cases by | cases | read | refused | findings | seconds | slowest, s |", flush=True
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name in given.only or TARGETS:
        # Those that hypothesis makes cost ten times as much, and reach further into a grammar.
        made = 0 if TARGETS[name].strategy is None else given.cases // 4
        for way, cases in (("mutation", given.cases - made), ("hypothesis", made)):
            if not cases:
                continue
            began = time.monotonic()
            counts, slowest = run(name, way, cases, given.out)
            took = time.monotonic() - began
            found += counts["found"]
            print(
                f"| {name} | {way} | {cases} | {counts['read']} | {counts['refused']} "
                f"| {counts['found']} | {took:.0f} | {slowest:.1f} |",
                flush=True,
            )
    return 1 if found else 0
