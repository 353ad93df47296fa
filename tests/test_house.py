"""The house stands: imports point downwards, names are kept, importing stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sam2track

PACKAGE = Path(sam2track.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From top to bottom. "__init__" is the package's own file: the public names.
LAYERS = (
    {"__main__", "cli"},
    {"__init__"},
    {"importing"},
    {"job", "replaying", "image", "batch", "doctor", "evaluation"},
    {"work", "piped"},
    {"asked", "founding", "segmented", "sparing"},
    {"outcome", "outputs", "writing"},
    {
        "confidence",
        "contents",
        "counting",
        "database",
        "entries",
        "export",
        "films",
        "footage",
        "locks",
        "measure",
        "metrics",
        "page",
        "project",
        "project_file",
        "render",
        "report",
        "review",
        "soundness",
        "stored",
        "styles",
        "table",
        "tables",
        "tracking_scores",
        "watch",
        "writers",
    },
    {"tracking"},
    {
        "frames",
        "models",
        "training",
        "detections",
        "prompt_files",
        "prompt_values",
        "prompts",
        "lazy",
        "masks",
        "palette",
        "pictures",
        "samples",
        "shape",
        "values",
    },
    {"arguments", "display", "faults", "json_text", "regular", "terminal"},
    {"errors", "interrupts", "machine"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# Rooms that import nothing of their own layer.
ALONE = {"lazy", "masks", "palette", "pictures", "samples"}
HEAVY = {
    "av",
    "cv2",
    "h5py",
    "huggingface_hub",
    "ijson",
    "pandas",
    "pyarrow",
    "ray",
    "sam2",
    "scipy",
    "tifffile",
    "torch",
    "torchvision",
    "zarr",
}
# What only some rooms may know of; of viewers the command alone that starts one.
ONLY = {
    "click": {"cli", "training"},
    "napari": set(),
    "napari_sam2track": {"cli"},
    "qtpy": {"cli"},
    "PySide6": set(),
    "PyQt6": set(),
}


def dotted(path: Path) -> str:
    """Name of a module; that of a package ends in ``.__init__``."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def room(module: str) -> str:
    """The room that a dotted name inside the package belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports, wherever in the file it does."""
    package = dotted(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                # From the package itself comes a room, or a public name.
                is_public_name = origin == "sam2track" and alias.name not in LEVEL
                yield node.lineno, origin if is_public_name else whole


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_downwards(path: Path) -> None:
    here = room(dotted(path))
    assert here in LEVEL, f"{here} has no layer yet: give it one in LAYERS"
    for line, module in imported(path):
        top = module.split(".")[0]
        if here not in ONLY.get(top, {here}):
            pytest.fail(f"{path}:{line}: {here} must not know of {top}")
        if top != "sam2track" or room(module) == here:
            continue
        there = room(module)
        assert there in LEVEL, f"{path}:{line}: {there} has no layer yet"
        if LEVEL[there] < LEVEL[here] or (LEVEL[there] == LEVEL[here] and here in ALONE):
            pytest.fail(f"{path}:{line}: {here} imports {module}, which does not lie below it")


def test_rooms_do_not_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        needs = {room(m) for _, m in imported(path) if m.split(".")[0] == "sam2track"}
        graph.setdefault(room(dotted(path)), set()).update(needs)
    for here, needs in graph.items():
        needs.discard(here)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other: {' -> '.join(error.args[1])}")


def names_defined(tree: ast.Module) -> Iterator[str]:
    """Names bound at the top of a module, those behind an ``if`` or ``try`` too."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        above, inside = node, False
        while (above := getattr(above, "parent", None)) is not None:
            inside |= isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if inside:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_public_names_are_listed_and_sorted(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    own = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }
    if not found:
        assert not own or path.stem == "__main__", f"{path} has no __all__ for {sorted(own)}"
        return
    (names,) = found
    assert list(names) == sorted(set(names), key=order)
    if path != PACKAGE / "__init__.py":  # whose names are loaded lazily; see below
        assert set(names) <= set(names_defined(tree))


def test_public_names_of_the_package_are_there() -> None:
    for name in getattr(sam2track, "__all__", ()):
        assert getattr(sam2track, name) is not None


@pytest.mark.parametrize(
    "statements",
    [
        "import sam2track",
        "import sys; sys.argv = ['sam2track', '--help']\n"
        "from sam2track.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code",
    ],
    ids=["import", "help"],
)
def test_importing_stays_light(statements: str) -> None:
    """The command's help is to appear within 0.3 s: nothing heavy may be loaded for it."""
    program = f"{statements}\nimport json, sys; print(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & HEAVY


def test_results_are_read_without_torch() -> None:
    """Measuring, exporting and showing begin in half a second, not in that of an engine."""
    rooms = "counting, evaluation, films, project, report, review"
    program = f"from sam2track import {rooms}\nimport sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "False", done.stdout + done.stderr
