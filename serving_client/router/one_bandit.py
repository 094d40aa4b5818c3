"""Decide for one bandit: read the context, find the probabilities of its segment, draw an arm."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Bandit
from serving_client.features import FeatureEncoder, logged_context, segment_of
from serving_client.router.decision import Choice, Decision
from serving_client.router.table import Case, Kept, Table, hashed
from serving_client.router.users import sticky_draw, sticky_holdback
from serving_client.snapshots.follow import Rung
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["OneBandit"]

Float64s = npt.NDArray[np.float64]

_MOST_PREPARED = 256
"""Cases that are computed in advance for a new snapshot. One takes under 1 ms. Others are computed by a request."""


class OneBandit:
    """One bandit of a bandits file, with the probabilities of its current snapshot.

    `computed` counts the requests that had to compute probabilities.

    Args:
        bandit: The bandit.
        uniform: Random numbers in [0, 1).
        report: Called with a bandit's name, a reason and a message; see `faults.Faults`.
    """

    def __init__(self, bandit: Bandit, uniform: Callable[[], float], report: Callable[[str, str, str], None]) -> None:
        self.bandit = bandit
        self.computed = 0
        self._hashed = hashed(bandit)
        self._seen_hashes = {self._hashed.config_hash}
        self._uniform, self._report = uniform, functools.partial(report, bandit.bandit_id)
        self._encoder = FeatureEncoder(bandit) if bandit.features else None
        self._table = self._ready = self._new_table(None)

    def decide(
        self,
        decision_id: str,
        now_us: int,
        rung: Rung,
        snapshot: Snapshot | None,
        context: Mapping[str, Any] | None,
        eligible: Collection[str] | None,
        user_key: str | None,
    ) -> Decision:
        """Draw an arm.

        Args:
            decision_id: Id of the decision.
            now_us: Time of the decision in microseconds since 1970.
            rung: How old the snapshot is.
            snapshot: Usable statistics, or None.
            context: The request's context.
            eligible: Arms that the request allows. None allows all of them.
            user_key: A valid key of the user, or None.
        """
        bandit = self.bandit
        context = context or {}
        holdback = bandit.holdback
        held_back = holdback is not None and (
            (self._uniform() if user_key is None else sticky_holdback(bandit, user_key)) < holdback.share
        )
        case = Case(segment_of(bandit, context), None if eligible is None else frozenset(eligible), held_back)
        table = self._table
        if table.snapshot is not snapshot:
            table = self._switch(snapshot)
        kept = table.find(case)
        if kept is None:
            self.computed += 1  # two threads may count one request less, which does not matter
            kept = table.add(case)
        choice, vectors = kept.choice, None
        if choice is None:
            choice, vectors = self._choose(table, case, kept, context)
        if held_back:
            draw, index = None, 0
        else:
            draw = self._uniform() if user_key is None or not bandit.sticky else sticky_draw(bandit, user_key)
            index = bisect.bisect_right(choice.cumulative, draw)
        return Decision(
            decision_id,
            choice,
            index,
            "default" if choice.defaulted else rung,
            now_us,
            draw,
            user_key,
            held_back,
            logged_context(bandit, context),
            self._features(choice.arms[index], context) if vectors is None else vectors[index],
        )

    def prepare(self, snapshot: Snapshot | None, cases: Iterable[Case], pause: Callable[[], None]) -> None:
        """Compute cases in advance, for a snapshot that will be used next.

        Args:
            snapshot: The next snapshot.
            cases: The cases, most important first.
            pause: Called after each case. It sleeps, so that threads with requests can run.
        """
        if snapshot is not None and snapshot.config_hash not in self._seen_hashes:
            self._seen_hashes.add(snapshot.config_hash)
            self._report(
                "config_hash",
                f"snapshot {snapshot.version} was counted by another version of the bandits file; give the router and "
                "reward-stream the same file",
            )
        table = self._new_table(snapshot)
        for case in itertools.islice(cases, _MOST_PREPARED):
            table.prepare(case)
            pause()
        self._ready = table

    def cases(self) -> list[Case]:
        """Return the cases that were used recently, most important first."""
        return self._table.cases()

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot in use."""
        return self._table.snapshot

    def _choose(
        self, table: Table, case: Case, kept: Kept, context: Mapping[str, Any]
    ) -> tuple[Choice, Float64s | None]:
        """Return the choice of a policy that reads features, and the features of its arms."""
        assert kept.allocation is not None, "a case has a choice or an allocation"
        assert self._encoder is not None, "a policy that reads features has features"
        vectors = self._encoder.encode_arms(kept.allocation.arms, context)
        choice = table.choose(case, kept.allowed, kept.allocation, vectors)
        return choice, None if choice.defaulted else vectors

    def _features(self, arm_id: str, context: Mapping[str, Any]) -> Float64s | None:
        return None if self._encoder is None else self._encoder.encode(arm_id, context)

    def _switch(self, snapshot: Snapshot | None) -> Table:
        table = self._ready
        if table.snapshot is not snapshot:
            table = self._new_table(snapshot)
        self._table = table
        return table

    def _new_table(self, snapshot: Snapshot | None) -> Table:
        return Table(self._hashed, snapshot, self._report)
