"""Write each decision to the log once, with what was shown."""

from __future__ import annotations

import collections
import operator
import threading
from collections.abc import Sequence
from typing import Any

from serving_client.contracts.ids import MOST_ID_BYTES, id_fault
from serving_client.router.decision import POPULARITY, Decision
from serving_client.router.faults import Faults
from serving_client.router.records import decision_line
from serving_client.router.rewards import LineLog

__all__ = ["AlreadyLogged", "DecisionLog"]


_MOST_COUNTED = 2_000
"""Combinations of bandit, arm and reason that are counted apart. An application may pass a new reason each time."""


class AlreadyLogged(RuntimeError):
    """A decision was logged twice. Two lines with one id would count as a duplicate."""


class DecisionLog:
    """The log of decisions. Thread-safe.

    Args:
        log: Takes the lines.
        faults: Counts decisions that cannot be written.
    """

    def __init__(self, log: LineLog, faults: Faults) -> None:
        self._log, self._faults = log, faults
        self._lock = threading.Lock()
        self._fallbacks: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def write(
        self,
        decision: Decision,
        served_by: str | None,
        items: Sequence[str],
        model_version: int | str | None,
        fallback_reason: str | None,
        bot: bool,
    ) -> bool:
        """Write a decision. `Router.log` describes the arguments and errors."""
        choice, index = decision.choice, decision.index  # properties would take 1 us more
        arms, arm_id = choice.bandit.arms, choice.arms[index]
        reason = fallback_reason or choice.fallback_reason
        if served_by is None:
            served_by = decision.served_by
        elif served_by != POPULARITY and served_by not in arms:
            raise ValueError(f"served_by {served_by!r} is not an arm of {decision.bandit_id}; use an arm or popularity")
        with self._lock:
            if decision.logged:
                raise AlreadyLogged(f"decision {decision.decision_id} is logged already; call route again for another")
            decision.logged = True
            if served_by != arm_id:
                key = decision.bandit_id, arm_id, reason or "unknown"
                if len(self._fallbacks) >= _MOST_COUNTED and key not in self._fallbacks:
                    key = decision.bandit_id, arm_id, "other"
                self._fallbacks[key] += 1
        try:
            line = decision_line(
                choice.part,
                decision_id=decision.decision_id,
                arm_id=arm_id,
                arm_generation=arms[arm_id].generation,
                propensity=choice.p[index],
                decided_at_us=decision.decided_at_us,
                draw=decision.draw,
                rung=decision.rung,
                served_by=None if served_by == arm_id else served_by,
                fallback_reason=reason,
                model_version=model_version if type(model_version) in (int, str) else _version(model_version),
                context=decision.context,
                features=decision.features,
                items=self._item_ids(decision.bandit_id, items),
                user_key=decision.user_key,
                bot=bot,
                holdback=decision.holdback,
            )
        except Exception as error:  # the page is shown whether or not its decision can be written
            self._faults.report(decision.bandit_id, "record", f"a decision cannot be written: {error!r}; report this")
            return False
        return self._log.write(line)

    def fallbacks(self) -> dict[tuple[str, str, str], int]:
        """Return the number of decisions that did not show the drawn arm, by bandit, arm and reason."""
        with self._lock:
            return dict(self._fallbacks)

    def _item_ids(self, bandit_id: str, items: Sequence[str]) -> list[str]:
        """Return the ids to log. Without a valid list the line has none, because a malformed line would not count."""
        try:
            return _ids(items)
        except (TypeError, ValueError) as error:
            self._faults.report(bandit_id, "items", f"a decision is logged without its items: {error}; correct items")
            return []

    def forked(self) -> None:
        """Replace the lock in a child process, where the thread that held it does not exist."""
        self._lock = threading.Lock()


def _ids(items: Any) -> list[str]:
    """Return ids of items. Integers become text.

    Raises:
        TypeError: The items are not a list, or an id is neither text nor an integer.
        ValueError: An id breaks the rule of `contracts.ids`.
    """
    if isinstance(items, str | bytes):
        raise TypeError(f"items is of type {type(items).__name__}, not a list of ids")
    ids = [] if items is None else list(items)
    try:
        text = "".join(ids)
    except TypeError:
        ids = [one if isinstance(one, str) else str(operator.index(one)) for one in ids]
        text = "".join(ids)
    short = len(text) <= MOST_ID_BYTES // 4 or max(map(len, ids)) <= MOST_ID_BYTES // 4
    if short and text.isprintable() and all(ids):  # most lists
        return ids
    for at, one in enumerate(ids):
        if fault := id_fault(one):
            raise ValueError(f"items[{at}] {fault}")
    return ids


def _version(version: Any) -> int | str | None:
    """Return a model's version as an integer or text."""
    try:
        return None if version is None else operator.index(version)
    except TypeError:
        return str(version)
