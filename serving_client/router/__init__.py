"""Route requests to the arms of bandits, and write the logs of decisions and rewards.

    from serving_client.router import Router

The extra `router` installs what this package needs. The recommender for asyncio is `serving_client.router.aio`. A name
is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving_client.router.arms import Item, Shown
    from serving_client.router.bandit_set import UnknownBandit
    from serving_client.router.decision import Decision
    from serving_client.router.decision_log import AlreadyLogged
    from serving_client.router.ids import DecisionKeys, Forged
    from serving_client.router.recommender import Recommender
    from serving_client.router.router import Router

__all__ = [
    "AlreadyLogged",
    "Decision",
    "DecisionKeys",
    "Forged",
    "Item",
    "Recommender",
    "Router",
    "Shown",
    "UnknownBandit",
]

_HOMES = {
    "Item": "arms",
    "Shown": "arms",
    "UnknownBandit": "bandit_set",
    "Decision": "decision",
    "AlreadyLogged": "decision_log",
    "DecisionKeys": "ids",
    "Forged": "ids",
    "Recommender": "recommender",
    "Router": "router",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
