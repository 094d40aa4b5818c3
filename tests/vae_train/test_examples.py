"""Raw batches, records and files of records, without a pipeline."""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from pipelines.vae_train.config import FeatureRules
from pipelines.vae_train.features import examples
from pipelines.vae_train.features.examples import RAW_SCHEMA, Records, encode, file_name, parse, raw_batches
from pipelines.vae_train.features.histories import Histories, merge_histories
from pipelines.vae_train.features.splitting import TRAIN, VALIDATION

from . import features_oracle as oracle


def histories(users: int = 40) -> Histories:
    return merge_histories([oracle.block_of(oracle.make_rows(2, users, oracle.ODD_IDS, 600))], FeatureRules())


def transformed(split: int, **columns: list[list[int]]) -> pa.RecordBatch:
    """A batch as TF-Transform hands it on, users' keys -1, -2, …; lists are large ones there."""
    users = len(columns["item_ids"])
    arrays = {name: pa.array(values, pa.large_list(pa.int64())) for name, values in columns.items()}
    arrays["user_key"] = pa.array([[-1 - user] for user in range(users)], pa.list_(pa.int64()))
    arrays["split"] = pa.array([[split]] * users, pa.list_(pa.int64()))
    arrays["weights"] = pa.array([[0.5] * len(ids) for ids in columns["item_ids"]], pa.list_(pa.float32()))
    return pa.RecordBatch.from_pydict(arrays)


@pytest.mark.parametrize(("batch_bytes", "batch_users"), [(1, 1000), (5_000, 1000), (1 << 20, 7), (1 << 20, 1000)])
def test_raw_batches_hold_all_users_once_within_the_limits(
    batch_bytes: int, batch_users: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "_BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(examples, "_BATCH_USERS", batch_users)
    found = histories()
    whole, found = found, found.select(np.arange(len(found.users)) % 3 > 0)
    given = np.arange(len(found.codes)) % 2 == 0
    rows = []
    for batch in raw_batches(found, given, VALIDATION):
        assert batch.schema == RAW_SCHEMA
        batch.validate(full=True)
        assert 0 < batch.num_rows <= batch_users
        assert batch.num_rows == 1 or batch_bytes > 1
        rows += batch.to_pylist()
    expected = oracle.as_dict(whole)
    names = [user for place, user in enumerate(whole.users.to_pylist()) if place % 3 > 0]
    assert [row["user_key"][0] % 2**64 for row in rows] == [oracle.key_of(user, 1) for user in names]
    shown = {user: found.indptr[place] % 2 for place, user in enumerate(found.users.to_pylist())}
    for user, row in zip(names, rows, strict=True):
        history = expected[user]
        assert row["history"] == [item for place, (item, _) in enumerate(history) if (place + shown[user]) % 2 == 0]
        assert row["target"] == [item for place, (item, _) in enumerate(history) if (place + shown[user]) % 2 == 1]
        assert row["weights"] == [weight for place, (_, weight) in enumerate(history) if (place + shown[user]) % 2 == 0]
        assert row["split"] == [VALIDATION]


def test_nobody_is_no_batch() -> None:
    found = histories()
    nobody = found.select(np.zeros(len(found.users), np.bool_))
    assert list(raw_batches(nobody, np.ones(0, np.bool_), TRAIN)) == []


def test_records_parse_to_what_was_encoded() -> None:
    batch = transformed(VALIDATION, item_ids=[[3, -1], [7]], target_ids=[[5], [-1, -1]], side_kind=[[1, 0], [2]])
    [(place, records)] = list(encode(batch, (1, 1, 0)))
    assert place == (VALIDATION, 0)
    parsed = parse(tf.constant(records.serialized.to_pylist()), ["kind"], targets=True)
    assert parsed["user_key"].numpy().tolist() == [-1, -2] == records.keys.view(np.int64).tolist()
    assert parsed["item_ids"].to_list() == [[3, -1], [7]]
    assert parsed["target_ids"].to_list() == [[5], [-1, -1]]
    assert parsed["side_kind"].to_list() == [[1, 0], [2]]
    assert parsed["weights"].to_list() == [[0.5, 0.5], [0.5]]
    assert parsed["weights"].dtype == tf.float32
    assert parsed["item_ids"].row_splits.dtype == tf.int64


def test_a_training_user_without_a_known_item_is_left_out_and_reported() -> None:
    batch = transformed(TRAIN, item_ids=[[-1, -1], [0, -1], [-1]], target_ids=[[], [], []])
    [(nowhere, left_out), (place, records)] = list(encode(batch, (1, 0, 0)))
    assert nowhere is None
    assert left_out.keys.view(np.int64).tolist() == [-1, -3]
    assert place == (TRAIN, 0)
    parsed = parse(tf.constant(records.serialized.to_pylist()))
    assert parsed["item_ids"].to_list() == [[0, -1]]
    assert b"target_ids" not in records.serialized[0].as_py()


def test_a_held_out_user_without_a_known_item_stays() -> None:
    batch = transformed(VALIDATION, item_ids=[[-1]], target_ids=[[-1]])
    [(_, records)] = list(encode(batch, (1, 1, 0)))
    assert len(records.keys) == 1


def test_users_fall_into_files_by_their_keys() -> None:
    batch = transformed(TRAIN, item_ids=[[0]] * 50, target_ids=[[]] * 50)
    found = {place: records for place, records in encode(batch, (3, 0, 0)) if place is not None}
    assert set(found) == {(TRAIN, 0), (TRAIN, 1), (TRAIN, 2)}
    for (_, file), records in found.items():
        assert (records.keys % np.uint64(3) == file).all()


def test_a_file_is_written_whole_in_the_order_of_the_keys(tmp_path: pathlib.Path) -> None:
    parts = [Records(np.array(keys, np.uint64), pa.array([b"%d" % key for key in keys])) for keys in ([9, 2**63], [4])]
    uri = tmp_path / "examples" / file_name(TRAIN, 3, 12)
    assert uri.name == "train-00003-of-00012.gz"
    assert examples.write_records(parts, str(uri)) == 3
    found = list(tf.data.TFRecordDataset(str(uri), compression_type="GZIP").as_numpy_iterator())
    assert found == [b"4", b"9", b"%d" % 2**63]
    assert [path.name for path in uri.parent.iterdir()] == [uri.name]
    again = tmp_path / "again.gz"
    examples.write_records(parts[::-1], str(again))
    assert again.read_bytes() == uri.read_bytes()


def test_no_records_are_an_empty_file(tmp_path: pathlib.Path) -> None:
    assert examples.write_records([Records.none()], str(tmp_path / "none.gz")) == 0
    assert list(tf.data.TFRecordDataset(str(tmp_path / "none.gz"), compression_type="GZIP")) == []
