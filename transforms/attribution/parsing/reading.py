"""Decode the lines of a chunk to records, and collect the lines that are not good records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from serving_client.contracts.ids import id_fault
from transforms.attribution.parsing.columns import LineSpan
from transforms.attribution.parsing.lines import IDS, MOST_NESTED, Malformed, decoder_of, read_line
from transforms.attribution.parsing.schema import Decision, Reward

__all__ = ["Reading", "Rejected"]

T = TypeVar("T", Decision, Reward)
Int64s = npt.NDArray[np.int64]

_BATCH = 256
"""Lines decoded at a time: their records take 0.3 MiB."""
_LEAST_BYTES = 90
"""The required fields of a record take more."""


@dataclasses.dataclass(slots=True)
class Rejected:
    """A line that is not a good record.

    Args:
        position: Position of the line in its file.
        reason: Why the line is rejected.
        outcome: `malformed` or `future`.
        original: The line without its line end.
        owner: Bandit and policy epoch of a decision of the future; otherwise no bandit.
    """

    position: int
    reason: str
    outcome: str
    original: bytes
    owner: tuple[str, int] = ("", 0)


class Reading(Generic[T]):
    """The records of some lines.

    Attributes:
        starts: Where the line of each record begins in `lines`, int64 [n].
        ends: Where the line ends, without its LF, int64 [n].
        good: Records that are not rejected, bool [n].
        lines_read: Number of lines that are not blank.

    Args:
        lines: Lines that end in LF. The last one may lack it.
        base: Position of the first line in its file.
        kind: Type of the records.
    """

    def __init__(self, lines: bytes, base: int, kind: type[T]) -> None:
        self.lines = LineSpan(lines, base)
        self._kind: type[T] = kind
        self._rejected: list[Rejected] = []
        self._plain: dict[int, T | None] = {}  # what read_line said, by number of the line; None: not a record
        self._bytes = np.frombuffer(lines, np.uint8)
        self._ends = np.flatnonzero(self._bytes == ord("\n"))
        if lines and not lines.endswith(b"\n"):
            self._ends = np.append(self._ends, len(lines))
        self._starts = np.concatenate([np.zeros(min(1, len(self._ends)), np.int64), self._ends[:-1] + 1])
        # An id can hold NUL, CR or LF only as an escape, and has more bytes than characters only outside ASCII.
        self._ids_are_good = lines.isascii() and b"\\" not in lines
        self.lines_read = len(self._ends)
        for line in _with_many_brackets(lines, self._starts, self._ends):
            self._read_plain(line)

    def batches(self) -> Iterator[list[T]]:
        """Decode the lines, some at a time, so that the records are still in the processor's cache when they are used.

        Sets `starts`, `ends` and `good` at the end.
        """
        skipped: list[int] = []
        for first in range(0, len(self._ends), _BATCH):
            numbers = range(first, min(first + _BATCH, len(self._ends)))
            none_plain = not self._plain or self._plain.keys().isdisjoint(numbers)
            usual = self._decode(numbers) if self._ids_are_good and none_plain else None
            if usual is not None:
                yield usual
                continue
            records = [self._read(line) for line in numbers]
            skipped += [line for line, record in zip(numbers, records, strict=True) if record is None]
            yield [record for record in records if record is not None]
        self.starts = np.delete(self._starts, skipped)
        self.ends = np.delete(self._ends, skipped)
        self._lines = np.delete(np.arange(len(self._ends)), skipped)
        self.good = np.ones(len(self.starts), np.bool_)

    def settle(self, doubtful: npt.NDArray[np.bool_]) -> bool:
        """Read the lines of doubtful records, bool [n], with `read_line`, which accepts or rejects each.

        Returns:
            Whether a line was accepted, so that `batches` has to be called again.
        """
        accepted = False
        for row in np.flatnonzero(doubtful).tolist():
            if self._read_plain(int(self._lines[row])) is None:
                self.good[row] = False
            else:
                accepted = True
        return accepted

    def reject_future(self, rows: npt.NDArray[np.bool_], reason: str) -> None:
        """Reject records, bool [n], whose event time is ahead of the clock."""
        for row in np.flatnonzero(rows & self.good).tolist():
            line = int(self._lines[row])
            record = read_line(self._text(line), self._kind)
            owner = (record.bandit_id, record.policy_epoch) if isinstance(record, Decision) else ("", 0)
            self._reject(line, "future", reason, owner)
        self.good &= ~rows

    def rejected(self) -> list[Rejected]:
        """Return the rejected lines in the order of the file."""
        return sorted(self._rejected, key=lambda each: each.position)

    def _text(self, line: int) -> bytes:
        return self.lines.data[self._starts[line] : self._ends[line]]

    def _decode(self, numbers: range) -> list[T] | None:
        """Decode consecutive lines at once. Return None if one of them may not be a record.

        The decoder takes a record over two lines and two records in one line, too. But LF cannot follow } and precede {
        inside JSON. So if every line begins with { and ends with }, every line is at least one record, and if there are
        as many records as lines, every line is one.
        """
        starts, ends = self._starts[numbers[0] : numbers[-1] + 1], self._ends[numbers[0] : numbers[-1] + 1]
        if not (self._bytes[starts] == ord("{")).all() or not (self._bytes[ends - 1] == ord("}")).all():
            return None
        try:
            records = decoder_of(self._kind).decode_lines(self.lines.data[starts[0] : ends[-1]])
        except Exception:  # whatever the decoder raises, some line is odd
            return None
        return records if len(records) == len(numbers) else None

    def _read(self, line: int) -> T | None:
        if line in self._plain:
            return self._plain[line]
        try:
            record = decoder_of(self._kind).decode(self._text(line))
        except Exception:  # whatever the decoder raises, read_line decides
            return self._read_plain(line)
        return record if self._ids_are_good or _has_good_ids(record) else self._read_plain(line)

    def _read_plain(self, line: int) -> T | None:
        if not self._text(line).strip():
            self.lines_read -= 1
            self._plain[line] = None
            return None
        try:
            self._plain[line] = read_line(self._text(line), self._kind)
        except Malformed as error:
            self._plain[line] = None
            self._reject(line, "malformed", str(error))
        return self._plain[line]

    def _reject(self, line: int, outcome: str, reason: str, owner: tuple[str, int] = ("", 0)) -> None:
        position, original = self.lines.base + int(self._starts[line]), self._text(line).removesuffix(b"\r")
        self._rejected.append(Rejected(position, reason, outcome, original, owner))


def _has_good_ids(record: Decision | Reward) -> bool:
    return not any((text := getattr(record, name)) and id_fault(text) for name in IDS[type(record)])


def _with_many_brackets(lines: bytes, starts: Int64s, ends: Int64s) -> list[int]:
    """Which lines have brackets enough to be nested more than MOST_NESTED deep."""
    if not len(starts) or (ends - starts).max() <= 2 * MOST_NESTED + _LEAST_BYTES:
        return []
    opening = np.flatnonzero(np.frombuffer(lines, np.uint8) & 0xDF == ord("["))  # 0xDF makes { a [
    before = np.searchsorted(opening, np.append(starts, len(lines)))
    rows: list[int] = np.flatnonzero(np.diff(before) > MOST_NESTED).tolist()
    return rows
