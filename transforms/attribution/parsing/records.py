"""Which decisions or rewards a file's lines hold, as columns, and which lines are malformed or ahead of the clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson

from serving_client.contracts.times import BEFORE_ALL_US, parse_time
from transforms.attribution.block import BOT, FALLBACK, Features
from transforms.attribution.parsing import fields
from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns
from transforms.attribution.parsing.keys import decision_keys, event_keys
from transforms.attribution.parsing.reading import Reading, Rejected
from transforms.attribution.parsing.spans import equal, floats, micro_units, texts, times_us
from transforms.attribution.rules import Label

__all__ = ["read_decisions", "read_rewards"]

Int64s = npt.NDArray[np.int64]

_LABEL = ("bandit_id", "policy_epoch", "segment", "arm_id", "arm_generation")
_DECISION = (
    *_LABEL,
    *("decision_id", "propensity", "decided_at", "received_at", "served_by", "bot", "features", "feature_schema"),
)
_REWARD = ("event_id", "decision_id", "kind", "value", "occurred_at", "received_at")
_FEATURE_UNITS = 1_024  # a feature is stored in units of 2^-10
_MICRO = 10**6


def read_decisions(
    lines: bytes, base: int, now_us: int, max_future_us: int
) -> tuple[DecisionColumns, list[Rejected], int]:
    """Decisions from lines that end in LF (the last one may not); `base` is the first one's position in its file.

    now_us: the reading clock, where a record has no received_at. Returns the good ones and the others, both in the
    order of the lines, and how many lines are not blank.
    """
    read = Reading(lines, base, fields.DECISION, _DECISION)
    at_us, received_us = _times(read, "decided_at")
    read.settle()
    _settle_times(read, "decided_at", at_us, received_us)
    _reject_future(read, "decided_at", at_us, received_us, now_us, max_future_us)
    label, labels = _labels(read)
    hi, lo = _decision_keys(read)
    features, schemas = _features(read)
    columns = DecisionColumns(
        chunk=read.chunk,
        position=read.starts + base,
        end=read.ends + base,
        hi=hi,
        lo=lo,
        at_us=at_us,
        rank=read.rank,
        label=label,
        labels=labels,
        flags=_flags(read),
        propensity=_propensities(read),
        features=features,
        schemas=schemas,
    )
    return columns.select(read.good()), read.rejected(), read.lines_read


def read_rewards(
    lines: bytes, base: int, now_us: int, max_future_us: int, event_ids: bool = False
) -> tuple[RewardColumns, list[Rejected], int]:
    """Rewards, as `read_decisions`; `event_ids`: their ids are kept as texts, too."""
    read = Reading(lines, base, fields.REWARD, _REWARD)
    at_us, received_us = _times(read, "occurred_at")
    value, wrong = micro_units(read.data, *read.places("value"))
    read.doubt(wrong)
    read.settle()
    _settle_times(read, "occurred_at", at_us, received_us)
    _reject_future(read, "occurred_at", at_us, received_us, now_us, max_future_us)
    kind, kinds = _names(read, "kind")
    hi, lo = _decision_keys(read)
    events = texts(read.data, *read.places("event_id"))
    event, event_id = event_keys(events), events.to_pylist() if event_ids else None
    for row, values in read.plain.items():
        value[row] = round(values["value"] * _MICRO)
        event[row] = event_keys([values["event_id"]])[0]
        if event_id is not None:
            event_id[row] = values["event_id"]
    columns = RewardColumns(
        chunk=read.chunk,
        position=read.starts + base,
        end=read.ends + base,
        hi=hi,
        lo=lo,
        event=event,
        at_us=at_us,
        rank=read.rank,
        kind=kind,
        kinds=kinds,
        value=value,
        flags=np.zeros(len(read), np.uint8),
        event_id=event_id,
    )
    return columns.select(read.good()), read.rejected(), read.lines_read


_MOST_AHEAD_US = 86_400_000_000


def _times(read: Reading, event: str) -> tuple[Int64s, Int64s]:
    """Event time and received_at of the usual lines; a text that is no time is left to the plain rule."""
    at_us, wrong = times_us(read.data, *read.places(event))
    received_us, also_wrong = times_us(read.data, *read.places("received_at"))
    read.doubt(wrong | also_wrong)
    return at_us, received_us


def _settle_times(read: Reading, event: str, at_us: Int64s, received_us: Int64s) -> None:
    for row, values in read.plain.items():
        received = values["received_at"]
        at_us[row] = parse_time(values[event])
        received_us[row] = BEFORE_ALL_US if received is None else parse_time(received)


def _reject_future(
    read: Reading, event: str, at_us: Int64s, received_us: Int64s, now_us: int, max_future_us: int
) -> None:
    # A stamp from days ahead is a broken clock's; believed, it would carry the watermark there and make all else late.
    stamped = (received_us != BEFORE_ALL_US) & (received_us <= now_us + _MOST_AHEAD_US)
    ahead = at_us > np.where(stamped, received_us, np.int64(now_us)) + max_future_us
    if ahead.any():
        limit = f"more than {max_future_us / 1e6:g} s ahead of"
        ahead &= read.good()
        read.reject(np.flatnonzero(ahead & stamped).tolist(), "future", f"{event} is {limit} received_at")
        read.reject(np.flatnonzero(ahead & ~stamped).tolist(), "future", f"{event} is {limit} the clock")


def _decision_keys(read: Reading) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    hi, lo = decision_keys(texts(read.data, *read.places("decision_id")))
    if read.plain:
        rows = list(read.plain)
        hi[rows], lo[rows] = decision_keys([values["decision_id"] for values in read.plain.values()])
    return hi, lo


def _labels(read: Reading) -> tuple[npt.NDArray[np.int32], list[Label]]:
    codes, found = read.distinct(*_LABEL, rows=read.usual)
    numbers: dict[Label, int] = {}
    of_code = [
        numbers.setdefault(
            Label(bandit_id.decode(), int(epoch), segment.decode(), arm_id.decode(), int(generation)), len(numbers)
        )
        for bandit_id, epoch, segment, arm_id, generation in found
    ]
    column = np.array([*of_code, -1], np.int32)[codes]
    for row, values in read.plain.items():
        column[row] = numbers.setdefault(Label(*(values[name] for name in _LABEL)), len(numbers))
    return column, list(numbers)


def _names(read: Reading, name: str) -> tuple[npt.NDArray[np.int32], list[str]]:
    """A text field as numbers of its distinct values, int32 [lines], -1 where absent, and the values."""
    codes, found = read.distinct(name, rows=read.present(name))
    numbers = {text.decode(): number for number, (text,) in enumerate(found)}
    for row, values in read.plain.items():
        if values[name] is not None:
            codes[row] = numbers.setdefault(values[name], len(numbers))
    return codes, list(numbers)


def _flags(read: Reading) -> npt.NDArray[np.uint8]:
    first_letter = read.data[np.maximum(read.places("bot")[0], 0)] if len(read) else np.zeros(0, np.uint8)
    bot = read.present("bot") & (first_letter == ord("t"))
    elsewhere = read.present("served_by") & ~equal(read.data, *read.places("served_by"), *read.places("arm_id"))
    flags: npt.NDArray[np.uint8] = bot * np.uint8(BOT) + elsewhere * np.uint8(FALLBACK)
    for row, values in read.plain.items():
        flags[row] = BOT * bool(values["bot"]) + FALLBACK * (values["served_by"] not in (None, values["arm_id"]))
    return flags


def _propensities(read: Reading) -> npt.NDArray[np.float64]:
    propensity = np.zeros(len(read), np.float64)
    begin, end = read.places("propensity")
    propensity[read.usual] = floats(read.data, begin[read.usual], end[read.usual])
    for row, values in read.plain.items():
        propensity[row] = values["propensity"]
    return propensity


def _features(read: Reading) -> tuple[Features | None, list[str]]:
    rows = np.flatnonzero(read.present("features")).tolist()
    if not rows and not any(values["features"] for values in read.plain.values()):
        return None, []
    vectors: list[Sequence[float]] = [()] * len(read)
    arrays = b",".join([read.value("features", row) for row in rows])
    for row, vector in zip(rows, orjson.loads(b"[" + arrays + b"]"), strict=True):
        vectors[row] = vector
    for row, values in read.plain.items():
        vectors[row] = values["features"] or ()
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(vector) for vector in vectors], dtype=np.int64)])
    if not offsets[-1]:
        return None, []
    numbers = np.array([number for vector in vectors for number in vector], np.float64)
    schema, schemas = _names(read, "feature_schema")
    return Features(offsets, np.rint(numbers * _FEATURE_UNITS).astype(np.int32), schema), schemas
