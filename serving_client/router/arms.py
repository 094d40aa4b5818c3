"""The fallback chain of a decision: the drawn arm, the default arm, popular items.

All decisions share one circuit breaker per arm, whether the arm was drawn or is the default arm of another draw. A
breaker never changes which arms can be drawn, because an arm that nobody draws would never be tried again.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from serving_client.breaker import CircuitBreaker
from serving_client.contracts.bandits import Arm, Bandit
from serving_client.fallback_chain import Chain, Climb, Rung
from serving_client.observing import Observer
from serving_client.popularity import Popularity
from serving_client.results import Recommendation
from serving_client.router.decision import Decision

__all__ = ["Arms", "Item", "Shown", "shown"]

_LOG = logging.getLogger("serving_client")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
C = TypeVar("C")
"""The client of an arm: Client, aio.Client, or another with their `recommend`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One recommended item.

    Args:
        item_id: Id of the item.
        position: Place in the list, from 0. A reward names it.
        score: Score of the model that answered.
    """

    item_id: str
    position: int
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What a recommender shows for a decision.

    Args:
        decision: The decision, which is logged.
        items: Items, best first.
        served_by: Arm whose model answered, or `popularity`.
        model: Model that answered. Empty for popular items.
        model_version: Version of the model, or None if it is unknown.
        fallback_reason: Why the drawn arm did not answer, as in `deadline_exceeded`. None if it did.
    """

    decision: Decision
    items: tuple[Item, ...]
    served_by: str
    model: str
    model_version: int | None
    fallback_reason: str | None

    @property
    def decision_id(self) -> str:
        """Id that rewards name."""
        return self.decision.decision_id


class Arms(Generic[C]):
    """The arms of one bandit as rungs of one fallback chain.

    Args:
        bandit: The bandit.
        clients: Client of every arm, or a client by model name.
        popularity: Popular items for when no model answers.
        timeout_s: Deadline of a whole call in seconds.
        reserve: Share of the time left that a model leaves to the models after it.
        observers: Observers of the calls.
        breaker: Makes the circuit breaker of an arm.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: The model of an active arm has no client, an arm is called `popularity`, or a time is out of range.
    """

    def __init__(
        self,
        bandit: Bandit,
        clients: C | Mapping[str, C],
        popularity: Popularity,
        *,
        timeout_s: float,
        reserve: float,
        observers: Sequence[Observer],
        breaker: Callable[[], CircuitBreaker],
        clock: Callable[[], float],
    ) -> None:
        self._clients, self._breaker, self._breakers = clients, breaker, dict[str, CircuitBreaker]()
        self._new_chain = functools.partial(
            Chain, popularity=popularity, timeout_s=timeout_s, reserve=reserve, observers=observers, clock=clock
        )
        self._bandit = bandit
        self._chain, self._rungs = self._chain_of_arms(bandit)

    def climb(
        self, decision: Decision, history: Sequence[str], exclude: Sequence[str], k: int | None, timeout_s: float | None
    ) -> Climb[C]:
        """Begin the fallback of one decision. The arguments are as in `Chain.climb`."""
        bandit = decision.choice.bandit
        if bandit is not self._bandit:
            self._follow(bandit)
        names = [decision.arm_id, bandit.default_arm] if decision.fallback_reason is None else []
        allowed = (decision.arm_id, *decision.choice.eligible_arms)
        rungs = [self._rungs[name] for name in dict.fromkeys(names) if name in allowed and name in self._rungs]
        return self._chain.climb(history, exclude, k, timeout_s, rungs)

    def _follow(self, bandit: Bandit) -> None:
        """Take the arms of a bandits file that was read again. If that fails, calls go on with the arms from before.

        Several threads may do so at once, with the same result. A lock that is held at a fork would stop the child.
        """
        try:
            self._chain, self._rungs = self._chain_of_arms(bandit)
        except ValueError as error:
            _LOG.error("recommender of bandit %s keeps the arms it had: %s", bandit.bandit_id, error)
        self._bandit = bandit

    def _chain_of_arms(self, bandit: Bandit) -> tuple[Chain[C], Mapping[str, Rung[C]]]:
        rungs = {arm_id: self._rung(arm) for arm_id, arm in bandit.arms.items() if arm.state == "active"}
        return self._new_chain(list(rungs.values())), rungs

    def _rung(self, arm: Arm) -> Rung[C]:
        client = self._clients.get(arm.model) if isinstance(self._clients, Mapping) else self._clients
        if client is None:
            raise ValueError(f"arm {arm.arm_id} has model {arm.model}, which has no client; add it to clients")
        breaker = self._breakers.setdefault(arm.arm_id, self._breaker())
        return Rung(client, arm.model, version_label=arm.version_label, name=arm.arm_id, breaker=breaker)


def shown(decision: Decision, answer: Recommendation, failures: Mapping[str, str]) -> Shown:
    """Return what is shown for a decision.

    Args:
        decision: The decision.
        answer: The answer of an arm's model, or popular items.
        failures: Failures of the arms that were passed, as in `Climb`.
    """
    pairs = zip(answer.items, answer.scores.tolist(), strict=True)
    reason = None
    if answer.rung != decision.arm_id:
        failure = failures.get(decision.arm_id, "NoClient")
        reason = decision.fallback_reason or _WORDS.sub("_", failure).lower()
    return Shown(
        decision=decision,
        items=tuple(Item(item_id, position, score) for position, (item_id, score) in enumerate(pairs)),
        served_by=answer.rung,
        model=answer.model,
        model_version=answer.version,
        fallback_reason=reason,
    )
