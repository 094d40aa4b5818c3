"""A neighbor table read back from the output folder of a run."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch_cf.table import load_table
from tests.batch_cf.scoring_oracle import STRANGE_IDS, random_table
from transforms.errors import BadInput


def write_output(folder, table, *, shards=3, dictionary=True, available=True, shuffle=None):
    """The contract's files, written as naively as they can be."""
    names = np.array(table.items.to_pylist(), object)
    owner = np.repeat(np.arange(len(names)), np.diff(table.indptr))
    rank = np.arange(len(owner)) - table.indptr[owner] + 1
    order = np.arange(len(owner)) if shuffle is None else shuffle.permutation(len(owner))
    rows = pa.table(
        {
            "item_id": pa.array(names[owner][order], pa.string()),
            "rank": pa.array(rank[order], pa.int32()),
            "neighbor_id": pa.array(names[table.neighbors][order], pa.string()),
            "score": pa.array(table.scores[order]),
            "cooccurrence": pa.array(np.ones(len(owner), np.int64)),
        }
    )
    if dictionary:
        for name in ("item_id", "neighbor_id"):
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, rows[name].dictionary_encode())
    (folder / "neighbors").mkdir(parents=True)
    cuts = np.linspace(0, len(rows), shards + 1).astype(int)
    for shard in range(shards):
        part = rows.slice(cuts[shard], cuts[shard + 1] - cuts[shard])
        pq.write_table(part, folder / "neighbors" / f"{shard:05d}.parquet", row_group_size=7)
    items = {"item_id": table.items, "users": pa.array(table.users), "title": table.items}
    pq.write_table(pa.table(items | ({"available": table.available} if available else {})), folder / "items.parquet")


@pytest.mark.parametrize("dictionary", [True, False])
def test_load_table_gives_back_what_was_written(tmp_path, dictionary):
    table = random_table(np.random.default_rng(5), STRANGE_IDS, 8, unavailable=0.3)
    write_output(tmp_path, table, dictionary=dictionary)
    loaded = load_table(tmp_path)
    assert loaded.items.equals(table.items)
    for field in ("indptr", "neighbors", "scores", "users", "available"):
        found, expected = getattr(loaded, field), getattr(table, field)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=field)


def test_rows_in_another_order_than_the_contract_are_bad_input(tmp_path):
    rng = np.random.default_rng(5)
    write_output(tmp_path / "rows", random_table(rng, STRANGE_IDS, 8), shuffle=rng)
    with pytest.raises(BadInput, match="not in the order of item and rank"):
        load_table(tmp_path / "rows")
    write_output(tmp_path / "files", random_table(rng, STRANGE_IDS, 8))
    files = tmp_path / "files" / "neighbors"
    (files / "00000.parquet").rename(files / "99999.parquet")
    with pytest.raises(BadInput, match="starts with an item before the last one"):
        load_table(tmp_path / "files")


def test_items_are_available_where_the_file_does_not_say(tmp_path):
    table = random_table(np.random.default_rng(1), STRANGE_IDS, 3, unavailable=1.0)
    write_output(tmp_path, table, available=False)
    assert load_table(tmp_path).available.all()


def test_a_table_without_any_pair_can_be_read(tmp_path):
    table = random_table(np.random.default_rng(1), ["a", "b"], 0)
    write_output(tmp_path, table, shards=1)
    assert load_table(tmp_path).indptr.tolist() == [0, 0, 0]


def test_a_folder_that_is_no_output_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"items\.parquet: no such file"):
        load_table(tmp_path)
    table = random_table(np.random.default_rng(1), STRANGE_IDS, 3)
    write_output(tmp_path, table)
    (tmp_path / "neighbors" / "00001.parquet").write_bytes(b"PAR1 and then the disk was full")
    with pytest.raises(BadInput, match=r"00001\.parquet: cannot be read as Parquet"):
        load_table(tmp_path)
    pq.write_table(pa.table({"item_id": ["a"]}), tmp_path / "neighbors" / "00001.parquet")
    with pytest.raises(BadInput, match=r"00001\.parquet: has no column rank"):
        load_table(tmp_path)
    for part in (tmp_path / "neighbors").iterdir():
        part.unlink()
    with pytest.raises(BadInput, match=r"neighbors: holds no \.parquet file"):
        load_table(tmp_path)


def test_neighbors_of_another_run_are_bad_input(tmp_path):
    table = random_table(np.random.default_rng(1), STRANGE_IDS, 3)
    write_output(tmp_path, table)
    pq.write_table(pa.table({"item_id": ["a"], "users": [1]}), tmp_path / "items.parquet")
    with pytest.raises(BadInput, match=r"is not in items\.parquet"):
        load_table(tmp_path)
