"""Files that cannot be used, the sums of reports, and the transform on a real runner."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput
from transforms.interactions import parquet, read
from transforms.interactions.files import InputFile, match
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import ReadInteractions, WorkUnit, check_first, read_unit
from transforms.interactions.reports import FileReport, check_reports

PARQUET = pa.table({"user_id": [1, 2, 3, 4], "item_id": [10, 20, 30, 40]})


def outputs_of(path: Path | str, **format: Any) -> list[Any]:
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    return list(read_unit(WorkUnit(InputFile(str(path), size)), InteractionFormat(**format)))


def damaged(folder: Path, name: str) -> Path:
    path = folder / name
    if name.startswith("parquet"):
        pq.write_table(PARQUET, path)
        data = path.read_bytes()
        path.write_bytes({"parquet-cut": data[:-20], "parquet-head": data[:8], "parquet-page": _spoil(data)}[name])
    elif name.startswith("gzip-"):
        data = gzip.compress(b"user_id,item_id\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(5000)))
        path.write_bytes({"gzip-cut": data[: len(data) // 2], "gzip-crc": data[:-8] + b"12345678"}[name])
    else:
        path.write_bytes(
            {
                "empty": b"",
                "blank": b" \n",
                "zstd": b"\x28\xb5\x2f\xfd1234",
                "utf16": "user_id,item_id\n".encode("utf-16"),
                "binary": bytes(range(256)) * 9,
                "gzipped-parquet": gzip.compress(b"PAR1...."),
                "other-columns": b"who,item\n1,2\n",
            }[name]
        )
    return path


def _spoil(data: bytes) -> bytes:
    return data[:4] + b"\xff" * 40 + data[44:]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parquet-cut", "is not a whole Parquet file"),
        ("parquet-head", "is not a whole Parquet file"),
        ("parquet-page", "cannot be read"),
        ("gzip-cut", "cannot be read (EOFError"),
        ("gzip-crc", "cannot be read (BadGzipFile: CRC"),
        ("empty", "is empty; remove it"),
        ("blank", "is empty; remove it"),
        ("zstd", "is compressed with zstd"),
        ("utf16", "is UTF-16 text"),
        ("binary", "its first line contains NUL"),
        ("gzipped-parquet", "is Parquet inside gzip"),
        ("other-columns", "has no column user_id (it has who, item)"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_report_whose_fault_names_it(name: str, says: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, name)
    reports = [output for output in outputs_of(path) if isinstance(output, FileReport)]
    assert len(reports) == 1
    assert reports[0].fault is not None
    assert reports[0].fault.startswith(f"{path}: {says}")
    assert "\n" not in reports[0].fault
    with pytest.raises(BadInput, match="^" + str(path)):
        check_reports(reports, 1.0)


@pytest.mark.parametrize("path", ["/nowhere/x.csv", "/"])
def test_a_file_that_cannot_be_opened_is_a_fault_too(path: str) -> None:
    [report] = outputs_of(path)
    assert report.fault.startswith(f"{path}: cannot be read (")
    with pytest.raises(BadInput, match="cannot be read"):
        check_first([InputFile(path, 0)], InteractionFormat())


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"user_id": [1.5], "item_id": [1]}, "column user_id has type double; ids are strings or integers"),
        ({"user_id": [1], "item_id": [True]}, "column item_id has type bool; ids are strings or integers"),
        ({"user_id": [1], "item_id": [1], "weight": [True]}, "column weight has type bool; weights are numbers"),
        ({"user_id": [1], "item_id": [1], "timestamp": [[1]]}, "column timestamp has type list"),
    ],
)
def test_a_parquet_column_of_an_impossible_type_is_a_fault(columns: Any, fault: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x")
    [report] = outputs_of(tmp_path / "x")
    assert fault in report.fault


def test_parquet_dead_letters_keep_row_number_reason_and_canonical_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array(["a", None, "", "d", "e"]),
            "item_id": pa.array([b"1", b"2", b"3", b"\xff", b"5"], pa.binary()),
            "weight": [1.0, 2.0, 3.0, 4.0, float("nan")],
            "unused": [1, 2, 3, 4, 5],
        }
    )
    pq.write_table(table, tmp_path / "x", row_group_size=2)
    letters = [output for output in outputs_of(tmp_path / "x") if isinstance(output, DeadLetter)]
    assert [(letter.position, letter.reason, letter.original.decode()) for letter in letters] == [
        (2, "user_id is missing", '{"item_id":"2","user_id":null,"weight":2.0}'),
        (3, "user_id is empty", '{"item_id":"3","user_id":"","weight":3.0}'),
        (4, r'item_id "\\xff" is not UTF-8', '{"item_id":{"base64":"/w=="},"user_id":"d","weight":4.0}'),
        (5, "weight nan is not finite", '{"item_id":"5","user_id":"e","weight":"nan"}'),
    ]


@pytest.mark.parametrize(
    ("column", "expected_us"),
    [
        (pa.array([1, None], pa.int32()), [1_000_000]),
        (pa.array([1.5, float("nan")]), [1_500_000]),
        (pa.array([-1], pa.timestamp("ns")), [-1]),
        (pa.array([1], pa.timestamp("us", "Europe/Berlin")), [1]),
        (pa.array([1], pa.timestamp("s")), [1_000_000]),
        (pa.array([-1, 10**15], pa.timestamp("ms")), [-1_000]),
        (pa.array([1], pa.date32()), [86_400_000_000]),
        (pa.array([86_400_000], pa.date64()), [86_400_000_000]),
        (pa.array(["1970-01-01T00:00:01+00:00", "soon"]), [1_000_000]),
        (pa.array(["5", "5"]).dictionary_encode(), [5_000_000, 5_000_000]),
        (pa.array([2**63], pa.uint64()), []),
        (pa.array([None], pa.null()), []),
    ],
)
def test_parquet_times_of_every_type_become_microseconds(
    column: pa.Array, expected_us: list[int], tmp_path: Path
) -> None:
    ids = ["x"] * len(column)
    pq.write_table(pa.table({"user_id": ids, "item_id": ids, "timestamp": column}), tmp_path / "x")
    *outputs, report = outputs_of(tmp_path / "x")
    blocks = [output for output in outputs if isinstance(output, pa.RecordBatch)]
    assert [time for block in blocks for time in block["timestamp"].to_pylist()] == expected_us
    assert report.rows_rejected == len(column) - len(expected_us)


def test_a_large_parquet_file_is_read_in_parts_that_cover_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "PART_BYTES", 300)
    monkeypatch.setattr(read, "PART_BYTES", 300)
    users = [str(n) for n in range(100)]
    users[70] = ""
    pq.write_table(pa.table({"user_id": users, "item_id": users}), tmp_path / "x", row_group_size=7)
    pq.write_table(pa.table({"user_id": users, "item_id": users}), tmp_path / "y", row_group_size=100)
    for name in ("x", "y"):
        units = read.work_units(match([str(tmp_path / name)]), InteractionFormat())
        assert len(units) > 2
        outputs = [output for unit in units for output in read_unit(unit, InteractionFormat())]
        blocks = [output for output in outputs if isinstance(output, pa.RecordBatch)]
        assert [user for block in blocks for user in block["user_id"].to_pylist()] == users[:70] + users[71:]
        assert [output.position for output in outputs if isinstance(output, DeadLetter)] == [71]
        assert sum(output.rows_read for output in outputs if isinstance(output, FileReport)) == 100


def test_parts_of_a_large_text_file_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("user_id,item_id\na,b\n")
    file = InputFile(str(tmp_path / "x"), 10**9)
    outputs = [
        output
        for unit in read.work_units([file], InteractionFormat())
        for output in read_unit(unit, InteractionFormat())
    ]
    assert sum(isinstance(output, FileReport) for output in outputs) == 1


def test_a_file_that_is_mostly_bad_stops_with_a_fault_instead_of_filling_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "REJECTED_ROWS_LIMIT", 10)
    (tmp_path / "x").write_text("user_id,item_id\n" + ",b\n" * 11)
    report = outputs_of(tmp_path / "x")[-1]
    assert "11 of the first 11 rows are bad (the last: user_id is empty)" in report.fault


def test_a_header_alone_is_no_fault_but_no_rows_in_all_is() -> None:
    reports = [FileReport("a", has_weight=True), FileReport("b")]
    with pytest.raises(BadInput, match="a and 1 more: no rows to read"):
        check_reports(reports, 0.01)
    check_reports([*reports, FileReport("c", rows_read=1)], 0.01)


def test_reports_refuse_the_first_fault_mixed_columns_and_too_many_bad_rows() -> None:
    with pytest.raises(BadInput, match=r"^a: x$"):
        check_reports([FileReport("b", fault="b: y"), FileReport("a", fault="a: x")], 1.0)
    with pytest.raises(
        BadInput, match=r"^b: has no weight column but a has; .* or --weight_column= with an empty name"
    ):
        check_reports([FileReport("b", rows_read=1), FileReport("a", rows_read=1, has_weight=True)], 1.0)
    with pytest.raises(BadInput, match=r"^b: 2 bad rows here, 2 of 100 in all, .*0\.01 allows; see .* out/dead"):
        check_reports([FileReport("a", rows_read=50), FileReport("b", rows_read=50, rows_rejected=2)], 0.01, "out/dead")
    check_reports([FileReport("a", rows_read=100, rows_rejected=1)], 0.01)


def test_too_many_bad_rows_are_told_with_an_example(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("user,item,when\nu,i,99\nu,i,2\n,i,1\nu,,1\n")
    reports = [each for each in outputs_of(tmp_path / "x", as_of_us=3_000_000) if isinstance(each, FileReport)]
    says = (
        r"x: 2 bad rows here, 2 of 4 in all, .* allows \(row 4: user is empty\); see .* or raise the flag to skip them"
    )
    with pytest.raises(BadInput, match=says):
        check_reports(reports, 0.01)


def test_the_first_file_is_checked_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("user_id,item_id,weight\n")
    columns = check_first(match([str(tmp_path)]), InteractionFormat())
    assert columns.names == ["user_id", "item_id", "weight"]
    with pytest.raises(BadInput, match=r"x: is csv, not parquet; pass --input_format"):
        check_first(match([str(tmp_path)]), InteractionFormat(input_format="parquet"))
    with pytest.raises(BadInput, match="matches no file"):
        check_first([], InteractionFormat())


def test_the_transform_gives_blocks_dead_letters_reports_and_counters(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\nu,i\n,i\n")
    pq.write_table(PARQUET, tmp_path / "b")
    (tmp_path / "c.jsonl").write_text('{"user_id":"u","item_id":"j"}\n')
    damaged(tmp_path, "gzip-cut")
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    result = pipeline | "Read" >> ReadInteractions(match([str(tmp_path)]), InteractionFormat())
    rows = result.blocks | "Rows" >> beam.FlatMap(
        lambda b: zip(b["user_id"].to_pylist(), b["item_id"].to_pylist(), strict=True)
    )
    good = [("u", "i"), ("u", "j"), ("1", "10"), ("2", "20"), ("3", "30"), ("4", "40")]
    assert_that(rows, equal_to(good), "CheckRows")
    assert_that(
        result.rejected, equal_to([DeadLetter(f"{tmp_path}/a.csv", 3, "user_id is empty", b",i")]), "CheckRejected"
    )
    reports = result.reports | "Reports" >> beam.Map(lambda r: (Path(r.uri).name, r.rows_read, r.fault is None))
    assert_that(
        reports,
        equal_to([("a.csv", 2, True), ("b", 4, True), ("c.jsonl", 1, True), ("gzip-cut", 0, False)]),
        "CheckReports",
    )
    run = pipeline.run()
    run.wait_until_finish()
    counters = run.metrics().query(MetricsFilter().with_namespace("interactions"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "rows_read": 7,
        "rows_rejected": 1,
        "rows_future": 0,
        "rows_filtered": 0,
        "header_rows": 0,
        "files_faulty": 1,
        "blocks": 3,
    }
