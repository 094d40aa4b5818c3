"""`Fallback` for asyncio, with the same names and rules; see `fallback` and `fallback_chain`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serving_client.aio import Client
from serving_client.fallback_chain import RESERVE, Chain, Rung
from serving_client.observing import Observer
from serving_client.popularity import Popularity
from serving_client.results import Recommendation

__all__ = ["Fallback"]


class Fallback:
    """Recommends within `timeout_s`, from the first rung that answers; of one event loop, as its clients are.

    rungs: models, best first, at least one. popularity: read and checked before, see `Popularity.from_file`.
    timeout_s: seconds for a whole call. reserve: share of the time left that a model leaves to the models after it.
    observers: told of every call as a Call whose method is "Fallback" and whose rung is the one that answered; what the
    models did is for the observers of their clients. Raises ValueError. The clients stay their owners' to close.
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
        """Items for a history, oldest first, none of `history` or of `exclude`; always a list, never later than asked.

        k: at most so many; None for what the model gives (100 of popularity). timeout_s: of this call, None for the
        chain's own. Raises InvalidRequest for a mistake in the arguments, ClientClosed, and what a
        client's featurize raises; nothing of a server's.
        """
        with self._chain.climb(history, exclude, k, timeout_s) as climb:
            for turn in climb:
                with turn:
                    answer = turn.answered(await turn.client.recommend(climb.history, **turn.arguments))
                    if answer.items:
                        return answer
            return climb.popular()
