"""Times that lie: a row in the future decays nothing, and the run says how many interactions its decay removed."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipelines.batch_cf.summary import show
from transforms.files import storage
from transforms.interactions.times import parse_time, rfc3339
from transforms.runs.run import RunResult
from transforms.runs.run_record import RunRecord

from .oracle import Row
from .running import NOW_US, promised_bytes, read_neighbors, run, write_rows

OCTOBER = parse_time("2026-10-01T00:00:00Z", "s")
FAR = parse_time("2999-12-31T00:00:00Z", "s")
DAY_US = 86_400_000_000
ROWS: list[Row] = [("u1", "a", 1.0, OCTOBER), ("u1", "b", 1.0, OCTOBER), ("u2", "a", 1.0, FAR)]


def record_of(output: pathlib.Path) -> RunRecord:
    return RunRecord(**storage.read_json(str(output / "run.json")))


def letters_of(output: pathlib.Path) -> list[dict[str, str]]:
    files = sorted((output / "dead_letters").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_row_of_the_year_2999_leaves_the_others_their_weight(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = run(write_rows(tmp_path / "in", ROWS), tmp_path / "out", "--half_life=30d")
    neighbors = read_neighbors(output)
    assert [pair.item for pair in neighbors["a"]] == ["b"] and [pair.item for pair in neighbors["b"]] == ["a"]
    assert neighbors["a"][0].score == 1.0  # u1 alone has both, with equal weights: the newest believable time counts
    [letter] = letters_of(output)
    assert letter["position"] == 3 and letter["reason"].startswith("future: timestamp ")
    record = record_of(output)
    counters = {name: record.counters[name] for name in ("rows_read", "rows_rejected", "rows_future", "decayed")}
    assert counters == {"rows_read": 3, "rows_rejected": 1, "rows_future": 1, "decayed": 0}
    assert record.as_of == rfc3339(NOW_US + DAY_US)
    assert "--timestamp_unit" in record.notes[0] and "as_of" not in record.options
    assert "warning: " in (error := capsys.readouterr().err) and "--timestamp_unit" in error


def test_the_clock_of_the_driver_leaves_a_day_of_slack(tmp_path: pathlib.Path) -> None:
    rows = [("u", f"c{late}", 1.0, NOW_US + DAY_US + late) for late in (-1, 0, 1, 2)]
    output = run(write_rows(tmp_path / "in", rows), tmp_path / "out", "--max_bad_fraction=0")
    assert sorted(read_neighbors(output)) == ["c-1", "c0"]
    assert record_of(output).counters["rows_future"] == 2


def test_the_flag_sets_the_latest_time_and_does_not_make_a_finished_run_another(tmp_path: pathlib.Path) -> None:
    interactions, flags = write_rows(tmp_path / "in", ROWS), ("--as_of=2026-10-01T00:00:00Z",)
    first = run(interactions, tmp_path / "out", *flags)
    assert record_of(first).as_of == "2026-10-01T00:00:00.000000Z"
    again = run(interactions, tmp_path / "out", "--as_of=2999-12-31T00:00:00Z")  # raises if this is another run
    assert record_of(again).run_id == record_of(first).run_id
    all_rows = run(interactions, tmp_path / "all", "--as_of=2999-12-31T00:00:00Z")
    assert record_of(all_rows).counters["rows_future"] == 0
    assert record_of(all_rows).counters["users"] == 2


@pytest.mark.parametrize("flags", [(), ("--half_life=5d",), ("--half_life=5d", "--dedupe=sum")])
def test_a_base_and_a_full_run_with_one_as_of_write_the_same_bytes(
    flags: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    times = [OCTOBER - n * DAY_US for n in range(12)]
    old: list[Row] = [(f"u{n % 4}", f"c{n % 5}", 1.0, time) for n, time in enumerate(times)] + ROWS
    new: list[Row] = [("u1", "d", 1.0, OCTOBER + 1), ("u3", "a", 1.0, FAR), ("u3", "b", 1.0, OCTOBER + 2)]
    flags = (*flags, "--as_of=2026-11-30T00:00:00Z")
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", *flags, "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", *flags, f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full", *flags)
    assert promised_bytes(added) == promised_bytes(full)
    assert record_of(full).counters["rows_future"] == 2


@pytest.mark.parametrize("dedupe", ["last", "sum"])
def test_interactions_that_decay_removes_are_counted_as_such(
    dedupe: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A half-life of an hour: 2^-200 is passed after 200 hours. Weight 0 is no work of the decay."""
    old = OCTOBER - 201 * 3_600_000_000
    rows: list[Row] = [
        ("u", "a", 1.0, OCTOBER), ("u", "b", 1.0, OCTOBER), ("u", "old", 1.0, old), ("u", "old", 1.0, old),
        ("v", "old", 0.5, old), ("v", "zero", 0.0, OCTOBER), ("v", "old zero", 0.0, old),
    ]  # fmt: skip
    output = run(write_rows(tmp_path / "in", rows), tmp_path / "out", "--half_life=1h", f"--dedupe={dedupe}")
    record = record_of(output)
    assert (record.counters["decayed"], record.counters["interactions"]) == (2, 2)
    show(RunResult(record, reused=False, version=None), str(output))
    lines = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    table = {label.strip(): value.strip() for label, value in lines}
    assert table["decayed to nothing"] == "2"
