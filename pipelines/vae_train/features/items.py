"""Read and build the vocabulary table. Row i is item index i, in the order of TF-Transform.

This module imports neither Beam nor TensorFlow.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.files import storage

__all__ = ["FILE", "ItemCounts", "Vocabulary", "merge_counts", "read_vocabulary", "vocabulary_table"]

FILE = "vocabulary.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The items by index.

    Attributes:
        ids: string [items].
        users: Number of training users, int64 [items].
        available: bool [items].
    """

    ids: pa.StringArray
    users: npt.NDArray[np.int64]
    available: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCounts:
    """The number of training users of each item.

    Attributes:
        ids: Distinct item ids, string.
        users: int64 [ids].
    """

    ids: pa.StringArray
    users: npt.NDArray[np.int64]

    def kept(self, least: int, most_items: int | None) -> int:
        """Return the size of the vocabulary for given limits.

        Args:
            least: Smallest number of training users of an item.
            most_items: Largest size of the vocabulary, None for no limit.
        """
        frequent = int((self.users >= least).sum())
        return frequent if most_items is None else min(frequent, most_items)


def merge_counts(parts: list[ItemCounts]) -> ItemCounts:
    """Add up the counts of several shards."""
    if not parts:
        return ItemCounts(pa.array([], pa.string()), np.zeros(0, np.int64))
    if len(parts) == 1:
        return parts[0]
    joined = pa.concat_arrays([part.ids for part in parts]).dictionary_encode()
    codes = joined.indices.to_numpy()
    users = np.concatenate([part.users for part in parts])
    total = np.zeros(len(joined.dictionary), np.int64)
    np.add.at(total, codes, users)
    return ItemCounts(joined.dictionary, total)


def vocabulary_table(ids: pa.StringArray, counts: ItemCounts, unavailable: pa.StringArray) -> pa.Table:
    """Build the table item_id, users, available.

    Args:
        ids: Item ids in the order of the vocabulary.
        counts: Training users of each item.
        unavailable: Items that must not be recommended.
    """
    places = pc.index_in(ids, value_set=counts.ids)
    users = pc.fill_null(pc.take(pa.array(counts.users, pa.int64()), places), 0)
    available = pc.invert(pc.is_in(ids, value_set=unavailable))
    return pa.table({"item_id": ids, "users": users, "available": available})


def read_vocabulary(features_dir: str) -> Vocabulary:
    """Read features_dir/vocabulary.parquet."""
    with storage.open_read(storage.join(features_dir, FILE)) as file:
        table = pq.read_table(pa.BufferReader(file.read()))
    return Vocabulary(
        ids=table["item_id"].combine_chunks().cast(pa.string()),
        users=table["users"].to_numpy(),
        available=table["available"].to_numpy(zero_copy_only=False),
    )
