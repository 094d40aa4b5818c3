"""Training records: one tf.train.Example per user. How histories become raw batches, batches records, and records
tensors again.

    user_key int64 [1]      SipHash(seed, user_id), its 64 bits read as signed
    item_ids int64 [n]      oldest first, -1 for an unknown item
    weights float [n]       1.0 where the log has none
    side_<column> int64 [n] 0 for no value
    target_ids int64 [t]    held-out users alone: the items asked for, distinct, -1 for each unknown one
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.vae_train.features.histories import Histories
from pipelines.vae_train.features.preprocessing import HISTORY, ITEM_IDS, SIDE_PREFIX, TARGET, TARGET_IDS
from pipelines.vae_train.features.splitting import SPLITS, TRAIN
from transforms.files import storage
from transforms.models.import_tensorflow import import_tensorflow

__all__ = [
    "PASSED",
    "RAW_SCHEMA",
    "Records",
    "encode",
    "file_name",
    "parse",
    "raw_batches",
    "tensor_adapter_config",
    "write_records",
]

_STRINGS = pa.list_(pa.string())
RAW_SCHEMA = pa.schema(
    {
        HISTORY: _STRINGS,
        TARGET: _STRINGS,
        "split": pa.list_(pa.int64()),
        "user_key": pa.list_(pa.int64()),
        "weights": pa.list_(pa.float32()),
    }
)
PASSED = frozenset({"split", "user_key", "weights"})
"""Columns of a raw batch that TF-Transform hands on as they are."""

_BATCH_BYTES, _BATCH_USERS = 20 << 20, 32_768
"""A raw batch: 20 MiB keeps Beam's elements small; TF-Transform counts a vocabulary batch by batch, so larger ones
emit fewer counts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Records of one example file. keys: uint64 [users]. serialized: binary [users]."""

    keys: npt.NDArray[np.uint64]
    serialized: pa.BinaryArray

    @staticmethod
    def none() -> Records:
        """No records."""
        return Records(np.zeros(0, np.uint64), pa.array([], pa.binary()))


def raw_batches(histories: Histories, given: npt.NDArray[np.bool_], split: int) -> Iterator[pa.RecordBatch]:
    """All users as batches of RAW_SCHEMA. given: bool [entries], those that go to history; the others are targets."""
    sizes = pc.binary_length(histories.items).to_numpy(zero_copy_only=False).astype(np.int64) + 16
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[histories.codes])])[histories.indptr]
    for begin, end in _cut(np.diff(ends)):
        yield _raw_batch(histories, begin, end, given, split)


def tensor_adapter_config() -> Any:
    """How TF-Transform reads RAW_SCHEMA: history and target as ragged tensors of strings."""
    from tensorflow_metadata.proto.v0 import schema_pb2  # type: ignore[import-untyped]
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    representations = {}
    for name in (HISTORY, TARGET):
        ragged = schema_pb2.TensorRepresentation.RaggedTensor(
            feature_path={"step": [name]}, row_partition_dtype=schema_pb2.TensorRepresentation.INT64
        )
        representations[name] = schema_pb2.TensorRepresentation(ragged_tensor=ragged)
    return TensorAdapterConfig(RAW_SCHEMA, representations)


def encode(batch: pa.RecordBatch, files: Sequence[int]) -> Iterator[tuple[tuple[int, int] | None, Records]]:
    """((split, file), its records) of a transformed batch of one split; last (None, users without a known item).

    A training user without a known item is left out. files: example files of each split; a user's is its key modulo.
    """
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    split = int(batch.column("split").values[0].as_py()) if batch.num_rows else TRAIN
    # By name: TF-Transform keeps PASSED in a set, whose order changes from process to process.
    columns = {name: batch.column(name) for name in sorted(batch.schema.names) if name != "split"}
    unused = pa.array([], pa.binary())
    if split == TRAIN:
        del columns[TARGET_IDS]
        known = _has_known(columns[ITEM_IDS])
        yield None, Records(_keys(columns["user_key"].filter(pa.array(~known))), unused)
        if not known.all():
            columns = {name: column.filter(pa.array(known)) for name, column in columns.items()}
    keys = _keys(columns["user_key"])
    if not len(keys):
        return
    serialized = pa.array(RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_pydict(columns)), pa.binary())
    file_of_user = (keys % np.uint64(files[split])).astype(np.int64)
    order = np.argsort(file_of_user, kind="stable")
    ends = np.cumsum(np.bincount(file_of_user, minlength=files[split]))
    for file, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if end > begin:
            part = order[begin:end]
            yield (split, file), Records(keys[part], serialized.take(pa.array(part)))


def file_name(split: int, file: int, files: int) -> str:
    """train-00003-of-00012.gz"""
    return f"{SPLITS[split]}-{file:05d}-of-{files:05d}.gz"


def write_records(parts: Sequence[Records], uri: str) -> int:
    """Write a gzipped TFRecord file whole, its records in the order of their keys; returns how many there are."""
    tf = import_tensorflow()
    keys = np.concatenate([np.zeros(0, np.uint64), *(part.keys for part in parts)])
    serialized = pa.concat_arrays([pa.array([], pa.binary()), *(part.serialized for part in parts)])
    order = np.argsort(keys, kind="stable")
    with tempfile.TemporaryDirectory() as local:
        path = os.path.join(local, "records.gz")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for record in serialized.take(pa.array(order)).to_pylist():
                writer.write(record)
        with open(path, "rb") as written, storage.write_whole(uri) as file:
            shutil.copyfileobj(written, file, 1 << 20)
    return len(keys)


def parse(serialized: Any, sides: Sequence[str] = (), *, targets: bool = False) -> dict[str, Any]:
    """Records, string [b], to tensors: user_key int64 [b]; ragged [b, (n)] item_ids int64, weights float32 and a
    side_<column> int64 for each of `sides` (column names); with targets also target_ids ragged int64 [b, (t)].
    """
    tf = import_tensorflow()
    ragged = functools.partial(tf.io.RaggedFeature, row_splits_dtype=tf.int64)
    features = {
        "user_key": tf.io.FixedLenFeature([], tf.int64),
        ITEM_IDS: ragged(tf.int64),
        "weights": ragged(tf.float32),
        **{SIDE_PREFIX + column: ragged(tf.int64) for column in sides},
    }
    if targets:
        features[TARGET_IDS] = ragged(tf.int64)
    parsed: dict[str, Any] = tf.io.parse_example(serialized, features)
    return parsed


def _cut(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Consecutive users, begin and end, whose bytes stay below _BATCH_BYTES, except for a single user above it."""
    total = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + _BATCH_BYTES, side="right")))
        end = min(end, begin + _BATCH_USERS)
        yield begin, end
        begin = end


