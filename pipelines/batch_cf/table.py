"""Hold a finished item-to-item model as plain arrays, and read it from an output folder.

The pipeline writes the folder that `load_table` reads.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.errors import BadInput

__all__ = ["NeighborTable", "load_table"]


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborTable:
    """Item neighbors in CSR form. A row is a history item, its columns are the candidates.

    Args:
        items: string [items], unique, in the order of their UTF-8 bytes. The index of an item is its place here.
        indptr: int64 [items + 1]. Row i has the entries indptr[i] to indptr[i + 1] - 1.
        neighbors: int32 [pairs], item indices, best first within a row, never the row's own item.
        scores: float32 [pairs], similarity of the row's item and the neighbor.
        users: int64 [items], users with the item, before any cap.
        available: bool [items], whether the item may be recommended.
    """

    items: pa.StringArray
    indptr: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    users: npt.NDArray[np.int64]
    available: npt.NDArray[np.bool_]


def load_table(output_dir: str | os.PathLike[str]) -> NeighborTable:
    """Read neighbors/*.parquet and items.parquet of a batch_cf output folder.

    Every item is available if there is no column `available`.

    Args:
        output_dir: Local folder.

    Returns:
        The table.

    Raises:
        BadInput: A file is missing or unreadable, the files contradict each other, or rows are not in the order of
            item and rank.
    """
    folder = Path(output_dir)
    catalogue = _read(folder / "items.parquet", ["item_id", "users"], optional=["available"])
    catalogue = catalogue.set_column(0, "item_id", catalogue["item_id"].cast(pa.string())).sort_by("item_id")
    items = catalogue["item_id"].combine_chunks()
    parts = sorted((folder / "neighbors").glob("*.parquet"))
    if not parts:
        raise BadInput(f"{folder / 'neighbors'}: holds no .parquet file; pass the --output folder of a batch_cf run")
    lengths = np.zeros(len(items), np.int64)
    neighbors, scores, last = [], [], -1
    with concurrent.futures.ThreadPoolExecutor() as pool:  # decoding and look-ups run outside the interpreter lock
        for path, part in zip(parts, pool.map(_read_part, parts, [items] * len(parts)), strict=True):
            if len(part.lengths) and part.first_owner < last:
                raise BadInput(
                    f"{path}: starts with an item before the last one of the previous file; run batch_cf again"
                )
            last = part.first_owner + len(part.lengths) - 1
            lengths[part.first_owner : last + 1] += part.lengths
            neighbors.append(part.neighbors)
            scores.append(part.scores)
    pa.default_memory_pool().release_unused()
    return NeighborTable(
        items=items,
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        neighbors=np.concatenate(neighbors),
        scores=np.concatenate(scores),
        users=catalogue["users"].to_numpy().astype(np.int64),
        available=(
            pc.fill_null(catalogue["available"], True).to_numpy().astype(np.bool_)
            if "available" in catalogue.column_names
            else np.ones(len(items), np.bool_)
        ),
    )


class _Part(NamedTuple):
    """The rows of a file: items first_owner, first_owner + 1, …, with the number of neighbors of each."""

    first_owner: int
    lengths: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


def _read_part(path: Path, items: pa.StringArray) -> _Part:
    rows = _read(path, ["item_id", "rank", "neighbor_id", "score"])
    owner = _places(rows["item_id"], items, path)
    step = np.diff(owner)
    if ((step < 0) | ((step == 0) & (np.diff(rows["rank"].to_numpy()) < 0))).any():
        raise BadInput(f"{path}: rows are not in the order of item and rank; run batch_cf again")
    first = int(owner[0]) if len(owner) else 0
    neighbors = _places(rows["neighbor_id"], items, path)
    scores = rows["score"].to_numpy().astype(np.float32, copy=False)
    return _Part(first, np.bincount(owner - first), neighbors, scores)


def _read(path: Path, columns: list[str], optional: list[str] | None = None) -> pa.Table:
    try:
        names = pq.read_schema(path).names
        missing = [column for column in columns if column not in names]
        if missing:
            raise BadInput(f"{path}: has no column {missing[0]}; pass the --output folder of a batch_cf run")
        present = [column for column in [*columns, *(optional or [])] if column in names]
        ids = [column for column in present if column.endswith("_id")]  # as stored: a dictionary, decoded once per id
        return pq.ParquetFile(path, read_dictionary=ids).read(present)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; pass the --output folder of a batch_cf run") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: cannot be read as Parquet ({reason}); run batch_cf again") from error


def _places(ids: pa.ChunkedArray, items: pa.StringArray, path: Path) -> npt.NDArray[np.int32]:
    """Return the index in `items` of each id. Each distinct id is looked up once, not once per row."""
    parts = [np.empty(0, np.int32)]
    for chunk in (ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()).chunks:
        found = pc.index_in(chunk.dictionary.cast(pa.string()), value_set=items)
        if found.null_count:
            strange = chunk.dictionary.filter(found.is_null())[0].as_py()
            raise BadInput(
                f"{path}: item {strange!r} is not in items.parquet, so the files are of two runs; run batch_cf again"
            )
        parts.append(found.to_numpy().astype(np.int32)[chunk.indices.to_numpy()])
    return np.concatenate(parts)
