"""Files that get their name once they are whole, and who writes them at the same moment."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sam2track.errors import OutputError
from sam2track.export import output_errors
from sam2track.export.staging import Staged, _locked, staged, write_bytes

REPOSITORY = Path(__file__).parents[2]
WRITES = """
import sys, time
from pathlib import Path
from sam2track.export import output_errors
from sam2track.export.staging import staged
with staged(Path(sys.argv[1]), folder=sys.argv[2] == "folder", overwrite=True) as partial:
    place = partial / "a" if partial.is_dir() else partial
    place.write_text("half")
    print("writes", flush=True)
    sys.stdin.read()
    place.write_text("of another")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("killed", [False, True])
def test_one_writes_to_a_name_at_a_time(kind: str, killed: bool, tmp_path: Path) -> None:
    path, folder = tmp_path / "out", kind == "folder"
    place = path / "a" if folder else path
    other = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path), kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    try:
        assert other.stdout is not None and other.stdout.readline() == "writes\n"
        with (
            pytest.raises(OutputError, match="out is being written by another command now; wait"),
            staged(path, folder=folder),
        ):
            pytest.fail("writes into what another writes")
        if killed:
            other.kill()
        other.communicate(timeout=60)
    finally:
        other.kill()
    if killed:
        assert [p.name for p in tmp_path.iterdir()] == [".out.partial"]
        with staged(path, folder=folder) as partial:
            assert folder is partial.is_dir() and not (partial / "a").exists()
            (partial / "a" if folder else partial).write_text("mine")
    assert place.read_text() == ("mine" if killed else "of another")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_is_seen_is_whole(tmp_path: Path) -> None:
    """Several threads write to one name; each writes all of it, or is told that it cannot."""
    path, done, refused = tmp_path / "out", [], []

    def write(letter: bytes) -> None:
        for _ in range(60):
            try:
                write_bytes(path, letter * 100_000)
                done.append(letter)
            except OutputError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 100_000 and len(set(data)) == 1
    for thread in threads:
        thread.join()
    assert len(done) + len(refused) == 180 and done
    assert all("is being written by another command now" in why for why in refused)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_bytes_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, sync = tmp_path / "out", [], os.fsync

    def noted(descriptor: int) -> None:
        assert not path.exists()
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with Staged(path) as whole:
        whole.partial.write_text("all")
    assert synced == [path.stat().st_ino]
    path.unlink()
    write_bytes(path, b"small")  # which is not waited for
    assert len(synced) == 1


def test_ctrl_c_at_the_end_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(Staged):
        def _finish(self) -> None:
            raise KeyboardInterrupt

    (tmp_path / "out").write_text("before")
    writer = Interrupted(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "before"


def test_who_lets_go_lets_others_write(tmp_path: Path) -> None:
    path = tmp_path / "out"
    first = Staged(path)
    with pytest.raises(OutputError, match="by another"):
        Staged(path)
    first.abort()
    assert not [*tmp_path.iterdir()]
    second = Staged(path)
    del second  # never closed
    with Staged(path) as third:
        third.partial.write_text("all")
    assert path.read_text() == "all"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors of Linux")
def test_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def count() -> int:
        gc.collect()  # lest what other tests left goes meanwhile
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    path, kept, before = tmp_path / "out", [], count()
    for end in (Staged.close, Staged.abort):
        kept.append(Staged(path))
        end(kept[-1])
        assert count() == before
    with staged(tmp_path / "a", folder=True):
        (tmp_path / ".out.partial").write_text("of one that was killed")
        held = count()
        write_bytes(path, b"")
        assert count() == held
        with pytest.raises(OutputError, match="by another"), staged(tmp_path / "a", folder=True):
            pytest.fail("writes into what another writes")
        assert count() == held

    def replaced(descriptor: int, operation: int) -> None:
        path.unlink()
        path.touch()

    monkeypatch.setattr(fcntl, "flock", replaced)
    assert _locked(path) is None and count() == before  # another file lies there by then


def test_where_there_are_no_locks_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_bytes(tmp_path / "out", b"all")
    assert (tmp_path / "out").read_bytes() == b"all"


def test_too_many_open_files_are_no_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"Too many open files; raise that limit \(ulimit -n\)"),
        output_errors(tmp_path / "a.png"),
    ):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
