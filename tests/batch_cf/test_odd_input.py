"""Inputs that people export: other column names, joined files, \\N, and a catalogue with other ids."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from pipelines.batch_cf.__main__ import main

LOG = "user,item,when,price\nu1,7,1,9\nu1,8,2,9\nu2,7,3,9\nuser,item,when,price\nu2,8,4,9\n\\N,8,5,9\nu3,7,6,9\n"


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("log.csv").write_text(LOG)


def run_json() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(pathlib.Path("out/run.json").read_text())
    return record


def test_an_export_is_read_by_its_own_names_which_are_printed_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--interactions=log.csv", "--output=out", "--max_bad_fraction=0.5", "--half_life=30d"]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines()[:2] == [
        "columns: --user_column=user --item_column=item --timestamp_column=when",
        "columns not used: price (pass --weight_column=NAME to use one)",
    ]
    record = run_json()
    counts = {"users": 3, "items": 2, "interactions": 5, "rows_read": 6, "rows_rejected": 1, "header_rows": 1}
    assert {name: record["counters"][name] for name in counts} == counts
    names = {"user_column": "user", "item_column": "item", "timestamp_column": "when", "weight_column": None}
    assert {name: record["options"][name] for name in names} == names

    same = ["--user_column=user", "--item_column=item", "--timestamp_column=when"]
    assert main([*argv, *same]) == 0
    assert "already done" in capsys.readouterr().err
    assert main([*argv, "--weight_column=price"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_two_columns_for_one_role_are_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("log.csv").write_text("user,customer_id,item\nu,c,i\n")
    assert main(["--interactions=log.csv", "--output=out"]) == 2
    assert capsys.readouterr().err == (
        "log.csv: has 2 columns that could hold the user; pass --user_column=user or --user_column=customer_id\n"
    )
    assert not pathlib.Path("out").exists()


def test_decay_needs_times_that_an_empty_name_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--interactions=log.csv", "--output=out", "--timestamp_column=", "--half_life=3d"]) == 3
    assert "log.csv: has no times, which --half_life needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("items", "share", "says"),
    [
        ("item_id,title\n007,Seven\n010,Ten\n", "0 (0.0%)", 'the log has "7", the catalogue has "007"'),
        ("item_id,title\n", "0 (0.0%)", 'the log has "7", the catalogue is empty'),
        ("item_id,title\n7,Seven\n010,Ten\n", "1 (50.0%)", None),
    ],
)
def test_a_catalogue_of_other_ids_is_told_with_an_example(
    items: str, share: str, says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("items.csv").write_text(items)
    argv = ["--interactions=log.csv", "--items=items.csv", "--output=out", "--max_bad_fraction=0.5"]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert ("items found in --items" in shown.out, share in shown.out) == (True, True)
    warnings = [note for note in run_json()["notes"] if note.startswith("no item of the log is in --items")]
    assert [says in warning for warning in warnings if says] == [True] * (says is not None)
    assert ("warning: no item of the log is in --items" in shown.err) == (says is not None)
