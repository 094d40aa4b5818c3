"""Decide what an answer of the store means: nothing new, a snapshot to use, or a fault.

Versions only grow. A store that answers a lower version, or the same one with other content, is one of two things. A
replica that lags answers an old snapshot, which is refused. A store that was restored from a backup, or emptied, goes
on with new snapshots under lower numbers. So a version that is not higher is taken if it was published later than the
snapshot in use, and either the store has answered so RESTORED_AFTER times in a row, or the snapshot in use has expired.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from serving_client.snapshots.fields import SnapshotError
from serving_client.snapshots.published import Damaged, Pointer, Published, Store, VersionMissing
from serving_client.snapshots.snapshot import Snapshot, parse_in_steps

__all__ = ["RESTORED_AFTER", "Fault", "Intake", "Taken"]

RESTORED_AFTER = 3
"""Answers in a row, after which a lower version that was published later is taken."""


class Fault(Exception):
    """A store gave no usable answer.

    Args:
        reason: `unreachable`, `missing`, `damaged`, `invalid` or `version_back`.
        message: What is wrong and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot to use from now on, and the document it came from."""

    pointer: Pointer
    document: bytes
    snapshot: Snapshot


class _Used(NamedTuple):
    """The version in use."""

    pointer: Pointer
    published_at_us: int


class Intake:
    """What one bandit's snapshot is replaced by.

    Args:
        store: The store.
        bandit_id: The bandit.
        pause: Called between two steps of parsing. It should sleep, so that requests can be answered.
    """

    def __init__(self, store: Store, bandit_id: str, pause: Callable[[], None]) -> None:
        self._store, self._bandit_id, self._pause = store, bandit_id, pause
        self._used: _Used | None = None
        # What was fetched last and is not in use, with the reason if it never will be.
        self._waiting: tuple[Pointer, Taken | Fault] | None = None
        self._answers = 0

    def adopt(self, pointer: Pointer, published: Published) -> Taken:
        """Use a copy of an earlier snapshot.

        Raises:
            Fault: The copy is invalid.
        """
        taken = self._parsed(pointer, published)
        self._used = _Used(pointer, taken.snapshot.published_at_us)
        return taken

    def poll(self, *, expired: bool) -> Taken | None:
        """Ask the store.

        Args:
            expired: Whether the snapshot in use is too old to be used.

        Returns:
            A snapshot to use from now on. None if the store still has the one in use.

        Raises:
            Fault: The store gave no usable answer.
        """
        try:
            pointer = self._store.pointer(self._bandit_id)
            if pointer is None:
                raise Fault(
                    "missing",
                    f"in {self._store!r} nothing is published; check the address, and that reward_stream runs",
                )
            if self._used is not None and _same(pointer, self._used.pointer):
                self._waiting, self._answers = None, 0
                return None
            if self._waiting is None or not _same(pointer, self._waiting[0]):
                self._waiting = pointer, self._fetched(pointer)
        except Fault:
            raise
        except VersionMissing as error:
            raise Fault("missing", str(error)) from error
        except Damaged as error:
            raise Fault("damaged", str(error)) from error
        except Exception as error:
            raise Fault("unreachable", f"the store cannot be read ({error!r}); check that it runs") from error
        found = self._waiting[1]
        if isinstance(found, Fault):
            raise Fault(found.reason, found.message)
        return self._ordered(found, expired)

    def _fetched(self, pointer: Pointer) -> Taken | Fault:
        published = self._store.document(self._bandit_id, pointer)
        try:
            return self._parsed(pointer, published)
        except Fault as fault:  # it will not get better, so it is not fetched again
            return fault

    def _parsed(self, pointer: Pointer, published: Published) -> Taken:
        steps = parse_in_steps(published.data)
        try:
            while True:
                next(steps)
                self._pause()
        except StopIteration as done:
            snapshot: Snapshot = done.value
        except SnapshotError as error:
            raise Fault("invalid", f"version {pointer.version}: {error}; the next snapshot replaces it") from error
        if (snapshot.bandit_id, snapshot.version) != (self._bandit_id, pointer.version):
            raise Fault(
                "invalid",
                f"version {pointer.version} holds version {snapshot.version} of {snapshot.bandit_id!r}; check that no "
                "other program writes there",
            )
        return Taken(pointer, published.data, snapshot)

    def _ordered(self, found: Taken, expired: bool) -> Taken:
        """Return what was found if it may replace the snapshot in use."""
        used = self._used
        if used is not None and found.pointer.version <= used.pointer.version:
            later = found.snapshot.published_at_us > used.published_at_us
            self._answers = self._answers + 1 if later else 0
            if not later or (self._answers < RESTORED_AFTER and not expired):
                raise Fault(
                    "version_back",
                    f"the store answers version {found.pointer.version} after {used.pointer.version}, which stays in "
                    "use; if the store was restored, its next snapshots are taken",
                )
        self._used = _Used(found.pointer, found.snapshot.published_at_us)
        self._waiting, self._answers = None, 0
        return found


def _same(one: Pointer, other: Pointer) -> bool:
    return (one.version, one.sha256) == (other.version, other.sha256)
