"""What each record comes to by the specification, one decision with its rewards at a time, the plain slow way.

A decision (all records with its id) and its rewards (all records that name it) are judged together; nothing else has a
say in it, but whether a record is from the future, which depends on the bandits file alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from examples.reward_stream.config import Config, configs
from examples.reward_stream.records import Record, micro_of, time_us
from tests.oracles.ranks import rank_of
from tests.oracles.sums import Sums

__all__ = ["OUTCOMES", "STREAM", "Tally"]

STREAM = "_stream"
OUTCOMES = (
    "malformed", "future", "late", "unknown_bandit", "old_epoch", "unknown_epoch", "unknown_arm", "unknown_generation",
    "duplicate", "orphan", "bot", "fallback", "unexposed", "holdback", "outside_window", "ignored_kind", "counted",
)  # fmt: skip
_DUPLICATED = {"bot", "fallback", "unexposed", "holdback", "counted"}
_HOLDBACK = "*holdback"
_BESIDE = ("conflicting_duplicates", "segments_over_limit")


class _Verdict(NamedTuple):
    """The record that stands for an id, and how many others there were, and whether any of them said something else."""

    record: Record
    at_us: int
    duplicates: int
    conflicting: bool


class Tally:
    """Totals of all bandits of a file. rows: by bandit and (segment as written, arm, generation)."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.configs = configs(document)
        self.future_us = max(config.future_us for config in self.configs.values())
        self.rows: dict[str, dict[tuple[str, str, int], Sums]] = {bandit_id: {} for bandit_id in self.configs}
        self.counters: dict[str, Counter[str]] = {owner: Counter() for owner in (*self.configs, STREAM)}

    def owner(self, bandit_id: str) -> str:
        """In whose snapshot a decision is counted."""
        return bandit_id if bandit_id in self.configs else STREAM

    def is_future(self, at_us: int, received_at: str | None, read_at_us: int | None) -> bool:
        """Whether an event lies too far after its arrival (that of the reading clock where no other is known)."""
        received_us = read_at_us if received_at is None else time_us(received_at)
        return received_us is not None and at_us > received_us + self.future_us

    def place(self, bandit_id: str, epoch: int, arm_id: str, generation: int) -> str:
        """`counted` where the file knows all four, else what a decision with them is."""
        config = self.configs.get(bandit_id)
        if config is None:
            return "unknown_bandit"
        if epoch != config.policy_epoch:
            return "old_epoch" if epoch < config.policy_epoch else "unknown_epoch"
        if arm_id not in config.arms:
            return "unknown_arm"
        return "unknown_generation" if generation > config.arms[arm_id] else "counted"

    def row(self, bandit_id: str, key: tuple[str, str, int]) -> Sums:
        """The row of a segment (as written), arm and generation."""
        return self.rows[bandit_id].setdefault(key, Sums())

    def add_decision(self, copies: Sequence[Record], rewards: Iterable[Record]) -> None:
        """All records of one decision, and all rewards that name it; none late or from the future."""
        decision = _verdict(copies, "decided_at")
        record = decision.record
        bandit_id, segment = record["bandit_id"], _HOLDBACK if _held_back(record) else record["segment"]
        key = (segment, record["arm_id"], record["arm_generation"])
        counters, config = self.counters[self.owner(bandit_id)], self.configs.get(bandit_id)
        events = _events(rewards)
        inside = (
            {} if config is None else {name: each for name, each in events.items() if _inside(config, decision, each)}
        )
        outcome = self.place(bandit_id, record["policy_epoch"], *key[1:])
        if config is not None and outcome == "counted":
            outcome = _own_outcome(config, record, inside.values())
        counters[outcome] += 1
        # Another copy of a decision that is unknown, or of an old epoch, is that before it is a duplicate.
        counters["duplicate" if outcome in _DUPLICATED else outcome] += decision.duplicates
        counters["duplicate"] += sum(each.duplicates for each in events.values())
        counters["conflicting_duplicates"] += sum(each.conflicting for each in (decision, *events.values()))
        if config is None or outcome not in ("counted", "holdback"):
            counters[outcome] += len(events)
            if outcome == "fallback":
                self.row(bandit_id, key).fallbacks += 1
            return
        if outcome == "holdback":
            counters[outcome] += len(events)
        else:
            counters["outside_window"] += len(events) - len(inside)
            for each in inside.values():
                counters["counted" if _counts(config, each.record["kind"]) else "ignored_kind"] += 1
        row = self.row(bandit_id, key)
        row.count(config, decision.at_us, _reward_of(config, inside), record["propensity"], _features(config, record))
        row.kinds.update(each.record["kind"] for each in inside.values())
        for each in inside.values():
            row.see(decision.at_us, each.at_us)

    def add_orphans(self, rewards: Iterable[Record]) -> None:
        """All rewards that name one decision of which there is no record."""
        for verdict in _events(rewards).values():
            self.counters[STREAM]["orphan"] += 1
            self.counters[STREAM]["duplicate"] += verdict.duplicates
            self.counters[STREAM]["conflicting_duplicates"] += verdict.conflicting

    def documents(self) -> dict[str, Any]:
        """The final snapshots, by bandit and STREAM, without what depends on the run and the configuration's hash.

        Raises ValueError where the order of arrival decides: more segments than max_segments.
        """
        snapshots: dict[str, Any] = {STREAM: {"bandit_id": STREAM}}
        for bandit_id, config in self.configs.items():
            snapshots[bandit_id] = {
                "bandit_id": bandit_id,
                "policy_epoch": config.policy_epoch,
                "arms": self._arms(config, self.rows[bandit_id]),
            }
            if not config.guarded:  # what guardrails say of the rows is not this program's to know
                snapshots[bandit_id]["rolled_back"] = []
        for owner, snapshot in snapshots.items():
            counts = self.counters[owner]
            snapshot |= {"schema_version": 1, "final": True}
            snapshot["counters"] = {name: counts[name] for name in (*OUTCOMES, *_BESIDE)}
        return snapshots

    def _arms(self, config: Config, rows: Mapping[tuple[str, str, int], Sums]) -> list[dict[str, Any]]:
        named = {segment for segment, _, _ in rows} - {"*", _HOLDBACK}
        if len(named) > config.max_segments:
            raise ValueError(f"{config.bandit_id} has {len(named)} segments; which {config.max_segments} count is open")
        full: dict[tuple[str, str, int], Sums] = {}
        for (segment, arm_id, generation), sums in rows.items():
            for each in {segment} if segment == _HOLDBACK else {"*", segment}:
                full.setdefault((each, arm_id, generation), Sums()).add(sums)
        newest_us = max((each.newest_decided_us for each in rows.values() if each.newest_decided_us), default=None)
        last_us: dict[tuple[str, int], int] = {}
        for (_, *arm), sums in full.items():
            if sums.newest_decided_us is not None:
                last_us[arm[0], arm[1]] = max(last_us.get((arm[0], arm[1]), 0), sums.newest_decided_us)
        gone = {
            (arm_id, generation)
            for (arm_id, generation), decided_us in last_us.items()
            if newest_us is not None
            and decided_us < newest_us - config.retain_us
            and not (arm_id in config.active and config.arms[arm_id] == generation)
        }
        return [full[key].document(config, key, newest_us) for key in sorted(full) if key[1:] not in gone]


