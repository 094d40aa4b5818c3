"""A byte order mark at the start of a log is skipped, in streams, bounded runs and tools, compressed or not."""

from __future__ import annotations

import codecs
import gzip
import pathlib
from collections.abc import Callable

import pytest

from pipelines.reward_stream.sources.logs import lines_of, read_decisions
from pipelines.reward_stream.sources.sequencer import Sequencer
from pipelines.reward_stream.steps.read_files import read_range
from serving_client.bandits_file import parse_bytes
from tests.reward_stream.reading import (
    BANDITS,
    START_US,
    Clock,
    Logs,
    S,
    blocks,
    decision,
    lines,
    reports,
    reward,
    saved,
    watch,
)
from transforms.attribution.block import decode
from transforms.attribution.parsing.file_ranges import FileRange
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter

BOM = codecs.BOM_UTF8
TEXTS = {"decisions": lines([decision(1, 1), decision(2, 2)]), "rewards": lines([reward(1, 1), reward(2, 2)])}


def plain(text: bytes) -> bytes:
    return text


FORMS = pytest.mark.parametrize(("suffix", "pack"), [("", plain), (".gz", gzip.compress)])


@FORMS
def test_a_bounded_run_reads_the_first_record(
    tmp_path: pathlib.Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    rules = Rules(parse_bytes(BANDITS, "bandits"))
    for source, text in TEXTS.items():
        path = tmp_path / f"{source}{suffix}"
        path.write_bytes(pack(BOM + text))
        part = FileRange(source, str(path), 0, -1 if suffix else path.stat().st_size)
        data, report = read_range(part, rules, 1, 5 * S, Clock().now_us)
        assert (report.records_read, report.lines_bad) == (2, 0)
        rows = decode(data[0]).decisions if source == "decisions" else decode(data[0]).rewards
        assert sorted(rows.at_us) == [START_US + S, START_US + 2 * S]


@FORMS
def test_a_stream_reads_the_first_record_also_after_a_restart(
    tmp_path: pathlib.Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    clock, logs = Clock(), Logs(tmp_path)
    for source, text in TEXTS.items():
        logs.put(source, pack(BOM + text), f"a.jsonl{suffix}")
    said = watch(Sequencer(logs.config(), clock), clock, 2)
    again = watch(Sequencer(logs.config(started=saved(reports(said)[-1])), clock), clock, 2)
    for pieces in (said, again):
        rows = [rows for block in blocks(pieces) for rows in (block.decisions, block.rewards)]
        assert sorted(at_us for each in rows for at_us in each.at_us) == [START_US + at * S for at in (1, 1, 2, 2)]
        assert sum(report.lines_bad for report in reports(pieces)) == 0


def test_a_dead_letter_has_its_place_in_the_file_and_a_later_mark_is_malformed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BOM + b"{broken\n" + BOM + lines([decision(1, 1)]))
    part = FileRange("decisions", str(path), 0, path.stat().st_size)
    _, report = read_range(part, Rules(parse_bytes(BANDITS, "bandits")), 1, 5 * S, Clock().now_us)
    first, second = sorted(report.dead_letters)
    assert isinstance(first, DeadLetter) and (first.position, first.original) == (3, b"{broken")
    assert second.position == 11 and second.original.startswith(BOM)


@FORMS
def test_replay_and_inspect_read_the_first_record(
    tmp_path: pathlib.Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(BOM + TEXTS["decisions"]))
    assert list(lines_of(str(path))) == TEXTS["decisions"].splitlines()
    assert [each["decision_id"] for each in read_decisions(str(path))] == ["d1", "d2"]


def test_a_log_that_is_a_byte_order_mark_alone_has_no_records(tmp_path: pathlib.Path) -> None:
    for text in (BOM, BOM + b"\n"):
        path = tmp_path / "a"
        path.write_bytes(text)
        part = FileRange("rewards", str(path), 0, len(text))
        _, report = read_range(part, Rules(parse_bytes(BANDITS, "bandits")), 1, 5 * S, Clock().now_us)
        assert (report.records_read, report.lines_bad) == (0, 0)
