"""Which of a chunk's lines are good records, and where or what their fields are: the part common to all kinds.

Lines are read twice over: `scan` finds fields and the usual lines, orjson proves those valid and writes what their rank
is taken of. Every other line is read by the plain rule, `lines.read_line`; both ways give the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from transforms.attribution.parsing.columns import Chunk
from transforms.attribution.parsing.fields import Field
from transforms.attribution.parsing.lines import read_line
from transforms.attribution.parsing.scan import scan
from transforms.attribution.parsing.spans import distinct

__all__ = ["Reading", "Rejected"]

Places = npt.NDArray[np.int32]

_NO_DIGEST = bytes(hashlib.sha256().digest_size)


@dataclasses.dataclass(slots=True)
class Rejected:
    """A line that is no good record. outcome: malformed or future. original: its bytes without the line end."""

    position: int
    reason: str
    outcome: str
    original: bytes


class Reading:
    """Lines on their way to columns [lines]: first columns over the usual ones and doubts, then `settle`.

    usual: whose fields `places` shows. plain: the values of the other good records, by line.
    """

    def __init__(self, lines: bytes, base: int, fields: Sequence[Field], kept: Sequence[str]) -> None:
        self.data = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(self.data == ord("\n"))
        if lines and not lines.endswith(b"\n"):
            ends = np.append(ends, len(lines))
        self.ends = ends
        self.starts = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1])
        self.chunk = Chunk(lines, base)
        self._fields = fields
        self._slots = {name: slot for slot, name in enumerate(kept)}
        found = scan(self.data, self.starts, ends, fields, kept)
        self.usual, self._begin, self._end = found.usual, found.begin, found.end
        self.rank = self._ranks(lines)
        self.plain: dict[int, dict[str, Any]] = {}
        self._rejected: dict[int, tuple[str, str]] = {}
        self._blank = 0

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lines_read(self) -> int:
        """Lines that are not blank."""
        return len(self) - self._blank

    def doubt(self, rows: npt.NDArray[np.bool_]) -> None:
        """Leaves rows, bool [lines], to the plain rule."""
        self.usual &= ~rows

    def settle(self) -> None:
        """Reads all lines that are not usual by the plain rule; from here on, their places are absent."""
        for row in np.flatnonzero(~self.usual).tolist():
            text = self.chunk.lines[self.starts[row] : self.ends[row]]
            if not text.strip():
                self._blank += 1
                continue
            read = read_line(text, self._fields)
            if isinstance(read, str):
                self._rejected[row] = "malformed", read
            else:
                self.plain[row], self.rank[row] = read
        for places in (self._begin, self._end):
            places[:, ~self.usual] = -1

    def reject(self, rows: Iterable[int], outcome: str, reason: str) -> None:
        """Counts good records out."""
        self._rejected.update((row, (outcome, reason)) for row in rows)

    def good(self) -> npt.NDArray[np.bool_]:
        """Lines that are good records and not rejected, bool [lines]."""
        good = self.usual.copy()
        good[list(self.plain)] = True
        good[list(self._rejected)] = False
        return good

    def rejected(self) -> list[Rejected]:
        """The lines that are none, in their order."""
        return [
            Rejected(self.chunk.base + int(self.starts[row]), reason, outcome, self.original(row))
            for row, (outcome, reason) in sorted(self._rejected.items())
        ]

    def original(self, row: int) -> bytes:
        """A line without its end."""
        return self.chunk.original(self.chunk.base + int(self.starts[row]), self.chunk.base + int(self.ends[row]))

    def places(self, name: str) -> tuple[Places, Places]:
        """Where a kept field's values begin and end, int32 [lines]; -1 where absent."""
        slot = self._slots[name]
        return self._begin[slot], self._end[slot]

    def present(self, name: str) -> npt.NDArray[np.bool_]:
        """Which usual lines have a field, bool [lines]."""
        return self.places(name)[0] >= 0

    def value(self, name: str, row: int) -> bytes:
        """The text of a usual line's field, without quotes."""
        begin, end = self.places(name)
        return self.chunk.lines[begin[row] : end[row]]

    def distinct(self, *names: str, rows: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], list[list[bytes]]]:
        """Which combination of texts each of `rows` has in these fields, int32 [lines], else -1; and all there are."""
        slots = [self._slots[name] for name in names]
        codes, firsts = distinct(self.data, self._begin[slots], self._end[slots], rows)
        return codes, [[self.value(name, row) for name in names] for row in firsts.tolist()]

    def _ranks(self, lines: bytes) -> npt.NDArray[np.uint64]:
        """`record_rank` of each usual line, uint64 [lines]; a line that proves invalid is usual no longer."""
        texts = lines.split(b"\n")
        del texts[len(self) :]
        rows = None if self.usual.all() else np.flatnonzero(self.usual)
        if rows is not None:
            texts = [texts[row] for row in rows.tolist()]
        digests, failed = _digests(texts)
        of_usual = np.frombuffer(b"".join(digests), ">u8")[::4].astype(np.uint64)
        if rows is None:
            self.usual[failed] = False
            return of_usual
        self.usual[rows[failed]] = False
        ranks = np.zeros(len(self), np.uint64)
        ranks[rows] = of_usual
        return ranks


def _digests(texts: Iterable[bytes]) -> tuple[list[bytes], list[int]]:
    """The SHA-256 of each line's canonical JSON, and the numbers of those that are no JSON."""
    loads, dumps, sha256, sorted_keys = orjson.loads, orjson.dumps, hashlib.sha256, orjson.OPT_SORT_KEYS
    digests: list[bytes] = []
    failed: list[int] = []
    keep = digests.append
    for text in texts:
        try:
            keep(sha256(dumps(loads(text), None, sorted_keys)).digest())
        except (ValueError, TypeError):  # TypeError: nested deeper than orjson writes
            failed.append(len(digests))
            keep(_NO_DIGEST)
    return digests, failed
