"""The strict reader of holdout files with the column `given`."""

from __future__ import annotations

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.evaluate.holdout import read_given
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.reports import FileReport


def read(path: pathlib.Path, **columns: list) -> tuple[list[pa.RecordBatch], FileReport]:
    table = {"user_id": ["u", "u"], "item_id": ["a", "b"], "given": [True, False]} | columns
    pq.write_table(pa.table(table), path / "part.parquet")
    *blocks, report = read_given(InputFile(str(path / "part.parquet"), 0), InteractionFormat())
    return blocks, report


def test_weights_are_read_where_the_file_has_them(tmp_path: pathlib.Path) -> None:
    [block], report = read(tmp_path, weight=[0, 2])
    assert block.column("weight").to_pylist() == [0.0, 2.0] and report.fault is None
    [block], report = read(tmp_path)
    assert "weight" not in block.schema.names and report.rows_read == 2


def test_a_weight_that_is_none_is_a_fault_of_the_file(tmp_path: pathlib.Path) -> None:
    blocks, report = read(tmp_path, weight=[1.0, -1.0])
    assert blocks == []
    assert report.fault is not None
    assert report.fault.endswith("part.parquet: column weight has 1 values that are not weights; write the split again")
