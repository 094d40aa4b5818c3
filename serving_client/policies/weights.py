"""Find a policy's kind and compute the weights of its arms, or draw arms by them.

`weights` is a pure function. `prepare` does what does not depend on a request's features once per snapshot. A simulator
uses `draw`, because drawing from posteriors is faster than computing weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from serving_client.policies import (
    epsilon_greedy,
    fixed,
    lints,
    linucb,
    softmax,
    thompson_beta,
    thompson_gaussian,
    top_two,
    ucb1,
    ucb_tuned,
)
from serving_client.policies.linear import LinearPosterior, linear_posterior
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["Prepared", "draw", "prepare", "weights"]

Arms: TypeAlias = npt.NDArray[np.intp]

_WEIGHTS: Mapping[str, Callable[[Mapping[str, Any], ArmStatistics], Float64s]] = {
    "epsilon_greedy": epsilon_greedy.weights,
    "fixed": fixed.weights,
    "softmax": softmax.weights,
    "thompson_beta": thompson_beta.weights,
    "thompson_gaussian": thompson_gaussian.weights,
    "top_two": top_two.weights,
    "ucb1": ucb1.weights,
    "ucb_tuned": ucb_tuned.weights,
}
_LINEAR_WEIGHTS: Mapping[str, Callable[[Mapping[str, Any], LinearPosterior, Float64s], Float64s]] = {
    "lints": lints.weights,
    "linucb": linucb.weights,
}
_DRAWS: Mapping[str, Callable[[Mapping[str, Any], ArmStatistics, np.random.Generator], Arms]] = {
    "thompson_beta": thompson_beta.draw,
    "thompson_gaussian": thompson_gaussian.draw,
    "top_two": top_two.draw,
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A policy with what it learned. `weights` is then fast enough for a request.

    Args:
        policy: The policy, with its defaults filled in.
        statistics: The arms. A kind with features needs xtx and xtr no longer.
        posterior: The arms' posteriors, for a kind with features.
        plain: The weights, for a kind without features.
    """

    policy: Mapping[str, Any]
    statistics: ArmStatistics
    posterior: LinearPosterior | None
    plain: Float64s | None

    def weights(self, x: Float64s | None = None) -> Float64s:
        """Return the weights of the arms, float64 [..., k].

        Args:
            x: Features per arm, float64 [..., k, d]. Only a kind with features needs them.

        Raises:
            ValueError: The kind needs features and x is None.
        """
        if self.plain is not None:
            return self.plain
        posterior, features = self._linear(x)
        return _LINEAR_WEIGHTS[self.policy["kind"]](self.policy, posterior, features)

    def take(self, arms: Sequence[int]) -> Prepared:
        """Return the policy for the arms at these positions. It is computed for these arms and not renormalized."""
        if self.posterior is None:
            return prepare(self.policy, self.statistics.take(arms))
        return Prepared(self.policy, self.statistics.take(arms), self.posterior.take(arms), None)

    def draw(self, rng: np.random.Generator, x: Float64s | None = None) -> Arms:
        """Return positions of arms, [...], drawn with the probabilities that `weights` returns."""
        if self.policy["kind"] == "lints":
            posterior, features = self._linear(x)
            return lints.draw(self.policy, posterior, features, rng)
        cumulative = np.cumsum(self.weights(x), axis=-1)
        u = rng.random(cumulative.shape[:-1]) * cumulative[..., -1]
        arms: Arms = (cumulative <= u[..., None]).sum(axis=-1)
        return arms

    def _linear(self, x: Float64s | None) -> tuple[LinearPosterior, Float64s]:
        if self.posterior is None or x is None:
            raise ValueError(f"policy.kind {self.policy['kind']} needs the features of every arm; pass x")
        return self.posterior, x


def prepare(policy: Mapping[str, Any], statistics: ArmStatistics) -> Prepared:
    """Return a policy with what it learned from the statistics.

    Args:
        policy: The policy, with its defaults filled in (`contracts.policies.policy_of`).
        statistics: The arms.
    """
    kind = policy["kind"]
    if kind in _LINEAR_WEIGHTS:
        posterior = linear_posterior(float(policy["ridge"]), statistics)
        return Prepared(policy, dataclasses.replace(statistics, xtx=None, xtr=None), posterior, None)
    return Prepared(policy, statistics, None, _WEIGHTS[kind](policy, statistics))


def weights(policy: Mapping[str, Any], statistics: ArmStatistics, x: Float64s | None = None) -> Float64s:
    """Return the weights of the arms under a policy.

    Args:
        policy: The policy, with its defaults filled in.
        statistics: The arms, with any leading dimensions.
        x: Features per arm, float64 [..., k, d], for a kind with features.

    Returns:
        float64 [..., k]. The last axis sums to 1.
    """
    return prepare(policy, statistics).weights(x)


def draw(
    policy: Mapping[str, Any], statistics: ArmStatistics, rng: np.random.Generator, x: Float64s | None = None
) -> Arms:
    """Draw one arm for each leading index, with the probabilities that `weights` returns.

    Args:
        policy: The policy, with its defaults filled in.
        statistics: The arms, with any leading dimensions.
        rng: Source of randomness.
        x: Features per arm, float64 [..., k, d], for a kind with features.

    Returns:
        Positions of arms, [...].
    """
    drawn = _DRAWS.get(policy["kind"])
    return drawn(policy, statistics, rng) if drawn is not None else prepare(policy, statistics).draw(rng, x)