def _raw_batch(histories: Histories, begin: int, end: int, given: npt.NDArray[np.bool_], split: int) -> pa.RecordBatch:
    users = end - begin
    entries = slice(histories.indptr[begin], histories.indptr[end])
    row = np.repeat(np.arange(users), histories.lengths[begin:end])
    shown, codes = given[entries], histories.codes[entries]
    weights = np.ones(len(codes)) if histories.weights is None else histories.weights[entries]
    return pa.RecordBatch.from_arrays(
        [
            _lists(histories.items.take(pa.array(codes[shown])), row[shown], users),
            _lists(histories.items.take(pa.array(codes[~shown])), row[~shown], users),
            _ones(np.full(users, split, np.int64)),
            _ones(histories.keys[begin:end].view(np.int64)),
            _lists(pa.array(weights[shown].astype(np.float32)), row[shown], users),
        ],
        schema=RAW_SCHEMA,
    )


def _lists(values: pa.Array, row: npt.NDArray[np.int64], rows: int) -> pa.ListArray:
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=rows))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _ones(values: npt.NDArray[np.int64]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int32()), pa.array(values))


def _keys(column: pa.Array) -> npt.NDArray[np.uint64]:
    keys: npt.NDArray[np.uint64] = column.flatten().to_numpy(zero_copy_only=False).view(np.uint64)
    return keys


def _has_known(item_ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Which lists have a number of at least 0, bool [lists]."""
    known = item_ids.flatten().to_numpy(zero_copy_only=False) >= 0
    rows = pc.list_parent_indices(item_ids).to_numpy(zero_copy_only=False)
    return np.bincount(rows[known], minlength=len(item_ids)) > 0
