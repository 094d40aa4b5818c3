"""The vocabulary as a table: row i is item index i, in TF-Transform's order. Without Beam and TensorFlow."""

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
    """Items by index. ids: string [items]. users: int64 [items], training users. available: bool [items]."""

    ids: pa.StringArray
    users: npt.NDArray[np.int64]
    available: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCounts:
    """Training users of each item. ids: string, distinct. users: int64 [ids]."""

    ids: pa.StringArray
    users: npt.NDArray[np.int64]

    def kept(self, least: int, most_items: int | None) -> int:
        """How many items a vocabulary of those limits has."""
        frequent = int((self.users >= least).sum())
        return frequent if most_items is None else min(frequent, most_items)


def merge_counts(parts: list[ItemCounts]) -> ItemCounts:
    """Counts of several shards added up."""
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
    """item_id, users, available; ids in the vocabulary's order."""
    places = pc.index_in(ids, value_set=counts.ids)
    users = pc.fill_null(pc.take(pa.array(counts.users, pa.int64()), places), 0)
    available = pc.invert(pc.is_in(ids, value_set=unavailable))
    return pa.table({"item_id": ids, "users": users, "available": available})


def read_vocabulary(features_dir: str) -> Vocabulary:
    """What the pipeline wrote to features_dir/vocabulary.parquet."""
    with storage.open_read(storage.join(features_dir, FILE)) as file:
        table = pq.read_table(pa.BufferReader(file.read()))
    return Vocabulary(
        ids=table["item_id"].combine_chunks().cast(pa.string()),
        users=table["users"].to_numpy(),
        available=table["available"].to_numpy(zero_copy_only=False),
    )
