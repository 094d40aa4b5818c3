"""Find where the records of a CSV text end, by RFC 4180.

A record ends at a line end outside of quotes. A quote opens a value only at the start of a record or directly after a
delimiter. Elsewhere a quote is a character like any other. Within a quoted value two quotes are one quote, and a single
quote closes the value.

A record of several lines that does not end within RECORD_BYTES_LIMIT bytes has a stray quote. Then its first line alone
is a broken record, and the next record begins on the next line. All rules depend on the text alone, so the size of the
blocks in which a file is read does not change its records.

Most lines of a text are regular: their quotes open and close whole values on that line. numpy finds them all at once.
Python looks only at the other lines and at the records that begin there. `csv` parses the records.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.interactions.lines import LINE_BLOCK_BYTES, LineBlock, read_line_blocks

__all__ = ["RECORD_BYTES_LIMIT", "RecordBlock", "read_record_blocks"]

RECORD_BYTES_LIMIT = 1 << 20  # far above real texts of several lines, and little to read again after a stray quote
STRAY = "opens a quoted value that is not closed within 1 MiB"
TRAILING = "has text between the quote that closes a value and the next delimiter"

QUOTE, LINE_FEED, CARRIAGE_RETURN = 34, 10, 13


class RecordBlock(NamedTuple):
    """A block of whole records, and the reason for each record that is broken, by its index."""

    lines: LineBlock
    broken: dict[int, str]

    def after(self, index: int) -> RecordBlock:
        """Return the records after record `index`."""
        broken = {each - index - 1: reason for each, reason in self.broken.items() if each > index}
        return RecordBlock(self.lines.after(index), broken)


def read_record_blocks(stream: BinaryIO, delimiter: str, block_bytes: int = LINE_BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Read the rest of a stream in blocks of about `block_bytes` bytes.

    Args:
        stream: The text.
        delimiter: One ASCII character.
        block_bytes: Size of the blocks of lines to read, in bytes.

    Raises:
        FileFault: A line is longer than 64 MiB.
    """
    stop = ord(delimiter)
    first_line, rest = 1, b""  # rest: the lines of a record that is still open
    for block in read_line_blocks(stream, block_bytes):
        if not rest:
            first_line = block.first_line
            if b'"' not in block.data:
                yield RecordBlock(block, {})
                continue
        records, rest = _cut(first_line, rest + block.data, stop, final=False)
        if records.lines.data:
            yield records
        first_line += records.lines.data.count(b"\n")
    if rest:
        yield _cut(first_line, rest, stop, final=True)[0]


def _cut(first_line: int, data: bytes, stop: int, *, final: bool) -> tuple[RecordBlock, bytes]:
    """Cut whole lines into records. Return them, and the lines of the last record if it is still open.

    Args:
        first_line: 1-based number of the first line.
        data: The lines. The first one begins a record.
        stop: The delimiter.
        final: The text ends here.
    """
    text = np.frombuffer(data, np.uint8)
    line_feeds, quotes = np.flatnonzero(text == LINE_FEED), np.flatnonzero(text == QUOTE)
    irregular = _irregular(text, line_feeds, quotes, stop)
    if not len(irregular):
        return RecordBlock(LineBlock(first_line, data), {}), b""
    found = _Walk(data, quotes.tolist(), irregular.tolist(), stop, final).run()
    ends = line_feeds + 1
    if found.several:
        starts, stops = np.array(found.several).T
        place = np.searchsorted(starts, line_feeds, side="right") - 1
        ends = ends[(place < 0) | (line_feeds >= stops[np.maximum(place, 0)] - 1)]
    ends = ends[ends <= found.cut]
    if found.cut == len(data) and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    broken = {int(np.searchsorted(offsets, start)): reason for start, reason in found.broken}
    return RecordBlock(LineBlock(first_line, data[: found.cut], offsets), broken), data[found.cut :]


def _irregular(
    text: npt.NDArray[np.uint8], line_feeds: npt.NDArray[np.int64], quotes: npt.NDArray[np.int64], stop: int
) -> npt.NDArray[np.int64]:
    """Return the index of the first quote of each line whose quotes do not open and close whole values on the line."""
    if _all_simple(text, line_feeds, quotes, stop):
        return quotes[:0]
    line = np.searchsorted(line_feeds, quotes)
    new_line = np.diff(line, prepend=-1) != 0
    first = np.flatnonzero(new_line)
    counts = np.diff(first, append=len(quotes))
    opens = ((np.arange(len(quotes)) - np.repeat(first, counts)) & 1) == 0
    joined = np.zeros(len(quotes) + 1, np.bool_)  # whether a quote follows directly on the one before
    joined[1:-1] = np.diff(quotes) == 1
    before = text[quotes - 1]
    after = text[np.minimum(quotes + 1, len(text) - 1)]
    begins = (before == stop) | (before == LINE_FEED) | (quotes == 0) | joined[:-1]
    closes = (after == stop) | (after == LINE_FEED) | (quotes == len(text) - 1) | joined[1:]
    for place in np.flatnonzero(~closes & (after == CARRIAGE_RETURN)):
        closes[place] = quotes[place] + 2 >= len(text) or text[quotes[place] + 2] == LINE_FEED
    regular = np.logical_and.reduceat(np.where(opens, begins, closes), first) & (counts % 2 == 0)
    irregular: npt.NDArray[np.int64] = first[~regular]
    return irregular


