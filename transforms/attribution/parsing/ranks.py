"""The rank of a record: of two records with one id and one event time, the record with the smaller rank wins.

The rank is BLAKE2b with a digest of 8 bytes, read as a big-endian integer, over the record's known fields. Unknown
fields, the order of keys, white space and the way a number is written do not change it.

The bytes are the fields in the order of the JSON Schema (`schema.Decision`, `schema.Reward`). An absent field and null
are one zero byte. Any other field is one byte 1 followed by its value:

| value | bytes |
|---|---|
| string, times included | uint32 size in bytes, UTF-8 as written in the record, escapes resolved |
| integer | int64 |
| number | float64; -0.0 is encoded as 0.0 |
| boolean | one byte, 0 or 1 |
| `model_version` | one byte 0 and the int64, or one byte 1 and the string |
| list of strings | uint32 number of elements, the strings |
| list of numbers | uint32 number of elements, the float64s |
| `propensities` | uint32 number of keys, then for each key in sorted order: the key as a string, the float64 |
| `context` | uint32 number of keys, then for each key in sorted order: the key as a string, the value as below |

A value inside `context` is one ASCII byte for its type and then the value: `n` null, `f` false, `t` true, `d` any
number as float64, `s` string, `l` list (uint32 number of elements, the values), `o` object (as `context` itself).
All integers and floats are little-endian. Keys sort by their UTF-8 bytes. If a key comes twice, the last value counts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.attribution.parsing.blake import BLOCK_BYTES, blake2b_words
from transforms.attribution.parsing.encoding import encode_integer, encode_text, encode_version

__all__ = ["Pieces", "Shared", "decision_ranks", "reward_ranks"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Pieces = tuple[Int64s, Sequence[bytes]]
"""Encoded values of a column: which piece each row has, int64 [n], and the pieces."""


class Shared(NamedTuple):
    """The fields that many decisions have in common."""

    bandit_id: str
    policy_epoch: int
    segment: str
    arm_id: str
    arm_generation: int
    rung: str | None
    snapshot_version: int | None
    config_hash: str | None
    served_by: str | None
    fallback_reason: str | None
    model_version: int | str | None
    feature_schema: str | None
    bot: bool | None
    holdback: bool | None


def decision_ranks(
    *,
    ids: pa.StringArray,
    decided_at: pa.StringArray,
    received_at: pa.StringArray,
    user_key: pa.StringArray,
    propensity: Float64s,
    draw: Sequence[float | None],
    features: tuple[Bools, Int64s, Float64s],
    nested: Mapping[str, Pieces],
    shared: tuple[Int64s, Sequence[Shared]],
) -> npt.NDArray[np.uint64]:
    """Compute the ranks of decisions, uint64 [n].

    Args:
        ids: `decision_id` [n].
        decided_at: `decided_at` [n].
        received_at: `received_at` [n].
        user_key: `user_key` [n].
        propensity: `propensity` [n].
        draw: `draw` [n].
        features: Whether a decision has features, bool [n], their offsets, int64 [n + 1], and their values, float64.
        nested: The encoded fields of `schema.NESTED`, by name.
        shared: Index into the distinct shared fields, int64 [n], and these.
    """
    which, distinct = shared
    rows = _Rows(len(which))
    rows.texts(ids)
    label, served, schema, flags = zip(*map(_encode_shared, distinct), strict=True) if distinct else ((), (), (), ())
    rows.pieces((which, label))
    rows.numbers(propensity)
    rows.texts(decided_at)
    rows.pieces(nested["propensities"])
    rows.pieces(nested["eligible_arms"])
    rows.optional_numbers(draw)
    rows.pieces((which, served))
    rows.pieces(nested["context"])
    rows.vectors(*features)
    rows.pieces((which, schema))
    rows.pieces(nested["items"])
    rows.texts(user_key)
    rows.pieces((which, flags))
    rows.texts(received_at)
    return rows.ranks()


def reward_ranks(
    *,
    events: pa.StringArray,
    ids: pa.StringArray,
    occurred_at: pa.StringArray,
    received_at: pa.StringArray,
    item_id: pa.StringArray,
    kind: tuple[Int64s, Sequence[str]],
    value: Float64s,
    place: Sequence[int | None],
) -> npt.NDArray[np.uint64]:
    """Compute the ranks of rewards, uint64 [n].

    Args:
        events: `event_id` [n].
        ids: `decision_id` [n].
        occurred_at: `occurred_at` [n].
        received_at: `received_at` [n].
        item_id: `item_id` [n].
        kind: Index into the distinct `kind`, int64 [n], and these.
        value: `value` [n].
        place: `position` [n].
    """
    which, kinds = kind
    rows = _Rows(len(which))
    rows.texts(events)
    rows.texts(ids)
    rows.pieces((which, [encode_text(each) for each in kinds]))
    rows.numbers(value)
    rows.texts(occurred_at)
    rows.texts(item_id)
    numbers = {number: at for at, number in enumerate(set(place))}
    rows.pieces((np.array([numbers[each] for each in place], np.int64), [encode_integer(each) for each in numbers]))
    rows.texts(received_at)
    return rows.ranks()


class _Rows:
    """The encoded bytes of n records, one column after the other."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._all = np.ones(n, np.bool_)
        self._sizes = np.zeros(n, np.int64)
        self._columns: list[tuple[npt.NDArray[np.uint8], Int64s, Int64s, Bools, int]] = []

    def ranks(self) -> npt.NDArray[np.uint64]:
        """Hash each record, uint64 [n]."""
        blocks = -(-self._sizes // BLOCK_BYTES)  # every record has a byte
        first = np.cumsum(blocks) - blocks
        out = np.zeros(int(blocks.sum()) * BLOCK_BYTES, np.uint8)
        at = first * BLOCK_BYTES
        for column in self._columns:
            _append(out, at, *column)
        return blake2b_words(out.view(np.uint64), first * (BLOCK_BYTES // 8), self._sizes).byteswap()

    def pieces(self, pieces: Pieces) -> None:
        """Append a column that is encoded already."""
        which, texts = pieces
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        starts = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])
        self._add(np.frombuffer(b"".join(texts), np.uint8), starts[which], ends[which])

    def texts(self, column: pa.StringArray) -> None:
        """Append strings; null is absent."""
        _, offsets_buffer, data = column.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset :][: self._n + 1].astype(np.int64)
        if self._n and column.null_count < self._n:
            present = None if not column.null_count else column.is_valid().to_numpy(zero_copy_only=False)
            data = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
            self._add(data, offsets[:-1], offsets[1:], present, unit=1)
        else:
            self._absent()

    def numbers(self, column: Float64s, present: Bools | None = None) -> None:
        """Append float64 [n]; absent where `present` is false."""
        cells = np.empty((self._n, 9), np.uint8)
        cells[:, 0] = 1
        cells[:, 1:] = (column + 0.0).astype("<f8").view(np.uint8).reshape(self._n, 8)
        starts = np.arange(self._n, dtype=np.int64) * 9
        self._add(cells.reshape(-1), starts, starts + 9, present)

    def optional_numbers(self, values: Iterable[float | None]) -> None:
        """Append numbers; None is absent."""
        column = pa.array(values, pa.float64())
        present = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
        self.numbers(column.fill_null(0.0).to_numpy(), present)

    def vectors(self, present: Bools, offsets: Int64s, values: Float64s) -> None:
        """Append lists of float64."""
        if not present.any():
            self._absent()
            return
        self._add((values + 0.0).astype("<f8").view(np.uint8), 8 * offsets[:-1], 8 * offsets[1:], present, unit=8)

    def _absent(self) -> None:
        zeros = np.zeros(self._n, np.int64)
        self._add(np.zeros(1, np.uint8), zeros, zeros + 1)

    def _add(
        self, data: npt.NDArray[np.uint8], starts: Int64s, ends: Int64s, present: Bools | None = None, unit: int = 0
    ) -> None:
        """Append data[starts:ends] of each row.

        Args:
            data: Bytes of the column.
            starts: Where each row begins in `data`, int64 [n].
            ends: Where it ends, int64 [n].
            present: Rows that are not one zero byte, bool [n].
            unit: Bytes of an element, 1 or 8. The byte 1 and the number of elements precede the data. 0 is data alone.
        """
        sizes = ends - starts + (5 if unit else 0)
        self._sizes += sizes if present is None else np.where(present, sizes, 1)
        self._columns.append((data, starts, ends, self._all if present is None else present, unit))


