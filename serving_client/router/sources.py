"""Where a router gets its bandits and snapshots: values that are given, or a file and a store that are followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from serving_client.bandits_file.follow import BanditsFollower
from serving_client.contracts.bandits import Bandits
from serving_client.router.faults import ALL_BANDITS, Faults
from serving_client.snapshots.follow import Followed, Held, SnapshotFollower
from serving_client.snapshots.snapshot import Snapshot
from serving_client.snapshots.stores import open_store

__all__ = ["NoSnapshots", "Snapshots", "Sources"]


class Snapshots(Protocol):
    """Where a router finds snapshots: a `SnapshotFollower`, or another object with its method."""

    def held(self, bandit_id: str, /) -> Held:
        """Return the snapshot of a bandit, and how old it is, without I/O."""


class NoSnapshots:
    """Snapshots of a router that has none."""

    def held(self, bandit_id: str, /) -> Held:
        """Return the rung `default`."""
        return Held(None, "default")


class Sources:
    """The bandits and snapshots of a router. Nothing runs in the background before `start`.

    Args:
        bandits: Path of the bandits file, or its content.
        snapshots: Address of the snapshots, an object that has them, or None.
        disk: Folder for a copy of the last snapshots, or None.
        poll_interval_s: Mean seconds between two looks at the snapshots.
        bandits_poll_s: Mean seconds between two looks at the bandits file.
        clock_us: Wall clock, microseconds since 1970.
        faults: Counts what goes wrong.
        on_bandits: Called with new content of the bandits file, in a background thread.
        on_snapshot: Called with a snapshot before it is used, in a background thread.

    Raises:
        BanditsError: The bandits file is invalid.
        AddressError: The address of the snapshots is invalid.
        MissingExtra: The library that reads the snapshots is not installed.
    """

    def __init__(
        self,
        bandits: Bandits | str | os.PathLike[str],
        snapshots: str | os.PathLike[str] | Snapshots | None,
        *,
        disk: str | os.PathLike[str] | None,
        poll_interval_s: float,
        bandits_poll_s: float,
        clock_us: Callable[[], int],
        faults: Faults,
        on_bandits: Callable[[Bandits], None],
        on_snapshot: Callable[[Snapshot], None],
    ) -> None:
        self._faults = faults
        self._file: BanditsFollower | None = None
        if isinstance(bandits, Bandits):
            self.content = bandits
        else:
            path = os.fspath(bandits)
            self._file = BanditsFollower(
                path, on_new=on_bandits, report=self._file_fault, poll_interval_s=bandits_poll_s
            )
            self.content = self._file.bandits
        self._follower: SnapshotFollower | None = None
        if isinstance(snapshots, str | os.PathLike):
            self._follower = SnapshotFollower(
                open_store(os.fspath(snapshots)),
                self.content,
                report=faults.report,
                on_new=on_snapshot,
                disk=None if disk is None else Path(disk),
                poll_interval_s=poll_interval_s,
                clock=clock_us,
            )
            self.snapshots: Snapshots = self._follower
        else:
            self.snapshots = NoSnapshots() if snapshots is None else snapshots

    def start(self) -> None:
        """Follow the file and the store from now on."""
        for background in (self._file, self._follower):
            if background is not None:
                background.start()

    def close(self) -> None:
        """End the background threads. Idempotent."""
        for background in (self._file, self._follower):
            if background is not None:
                background.close()

    def follow(self, content: Bandits) -> None:
        """Follow the snapshots of these bandits from now on."""
        self.content = content
        if self._follower is not None:
            self._follower.follow(content)

    def status(self) -> Sequence[Followed]:
        """Return how old the snapshot of each followed bandit is."""
        return [] if self._follower is None else self._follower.status()

    def all_held(self) -> bool:
        """Return whether every bandit has a usable snapshot."""
        return all(self.snapshots.held(bandit_id).rung != "default" for bandit_id in self.content.bandits)

    def _file_fault(self, path: str, reason: str, message: str) -> None:
        self._faults.report(ALL_BANDITS, reason, message)
