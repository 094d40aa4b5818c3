"""Convert histories to raw batches, raw batches to tf.train.Example records, and records to tensors.

There is one record per user:

    user_key int64 [1]      SipHash(seed, user_id), the 64 bits as a signed integer
    item_ids int64 [n]      oldest first, -1 for an item outside the vocabulary
    weights float [n]       1.0 if the log has no weights
    side_<column> int64 [n] 0 if the item has no value
    target_ids int64 [t]    only for held-out users: distinct targets, -1 for each item outside the vocabulary
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
"""Columns of a raw batch that TF-Transform does not change."""

_BATCH_BYTES, _BATCH_USERS = 20 << 20, 32_768
"""Limits of a raw batch. 20 MiB keeps Beam's elements small. TF-Transform counts the vocabulary per batch, so larger
batches emit fewer counts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The records of one example file.

    Attributes:
        keys: uint64 [users].
        serialized: tf.train.Example records, binary [users].
    """

    keys: npt.NDArray[np.uint64]
    serialized: pa.BinaryArray

    @staticmethod
    def none() -> Records:
        """Return no records."""
        return Records(np.zeros(0, np.uint64), pa.array([], pa.binary()))


def raw_batches(histories: Histories, given: npt.NDArray[np.bool_], split: int) -> Iterator[pa.RecordBatch]:
    """Yield all users as batches of RAW_SCHEMA.

    Args:
        histories: The users.
        given: Which entries belong to the history, bool [entries]. The others are targets.
        split: TRAIN, VALIDATION or TEST.
    """
    sizes = pc.binary_length(histories.items).to_numpy(zero_copy_only=False).astype(np.int64) + 16
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[histories.codes])])[histories.indptr]
    for begin, end in _cut(np.diff(ends)):
        yield _raw_batch(histories, begin, end, given, split)


def tensor_adapter_config() -> Any:
    """Create the config with which TF-Transform reads history and target of RAW_SCHEMA as ragged string tensors."""
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
    """Encode a transformed batch as records per example file.

    A training user without an item in the vocabulary gets no record.

    Args:
        batch: Transformed users of one split.
        files: Number of example files of each split. A user's file is the key modulo that number.

    Yields:
        ((split, file), records) for each file. For the training split also (None, records), whose keys are the users
        without an item in the vocabulary.
    """
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    split = int(batch.column("split").values[0].as_py()) if batch.num_rows else TRAIN
    # Sort by name, because TF-Transform keeps PASSED in a set, whose order differs between processes.
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
    """Return the name of an example file, for example train-00003-of-00012.gz."""
    return f"{SPLITS[split]}-{file:05d}-of-{files:05d}.gz"


def write_records(parts: Sequence[Records], uri: str) -> int:
    """Write a gzipped TFRecord file with the records sorted by key. The file appears completely or not at all.

    Args:
        parts: The records.
        uri: The file to write.

    Returns:
        The number of records.
    """
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
    """Parse records to tensors.

    Args:
        serialized: tf.train.Example records, string [b].
        sides: Names of the side columns to parse.
        targets: Whether to parse the targets.

    Returns:
        user_key int64 [b], and as RaggedTensors [b, (n)] item_ids int64, weights float32 and side_<column> int64. With
        targets also target_ids, RaggedTensor int64 [b, (t)].
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
    """Yield begin and end of consecutive users with at most _BATCH_BYTES bytes. A larger user is a batch of its own."""
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
    """Return which lists have a number of at least 0, bool [lists]."""
    known = item_ids.flatten().to_numpy(zero_copy_only=False) >= 0
    rows = pc.list_parent_indices(item_ids).to_numpy(zero_copy_only=False)
    return np.bincount(rows[known], minlength=len(item_ids)) > 0
