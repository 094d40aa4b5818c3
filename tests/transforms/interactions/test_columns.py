"""Which column is chosen for which role, in every format, and what a person is told about it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import BadUsage
from transforms.interactions.columns import (
    CATALOGUE_ITEM,
    CATALOGUE_TITLE,
    ITEM,
    TIME,
    USER,
    WEIGHT,
    Columns,
    candidates,
    describe_columns,
    resolve_columns,
    use_columns,
)
from transforms.interactions.files import FileFault, match
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import WorkUnit, check_first, read_unit

ROW = {"user": "u", "item": "i", "when": 1, "rating": 4}


def write(path: Path, kind: str, row: dict[str, Any] = ROW) -> None:
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif kind.startswith("jsonl"):
        path.write_text(json.dumps(row) + "\n")
    else:
        path.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    if kind.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_common_names_are_found_in_every_format(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "log", kind)
    files = match([str(tmp_path)])
    columns = check_first(files, InteractionFormat())
    assert columns == Columns("user", "item", "when", None, unused=("rating",))
    block, report = read_unit(WorkUnit(files[0]), InteractionFormat())
    assert block.to_pydict() == {"user_id": ["u"], "item_id": ["i"], "timestamp": [1_000_000]}
    assert (report.has_timestamp, report.has_weight, report.fault) == (True, False, None)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ("user_id,item_id", ("user_id", "item_id", None)),
        ("userId,movieId,timestamp", ("userId", "movieId", "timestamp")),
        ("CUSTOMER_ID,PRODUCT_ID,EVENT_TIME", ("CUSTOMER_ID", "PRODUCT_ID", "EVENT_TIME")),
        ("visitor id,sku,ts", ("visitor id", "sku", "ts")),
        ("user,user_id,item_id,ts,timestamp", ("user_id", "item_id", "timestamp")),  # the standard name comes first
    ],
)
def test_names_are_compared_without_case_and_punctuation(present: str, expected: tuple[str, ...]) -> None:
    found = resolve_columns(present.split(","), InteractionFormat())
    assert (found.user, found.item, found.timestamp) == expected


def test_each_common_name_belongs_to_one_role() -> None:
    for role in (USER, ITEM, TIME):
        for name in (role.standard, *role.others):
            assert [other.flag for other in (USER, ITEM, TIME) if candidates([name], other)] == [role.flag]


def test_the_guide_lists_every_common_name() -> None:
    guide = pathlib.Path(__file__).parents[3] / "docs/guides/train-cf.md"
    rows = {
        line.split("|")[2].strip().strip("`"): line.split("|")[4]
        for line in guide.read_text().splitlines()
        if line.startswith("|") and "_column`" in line
    }
    listed = {flag: tuple(re.findall("`(.+?)`", names)) for flag, names in rows.items()}
    assert listed.pop(CATALOGUE_ITEM.flag) == () and CATALOGUE_ITEM.others == ITEM.others
    assert listed == {role.flag: role.others for role in (USER, ITEM, TIME, WEIGHT, CATALOGUE_TITLE)}


def test_a_rating_is_no_weight_unless_a_flag_names_it() -> None:
    present = ["user", "item", "rating"]
    assert resolve_columns(present, InteractionFormat()).weight is None
    assert resolve_columns(present, InteractionFormat(weight_column="rating")).weight == "rating"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_two_columns_for_one_role_are_bad_usage_that_names_the_flag(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "log", kind, {**ROW, "ts": 2})
    files = match([str(tmp_path)])
    says = r"log: has 2 columns that could hold the time; pass --timestamp_column=when or --timestamp_column=ts$"
    with pytest.raises(BadUsage, match=says):
        check_first(files, InteractionFormat())
    assert check_first(files, InteractionFormat(timestamp_column="ts")).timestamp == "ts"
    assert check_first(files, InteractionFormat(timestamp_column="")).timestamp is None


def test_a_name_that_a_flag_gives_to_one_role_is_not_chosen_for_another() -> None:
    found = resolve_columns(["user", "client_id", "item"], InteractionFormat(item_column="client_id"))
    assert (found.user, found.item) == ("user", "client_id")


def test_a_misspelled_name_is_answered_with_the_closest_column() -> None:
    with pytest.raises(FileFault, match=r"has no column usr \(it has user, item\); did you mean --user_column=user\?"):
        resolve_columns(["user", "item"], InteractionFormat(user_column="usr"))
    with pytest.raises(FileFault, match=r"has no column item_id \(it has user, what\); pass --item_column or correct"):
        resolve_columns(["user", "what"], InteractionFormat())


def test_a_filter_needs_its_column_under_any_name() -> None:
    format = InteractionFormat(since_us=0)
    assert resolve_columns(["user", "item", "when"], format).timestamp == "when"
    with pytest.raises(FileFault, match="has no column timestamp, which --since needs"):
        resolve_columns(["user", "item"], format)


def test_all_files_use_the_names_of_the_first(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "csv")
    write(tmp_path / "b.csv", "csv", {"user": "u", "item": "i", "when": 1, "ts": 2})
    write(tmp_path / "c.csv", "csv", {"user_id": "u", "item": "i", "when": 1})
    files = match([str(tmp_path)])
    format = use_columns(InteractionFormat(), check_first(files, InteractionFormat()), files[0].uri)
    reports = [list(read_unit(WorkUnit(file), format))[-1] for file in files]
    assert [report.fault for report in reports[:2]] == [None, None]
    assert reports[2].fault.startswith(f"{tmp_path}/c.csv: has no column user, which {tmp_path}/a.csv has (it has ")


def test_the_first_file_with_rows_decides(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    write(tmp_path / "b.jsonl", "jsonl")
    format = InteractionFormat(input_format="jsonl")
    assert check_first(match([str(tmp_path)]), format).user == "user"
    empty = check_first(match([str(tmp_path / "a.jsonl")]), format)
    assert not empty.known
    assert use_columns(format, empty, "a.jsonl") == format


def test_a_person_reads_the_flags_and_what_is_not_used() -> None:
    columns = Columns("user", "item", "when", None, unused=("rating", "a\nb"))
    assert describe_columns(columns) == [
        "columns: --user_column=user --item_column=item --timestamp_column=when",
        "columns not used: rating, 'a\\nb' (pass --weight_column=NAME to use one)",
    ]
    assert describe_columns(dataclasses.replace(columns, unused=())) == [
        "columns: --user_column=user --item_column=item --timestamp_column=when"
    ]


@pytest.mark.parametrize("names", [{"user_column": "item_id"}, {"user_column": "item_id", "item_column": "item_id"}])
def test_one_column_is_not_both_the_user_and_the_item(names: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("item_id,user_id\ni,u\n")
    with pytest.raises(BadUsage, match=r"has column item_id for users and for items; pass --user_column"):
        check_first(match([str(tmp_path / "log.csv")]), InteractionFormat(**names))
