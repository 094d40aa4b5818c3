"""The demo: columns named otherwise are found, flags reach the step they are for, and the whole runs twice."""

from __future__ import annotations

import gzip
import pathlib
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.course_platform import demo
from examples.course_platform.demo import column_flags, main, split_flags

LOG = {"--user_column": "user_id", "--item_column": "item_id"}


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        ("user_id,item_id,weight", []),
        ("user,item", ["--user_column=user", "--item_column=item"]),
        ("item\tuser_id", ["--item_column=item"]),
        ("nothing,usual", []),
        ("user,user_id,item_id", []),
    ],
)
def test_usual_column_names_are_found(tmp_path: pathlib.Path, header: str, flags: list[str]) -> None:
    (tmp_path / "log.csv").write_text(f"{header}\n1,2,3\n")
    assert column_flags(str(tmp_path / "log.csv"), LOG) == flags


def test_columns_of_parquet_in_a_folder_are_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "part").mkdir()
    pq.write_table(pa.table({"user": [1], "item": [2]}), tmp_path / "part" / "000")
    assert column_flags(str(tmp_path), LOG) == ["--user_column=user", "--item_column=item"]
    assert column_flags(str(tmp_path / "*" / "0*"), LOG) == ["--user_column=user", "--item_column=item"]


def test_a_file_that_is_not_there_gives_no_flags(tmp_path: pathlib.Path) -> None:
    assert column_flags(str(tmp_path / "nowhere"), LOG) == []


def test_flags_go_to_the_step_they_are_for() -> None:
    reading, others = split_flags(["--similarity=llr", "--user_column=who", "--csv_delimiter=tab", "--top_k=20"])
    assert reading == ["--user_column=who", "--csv_delimiter=tab"]
    assert others == ["--similarity=llr", "--top_k=20"]


@pytest.mark.slow
def test_the_demo_recommends_by_title_with_reasons_and_a_second_run_repeats_nothing(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--output={tmp_path}", "--users=600", "--vae_epochs=1"]
    assert main(arguments) == 0
    told = capfd.readouterr().out
    assert told.count("took, newest first:") == 3
    assert "Because of (its part of the score)" in told
    assert re.search(r"\(\+\d+\.\d{3}\)", told)
    assert re.search(r"Hit rate over all \d+ held-out users.*: cf \d+%, vae \d+%", " ".join(told.split()))
    assert str(tmp_path / "evaluation" / "report.html") in told
    assert (tmp_path / "evaluation" / "report.html").exists()
    assert "│ vae_train " in told
    assert "Best by ndcg@100: " in told
    assert told.count("vae recommends ") == 3
    assert f"local-serving --model_name=cf --model_base_path={tmp_path}/models/cf" in told

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert main(arguments) == 0
    again = capfd.readouterr()
    assert (again.out + again.err).count("already done") == 5  # generate, split, batch_cf, vae_train, evaluate
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_step_that_fails_ends_the_demo_with_its_exit_code(tmp_path: pathlib.Path) -> None:
    assert main([f"--output={tmp_path}", f"--interactions={tmp_path / 'nowhere.csv'}"]) == 3


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl", "jsonl.gz"])
def test_columns_are_found_in_gzipped_and_json_logs_too(kind: str, tmp_path: pathlib.Path) -> None:
    text = "learner_id,course_id\nu,c\n" if "csv" in kind else '{"learner_id": "u", "course_id": "c"}\n'
    path = tmp_path / f"log.{kind}"
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    assert demo._header(str(path)) == ["learner_id", "course_id"]
