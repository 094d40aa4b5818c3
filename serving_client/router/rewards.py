"""Record what happened after a decision: check a reward, and write it to the reward log."""

from __future__ import annotations

import base64
import hashlib
import math
import operator
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from serving_client.contracts.bandits import Bandit, Bandits
from serving_client.contracts.ids import id_fault
from serving_client.contracts.times import parse_time, wall_clock_us
from serving_client.router.counting import Counts
from serving_client.router.ids import DecisionKeys, Forged
from serving_client.router.records import reward_line

__all__ = ["LineLog", "RewardRecorder", "default_event_id"]

_DECIMALS = 6
_MOST = 1e9
_MOST_INTEGER = 2**63
_EARLIEST_US, _LATEST_US = 10**14, 10**17
"""The years 1973 to 5138. Today in seconds, milliseconds or nanoseconds lies outside."""


class LineLog(Protocol):
    """Takes the lines of a log: LogFiles or LogCalls."""

    def write(self, line: bytes, /) -> bool:
        """Take a line with its LF, without blocking. Return False if the line is lost and counted."""


class RewardRecorder:
    """Writes rewards. Thread-safe. A router has one, and an endpoint that only receives rewards can make its own.

    Args:
        log: Takes the lines.
        bandits: Content of the bandits file. Assign `bandits` again when the file changes.
        keys: Keys that decision ids are signed with. None accepts every id.
        clock_us: Clock, microseconds since 1970.
    """

    def __init__(
        self,
        log: LineLog,
        bandits: Bandits,
        *,
        keys: DecisionKeys | None = None,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self.bandits = bandits
        self._log, self._keys, self._clock_us = log, keys, clock_us
        self._rejected = Counts()

    @property
    def rejected(self) -> Mapping[str, int]:
        """Rewards that raised, by reason: "forged" or "invalid"."""
        return self._rejected.read()

    def record(
        self,
        decision_id: str,
        kind: str,
        value: float = 1,
        item_id: str | None = None,
        position: int | None = None,
        event_id: str | None = None,
        occurred_at: int | str | None = None,
        *,
        bandit_id: str | None = None,
    ) -> bool:
        """Write a reward to the log.

        Recording an event twice is harmless: records with equal decision and event ids count once.

        Args:
            decision_id: Id of the decision, as the router returned it.
            kind: Such as "click". "impression" says that the decision was shown.
            value: Value of the event. Rounded to six decimal places.
            item_id: Item of the event.
            position: The item's place in the list.
            event_id: Identity of the event within its decision. By default a hash of decision, kind, item and position,
                so that a second click on one item is the same event. Required where such events are summed.
            occurred_at: Time of the event: microseconds since 1970, or RFC 3339. By default now.
            bandit_id: Bandit of the decision. By default any bandit that the signature fits, or any bandit at all if
                ids are not signed.

        Returns:
            False if the log lost the line. It is counted there.

        Raises:
            Forged: The id is not signed for this bandit.
            ValueError: An argument is invalid, or `event_id` is missing although a bandit sums this kind.
        """
        try:
            _check_id("decision_id", decision_id)
            _check_id("kind", kind)
            if item_id is not None:
                _check_id("item_id", item_id)
            position = None if position is None else _integer(position)
            bandits = self._bandits_of(decision_id, bandit_id)
            if event_id is not None:
                _check_id("event_id", event_id)
            elif summing := [bandit.bandit_id for bandit in bandits if _sums(bandit, kind)]:
                raise ValueError(f"bandit {summing[0]!r} sums {kind!r}; give each event its own event_id")
            else:
                event_id = default_event_id(decision_id, kind, item_id, position)
            now_us = self._clock_us()
            line = reward_line(
                event_id=event_id,
                decision_id=decision_id,
                kind=kind,
                value=_rounded(value),
                occurred_at_us=now_us if occurred_at is None else _time_us(occurred_at),
                received_at_us=now_us,
                item_id=item_id,
                position=position,
            )
        except ValueError as error:
            self._rejected.add("forged" if isinstance(error, Forged) else "invalid")
            raise
        return self._log.write(line)

    def _bandits_of(self, decision_id: str, bandit_id: str | None) -> list[Bandit]:
        """Return the bandits that the decision may belong to. Raises Forged if its signature fits none of them."""
        known = self.bandits.bandits
        if bandit_id is not None and bandit_id not in known:
            raise ValueError(f"bandit {bandit_id!r} is not in the bandits file; correct bandit_id")
        among = list(known.values()) if bandit_id is None else [known[bandit_id]]
        if self._keys is None:
            return among
        forged = Forged("the bandits file is empty, so no decision id is valid; add the bandit")
        for bandit in among:
            try:
                self._keys.verify(bandit.bandit_id, decision_id)
            except Forged as error:
                forged = error
            else:
                return [bandit]
        raise forged


def default_event_id(decision_id: str, kind: str, item_id: str | None, position: int | None) -> str:
    """Return `base64url(BLAKE2b(decision_id NUL kind NUL item_id NUL position))`, 16 bytes, without padding.

    A missing item or position is empty. A position is written in decimal.
    """
    parts = (decision_id, kind, item_id or "", "" if position is None else str(position))
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _sums(bandit: Bandit, kind: str) -> bool:
    return bandit.attribution.aggregate == "sum" and kind in bandit.attribution.reward_kinds


def _check_id(name: str, text: str) -> None:
    fault = id_fault(text) if isinstance(text, str) else f"is a {type(text).__name__}, not a string"
    if fault:
        raise ValueError(f"{name} {fault}; correct the reward")


def _integer(position: int) -> int:
    try:
        number = operator.index(position)
    except TypeError:
        raise ValueError(f"position {reprlib.repr(position)} is not an integer; correct the reward") from None
    if not -_MOST_INTEGER <= number < _MOST_INTEGER:
        raise ValueError("position is beyond 64 bits; correct the reward")
    return number


def _rounded(value: Any) -> float:
    """Return the value with six decimal places."""
    try:
        number = math.nan if isinstance(value, str) else round(float(value), _DECIMALS)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _MOST:
        raise ValueError(f"value {reprlib.repr(value)} is not a number from -1e9 to 1e9; correct the reward")
    return number + 0.0  # -0.0 becomes 0.0


def _time_us(occurred_at: int | str) -> int:
    shown = reprlib.repr(occurred_at)  # an endpoint may pass on a text of any length
    if isinstance(occurred_at, str):
        try:
            return parse_time(occurred_at)
        except ValueError:
            raise ValueError(f"occurred_at {shown} is not an RFC 3339 UTC time; write 2026-11-24T06:00:00Z") from None
    try:
        time_us = operator.index(occurred_at)
    except TypeError:
        raise ValueError(f"occurred_at {shown} is neither microseconds nor RFC 3339; correct it") from None
    if not _EARLIEST_US <= time_us < _LATEST_US:
        raise ValueError(f"occurred_at {shown} does not count microseconds since 1970; multiply or divide it")
    return time_us
