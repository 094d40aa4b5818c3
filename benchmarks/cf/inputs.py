"""Read the input of a measurement for all peers, and create smaller or larger versions of a file.

recbeam uses its own reader. The peers share the fastest reading with pyarrow, so that no peer is slowed by its input.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse

__all__ = ["Matrix", "Shape", "copy_users", "head", "read_matrix", "shape_of"]

WRITE_ROWS = 1 << 20
"""Row group of the files made here, as pyarrow and DuckDB would write them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """Deduplicated interactions. items: ids in UTF-8 byte order, so a code is a rank. by_user: float64 ones, CSR."""

    items: pa.StringArray
    by_user: scipy.sparse.csr_matrix

    @property
    def item_users(self) -> npt.NDArray[np.int64]:
        """n_i, int64 [items]."""
        return np.bincount(self.by_user.indices, minlength=len(self.items)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What the head of the report says of the data. multiply_adds: sum of squared history lengths, no cap."""

    rows: int
    interactions: int
    users: int
    items: int
    multiply_adds: int
    longest_history: int


def read_matrix(path: str, user_column: str, item_column: str) -> Matrix:
    """Parquet file or folder to a matrix: strings read as dictionaries, integers encoded once."""
    users, _ = _encode(path, user_column)
    items, ids = _encode(path, item_column)
    texts = ids.cast(pa.string())
    order = pc.array_sort_indices(texts).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    shape = (int(users.max()) + 1, len(order))
    by_user = scipy.sparse.csr_matrix((np.ones(len(users)), (users, rank[items])), shape=shape)
    by_user.sum_duplicates()  # sorts too
    by_user.data[:] = 1.0
    return Matrix(texts.take(pa.array(order)), by_user)


def shape_of(path: str, user_column: str, item_column: str) -> Shape:
    """Counts of a file. Raises ValueError for a weight column: recbeam would use it, and the peers' code does not."""
    schema = pq.ParquetDataset(path).schema
    if not {user_column, item_column} <= set(schema.names) or "weight" in schema.names:
        raise ValueError(f"columns are {schema.names}, needed are {user_column} and {item_column}, without weight")
    matrix = read_matrix(path, user_column, item_column)
    lengths = np.diff(matrix.by_user.indptr).astype(np.int64)
    rows = sum(fragment.count_rows() for fragment in pq.ParquetDataset(path).fragments)
    return Shape(rows, int(lengths.sum()), len(lengths), len(matrix.items), int(lengths @ lengths), int(lengths.max()))


def head(path: str, rows: int, user_column: str, item_column: str, target: Path) -> None:
    """The first rows of a file: what a run costs that has next to nothing to do."""
    pq.write_table(pq.read_table(path, columns=[user_column, item_column]).slice(0, rows), target)


def copy_users(path: str, times: int, user_column: str, item_column: str, target: Path) -> None:
    """Every user `times` times under new ids: exactly `times` the rows and the multiply-adds on the same items."""
    users, ids = _encode(path, user_column)
    items = pq.read_table(path, columns=[item_column])[item_column].combine_chunks()
    with pq.ParquetWriter(target, pa.schema({user_column: pa.int64(), item_column: items.type})) as writer:
        for copy in range(times):
            table = pa.table({user_column: users.astype(np.int64) + copy * len(ids), item_column: items})
            writer.write_table(table, row_group_size=WRITE_ROWS)


def _encode(path: str, column: str) -> tuple[npt.NDArray[np.int32], pa.Array]:
    kind = pq.ParquetDataset(path).schema.field(column).type
    strings = [column] if pa.types.is_string(kind) else None
    values = pq.read_table(path, columns=[column], read_dictionary=strings)[column]
    encoded = (values if strings else values.dictionary_encode()).unify_dictionaries().combine_chunks()
    chunk = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
    return chunk.indices.to_numpy(), chunk.dictionary
