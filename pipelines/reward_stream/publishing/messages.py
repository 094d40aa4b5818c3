"""Encode the messages to the publisher: answers of shards and reports of the source, under one key.

An answer repeats the same labels in several maps, so it is written as a table of texts, a table of labels, and numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.reward_stream import encoding
from pipelines.reward_stream.sources.reports import SourceReport
from transforms.attribution.joining.delta import Delta, FoldResult
from transforms.attribution.rules import Label
from transforms.attribution.statistics.exact import Exact
from transforms.attribution.statistics.rows import Decayed, Ipw, Lin, RowSums
from transforms.dead_letters import DeadLetter

__all__ = ["decode_message", "encode_message", "keyed_message"]

# All messages meet in one place; the work there is per row and tick, not per event.
_KEY = b"publish"
_MAXIMA = ("pending", "max_event_us", "max_decided_us", "closed_max_event_us", "closed_max_decided_us")


def keyed_message(message: FoldResult | SourceReport) -> tuple[bytes, bytes]:
    """Encode a message under the publisher's key."""
    return _KEY, encode_message(message)


def encode_message(message: FoldResult | SourceReport) -> bytes:
    """Encode a shard's answer or a source's report.

    Args:
        message: The answer or the report.

    Returns:
        Bytes for `decode_message`, with the version of the encoding.
    """
    return encoding.encode(message if isinstance(message, SourceReport) else _plain_result(message))


def decode_message(data: bytes) -> FoldResult | SourceReport:
    """Decode what `encode_message` wrote.

    Args:
        data: The bytes of `encode_message`.

    Returns:
        The answer or the report.

    Raises:
        Refused: Another version of recbeam wrote the bytes.
    """
    message: Any = encoding.decode(data, SourceReport | list)  # type: ignore[arg-type]
    return message if isinstance(message, SourceReport) else _result_of(message)


class _Table:
    """Number values in the order in which they first appear."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def values(self) -> list[Any]:
        return list(self._numbers)


def _plain_result(result: FoldResult) -> list[Any]:
    """Write a result as lists: texts, labels, deltas, maxima, letters and flags."""
    texts, labels = _Table(), _Table()
    deltas = [_plain_delta(delta, texts, labels) for delta in (result.live, result.closed)]
    maxima = [_flat(getattr(result, name), labels) for name in _MAXIMA]
    named = [
        [texts.number(name), epoch, texts.number(segment), texts.number(arm), generation]
        for name, epoch, segment, arm, generation in labels.values()
    ]
    letters = [[each.source, each.position, each.reason, each.original] for each in result.dead_letters]
    rest = [result.final, result.stop, result.open_decisions, result.open_rewards]
    return [result.shard, result.seq, texts.values(), named, *deltas, maxima, letters, *rest]


def _result_of(fields: list[Any]) -> FoldResult:
    shard, seq, texts, named, live, closed, maxima, letters, *rest = fields
    labels = [
        Label(texts[name], epoch, texts[segment], texts[arm], generation)
        for name, epoch, segment, arm, generation in named
    ]
    pending, event, decided, closed_event, closed_decided = (
        {labels[code]: value for code, value in _pairs(flat)} for flat in maxima
    )
    return FoldResult(
        shard,
        seq,
        _delta_of(live, texts, labels),
        _delta_of(closed, texts, labels),
        pending,
        event,
        decided,
        closed_event,
        closed_decided,
        tuple(DeadLetter(*letter) for letter in letters),
        *rest,
    )


def _plain_delta(delta: Delta, texts: _Table, labels: _Table) -> list[Any]:
    counters = [
        number
        for (bandit_id, epoch, outcome), count in delta.counters.items()
        for number in (texts.number(bandit_id), epoch, texts.number(outcome), count)
    ]
    return [counters, [[labels.number(label), *_plain_row(sums)] for label, sums in delta.rows.items()]]


def _delta_of(fields: list[Any], texts: list[str], labels: list[Label]) -> Delta:
    flat, rows = fields
    counters = {
        (texts[name], epoch, texts[outcome]): count
        for name, epoch, outcome, count in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    }
    return Delta(counters, {labels[code]: _row_of(row) for code, *row in rows})


def _plain_row(sums: RowSums) -> list[Any]:
    """Write a row's sums in the order of `RowSums`; an exact sum is its mantissa and its exponent."""
    lin = sums.lin
    return [
        sums.n,
        sums.sum_r,
        sums.sum_r2,
        sums.fallbacks,
        sums.kinds,
        sums.hours,
        {name: _plain_exact(each.parts()) for name, each in sums.decayed.items()},
        [sums.ipw.n, sums.ipw.missing, *_plain_exact(sums.ipw.parts())],
        None if lin is None else [lin.schema, lin.xtx, lin.xtr],
    ]


def _row_of(fields: list[Any]) -> RowSums:
    n, sum_r, sum_r2, fallbacks, kinds, hours, decayed, (ipw_n, missing, *ipw), lin = fields
    return RowSums(
        n,
        sum_r,
        sum_r2,
        fallbacks,
        kinds,
        hours,
        {name: Decayed(*_exact_of(parts)) for name, parts in decayed.items()},
        Ipw(ipw_n, missing, *_exact_of(ipw)),
        None if lin is None else Lin(*lin),
    )


def _plain_exact(parts: Iterable[Exact]) -> list[Any]:
    return [number for part in parts for number in (encoding.narrow(part.mantissa), part.exponent)]


def _exact_of(flat: list[int]) -> Iterable[Exact]:
    return (Exact(mantissa, exponent) for mantissa, exponent in _pairs(flat))


def _flat(values: Mapping[Label, int], labels: _Table) -> list[int]:
    return [number for label, value in values.items() for number in (labels.number(label), value)]


def _pairs(flat: list[int]) -> Iterable[tuple[int, int]]:
    return zip(flat[::2], flat[1::2], strict=True)
