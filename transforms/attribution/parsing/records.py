"""Read the lines of a log to columns of decisions or rewards, and list the malformed and future lines."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec.structs import astuple

from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.block import BOT, FALLBACK, Features
from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns
from transforms.attribution.parsing.encoding import encode_nested
from transforms.attribution.parsing.keys import decision_keys, event_keys
from transforms.attribution.parsing.ranks import Pieces, Shared, decision_ranks, reward_ranks
from transforms.attribution.parsing.reading import Reading, Rejected
from transforms.attribution.parsing.schema import Decision, Reward
from transforms.attribution.parsing.times import NO_TIME_US, times_us
from transforms.attribution.rules import HOLDBACK, Label

__all__ = ["read_decisions", "read_rewards"]

T = TypeVar("T", bound=Hashable)
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FEATURE_UNITS = 1_024  # a feature is stored in units of 2^-10
_MICRO = 10**6
_MOST_AHEAD_US = 86_400_000_000
_TOGETHER = ("propensities", "eligible_arms", "context")
"""Fields of `NESTED` that many decisions have in common. Their texts are joined, so that a line takes one look-up."""
_MOST_REMEMBERED = 1_024
"""Longest JSON text, in bytes, whose encoding is kept for later chunks. 4,096 of them take at most 8 MiB."""
_TEXTS = ("decision_id", "decided_at", "received_at", "user_key")  # few decisions share these


def read_decisions(
    lines: bytes, base: int, now_us: int, max_future_us: int
) -> tuple[DecisionColumns, list[Rejected], int]:
    """Read decisions.

    Args:
        lines: Lines that end in LF. The last one may lack it.
        base: Position of the first line in its file.
        now_us: The reading clock, for records without `received_at`.
        max_future_us: How far an event time may be ahead of `received_at` or the clock.

    Returns:
        The good records, the rejected lines, both in the order of the lines, and the number of lines that are not
        blank.
    """
    read = Reading(lines, base, Decision)
    while True:
        fields = _DecisionFields()
        for records in read.batches():
            fields.add(records)
        decided_at, received_at = fields.texts("decided_at"), fields.texts("received_at")
        at_us, received_us = times_us(decided_at), times_us(received_at)
        nested, wrong = _nested(fields)
        if not read.settle(wrong | (at_us == NO_TIME_US) | (received_us == NO_TIME_US)):
            break
    _reject_future(read, "decided_at", at_us, received_us, now_us, max_future_us)
    ids = fields.texts("decision_id")
    hi, lo = decision_keys(ids)
    propensity = np.array(fields.propensity, np.float64)
    shared, which = [Shared(*each) for each in fields.shared], np.array(fields.which, np.int64)
    label, labels = _numbers([_label(each) for each in shared])
    has_features, offsets, values = _vectors(fields.features)
    features: Features | None = None
    schemas: list[str] = []
    if len(values):
        schema, schemas = _names([each.feature_schema for each in shared])
        features = Features(offsets, np.rint(values * _FEATURE_UNITS).astype(np.int32), schema[which])
    flags = [BOT * bool(each.bot) + FALLBACK * (each.served_by not in (None, each.arm_id)) for each in shared]
    rank = decision_ranks(
        ids=ids,
        decided_at=decided_at,
        received_at=received_at,
        user_key=fields.texts("user_key"),
        propensity=propensity,
        draw=fields.draw,
        features=(has_features, offsets, values),
        nested=nested,
        shared=(which, shared),
    )
    columns = DecisionColumns(
        lines=read.lines,
        position=read.starts + base,
        end=read.ends + base,
        hi=hi,
        lo=lo,
        at_us=at_us,
        rank=rank,
        label=label[which],
        labels=labels,
        flags=np.array(flags, np.uint8)[which],
        propensity=propensity,
        features=features,
        schemas=schemas,
    )
    return columns.select(read.good), read.rejected(), read.lines_read


def read_rewards(
    lines: bytes, base: int, now_us: int, max_future_us: int, event_ids: bool = False
) -> tuple[RewardColumns, list[Rejected], int]:
    """Read rewards, like `read_decisions`.

    Args:
        lines: Lines that end in LF. The last one may lack it.
        base: Position of the first line in its file.
        now_us: The reading clock, for records without `received_at`.
        max_future_us: How far an event time may be ahead of `received_at` or the clock.
        event_ids: Keep the event ids as texts, too.

    Returns:
        The good records, the rejected lines, both in the order of the lines, and the number of lines that are not
        blank.
    """
    read = Reading(lines, base, Reward)
    while True:
        records = [record for batch in read.batches() for record in batch]
        occurred_at = _strings([r.occurred_at for r in records])
        received_at = _strings([r.received_at for r in records])
        at_us, received_us = times_us(occurred_at), times_us(received_at)
        value = np.array([r.value for r in records], np.float64)
        micro = np.rint(value * _MICRO)
        inexact = micro / _MICRO != value  # as `lines` tests it
        if not read.settle(inexact | (at_us == NO_TIME_US) | (received_us == NO_TIME_US)):
            break
    _reject_future(read, "occurred_at", at_us, received_us, now_us, max_future_us)
    ids = _strings([r.decision_id for r in records])
    events = _strings([r.event_id for r in records])
    hi, lo = decision_keys(ids)
    kind, kinds = _names([r.kind for r in records])
    rank = reward_ranks(
        events=events,
        ids=ids,
        occurred_at=occurred_at,
        received_at=received_at,
        item_id=pa.array([r.item_id for r in records], pa.string()),
        kind=(kind.astype(np.int64), kinds),
        value=value,
        place=[r.position for r in records],
    )
    columns = RewardColumns(
        lines=read.lines,
        position=read.starts + base,
        end=read.ends + base,
        hi=hi,
        lo=lo,
        event=event_keys(events),
        at_us=at_us,
        rank=rank,
        kind=kind,
        kinds=kinds,
        value=micro.astype(np.int64),
        flags=np.zeros(len(records), np.uint8),
        event_id=[r.event_id for r in records] if event_ids else None,
    )
    return columns.select(read.good), read.rejected(), read.lines_read


class _Numbering(dict[T, int]):
    """Numbers keys in the order they come."""

    def __missing__(self, key: T) -> int:
        number = self[key] = len(self)
        return number


class _DecisionFields:
    """The fields of decisions [n], collected batch by batch.

    Attributes:
        shared: The fields that many decisions have in common, numbered.
        which: The number of each decision in `shared`.
        nested: The distinct JSON texts of `_TOGETHER`, joined by LF, and of `items`, numbered.
        which_nested: The numbers of each decision in `nested`.
    """

    def __init__(self) -> None:
        self._texts: dict[str, list[str | None]] = {name: [] for name in _TEXTS}
        self.propensity: list[float] = []
        self.draw: list[float | None] = []
        self.features: list[list[float] | None] = []
        self.shared: _Numbering[tuple[Any, ...]] = _Numbering()
        self.which: list[int] = []
        self.nested: tuple[_Numbering[bytes], _Numbering[bytes]] = _Numbering(), _Numbering()
        self.which_nested: tuple[list[int], list[int]] = [], []

    def texts(self, name: str) -> pa.StringArray:
        """Return a column of `_TEXTS` [n]."""
        return _strings(self._texts[name])

    def add(self, records: list[Decision]) -> None:
        """Append decisions."""
        if not records:
            return
        # One tuple per record and one transposition take a fifth of the time of one attribute after the other.
        columns = dict(zip(Decision.__struct_fields__, zip(*map(astuple, records), strict=True), strict=True))
        for name, texts in self._texts.items():
            texts += columns[name]
        self.propensity += columns["propensity"]
        self.draw += columns["draw"]
        self.features += columns["features"]
        self.which += map(self.shared.__getitem__, zip(*[columns[name] for name in Shared._fields], strict=True))
        together = map(b"\n".join, zip(*[columns[name] for name in _TOGETHER], strict=True))
        for numbers, which, each in zip(
            self.nested, self.which_nested, (together, map(bytes, columns["items"])), strict=True
        ):
            which += map(numbers.__getitem__, each)


def _label(shared: Shared) -> Label:
    label = Label(*shared[:5])
    return label._replace(segment=HOLDBACK) if shared.holdback else label


def _reject_future(
    read: Reading[Decision] | Reading[Reward],
    event: str,
    at_us: Int64s,
    received_us: Int64s,
    now_us: int,
    max_future_us: int,
) -> None:
    # A stamp from days ahead is a broken clock's; believed, it would carry the watermark there and make all else late.
    stamped = (received_us != BEFORE_ALL_US) & (received_us <= now_us + _MOST_AHEAD_US)
    ahead = at_us > np.where(stamped, received_us, np.int64(now_us)) + max_future_us
    if ahead.any():
        limit = f"more than {max_future_us / 1e6:g} s ahead of"
        read.reject_future(ahead & stamped, f"{event} is {limit} received_at")
        read.reject_future(ahead & ~stamped, f"{event} is {limit} the clock")


def _numbers(values: Iterable[T]) -> tuple[npt.NDArray[np.int32], list[T]]:
    """Give distinct values numbers in the order they come, int32 [n], and list the values."""
    numbers: _Numbering[T] = _Numbering()
    codes = np.array([numbers[value] for value in values], np.int32)
    return codes, list(numbers)


def _names(texts: Iterable[str | None]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Give distinct texts numbers, int32 [n], -1 for None, and list the texts."""
    numbers: _Numbering[str] = _Numbering()
    codes = np.array([-1 if text is None else numbers[text] for text in texts], np.int32)
    return codes, list(numbers)


