"""Compare two folders of written neighbors, read back from the files, as sets with ties."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.cf.inputs import Matrix

__all__ = ["difference"]

TOLERANCE = 1e-6
"""Libraries multiply normalized columns, so their scores differ in the last bits of float32 (6e-8) and a few more."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Ranked:
    """Rows of one folder by item, then rank. keys: item * width + neighbor."""

    items: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    cooccurrence: npt.NDArray[np.int64]


def difference(reference: Path, other: Path, top_k: int, matrix: Matrix) -> str | None:
    """None if equal, otherwise a sentence on the first kind of difference.

    Equal: for every item as many neighbors, at every rank scores within TOLERANCE, ranks from 1 in order of score, the
    same ids except where the score ties with the item's last of a full list, and for ids in both the same cooccurrence
    and score. An id in one alone must have the cooccurrence and score it claims, which are taken from the matrix.
    """
    tables = [_read(reference), _read(other)]
    ids = pa.concat_arrays([_ids(table, name) for table in tables for name in ("item_id", "neighbor_id")]).unique()
    a, b = (_ranked(table, ids) for table in tables)
    lengths = [np.bincount(part.items, minlength=len(ids)) for part in (a, b)]
    if (lengths[0] != lengths[1]).any():
        item = int(np.flatnonzero(lengths[0] != lengths[1])[0])
        return f"item {ids[item]} has {lengths[1][item]} neighbors, not {lengths[0][item]}"
    for part in (a, b):
        starts = np.repeat(np.cumsum(lengths[0]) - lengths[0], lengths[0])
        if (part.ranks != np.arange(len(part.ranks)) - starts + 1).any():
            return "ranks do not count from 1 within an item"
        if (part.items == part.neighbors).any():
            return "an item is its own neighbor"
        same_item = np.diff(part.items) == 0
        if (np.diff(part.scores)[same_item] > TOLERANCE).any():
            return "ranks are not in order of score"
    distance = np.abs(a.scores - b.scores)
    if (distance > TOLERANCE).any():
        row = int(distance.argmax())
        return f"item {ids[int(a.items[row])]}, rank {a.ranks[row]}: score {b.scores[row]:.7f}, not {a.scores[row]:.7f}"
    for one, two in ((a, b), (b, a)):
        found = _different_ids(one, two, lengths[0], top_k, ids, matrix)
        if found:
            return found
    return None


def _different_ids(
    a: _Ranked, b: _Ranked, lengths: npt.NDArray[np.int64], top_k: int, ids: pa.StringArray, matrix: Matrix
) -> str | None:
    width = np.int64(len(ids))
    keys, sought = b.items * width + b.neighbors, a.items * width + a.neighbors
    order = np.argsort(keys)
    place = order[np.minimum(np.searchsorted(keys, sought, sorter=order), max(0, len(keys) - 1))]
    found = keys[place] == sought
    last = np.cumsum(lengths) - 1
    ties = (np.abs(a.scores - a.scores[last[a.items]]) <= TOLERANCE) & (lengths[a.items] >= min(top_k, len(ids) - 1))
    for row in np.flatnonzero(~found & ~ties)[:1]:
        return f"neighbor {ids[int(a.neighbors[row])]} of item {ids[int(a.items[row])]} is in one output alone"
    wrong = found & ((a.cooccurrence != b.cooccurrence[place]) | (np.abs(a.scores - b.scores[place]) > TOLERANCE))
    for row in np.flatnonzero(wrong)[:1]:
        return f"neighbor {ids[int(a.neighbors[row])]} of item {ids[int(a.items[row])]}: cooccurrence or score differs"
    alone = np.flatnonzero(~found)
    code_of = pc.index_in(ids, value_set=matrix.items).to_numpy()
    i, j = code_of[a.items[alone]], code_of[a.neighbors[alone]]
    by_item, users = matrix.by_user.T.tocsr(), matrix.item_users
    together = np.asarray(by_item[i].multiply(by_item[j]).sum(axis=1)).ravel()
    claimed = np.abs(together / np.sqrt(users[i] * users[j]) - a.scores[alone]) <= TOLERANCE
    for row in alone[~claimed | (together != a.cooccurrence[alone])][:1]:
        return f"neighbor {ids[int(a.neighbors[row])]} of item {ids[int(a.items[row])]} does not have its score"
    return None


def _read(folder: Path) -> pa.Table:
    return pq.read_table(folder / "neighbors", read_dictionary=["item_id", "neighbor_id"]).unify_dictionaries()


def _ids(table: pa.Table, name: str) -> pa.StringArray:
    column = table[name]
    return column.chunk(0).dictionary.cast(pa.string()) if column.num_chunks else pa.array([], pa.string())


def _ranked(table: pa.Table, ids: pa.StringArray) -> _Ranked:
    items, neighbors = (
        _codes(table[name], pc.index_in(_ids(table, name), value_set=ids).to_numpy().astype(np.int64))
        for name in ("item_id", "neighbor_id")
    )
    ranks = table["rank"].to_numpy().astype(np.int64)
    order = np.lexsort((ranks, items))
    return _Ranked(
        items[order],
        ranks[order],
        neighbors[order],
        table["score"].to_numpy().astype(np.float64)[order],
        table["cooccurrence"].to_numpy().astype(np.int64)[order],
    )


def _codes(column: pa.ChunkedArray, place: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *(place[chunk.indices.to_numpy()] for chunk in column.chunks)])
