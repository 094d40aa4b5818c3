"""All bandits of a bandits file, ready to decide, while the file and the snapshots change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from serving_client.contracts.bandits import Bandits
from serving_client.router.faults import Faults
from serving_client.router.one_bandit import OneBandit
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["BanditSet", "UnknownBandit"]

_PAUSE_S = 0.001
"""Sleep after each case that is prepared. A thread that computes lets others wait 5 ms, Python's switch interval."""


class UnknownBandit(KeyError):
    """The bandits file does not have the bandit."""

    def __str__(self) -> str:
        return str(self.args[0])


class BanditSet:
    """Bandits by name. Requests read it while a background thread changes it.

    Args:
        uniform: Random numbers in [0, 1).
        faults: Counts what goes wrong.
        pause: Called after each case that is prepared. By default it sleeps 1 ms.
    """

    def __init__(self, uniform: Callable[[], float], faults: Faults, pause: Callable[[], None] | None = None) -> None:
        self._uniform, self._faults = uniform, faults
        self._pause = _pause if pause is None else pause
        self._bandits: Mapping[str, OneBandit] = {}

    def __getitem__(self, bandit_id: str) -> OneBandit:
        one = self._bandits.get(bandit_id)
        if one is None:
            names = ", ".join(self._bandits)
            raise UnknownBandit(f"bandit {bandit_id!r} is not in the bandits file; its bandits are {names}")
        return one

    def content(self) -> Bandits:
        """Return the bandits, those that were removed from the file included."""
        return Bandits({bandit_id: one.bandit for bandit_id, one in self._bandits.items()})

    def computed(self) -> dict[str, int]:
        """Return by bandit how many requests had to compute probabilities."""
        return {bandit_id: one.computed for bandit_id, one in self._bandits.items()}

    def take(self, bandits: Bandits) -> None:
        """Use the content of the bandits file. Keep a bandit that is no longer in it, so that requests are answered."""
        taken = dict(self._bandits)
        for bandit_id in taken.keys() - bandits.bandits.keys():
            self._faults.report(bandit_id, "removed_bandit", "the bandits file lacks this bandit, which is kept")
        for bandit_id, bandit in bandits.bandits.items():
            known = taken.get(bandit_id)
            if known is None or known.bandit != bandit:
                one = taken[bandit_id] = OneBandit(bandit, self._uniform, self._faults.report)
                if known is not None:
                    one.computed = known.computed
                    one.prepare(known.snapshot, known.cases(), self._pause)
        self._bandits = taken

    def prepare(self, snapshot: Snapshot) -> None:
        """Compute what requests will need of a snapshot that will be used next."""
        one = self._bandits.get(snapshot.bandit_id)
        if one is not None:
            one.prepare(snapshot, one.cases(), self._pause)


def _pause() -> None:
    time.sleep(_PAUSE_S)
