"""Recommend through a router: draw an arm, call its model, fall back if it fails, and log the decision.

    recommender = Recommender(router, "home_row", client, popularity)
    shown = recommender.recommend("u42", ["c07", "c12"], {"plan": "free"}, k=10)
    shown.decision_id, shown.items[0].item_id, shown.items[0].position

`aio` is the same for asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from serving_client.breaker import CircuitBreaker
from serving_client.client import Client
from serving_client.fallback import first_answer
from serving_client.fallback_chain import RESERVE
from serving_client.observing import Observer
from serving_client.popularity import Popularity
from serving_client.router.arms import Arms, Shown, shown
from serving_client.router.router import Router

__all__ = ["Recommender"]


class Recommender:
    """Recommends for one bandit within `timeout_s`. Threads may share it. It closes neither router nor clients.

    A request is always answered: by the drawn arm's model, else by the default arm's, else with popular items. A model
    that keeps failing is skipped for a while; see `serving_client.breaker`.

    Args:
        router: The router, which logs the decisions.
        bandit: Name of the bandit.
        clients: Client of every arm, or a client by model name. Its protocol may be TensorFlow Serving's or Open
            Inference.
        popularity: Popular items for when no model answers. See `Popularity.from_file`.
        timeout_s: Deadline of a whole call in seconds.
        reserve: Share of the time left that a model leaves to the models after it.
        breaker: Makes the circuit breaker of an arm.
        observers: Observers of the recommender's calls. The method of a call is "Fallback" and its rung is the arm that
            answered, or "popularity".
        clock: Monotonic time in seconds.

    Raises:
        UnknownBandit: The bandits file does not have the bandit.
        ValueError: The model of an active arm has no client, an arm is called `popularity`, or a time is out of range.
    """

    def __init__(
        self,
        router: Router,
        bandit: str,
        clients: Client | Mapping[str, Client],
        popularity: Popularity,
        *,
        timeout_s: float = 1.0,
        reserve: float = RESERVE,
        breaker: Callable[[], CircuitBreaker] = CircuitBreaker,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router, self._bandit_id = router, bandit
        self._arms = Arms(
            router.bandit(bandit),
            clients,
            popularity,
            timeout_s=timeout_s,
            reserve=reserve,
            observers=observers,
            breaker=breaker,
            clock=clock,
        )

    def recommend(
        self,
        user_key: str | None,
        history: Sequence[str],
        context: Mapping[str, Any] | None = None,
        *,
        eligible: Collection[str] | None = None,
        exclude: Sequence[str] = (),
        k: int | None = None,
        timeout_s: float | None = None,
    ) -> Shown:
        """Decide, recommend items for a history, and log the decision.

        Args:
            user_key: Key of the user. None for an anonymous request.
            history: Item ids, oldest first. They are not recommended.
            context: Values of the bandit's segment and feature keys. Other keys are ignored.
            eligible: Arms that may be drawn. None allows all of them.
            exclude: Further item ids that are not recommended.
            k: Number of items at most. None returns what the model gives, or 100 popular items.
            timeout_s: Deadline of this call in seconds. None uses the recommender's own.

        Raises:
            InvalidRequest: An argument is invalid. Nothing is logged then.
            ClientClosed: A client is closed.
            Exception: Whatever a client's `featurize` raises.
        """
        decision = self._router.route(self._bandit_id, context, eligible=eligible, user_key=user_key)
        with self._arms.climb(decision, history, exclude, k, timeout_s) as climb:
            page = shown(decision, first_answer(climb), climb.failures)
        self._router.log(
            decision,
            served_by=page.served_by,
            items=[item.item_id for item in page.items],
            model_version=page.model_version,
            fallback_reason=page.fallback_reason,
        )
        return page
