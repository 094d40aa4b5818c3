"""Probabilities of one bandit under one snapshot, computed when they are first needed and kept.

A table belongs to one snapshot. When a new one arrives, a background thread makes its table and fills in the cases that
were used recently. Then the router switches to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from serving_client.contracts.bandits import Bandit, config_hash, feature_schema
from serving_client.policies.probabilities import Allocation, Probabilities, allocate, how_many
from serving_client.policies.statistics import Float64s
from serving_client.router.decision import NO_ELIGIBLE_ARM, Choice
from serving_client.router.recent import Recent
from serving_client.router.records import decision_part
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["Case", "Hashed", "Kept", "Table", "hashed"]

_KEPT = 1_024
"""Cases that a table keeps at least, if memory allows. A case of 10 arms takes about 2 KB."""
_MOST_BYTES = 128 << 20
"""What the matrices of a table's cases take at most."""


class Case(NamedTuple):
    """What probabilities depend on beside the snapshot and features.

    Args:
        segment: Segment of the request.
        eligible: Arms that the request allows. None allows all of them.
        holdback: Whether the user belongs to the holdback.
    """

    segment: str
    eligible: frozenset[str] | None = None
    holdback: bool = False


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Hashed:
    """A bandit with its hashes, which take 0.1 ms to compute.

    Args:
        bandit: The bandit.
        config_hash: `contracts.bandits.config_hash` of the bandit.
        feature_schema: `contracts.bandits.feature_schema` of the bandit. None without features.
    """

    bandit: Bandit
    config_hash: str
    feature_schema: str | None


def hashed(bandit: Bandit) -> Hashed:
    """Return the bandit with its hashes."""
    return Hashed(bandit, config_hash(bandit), feature_schema(bandit) if bandit.features else None)


class Kept(NamedTuple):
    """What a table keeps of a case: the choice, or for a policy that reads features what leads to it.

    Args:
        choice: The choice. None if it depends on the features of a request.
        allocation: The policy with its statistics. None if there is a choice.
        allowed: Active arms that the request allows, in UTF-8 order.
    """

    choice: Choice | None
    allocation: Allocation | None
    allowed: tuple[str, ...]


class Table:
    """Choices by case.

    Args:
        bandit: The bandit with its hashes.
        snapshot: Statistics. None if none is usable, and then every choice is the default arm.
        report: Called with a reason of `faults.Faults` and a message.
    """

    __slots__ = ("_cases", "_hashed", "_report", "snapshot")

    def __init__(self, bandit: Hashed, snapshot: Snapshot | None, report: Callable[[str, str], None]) -> None:
        self._hashed, self._report = bandit, report
        self.snapshot = snapshot
        kept = how_many(bandit.bandit, _MOST_BYTES // 2, _KEPT)  # a Recent keeps twice as many
        self._cases: Recent[Case, Kept] = Recent(kept)

    def find(self, case: Case) -> Kept | None:
        """Return what is kept of a case, if anything."""
        return self._cases.get(case)

    def add(self, case: Case) -> Kept:
        """Compute and keep a case that a request needs."""
        kept = self._compute(case)
        self._cases.put(case, kept)
        return kept

    def prepare(self, case: Case) -> None:
        """Compute and keep a case before a request needs it."""
        self._cases.put_unused(case, self._compute(case))

    def cases(self) -> list[Case]:
        """Return the cases that were used recently, and then the others."""
        return self._cases.keys()

    def choose(self, case: Case, allowed: tuple[str, ...], allocation: Allocation, x: Float64s) -> Choice:
        """Return the choice of a case for a policy that reads features.

        Args:
            case: The case.
            allowed: Active arms that the request allows.
            allocation: The policy with its statistics.
            x: Features of the allocation's arms, float64 [arms, width].
        """
        try:
            return self._choice(case, allowed, allocation.probabilities(x))
        except Exception as error:
            return self._default(case, allowed, error)

    def _compute(self, case: Case) -> Kept:
        bandit = self._hashed.bandit
        active = (arm_id for arm_id, arm in bandit.arms.items() if arm.state == "active")
        allowed = tuple(sorted(arm_id for arm_id in active if case.eligible is None or arm_id in case.eligible))
        if case.eligible is not None and (unknown := case.eligible - bandit.arms.keys()):
            self._report("eligible", f"eligible names {min(map(repr, unknown))}, which is not an arm; correct it")
        if case.holdback and bandit.holdback is not None:
            return Kept(self._held_back(case, bandit.holdback.arm, allowed), None, allowed)
        if self.snapshot is None:
            return Kept(self._default(case, allowed), None, allowed)
        try:
            allocation = allocate(bandit, self.snapshot, case.segment, allowed)
            if allocation.plain is None:
                return Kept(None, allocation, allowed)
            return Kept(self._choice(case, allowed, allocation.plain), None, allowed)
        except Exception as error:
            return Kept(self._default(case, allowed, error), None, allowed)

    def _held_back(self, case: Case, arm_id: str, allowed: tuple[str, ...]) -> Choice:
        rolled_back = frozenset() if self.snapshot is None else self.snapshot.rolled_back
        shown = arm_id in allowed and (arm_id, self._hashed.bandit.arms[arm_id].generation) not in rolled_back
        return self._choice(case, allowed, _certain(arm_id), fallback_reason=None if shown else NO_ELIGIBLE_ARM)

    def _default(self, case: Case, allowed: tuple[str, ...], error: Exception | None = None) -> Choice:
        """Return the default arm, because there is no snapshot or the policy failed."""
        if error is not None:  # whatever the statistics are, the request is answered
            self._report("policy", f"the policy failed, so the default arm is used: {error!r}")
        arm_id = self._hashed.bandit.default_arm
        reason = None if arm_id in allowed else NO_ELIGIBLE_ARM
        return self._choice(case, allowed, _certain(arm_id), defaulted=True, fallback_reason=reason)

    def _choice(
        self,
        case: Case,
        allowed: tuple[str, ...],
        found: Probabilities,
        *,
        defaulted: bool = False,
        fallback_reason: str | None = None,
    ) -> Choice:
        bandit = self._hashed.bandit
        if not found.arms:
            found, defaulted, fallback_reason = _certain(bandit.default_arm), True, NO_ELIGIBLE_ARM
        version = None if self.snapshot is None else self.snapshot.version
        part = decision_part(
            bandit_id=bandit.bandit_id,
            policy_epoch=bandit.policy_epoch,
            segment=case.segment,
            eligible_arms=allowed,
            propensities=dict(zip(found.arms, found.p, strict=True)),
            snapshot_version=version,
            config_hash=self._hashed.config_hash,
            feature_schema=self._hashed.feature_schema,
        )
        return Choice(
            bandit=bandit,
            segment=case.segment,
            arms=found.arms,
            p=found.p,
            cumulative=found.cumulative,
            eligible_arms=allowed,
            snapshot_version=version,
            defaulted=defaulted,
            fallback_reason=fallback_reason,
            part=part,
        )


def _certain(arm_id: str) -> Probabilities:
    return Probabilities((arm_id,), (1.0,), (1.0,))
