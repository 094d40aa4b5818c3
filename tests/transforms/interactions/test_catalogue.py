"""Catalogues of items: every format, titles and availability, duplicates and bad ids."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import BadInput, BadUsage
from transforms.interactions.catalogue import Catalogue, read_items

ROWS = [
    {"item_id": "007", "title": 'a, "b"\nc', "available": True, "author": "x"},
    {"item_id": "7", "title": None, "available": False, "author": "y"},
    {"item_id": "007", "title": "later", "available": False, "author": "z"},
    {"item_id": "", "title": "no id", "available": True, "author": "z"},
]


def write(path: Path, kind: str) -> Path:
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    if kind.startswith("jsonl"):
        data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    else:
        data = b'author,item_id,title,available\nx,007,"a, ""b""\nc",TRUE\ny,7,,0\nz,007,later,false\nz,,no id,yes\n'
    path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_every_format_gives_the_same_catalogue(kind: str, tmp_path: Path) -> None:
    items = read_items(str(write(tmp_path / "items", kind)))
    assert items.table.to_pylist() == [
        {"item_id": "007", "title": 'a, "b"\nc', "available": True, "author": "x"},
        {"item_id": "7", "title": "7", "available": False, "author": "y"},
    ]
    assert items.table.schema.types[:3] == [pa.string(), pa.string(), pa.bool_()]
    assert items.duplicates == 1
    [letter] = items.rejected
    assert (letter.position, letter.reason) == (4, "item_id is empty")
    assert items.titles() == {"007": 'a, "b"\nc', "7": "7"}


def read_csv(folder: Path, text: str, **columns: Any) -> Catalogue:
    (folder / "items.csv").write_text(text)
    return read_items(str(folder / "items.csv"), **columns)


def test_other_names_and_no_title_or_availability_at_all(tmp_path: Path) -> None:
    items = read_csv(tmp_path, "item,name\n1,Course\n", id_column="item", title_column="name")
    assert items.table.to_pylist() == [{"item_id": "1", "title": "Course", "available": True}]
    assert read_csv(tmp_path, "item_id\n1\n").table.to_pylist() == [{"item_id": "1", "title": "1", "available": True}]


@pytest.mark.parametrize(
    ("header", "expected"), [("Available", False), ("AVAILABLE", False), ("Available,available", True)]
)
def test_availability_is_found_in_any_case(header: str, expected: bool, tmp_path: Path) -> None:
    """An item that may not be recommended must not be lost to a capital letter."""
    values = ",".join(["no", "yes"][: header.count(",") + 1])
    assert read_csv(tmp_path, f"item_id,{header}\n1,{values}\n").table["available"].to_pylist() == [expected]


def test_common_names_are_found_and_two_of_them_are_bad_usage(tmp_path: Path) -> None:
    items = read_csv(tmp_path, "courseId,name,level\n1,Course,2\n")
    assert items.table.to_pylist() == [{"item_id": "1", "title": "Course", "available": True, "level": "2"}]
    assert (items.id_column, items.title_column) == ("courseId", "name")
    with pytest.raises(
        BadUsage, match=r"items.csv: has 2 columns that could hold the item; pass --items_id_column=sku"
    ):
        read_csv(tmp_path, "sku,product_id\n1,2\n")
    with pytest.raises(BadUsage, match="could hold the title; pass --items_title_column=name or --items_title_column"):
        read_csv(tmp_path, "sku,name,item_name\n1,2,3\n")
    assert read_csv(tmp_path, "sku,name,item_name\n1,2,3\n", title_column="").table["title"].to_pylist() == ["1"]


def test_null_text_is_a_missing_id_or_title(tmp_path: Path) -> None:
    items = read_csv(tmp_path, 'item_id,title,available\n\\N,a,1\n1,\\N,\\N\n2,"\\N",0\n')
    assert items.table.to_pylist() == [
        {"item_id": "1", "title": "1", "available": True},
        {"item_id": "2", "title": "\\N", "available": False},
    ]
    assert [letter.reason for letter in items.rejected] == ["item_id is missing"]
    assert read_csv(tmp_path, "item_id\n\\N\n", null_text="").table["item_id"].to_pylist() == ["\\N"]


def test_titles_that_were_asked_for_and_are_not_there_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no column name \(it has item_id, title\); pass --items_title_column"):
        read_csv(tmp_path, "item_id,title\n1,Course\n", title_column="name")


def test_integer_ids_of_parquet_are_decimal_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": [7, None], "available": [None, True]}), tmp_path / "x")
    items = read_items(str(tmp_path / "x"))
    assert items.table.to_pylist() == [{"item_id": "7", "title": "7", "available": True}]
    assert items.rejected[0].reason == "item_id is missing"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"id,title\n1,x\n", r"has no column item_id \(it has id, title\); pass --items_id_column"),
        (b"item_id,item_id\n1,2\n", "has column item_id 2 times"),
        (b"item_id,available\n1,perhaps\n", 'available "perhaps" is neither true nor false'),
        (b"item_id,title\n1,\xff\n", "cannot be read"),
        (b"item_id,title\n1\n", "cannot be read"),
        (b'{"item_id":1}\n{\n', "line 2 is not JSON"),
        (b"PAR1xxxx", "cannot be read"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_bad_input_that_names_it(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(data)
    with pytest.raises(BadInput, match=f"^{tmp_path}/items: {says}"):
        read_items(str(tmp_path / "items"))
