"""Steps in SQLite, and where tracking stood in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam2track.errors import ProjectError
from sam2track.tracking.state import State
from sam2track.tracking.steps import Steps

__all__ = ["States"]

_PART = 2**28  # bytes of a state that are one value


class States(Steps):
    """Steps, and the states from which a run is gone on with exactly; parameters as theirs."""

    def save_state(self, state: State, step: int, done: int) -> None:
        """Keep where tracking stands after so many frames of a step; the last two are kept."""
        with self.transaction() as db:
            db.execute("DELETE FROM states WHERE step = ? AND done = ?", (step, done))
            # SQLite takes no more than a billion bytes at once: of SAM 2.1 some 300 objects.
            for part in state.parts(_PART):
                db.execute(
                    "INSERT INTO states (step, done, data) VALUES (?, ?, ?)",
                    (step, done, part.to_bytes()),
                )
            db.execute(
                "DELETE FROM states WHERE (step, done) NOT IN (SELECT step, done FROM states "
                "GROUP BY step, done ORDER BY max(id) DESC LIMIT 2)"
            )

    def last_state(self) -> tuple[State, int, int] | None:
        """Return the last state that holds, its step, and how many frames that had run."""
        with self._errors():
            found = self._db.execute(
                "SELECT step, done FROM states, head WHERE step <= position "
                "ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            step, done = found
            state = State({}, {})
            parts = "SELECT data FROM states WHERE step = ? AND done = ? ORDER BY id"
            for (data,) in self._db.execute(parts, found):
                with self._state_of(step):
                    part = State.from_bytes(data)
                state.pending.update(part.pending)
                state.recent.update(part.recent)
            return state, int(step), int(done)

    def check_states(self) -> int | None:
        """Return how many numbers pointers have; None where no state holds any.

        Raises
        ------
        ProjectError
            Where a state cannot be read.
        """
        size = None
        with self._errors():
            for step, data in self._db.execute("SELECT step, data FROM states ORDER BY id"):
                with self._state_of(step):
                    size = State.check(data) or size
        return size

    @contextmanager
    def _state_of(self, step: int) -> Iterator[None]:
        try:
            yield
        except (ProjectError, ValueError) as error:
            raise self._damaged_at(f"step {step}", str(error)) from error
