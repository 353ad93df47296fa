"""What a job writes beside its project: under which names, and what may be there before."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from sam2track.arguments import check_choice, some_of
from sam2track.database import remove_companions
from sam2track.errors import OutputError, ProjectExistsError, UsageError

__all__ = [
    "OUTPUTS",
    "RECORD",
    "TABLES",
    "USUAL",
    "Progress",
    "check_apart",
    "check_table",
    "holds_project",
    "is_output",
    "paths_of",
    "remove_outputs",
    "wanted_outputs",
]

# What can be written, and under which name in the output folder.
OUTPUTS = {
    "masks": "masks",
    "mask-video": "masks.mp4",
    "label-video": "masks.mkv",
    "overlay": "overlay.mp4",
    "table": "tracks.csv",
}
# What a batch notes beside them of how they were made.
RECORD = "batch.json"
TABLES = ("plain", "full")
# What is written unless something else is asked for.
USUAL = ("masks", "mask-video", "overlay", "table")


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` frames of a stage, and seconds it took so far.

    ``total`` is 0 where it is not known how many will come.
    """

    stage: str
    done: int
    total: int
    seconds: float


def wanted_outputs(write: Iterable[str]) -> list[str]:
    """Check names of outputs; return them in order."""
    return some_of(write, OUTPUTS)


def check_table(table: str, wanted: Iterable[str]) -> None:
    """Refuse a kind of table that is not known, and a full one that is not written."""
    check_choice("table", table, TABLES)
    if table == "full" and "table" not in wanted:
        raise UsageError("a full table is asked for, and no table written; add table to write")


def holds_project(folder: Path, overwrite: bool) -> bool:
    """Whether a folder holds a project; refuse one whose files would be lost unasked."""
    try:
        if (folder / "project.s2t").exists():
            return True
        found = [name for name in OUTPUTS.values() if (folder / name).exists()]
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    if found and not overwrite:
        raise ProjectExistsError(
            f"{folder} holds {found[0]} but no project; replace it (--overwrite) "
            f"or give another folder"
        )
    return False


def check_apart(source: str, folder: Path) -> None:
    """Refuse to write over what is read, or to where a link in the folder leads."""
    path = Path(source)
    try:
        if (folder / OUTPUTS["masks"]).is_symlink():
            raise UsageError(
                f"{folder / OUTPUTS['masks']} is a link, and nothing is written to where it leads; "
                "remove it, or give another output folder"
            )
        for name in ("project.s2t", *OUTPUTS.values()):
            if (folder / name).exists() and path.exists() and path.samefile(folder / name):
                raise UsageError(
                    f"{path} is the source and would be replaced by the output {name}; "
                    f"give another output folder"
                )
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def is_output(name: PurePath) -> bool:
    """Whether a job may have written a file of a name in its folder."""
    *folders, last = name.parts
    if not folders:
        return last in ("project.s2t", *OUTPUTS.values())
    stem = name.stem
    numbered = name.suffix == ".png" and stem.isdecimal() and len(stem) >= 5
    return len(folders) == 1 and folders[0] in OUTPUTS.values() and numbered


def remove_outputs(folder: Path) -> None:
    """Remove what an earlier job wrote, and nothing else; what a batch noted of it goes first."""
    (folder / RECORD).unlink(missing_ok=True)
    project = folder / "project.s2t"
    if not project.exists():
        return
    for path in (folder / name for name in OUTPUTS.values()):
        if path.is_dir() and not path.is_symlink():
            for picture in path.glob("[0-9]*.png"):
                if is_output(picture.relative_to(folder)):
                    picture.unlink()
            if not any(path.iterdir()):
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # Last: by it the others are known for a job's where this is interrupted.
    project.unlink(missing_ok=True)
    remove_companions(project)


def paths_of(folder: Path, wanted: Iterable[str]) -> dict[str, str]:
    """The paths of outputs by name."""
    return {name: str(folder / OUTPUTS[name]) for name in wanted}
