"""The bounded reading: every line of every file once, whatever the ranges, and nothing late."""

from __future__ import annotations

import gzip
import pathlib
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.publishing.messages import decode_message
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.steps.read_files import ReadFiles, read_range
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.times import BEFORE_ALL_US, format_time
from tests.reward_stream.reading import BANDITS, START_US, Clock, Logs, S, decision, lines, reward
from transforms.attribution.block import decode
from transforms.attribution.parsing.file_ranges import FileRange
from transforms.attribution.rules import Rules
from transforms.errors import BadInput

RULES = Rules(parse_bytes(BANDITS, "bandits"))
NOW_US = Clock().now_us


def positions(path: pathlib.Path, starts: list[int]) -> list[int]:
    """Where the decisions of all ranges of a file begin; `starts` are where ranges do."""
    size = path.stat().st_size
    found = []
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        part = FileRange("decisions", str(path), start, end)
        blocks, report = read_range(part, RULES, 2, 5 * S, NOW_US)
        rows = [int(at_us) for data in blocks if data for at_us in decode(data).decisions.at_us]
        assert report.records_read == len(rows)
        found += [(at_us - START_US) // S for at_us in rows]
    return sorted(found)


@given(data=st.data(), ended=st.booleans())
def test_ranges_share_the_lines_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "a"
    text = lines(decision(n, n) for n in range(8))
    path.write_bytes(text if ended else text[:-1])
    cuts = data.draw(st.sets(st.integers(1, len(text) - 2), max_size=12))
    assert positions(path, [0, *sorted(cuts)]) == list(range(8))


def test_a_range_that_begins_at_a_line_has_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(lines(decision(n, n) for n in range(3)))
    at = len(lines([decision(0, 0)]))
    for start in (at - 1, at, at + 1):
        assert positions(path, [0, start]) == [0, 1, 2]
    part = FileRange("decisions", str(path), at, at + 1)
    blocks, _ = read_range(part, RULES, 1, 5 * S, NOW_US)
    assert [(block.seq, block.tick, len(block)) for block in map(decode, blocks)] == [(-1, False, 1)]


def test_a_report_names_what_is_malformed_and_future_and_nothing_is_late(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    received = {"received_at": format_time(START_US)}
    records = [decision(1, 10_000), decision(2, 1), decision(3, 6, **received)]
    path.write_bytes(lines(records) + b"{broken\n\n")
    part = FileRange("decisions", str(path), 0, path.stat().st_size)
    _, report = read_range(part, RULES, 1, 5 * S, START_US + 9_999 * S)
    assert report.counters == {("home", 1, "future"): 1, ("", 0, "malformed"): 1}
    assert (report.seq, report.records_read, report.lines_bad, len(report.dead_letters)) == (-1, 4, 1, 2)
    assert report.newest_us == START_US + 10_000 * S and report.maturing_us == START_US + 9_995 * S


def test_a_file_without_records_has_no_watermark(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\n\n")
    blocks, report = read_range(FileRange("rewards", str(path), 0, 2), RULES, 3, 5 * S, NOW_US)
    assert blocks == [b""] * 3 and report.maturing_us == BEFORE_ALL_US and report.records_read == 0


def test_a_damaged_file_is_bad_input(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x" * 100)[:-3])
    with pytest.raises(BadInput, match=r"a\.gz: cannot be read"):
        read_range(FileRange("rewards", str(path), 0, -1), RULES, 3, 5 * S, NOW_US)


def test_the_transform_reads_all_files_of_both_sources(tmp_path: pathlib.Path) -> None:
    logs = Logs(tmp_path)
    for start in range(0, 100, 20):
        logs.put("decisions", lines(decision(n, n) for n in range(start, start + 20)))
    logs.put("rewards", gzip.compress(lines(reward(n, n) for n in range(40))), name="all.jsonl.gz")
    logs.put("rewards", b"{half", name=".unfinished")

    def check_blocks(found: list[tuple[int, bytes]]) -> None:
        sizes: Counter[str] = Counter()
        for shard, data in found:
            block = decode(data)
            sizes.update(decisions=len(block.decisions), rewards=len(block.rewards))
            assert shard in (0, 1) and block.seq == -1 and not block.tick
        assert sizes == {"decisions": 100, "rewards": 40}

    def check_reports(found: list[tuple[bytes, bytes]]) -> None:
        reports = [decode_message(data) for _, data in found]
        assert sum(report.records_read for report in reports if isinstance(report, SourceReport)) == 140
        assert len(reports) > 6  # ranges, not files

    with beam.Pipeline(runner=FnApiRunner()) as root:
        read = root | ReadFiles(logs.config(range_bytes=1_500))
        assert_that(read.blocks, check_blocks, label="CheckBlocks")
        assert_that(read.reports, check_reports, label="CheckReports")
