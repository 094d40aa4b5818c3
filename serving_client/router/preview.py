"""Route a request many times without logging, to see what a router would decide and why."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from serving_client.contracts.bandits import Bandit, Bandits
from serving_client.router.explain import reasons
from serving_client.router.router import Router
from serving_client.router.sources import NoSnapshots, Snapshots
from serving_client.snapshots.follow import Rung, SnapshotFollower
from serving_client.snapshots.stores import open_store

__all__ = ["ArmPreview", "Preview", "preview"]


@dataclasses.dataclass(frozen=True, slots=True)
class ArmPreview:
    """One arm.

    Args:
        arm_id: Name of the arm.
        probability: Its probability.
        drawn: How often it was drawn.
        decisions: Matured decisions of its current generation in the segment.
        mean_reward: Their mean reward. None without a decision.
        why: Why it has its probability.
    """

    arm_id: str
    probability: float
    drawn: int
    decisions: float
    mean_reward: float | None
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """What a router would decide.

    Args:
        bandit_id: The bandit.
        segment: Segment of the context.
        rung: How old the statistics are.
        version: Version of the newest snapshot. None without one.
        age_s: Its age in seconds. None without one.
        draws: Number of requests, those of the holdback included.
        held_back: Requests that belonged to the holdback, where nothing is drawn.
        arms: The arms, in the order of the bandits file.
        faults: What went wrong with the snapshots.
    """

    bandit_id: str
    segment: str
    rung: Rung
    version: int | None
    age_s: float | None
    draws: int
    held_back: int
    arms: Sequence[ArmPreview]
    faults: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return the preview as JSON."""
        return dataclasses.asdict(self)


def preview(
    bandit: Bandit,
    snapshots: str | None,
    context: Mapping[str, Any],
    *,
    eligible: Collection[str] | None,
    user_key: str | None,
    draws: int,
    seed: int,
) -> Preview:
    """Read the newest snapshot, and route a request many times.

    Args:
        bandit: The bandit.
        snapshots: Address of the snapshots, or None.
        context: The request's context.
        eligible: Arms that the request allows. None allows all of them.
        user_key: Key of the user. None draws for another user each time.
        draws: Number of draws, at least 1.
        seed: Seed of the draws.

    Raises:
        AddressError: The address is invalid.
        MissingExtra: The library of the store is not installed.
    """
    bandits = Bandits({bandit.bandit_id: bandit})
    faults: list[str] = []
    source: Snapshots = NoSnapshots()
    version = age_s = None
    if snapshots is not None:
        source = follower = SnapshotFollower(
            open_store(snapshots), bandits, report=lambda _, __, message: faults.append(message)
        )
        follower.poll()
        (followed,) = follower.status()
        version, age_s = followed.version, followed.age_s
    router = Router(bandits, snapshots=source, uniform=random.Random(seed).random)
    decisions = [router.route(bandit.bandit_id, context, eligible=eligible, user_key=user_key) for _ in range(draws)]
    drawn = collections.Counter(decision.arm_id for decision in decisions)
    held_back = sum(decision.holdback for decision in decisions)
    first = next((one for one in decisions if not one.holdback), decisions[0])
    snapshot = source.held(bandit.bandit_id).snapshot
    why = reasons(bandit, snapshot, eligible, first.choice, holdback=first.holdback)
    rows = {} if snapshot is None else snapshot.rows
    arms = []
    for arm_id, arm in bandit.arms.items():
        row = rows.get((first.segment, arm_id, arm.generation))
        mean_reward = None if row is None or row.n == 0 else row.sum_r / row.n
        arms.append(
            ArmPreview(
                arm_id=arm_id,
                probability=first.propensities.get(arm_id, 0.0),
                drawn=drawn[arm_id],
                decisions=0.0 if row is None else row.n,
                mean_reward=mean_reward,
                why=why[arm_id],
            )
        )
    return Preview(bandit.bandit_id, first.segment, first.rung, version, age_s, draws, held_back, arms, faults)
