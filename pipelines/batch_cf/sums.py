"""Sum the pairs of item rows from histories, a chunk at a time, and add up partial sums.

A chunk is some whole rows with all their pairs, small enough for the processor's cache. numpy scores a chunk between
the kernel that sums and the kernel that ranks, while it is still in the cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.batch_cf import kernels
from pipelines.batch_cf.histories import HistoryMatrix, ItemMajor

__all__ = ["CHUNK_PAIRS", "PairSums", "add", "chunks", "empty", "gather", "negate", "slice_rows", "sum_rows"]

CHUNK_PAIRS = 1 << 16
"""Pairs a chunk aims at: 64 Ki x (4 + 4 + 3 x 8 bytes of scores) stay within 2 MiB of second-level cache."""


@dataclasses.dataclass(frozen=True, eq=False)
class PairSums:
    """Sums of the pairs of rows first_row .. first_row + rows - 1, without each row's own item.

    Args:
        items: Number of items in all. Columns are below it.
        row_ends: int64 [rows], where each row's pairs end.
        columns: uint32 [pairs], item indices in no order.
        counts: int32 or int64 [pairs], users with both items.
        sums: int64 [pairs], weighted, in units of 2^-exponent of the plan. None where every pair counts 1.
    """

    items: int
    first_row: int
    row_ends: npt.NDArray[np.int64]
    columns: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64] | None

    @property
    def nbytes(self) -> int:
        """Return the size of the arrays in bytes."""
        arrays = (self.row_ends, self.columns, self.counts, self.sums)
        return sum(array.nbytes for array in arrays if array is not None)


def sum_rows(
    histories: HistoryMatrix,
    by_item: ItemMajor,
    start: int,
    stop: int,
    user_scale: npt.NDArray[np.float64] | None = None,
    chunk_pairs: int = CHUNK_PAIRS,
) -> Iterator[PairSums]:
    """Yield the pair sums of item rows [start, stop), in chunks of whole rows.

    Args:
        histories: The matrix by user.
        by_item: The same matrix by item.
        start: First row.
        stop: One past the last row.
        user_scale: float64 [users], the factor of a pair of weights before it is rounded to an integer. None counts
            users and leaves `sums` None.
        chunk_pairs: Approximate number of pairs in a chunk.

    Yields:
        The sums of a chunk. The next step of the iterator overwrites its arrays.
    """
    items = len(by_item.indptr) - 1
    capacity = items + chunk_pairs + 1  # the kernel writes one place past the last pair it keeps
    counter = np.zeros(items, np.int32)
    row_ends = np.empty(stop - start, np.int64)
    columns = np.empty(capacity, np.uint32)
    counts = np.empty(capacity, np.int32)
    if user_scale is not None:
        adder, sums = np.zeros(items, np.int64), np.empty(capacity, np.int64)
        weights = np.ones(len(histories.items)) if histories.weights is None else histories.weights
        places = by_item.places if by_item.places is not None else np.zeros(len(histories.items), np.int64)
    while start < stop:
        if user_scale is None:
            done = kernels.count_pairs(
                start, stop, by_item.indptr, by_item.users, histories.indptr, histories.items, counter, row_ends,
                columns, counts,
            )  # fmt: skip
        else:
            done = kernels.weigh_pairs(
                start, stop, by_item.indptr, places, by_item.users, histories.indptr, histories.items, weights,
                user_scale, counter, adder, row_ends, columns, counts, sums,
            )  # fmt: skip
        ends = row_ends[: done - start]
        used = int(ends[-1])
        yield PairSums(items, start, ends, columns[:used], counts[:used], None if user_scale is None else sums[:used])
        start = done


def gather(parts: Iterable[PairSums]) -> PairSums:
    """Join parts of consecutive rows, in order, and copy the arrays."""
    copies = [
        dataclasses.replace(
            part,
            row_ends=part.row_ends.copy(),
            columns=part.columns.copy(),
            counts=part.counts.copy(),
            sums=None if part.sums is None else part.sums.copy(),
        )
        for part in parts
    ]
    offsets = np.cumsum([0] + [len(part.columns) for part in copies])
    first = copies[0]
    return PairSums(
        first.items,
        first.first_row,
        np.concatenate([part.row_ends + offset for part, offset in zip(copies, offsets[:-1], strict=True)]),
        np.concatenate([part.columns for part in copies]),
        np.concatenate([part.counts for part in copies]),
        None if first.sums is None else np.concatenate([_sums(part) for part in copies]),
    )


def slice_rows(part: PairSums, start: int, stop: int) -> PairSums:
    """Return rows [start, stop) of a part that holds them, as views."""
    low = start - part.first_row
    begin = int(part.row_ends[low - 1]) if low > 0 else 0
    ends = part.row_ends[low : stop - part.first_row]
    end = int(ends[-1]) if len(ends) else begin
    sums = None if part.sums is None else part.sums[begin:end]
    return PairSums(part.items, start, ends - begin, part.columns[begin:end], part.counts[begin:end], sums)


def add(parts: Sequence[PairSums]) -> PairSums:
    """Add up at least one part. Negative counts and sums subtract.

    The rows of the result reach from the first to the last row of all parts.
    """
    items = parts[0].items
    first_row = min(part.first_row for part in parts)
    rows = max(part.first_row + len(part.row_ends) for part in parts) - first_row
    weighted = any(part.sums is not None for part in parts)
    offsets = np.cumsum([0] + [len(part.columns) for part in parts])
    segment_rows, starts, stops = [], [], []
    for part, offset in zip(parts, offsets[:-1], strict=True):
        segment_rows.append(np.arange(len(part.row_ends)) + (part.first_row - first_row))
        starts.append(np.concatenate(([0], part.row_ends[:-1]))[: len(part.row_ends)] + offset)
        stops.append(part.row_ends + offset)
    rows_of_segments = np.concatenate(segment_rows)
    order = np.argsort(rows_of_segments, kind="stable")
    segment_indptr = np.searchsorted(rows_of_segments[order], np.arange(rows + 1)).astype(np.int64)
    total = int(offsets[-1])
    columns_in = np.concatenate([part.columns for part in parts])
    counts_in = np.concatenate([part.counts.astype(np.int64) for part in parts])
    sums_in = np.concatenate([_sums(part) for part in parts]) if weighted else np.zeros(total, np.int64)
    columns, counts, sums = np.empty(total, np.uint32), np.empty(total, np.int64), np.empty(total, np.int64)
    row_ends = np.zeros(rows, np.int64)
    kernels.merge_pairs(
        segment_indptr, np.concatenate(starts)[order].astype(np.int64), np.concatenate(stops)[order], columns_in,
        counts_in, sums_in, np.zeros(items, np.int64), np.zeros(items, np.int64), row_ends, columns, counts, sums,
    )  # fmt: skip
    used = int(row_ends[-1]) if rows else 0
    return PairSums(
        items,
        first_row,
        row_ends,
        columns[:used].copy(),
        counts[:used].copy(),
        sums[:used].copy() if weighted else None,
    )


def empty(items: int, first_row: int, rows: int) -> PairSums:
    """Return sums without pairs for these rows."""
    return PairSums(items, first_row, np.zeros(rows, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.int64), None)


def chunks(part: PairSums, chunk_pairs: int = CHUNK_PAIRS) -> Iterator[PairSums]:
    """Yield the part in whole rows of about chunk_pairs pairs, as views."""
    start, rows = 0, len(part.row_ends)
    while start < rows:
        begin = int(part.row_ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(part.row_ends, begin + chunk_pairs, side="right")))
        yield slice_rows(part, part.first_row + start, part.first_row + stop)
        start = stop


def negate(part: PairSums) -> PairSums:
    """Return the part with its signs changed, to subtract it."""
    return dataclasses.replace(part, counts=-part.counts, sums=None if part.sums is None else -part.sums)


def _sums(part: PairSums) -> npt.NDArray[np.int64]:
    return part.sums if part.sums is not None else np.zeros(len(part.columns), np.int64)