def _strings(texts: Sequence[str | None]) -> pa.StringArray:
    """Convert texts to Arrow, which takes half the time of `pa.array` if none is absent and none holds LF."""
    try:
        lines = "\n".join(texts).encode()  # type: ignore[arg-type]  # None raises TypeError
    except TypeError:
        return pa.array(texts, pa.string())
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    if len(ends) != len(texts) - 1 or len(lines) >= 2**31:
        return pa.array(texts, pa.string())
    data = "".join(texts).encode()  # type: ignore[arg-type]
    offsets = np.zeros(len(texts) + 1, np.int32)
    offsets[1:-1] = ends - np.arange(len(ends))
    offsets[-1] = len(data)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data))


def _vectors(vectors: Sequence[Sequence[float] | None]) -> tuple[Bools, Int64s, npt.NDArray[np.float64]]:
    """Return which feature vectors are not None, bool [n], the offsets, int64 [n + 1], and the values, float64."""
    n = len(vectors)
    if vectors.count(None) == n:
        return np.zeros(n, np.bool_), np.zeros(n + 1, np.int64), np.zeros(0, np.float64)
    full = [vector or () for vector in vectors]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.fromiter(map(len, full), np.int64, n))])
    values = np.fromiter(itertools.chain.from_iterable(full), np.float64, int(offsets[-1]))
    return np.array([vector is not None for vector in vectors], np.bool_), offsets, values


def _nested(fields: _DecisionFields) -> tuple[dict[str, Pieces], Bools]:
    """Encode the fields of `NESTED`, each distinct text once, and say which decisions hold an invalid one, bool [n]."""
    together, items = fields.nested
    which, which_items = (np.array(numbers, np.int64) for numbers in fields.which_nested)
    columns = zip(*[text.split(b"\n") for text in together], strict=True) if together else [()] * len(_TOGETHER)
    pieces: dict[str, Pieces] = {}
    wrong: Bools = np.zeros(1, np.bool_)
    for name, texts, numbers in [
        *[(name, column, which) for name, column in zip(_TOGETHER, columns, strict=True)],
        ("items", items, which_items),
    ]:
        encoded = [(_remember if len(text) <= _MOST_REMEMBERED else _encode)(name, text) for text in texts]
        wrong = wrong | np.array([each is None for each in encoded], np.bool_)[numbers]
        pieces[name] = numbers, [each or b"" for each in encoded]
    return pieces, wrong


def _encode(name: str, text: bytes) -> bytes | None:
    try:
        return encode_nested(name, text)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None


_remember = functools.lru_cache(maxsize=1 << 12)(_encode)