def _all_simple(
    text: npt.NDArray[np.uint8], line_feeds: npt.NDArray[np.int64], quotes: npt.NDArray[np.int64], stop: int
) -> bool:
    """Return whether all quotes are pairs around whole values on one line, as writers that quote all text make them.

    Doubled quotes return False. The check takes half the time of `_irregular`.
    """
    opening, closing = quotes[0::2], quotes[1::2]
    if len(opening) != len(closing) or (len(closing) and closing[-1] + 1 == len(text)):
        return False
    before, after = text[opening - 1], text[closing + 1]
    begins = (before == stop) | (before == LINE_FEED)
    begins[:1] |= quotes[:1] == 0
    returns = closing[after == CARRIAGE_RETURN]
    closes = (after == stop) | (after == LINE_FEED) | (after == CARRIAGE_RETURN)
    if not (begins.all() and closes.all() and (text[np.minimum(returns + 2, len(text) - 1)] == LINE_FEED).all()):
        return False
    return not (np.searchsorted(quotes, line_feeds) & 1).any()


class _Found(NamedTuple):
    """What a walk found.

    Attributes:
        several: Start and end of each record of several lines, ascending.
        broken: Start and reason of each broken record, ascending.
        cut: Where the last whole record ends.
    """

    several: list[tuple[int, int]]
    broken: list[tuple[int, str]]
    cut: int


class _Walk:
    """Go from one irregular line to the next, and find the record that begins there.

    Args:
        data: Whole lines. The first one begins a record.
        quotes: Positions of all quotes.
        irregular: Index of the first quote of each irregular line.
        stop: The delimiter.
        final: The text ends here.
    """

    def __init__(self, data: bytes, quotes: list[int], irregular: list[int], stop: int, final: bool) -> None:
        self._data, self._quotes, self._irregular = data, quotes, irregular
        self._stop, self._final = stop, final
        # The end of a record depends only on the quote that is open. So a record that begins within one that was
        # given up needs no second walk, and hostile text no quadratic time.
        self._known: dict[int, tuple[int | None, bool]] = {}

    def run(self) -> _Found:
        """Walk through the text."""
        data, quotes = self._data, self._quotes
        several: list[tuple[int, int]] = []
        broken: list[tuple[int, str]] = []
        index = self._next_irregular(0)
        while (opening := self._next_opening(index, len(data))) is not None:
            start = data.rfind(b"\n", 0, quotes[opening]) + 1
            end, trailing = self._record_end(opening)
            line_end = data.find(b"\n", start) + 1 or len(data)
            if end is None and not self._final and len(data) - start <= RECORD_BYTES_LIMIT:
                return _Found(several, broken, start)
            if end is None or (end > line_end and end - start > RECORD_BYTES_LIMIT):
                broken.append((start, STRAY))
                end = line_end
            else:
                if trailing:
                    broken.append((start, TRAILING))
                if end > line_end:
                    several.append((start, end))
            index = self._next_irregular(bisect.bisect_left(quotes, end))
        return _Found(several, broken, len(data))

    def _next_irregular(self, index: int) -> int:
        """Return the first quote from `index` on that is the first one of an irregular line. `index` begins a line."""
        place = bisect.bisect_left(self._irregular, index)
        return self._irregular[place] if place < len(self._irregular) else len(self._quotes)

    def _next_opening(self, index: int, end: int) -> int | None:
        """Return the first quote from `index` on, and before position `end`, that opens a value."""
        data, quotes, stop = self._data, self._quotes, self._stop
        while index < len(quotes) and quotes[index] < end:
            place = quotes[index]
            if place == 0 or data[place - 1] == stop or data[place - 1] == LINE_FEED:
                return index
            index += 1
        return None

    def _record_end(self, opening: int) -> tuple[int | None, bool]:
        """Return where the record ends, None if nowhere, and whether text follows a closing quote.

        Args:
            opening: Index of the quote that opens a value.
        """
        path: list[tuple[int, bool]] = []  # each quote that opens a value, and whether text follows its closing quote
        current: int | None = opening
        end: int | None = None
        trailing = False
        while current is not None:
            if current in self._known:
                end, trailing = self._known[current]
                break
            closing = self._closing(current)
            if closing is None:
                path.append((current, False))
                break
            after = self._quotes[closing] + 1
            path.append((current, not self._ends_value(after)))
            end = self._data.find(b"\n", after) + 1 or len(self._data)
            current = self._next_opening(closing + 1, end)
            end = end if current is None else None
        for quote, follows in reversed(path):
            trailing |= follows
            self._known[quote] = end, trailing
        return end, trailing

    def _closing(self, opening: int) -> int | None:
        quotes = self._quotes
        index = opening + 1
        while index + 1 < len(quotes) and quotes[index + 1] == quotes[index] + 1:
            index += 2
        return index if index < len(quotes) else None

    def _ends_value(self, place: int) -> bool:
        """Return whether a value may end before `place`."""
        following = self._data[place : place + 2]
        return following in (b"", b"\r", b"\r\n") or following[0] in (self._stop, LINE_FEED)
