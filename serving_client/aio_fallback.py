"""`Fallback` for asyncio, with the same names and rules; see `fallback` and `fallback_chain`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serving_client.aio import Client
from serving_client.fallback_chain import RESERVE, Chain, Climb, Rung
from serving_client.observing import Observer
from serving_client.popularity import Popularity
from serving_client.results import Recommendation

__all__ = ["Fallback", "first_answer"]


class Fallback:
    """A fallback chain that recommends within `timeout_s`. The first rung that answers wins.

    One event loop uses a fallback. It does not close the clients.

    Args:
        rungs: Models, best first, at least one.
        popularity: Popular items for when no model answers. See `Popularity.from_file`.
        timeout_s: Deadline of a whole call in seconds.
        reserve: Share of the time left that a model leaves to the models after it.
        observers: Observers of the fallback's calls. The method of a call is "Fallback" and its rung is the one that
            answered. Calls to the models go to the observers of their clients.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: An argument is out of range, or two rungs share a name or a breaker.
    """

    def __init__(
        self,
        rungs: Sequence[Rung[Client]],
        popularity: Popularity,
        *,
        timeout_s: float = 1.0,
        reserve: float = RESERVE,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = Chain(rungs, popularity, timeout_s, reserve, observers, clock)

    async def recommend(
        self,
        history: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        k: int | None = None,
        timeout_s: float | None = None,
    ) -> Recommendation:
        """Recommend items for a history. It returns a list in time even if no server answers.

        Args:
            history: Item ids, oldest first. They are not recommended.
            exclude: Further item ids that are not recommended.
            k: Number of items at most. None returns what the model gives, or 100 popular items.
            timeout_s: Deadline of this call in seconds. None uses the fallback's own.

        Raises:
            InvalidRequest: An argument is invalid.
            ClientClosed: A client is closed.
            Exception: Whatever a client's `featurize` raises.
        """
        with self._chain.climb(history, exclude, k, timeout_s) as climb:
            return await first_answer(climb)


async def first_answer(climb: Climb[Client]) -> Recommendation:
    """Call the models of a climb in turn, and return the first answer with items, or popular items."""
    for turn in climb:
        with turn:
            answer = turn.answered(await turn.client.recommend(climb.history, **turn.arguments))
            if answer.items:
                return answer
    return climb.popular()
