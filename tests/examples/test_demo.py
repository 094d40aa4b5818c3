"""The demo: flags reach the step they are for, and the whole runs twice."""

from __future__ import annotations

import pathlib
import re

import pytest

from examples.course_platform.demo import main, split_flags
from examples.course_platform.traffic import REQUESTS, ROUNDS
from serving_client.snapshots.published import read_latest
from serving_client.snapshots.snapshot import parse_snapshot
from serving_client.snapshots.stores import open_store


def test_flags_go_to_the_step_they_are_for() -> None:
    flags = ["--similarity=llr", "--user_column=who", "--csv_delimiter=tab", "--null_text=NULL", "--top_k=20"]
    reading, others = split_flags(flags)
    assert reading == ["--user_column=who", "--csv_delimiter=tab", "--null_text=NULL"]
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
    assert "Before the first snapshot every request went to draft" in " ".join(told.split())
    published = read_latest(open_store(str(tmp_path / "traffic" / "snapshots")), "home_row")
    assert published is not None
    rows = parse_snapshot(published.data).rows
    assert {arm for _, arm, _ in rows} == {"cf", "draft", "vae"}
    assert sum(row.n for row in rows.values()) == ROUNDS * REQUESTS  # every decision was logged and counted

    before = written(tmp_path)
    assert main(arguments) == 0
    again = capfd.readouterr()
    assert (again.out + again.err).count("already done") == 6  # generate, split, batch_cf twice, vae_train, evaluate
    assert written(tmp_path) == before


def written(output: pathlib.Path) -> dict[pathlib.Path, int]:
    """Return when each file was written, but for the traffic, which every run makes anew."""
    files = (path for path in output.rglob("*") if path.is_file() and output / "traffic" not in path.parents)
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_step_that_fails_ends_the_demo_with_its_exit_code(tmp_path: pathlib.Path) -> None:
    assert main([f"--output={tmp_path}", f"--interactions={tmp_path / 'nowhere.csv'}"]) == 3
