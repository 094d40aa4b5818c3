"""Follow a store of snapshots in the background, and tell how old the statistics of a bandit are.

The age of a snapshot is the clock less `published_at`, and alone decides its rung:

    fresh        at most staleness.fresh old, also if it came from the disk copy
    last_good    at most staleness.hard old
    disk         at most staleness.hard old, from the disk copy, while the store has not answered since the start
    default      older, or there is none: the default arm is used

The watermark plays no part. A `published_at` in the future is replaced by the time at which the snapshot arrived, and
counted, so the snapshot of a stopped stream whose clock ran ahead grows old too.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from serving_client.background import Background
from serving_client.contracts.bandits import Bandit, Bandits
from serving_client.contracts.times import wall_clock_us
from serving_client.snapshots.disk import DiskCopies
from serving_client.snapshots.intake import Fault, Intake, Taken
from serving_client.snapshots.published import Store
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["Followed", "Held", "Rung", "SnapshotFollower"]

Rung = Literal["fresh", "last_good", "disk", "default"]
"""How old the statistics behind a decision are."""

# Clocks of two machines that are kept by NTP differ less.
_SKEW_US = 1_000_000

# Sleep between two steps of parsing: a thread that computes lets others wait up to 5 ms, Python's switch interval.
_PAUSE_S = 0.001


class Held(NamedTuple):
    """A bandit's snapshot and its rung. The snapshot is None on the rung `default`."""

    snapshot: Snapshot | None
    rung: Rung


_DEFAULT = Held(None, "default")


class Followed(NamedTuple):
    """How it stands with one bandit, for metrics.

    Attributes:
        bandit_id: The bandit.
        rung: Rung of its snapshot.
        version: Version of its snapshot, also of one that is too old. None if there is none.
        age_s: Age of that snapshot in seconds. None if there is none.
        answered_s: Seconds since the store last gave a usable answer. None if it has not since the start.
    """

    bandit_id: str
    rung: Rung
    version: int | None
    age_s: float | None
    answered_s: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """A snapshot with what `held` returns, so that a request makes no objects. It is replaced as a whole."""

    published_us: int
    version: int
    fresh: Held
    old: Held

    @classmethod
    def of(cls, snapshot: Snapshot, received_us: int, old_rung: Rung) -> _Kept:
        published_us = min(snapshot.published_at_us, received_us)
        return cls(published_us, snapshot.version, Held(snapshot, "fresh"), Held(snapshot, old_rung))


@dataclasses.dataclass(slots=True)
class _One:
    """One bandit. `bandit` is written by the caller's thread, all else by the background thread."""

    bandit: Bandit
    intake: Intake
    loaded: bool = False
    kept: _Kept | None = None
    answered_us: int | None = None

    def held(self, now_us: int) -> Held:
        kept = self.kept
        if kept is None:
            return _DEFAULT
        age_us = now_us - kept.published_us
        if age_us <= self.bandit.staleness["fresh"]:
            return kept.fresh
        return kept.old if age_us <= self.bandit.staleness["hard"] else _DEFAULT


