"""The policy that is evaluated: what it would have drawn, as probabilities by arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Protocol

import orjson

from serving_client.contracts.bandits import Bandit
from serving_client.contracts.policies import LINEAR
from serving_client.features import FeatureEncoder, segment_of
from serving_client.policies.probabilities import Allocation, allocate, how_many
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["AlwaysArm", "FrozenPolicy", "Target"]

_MOST_KEPT, _MOST_BYTES = 4_096, 256 << 20
"""Allocations that are kept, one per segment and set of eligible arms, and the memory of their matrices."""


class Target(Protocol):
    """A policy that does not change while it is evaluated."""

    @property
    def name(self) -> str:
        """Return the policy in words, for reports."""

    @property
    def arms(self) -> Collection[str]:
        """Return the arms that the policy may draw."""

    @property
    def generations(self) -> Mapping[str, int]:
        """Return the generation of each arm."""

    @property
    def needs_context(self) -> bool:
        """Return whether `probabilities` reads the context."""

    def probabilities(self, segment: str, eligible: Collection[str] | None, context: str | None) -> Mapping[str, float]:
        """Return the probability of each arm that may be drawn. They add up to 1.

        Args:
            segment: The decision's segment.
            eligible: The eligible arms. None stands for all.
            context: The decision's context as a JSON text, None without one.
        """


@dataclasses.dataclass(frozen=True)
class AlwaysArm:
    """Draws one arm wherever it is eligible, and the default arm elsewhere.

    Args:
        bandit: The bandit.
        arm_id: One of its arms.
    """

    bandit: Bandit
    arm_id: str

    @property
    def name(self) -> str:
        """Return the policy in words."""
        return f"always {self.arm_id}"

    @property
    def arms(self) -> Collection[str]:
        """Return the arm and the default arm."""
        return (self.arm_id, self.bandit.default_arm)

    @property
    def generations(self) -> Mapping[str, int]:
        """Return the generation of each arm of the bandit."""
        return {arm_id: arm.generation for arm_id, arm in self.bandit.arms.items()}

    @property
    def needs_context(self) -> bool:
        """Return False."""
        return False

    def probabilities(self, segment: str, eligible: Collection[str] | None, context: str | None) -> Mapping[str, float]:
        """Return 1 for the arm, or for the default arm if the arm is not eligible."""
        return {self.arm_id if eligible is None or self.arm_id in eligible else self.bandit.default_arm: 1.0}


class FrozenPolicy:
    """Draws as a router would that has one snapshot for ever. Where no arm is eligible it draws the default arm.

    Args:
        bandit: The bandit with the policy.
        source: Name of the file that the bandit is from.
        snapshot: What the policy has learned. A fixed policy needs none.
        same_segments: The log's segments are those of the bandit. Otherwise they are computed from the context.
    """

    def __init__(self, bandit: Bandit, source: str, snapshot: Snapshot | None, *, same_segments: bool) -> None:
        self._bandit, self._source, self._snapshot = bandit, source, snapshot
        self._same_segments = same_segments
        self._linear = bandit.policy["kind"] in LINEAR
        self._encoder = FeatureEncoder(bandit)
        self._most_kept = how_many(bandit, _MOST_BYTES, _MOST_KEPT)
        self._allocations: dict[tuple[str, Collection[str] | None], Allocation] = {}

    @property
    def name(self) -> str:
        """Return the policy in words."""
        at = "" if self._snapshot is None else f" at snapshot {self._snapshot.version}"
        return f"{self._bandit.policy['kind']} of {self._source}{at}"

    @property
    def arms(self) -> Collection[str]:
        """Return the arms of the bandit."""
        return self._bandit.arms.keys()

    @property
    def generations(self) -> Mapping[str, int]:
        """Return the generation of each arm of the bandit."""
        return {arm_id: arm.generation for arm_id, arm in self._bandit.arms.items()}

    @property
    def needs_context(self) -> bool:
        """Return whether features or segments are computed from the context."""
        return self._linear or not self._same_segments

    def probabilities(self, segment: str, eligible: Collection[str] | None, context: str | None) -> Mapping[str, float]:
        """Return the probabilities of the router, `serving_client.policies`."""
        values = {} if context is None else orjson.loads(context)
        if not self._same_segments:
            segment = segment_of(self._bandit, values)
        key = (segment, None if eligible is None else frozenset(eligible))
        allocation = self._allocations.get(key)
        if allocation is None:
            if len(self._allocations) >= self._most_kept:
                self._allocations.clear()
            allocation = self._allocations[key] = allocate(self._bandit, self._snapshot, *key)
        x = None
        if self._linear and allocation.arms:
            x = self._encoder.encode_arms(allocation.arms, values)
        found = allocation.probabilities(x)
        return dict(zip(found.arms, found.p, strict=True)) if found.arms else {self._bandit.default_arm: 1.0}
