"""Write neighbors as Parquet with the columns of the contract. Equal content gives equal bytes."""

from __future__ import annotations

from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.batch_cf.ranking import Neighbors

__all__ = ["file_name", "items_table", "neighbors_table", "write_table"]

ROW_GROUP_ROWS = 1 << 19
"""One row group for a block of 4,096 items x 100 neighbors."""


def file_name(block: int, blocks: int) -> str:
    """Return the name of a block's file."""
    return f"part-{block:05d}-of-{blocks:05d}.parquet"


def neighbors_table(neighbors: Neighbors, items: pa.StringArray) -> pa.Table:
    """Return neighbors as a table: item_id, rank from 1, neighbor_id, score, cooccurrence.

    The ids are dictionaries that hold only the ids in use.
    """
    rows = np.repeat(np.arange(len(neighbors.lengths)), neighbors.lengths)
    starts = np.cumsum(neighbors.lengths) - neighbors.lengths
    ranks = np.arange(1, len(rows) + 1) - np.repeat(starts, neighbors.lengths)
    columns = {
        "item_id": _encode(rows + neighbors.first_row, items),
        "rank": pa.array(ranks.astype(np.int32)),
        "neighbor_id": _encode(neighbors.neighbors, items),
        "score": pa.array(neighbors.scores),
        "cooccurrence": pa.array(neighbors.cooccurrence),
    }
    return pa.table(columns)


def items_table(
    items: pa.StringArray, users: npt.NDArray[np.int64], titles: pa.StringArray, available: npt.NDArray[np.bool_]
) -> pa.Table:
    """Return items as a table: item_id, users (before any cap), title, available."""
    return pa.table({"item_id": items, "users": users, "title": titles, "available": pa.array(available)})


def write_table(table: pa.Table, file: IO[bytes]) -> None:
    """Write Parquet whose bytes depend on the table alone. Version, compression and row groups are fixed here.

    The Arrow schema is left out, so that a reader sees plain strings and not this writer's dictionaries.
    """
    strings = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    pq.write_table(
        table,
        file,
        row_group_size=ROW_GROUP_ROWS,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=1,
        use_dictionary=strings,
        write_statistics=True,
        store_schema=False,
    )


def _encode(codes: npt.NDArray[np.integer], items: pa.StringArray) -> pa.DictionaryArray:
    used = np.zeros(len(items), np.bool_)
    used[codes] = True
    place = (np.cumsum(used, dtype=np.int32) - np.int32(1)).take(codes)
    return pa.DictionaryArray.from_arrays(pa.array(place), items.filter(pa.array(used)), safe=False)