def _append_column(
    out: npt.NDArray[np.uint8],
    at: Int64s,
    data: npt.NDArray[np.uint8],
    starts: Int64s,
    ends: Int64s,
    present: Bools,
    unit: int,
) -> None:
    """Copy a column (see `_add`) to out[at], which is zero, and move `at` on.

    The indexes are unsigned: a signed one may be negative for the compiler, which then copies byte by byte and takes
    four times as long.
    """
    for row in range(len(at)):
        if not present[row]:
            at[row] += 1
            continue
        place, start = np.uint64(at[row]), np.uint64(starts[row])
        size = np.uint64(ends[row]) - start
        if unit:
            count = size >> np.uint64(3 if unit == 8 else 0)
            out[place] = 1
            for byte in range(np.uint64(4)):
                out[place + np.uint64(1) + byte] = (count >> (np.uint64(8) * byte)) & np.uint64(0xFF)
            place += np.uint64(5)
        for byte in range(size):
            out[place + byte] = data[start + byte]
        at[row] = place + size


_append = numba.njit(cache=True, nogil=True)(_append_column)


@functools.lru_cache(maxsize=1 << 10)  # the next chunk has the same ones
def _encode_shared(shared: Shared) -> tuple[bytes, bytes, bytes, bytes]:
    """Encode the fields from bandit_id to arm_generation, from rung to model_version, feature_schema, and two flags."""
    label = [
        encode_text(shared.bandit_id), encode_integer(shared.policy_epoch), encode_text(shared.segment),
        encode_text(shared.arm_id), encode_integer(shared.arm_generation),
    ]  # fmt: skip
    served = [
        encode_text(shared.rung), encode_integer(shared.snapshot_version), encode_text(shared.config_hash),
        encode_text(shared.served_by), encode_text(shared.fallback_reason), encode_version(shared.model_version),
    ]  # fmt: skip
    flags = _encode_boolean(shared.bot) + _encode_boolean(shared.holdback)
    return b"".join(label), b"".join(served), encode_text(shared.feature_schema), flags


def _encode_boolean(value: bool | None) -> bytes:
    return b"\0" if value is None else b"\1\1" if value else b"\1\0"