class SnapshotFollower:
    """Keeps the newest usable snapshot of every bandit.

    Reasons of faults:
        unreachable: The store does not answer.
        missing: Nothing is published for the bandit, or the pointed version is missing.
        damaged: The pointer is damaged, or the digest of the version is wrong.
        invalid: The document is torn, is another bandit's, or holds NaN or a negative count.
        version_back: The store answers a lower version. `intake` has the rule.
        clock_skew: `published_at` is more than a second in the future.
        prepare: `on_new` raised. The snapshot is used all the same.
        disk: The disk copy cannot be read or written.
        thread: A round failed in another way.

    Args:
        store: The store, from `open_store`. No other thread may use it.
        bandits: The bandits to follow, with their staleness.
        report: Called with a bandit's name, a reason and a message for every fault. It must not raise.
        on_new: Called with a snapshot before it is used, in the background thread, or in `start` for a disk copy.
        disk: Folder for a copy of every last snapshot. None keeps no copies.
        poll_interval_s: Seconds between two rounds, longer or shorter by up to 20%.
        clock: Wall clock, microseconds since 1970.
        rng: Draws the jitter. By default it is seeded by the operating system.
        pause: Called between two steps of parsing. By default it sleeps 1 ms.
    """

    def __init__(
        self,
        store: Store,
        bandits: Bandits,
        *,
        report: Callable[[str, str, str], None],
        on_new: Callable[[Snapshot], None] | None = None,
        disk: Path | None = None,
        poll_interval_s: float = 5.0,
        clock: Callable[[], int] = wall_clock_us,
        rng: random.Random | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self._store, self._report, self._on_new, self._clock = store, report, on_new, clock
        self._pause = _pause if pause is None else pause
        self._disk = None if disk is None else DiskCopies(disk)
        self._followed: Mapping[str, _One] = {}
        self.follow(bandits)
        self._background = Background(
            "recbeam-snapshots",
            self.poll,
            failed=self._failed,
            forked=store.forked,
            interval_s=poll_interval_s,
            rng=random.Random() if rng is None else rng,
        )

    def held(self, bandit_id: str) -> Held:
        """Return a bandit's snapshot and its rung, without I/O. An unknown bandit has none."""
        one = self._followed.get(bandit_id)
        return _DEFAULT if one is None else one.held(self._clock())

    def follow(self, bandits: Bandits) -> None:
        """Follow these bandits from now on, after the bandits file has changed. Snapshots are kept."""
        followed = {}
        for bandit_id, bandit in bandits.bandits.items():
            one = self._followed.get(bandit_id)
            if one is None:
                one = _One(bandit, Intake(self._store, bandit_id, self._pause))
            one.bandit = bandit
            followed[bandit_id] = one
        self._followed = followed

    def start(self) -> None:
        """Read the disk copies, and start the background thread. Idempotent while the thread runs."""
        for bandit_id, one in self._followed.items():
            self._load(bandit_id, one)
        self._background.start()

    def close(self) -> None:
        """End the background thread. `held` goes on with the snapshots that are there. Idempotent."""
        self._background.close()

    def poll(self) -> None:
        """Ask the store once about every bandit. The background thread does this; without one, call it yourself."""
        for bandit_id, one in self._followed.items():
            if self._background.is_closing:
                return
            self._load(bandit_id, one)
            try:
                taken = one.intake.poll(expired=one.held(self._clock()).snapshot is None)
            except Fault as fault:
                self._report(bandit_id, fault.reason, fault.message)
                continue
            if taken is not None:
                self._take(bandit_id, one, taken, "last_good")
            elif one.kept is not None and one.kept.old.rung == "disk":  # the store has the version of the disk copy
                one.kept = dataclasses.replace(one.kept, old=one.kept.old._replace(rung="last_good"))
            one.answered_us = self._clock()

    def status(self) -> list[Followed]:
        """Return how it stands with every bandit."""
        now_us, found = self._clock(), []
        for bandit_id, one in self._followed.items():
            kept, answered_us = one.kept, one.answered_us
            found.append(
                Followed(
                    bandit_id,
                    one.held(now_us).rung,
                    None if kept is None else kept.version,
                    None if kept is None else max(0, now_us - kept.published_us) / 1e6,
                    None if answered_us is None else max(0, now_us - answered_us) / 1e6,
                )
            )
        return found

    def _take(self, bandit_id: str, one: _One, taken: Taken, old_rung: Rung) -> None:
        received_us = self._clock()
        ahead_us = taken.snapshot.published_at_us - received_us
        if ahead_us > _SKEW_US:
            self._report(
                bandit_id,
                "clock_skew",
                f"version {taken.snapshot.version} was published {ahead_us / 1e6:.1f} s in the future; set the clocks",
            )
        if self._on_new is not None:
            try:
                self._on_new(taken.snapshot)
            except Exception as error:
                self._report(bandit_id, "prepare", f"version {taken.snapshot.version} is not prepared ({error!r})")
        one.kept = _Kept.of(taken.snapshot, received_us, old_rung)
        if self._disk is not None and old_rung != "disk":
            try:
                self._disk.save(bandit_id, taken.pointer, taken.document)
            except OSError as error:
                self._report(bandit_id, "disk", f"the disk copy cannot be written ({error}); free space or permit it")

    def _load(self, bandit_id: str, one: _One) -> None:
        """Use the disk copy, if this is the first time that the bandit's snapshot is needed."""
        if self._disk is None or one.loaded:
            return
        one.loaded = True
        try:
            found = self._disk.load(bandit_id)
            if found is not None:
                self._take(bandit_id, one, one.intake.adopt(*found), "disk")
        except (Fault, ValueError, OSError) as error:
            self._report(bandit_id, "disk", f"the disk copy cannot be used ({error}); the next snapshot replaces it")

    def _failed(self, error: Exception) -> None:
        for bandit_id in self._followed:
            self._report(bandit_id, "thread", f"a round of polling failed ({error!r}); report this as a bug")


def _pause() -> None:
    time.sleep(_PAUSE_S)