def _reward_of(config: Config, inside: Mapping[str, _Verdict]) -> int:
    """The reward of a counted decision in millionths, from its rewards inside the window by event id."""
    paid = {name: each for name, each in inside.items() if each.record["kind"] in config.kinds}
    values = [micro_of(each.record["value"]) for each in paid.values()]
    if not paid:
        return 0
    if config.aggregate == "any":
        return 1_000_000 if max(values) > 0 else 0
    if config.aggregate == "sum":
        return sum(values)
    if config.aggregate == "max":
        return max(values)
    first = min(paid, key=lambda name: (paid[name].at_us, name))
    return micro_of(paid[first].record["value"])


def _verdict(copies: Sequence[Record], time_name: str) -> _Verdict:
    """Of records with one id the smallest by (event time, rank) wins."""
    if len(copies) == 1:
        return _Verdict(copies[0], time_us(copies[0][time_name]), 0, False)
    ranked = [(time_us(record[time_name]), rank_of(record)) for record in copies]
    best = min(range(len(copies)), key=ranked.__getitem__)
    return _Verdict(copies[best], ranked[best][0], len(copies) - 1, len(set(ranked)) > 1)


def _events(rewards: Iterable[Record]) -> dict[str, _Verdict]:
    """The rewards of one decision by event id."""
    copies: dict[str, list[Record]] = {}
    for record in rewards:
        copies.setdefault(record["event_id"], []).append(record)
    return {event_id: _verdict(each, "occurred_at") for event_id, each in copies.items()}


def _inside(config: Config, decision: _Verdict, reward: _Verdict) -> bool:
    """The window with both its ends."""
    return decision.at_us - config.future_us <= reward.at_us <= decision.at_us + config.window_us


def _own_outcome(config: Config, record: Record, inside: Iterable[_Verdict]) -> str:
    """What becomes of a decision that the file knows."""
    if record.get("bot"):
        return "bot"
    served_by = record.get("served_by")
    if served_by is not None and served_by != record["arm_id"]:
        return "fallback"
    if config.impressions and not any(each.record["kind"] == "impression" for each in inside):
        return "unexposed"
    return "holdback" if _held_back(record) else "counted"


def _held_back(record: Record) -> bool:
    """Whether a decision is of the holdback share, whose segment is its own name."""
    return bool(record.get("holdback")) or record["segment"] == _HOLDBACK


def _counts(config: Config, kind: str) -> bool:
    return kind in config.kinds or (config.impressions and kind == "impression")


def _features(config: Config, record: Record) -> list[int] | None:
    """In units of 2^-10, rounded half to even; None where they are not those that the bandit asks for."""
    features = record.get("features")
    if not config.features or features is None or record.get("feature_schema") != config.schema:
        return None
    return [round(each * 1024) for each in features] if len(features) == config.d else None
