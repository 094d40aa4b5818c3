"""The Sequencer against the rules of events.md: watermarks, late and future records, ticks, the end, and restarts."""

from __future__ import annotations

import pathlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reward_stream.sources.config import SOURCES
from pipelines.reward_stream.sources.progress import NumberedBlocks
from pipelines.reward_stream.sources.sequencer import Sequencer
from serving_client.contracts.times import BEFORE_ALL_US, format_time
from tests.reward_stream.reading import (
    BANDITS,
    FUTURE_US,
    LATENESS_US,
    SPAN_US,
    START_US,
    WINDOW_US,
    Clock,
    Logs,
    S,
    blocks,
    counted,
    decision,
    emitted,
    lines,
    reports,
    reward,
    saved,
    settle,
    watch,
)


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> Logs:
    return Logs(tmp_path)


def test_steps_are_numbered_from_zero_and_every_shard_gets_each(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(20)))
    logs.put("rewards", lines(reward(n, n) for n in range(20)))
    said = settle(Sequencer(logs.config(shards=3), Clock()))
    assert [batch.seq for batch in said] == list(range(len(said))) and len(said) > 5
    assert all([block.seq for block in blocks([batch])] == [batch.seq] * 3 for batch in said)
    assert sum(emitted(said).values()) == 40


def test_the_holding_watermark_is_that_of_the_slower_source(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 100)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    said = watch(sequencer, clock, 2)
    assert {block.holding_us for block in blocks(said)} == {BEFORE_ALL_US}  # a source without an event holds everything
    logs.put("rewards", lines([reward(1, 30)]))
    (report,) = reports(watch(sequencer, clock, 1))[-1:]
    assert report.state.holding_us == report.maturing_us == START_US + 30 * S - 5 * S
    logs.put("rewards", lines([reward(2, 200)]))
    (report,) = reports(watch(sequencer, clock, 1))[-1:]
    assert report.maturing_us == START_US + 100 * S - 5 * S
    assert report.newest_us == START_US + 200 * S


def test_a_silent_source_stops_holding_the_maturing_watermark_and_later_the_holding_one(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 100)]))
    logs.put("rewards", lines([reward(1, 30)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(idle_after_us=dict.fromkeys(SOURCES, 10 * S), max_hold_us=30 * S), clock)
    watch(sequencer, clock, 8)
    logs.put("decisions", lines([decision(2, 110)]))
    (report,) = reports(watch(sequencer, clock, 4))[-1:]
    assert report.maturing_us == START_US + 105 * S
    assert report.state.holding_us == START_US + 25 * S
    assert report.state.idle == ("rewards",)
    watch(sequencer, clock, 14)
    logs.put("decisions", lines([decision(3, 120)]))
    (report,) = reports(watch(sequencer, clock, 5))[-1:]
    assert report.state.holding_us == START_US + 115 * S


def test_no_watermark_falls_and_all_idle_they_stand_still(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 100)]))
    logs.put("rewards", lines([reward(1, 30)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(idle_after_us=dict.fromkeys(SOURCES, 10 * S), max_hold_us=30 * S), clock)
    said = watch(sequencer, clock, 100, step_s=1)
    assert reports(said)[-1].maturing_us == START_US + 25 * S  # both became idle at once
    logs.put("decisions", lines([decision(2, 200)]))
    said = watch(sequencer, clock, 3)
    assert reports(said)[-1].maturing_us == START_US + 195 * S
    logs.put("rewards", lines([reward(2, 180)]))
    said = watch(sequencer, clock, 3)
    assert reports(said)[-1].maturing_us == START_US + 195 * S


def test_a_decision_is_late_when_its_window_and_lateness_are_past_and_a_reward_when_its_lateness_is(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 1_005)]))
    logs.put("rewards", lines([reward(1, 1_005)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    watch(sequencer, clock, 1)  # the holding watermark is at 1,000
    on_time = [decision(2, 1_000 - 60), reward(3, 1_000 - 40)]
    too_late = [decision(4, 1_000 - 60 - 1e-6), reward(5, 1_000 - 40 - 1e-6)]
    logs.put("decisions", lines([on_time[0], too_late[0]]))
    logs.put("rewards", lines([on_time[1], too_late[1]]))
    said = watch(sequencer, clock, 2)
    assert sum(emitted(said).values()) == 2
    assert counted(said) == {("home", 1, "late"): 1, ("", 0, "late"): 1}
    letters = [letter for report in reports(said) for letter in report.dead_letters]
    assert [letter.reason for letter in letters] == ["late", "late"]
    assert {letter.original for letter in letters} == {lines([record]).strip() for record in too_late}


def test_a_late_decision_of_an_unknown_bandit_has_the_largest_window_and_lateness(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 1_005)]))
    logs.put("rewards", lines([reward(1, 1_005)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    watch(sequencer, clock, 1)
    logs.put("decisions", lines(decision(n, at_s, bandit_id="new") for n, at_s in ((2, 940), (3, 939))))
    said = watch(sequencer, clock, 2)
    assert sum(emitted(said).values()) == 1 and counted(said) == {("new", 1, "late"): 1}
    (raw,) = [raw for block in blocks(said) for raw in block.decisions.raw.values()]  # it may become known
    assert raw[1:] == (0, lines([decision(2, 940, bandit_id="new")]).strip())


def test_future_records_are_measured_by_received_at_else_the_clock_and_move_no_watermark(logs: Logs) -> None:
    clock = Clock(START_US)
    received = {"received_at": format_time(START_US + 100 * S)}
    good = [decision(1, 5), decision(2, 105, **received), reward(1, 5)]
    ahead = [decision(3, 5.000001), decision(4, 105.000001, **received), reward(2, 5.1)]
    logs.put("decisions", lines([*good[:2], *ahead[:2]]))
    logs.put("rewards", lines([*good[2:], *ahead[2:]]))
    sequencer = Sequencer(logs.config(), clock)
    said = watch(sequencer, clock, 1)
    assert sum(emitted(said).values()) == 3
    assert counted(said) == {("home", 1, "future"): 2, ("", 0, "future"): 1}
    assert reports(said)[-1].newest_us == START_US + 105 * S


def test_each_bandit_has_its_own_max_future(logs: Logs) -> None:
    home = BANDITS.split(b"bandits:\n")[1]
    two = b"bandits:\n" + home + home.replace(b"  home:", b"  away:").replace(b"max_future: 5s", b"max_future: 9s")
    logs.bandits.write_bytes(two)
    logs.put("decisions", lines(decision(n, 7, bandit_id=name) for n, name in enumerate(("home", "away"))))
    clock = Clock(START_US)
    said = watch(Sequencer(logs.config(bandits_poll_us=0), clock), clock, 1)
    assert sum(emitted(said).values()) == 1 and counted(said) == {("home", 1, "future"): 1}


def test_malformed_lines_are_counted_and_keep_their_bytes_and_blank_ones_are_none(logs: Logs) -> None:
    path = logs.put("decisions", lines([decision(1, 1)]) + b"\n  \n{broken\n" + lines([{"decision_id": "d"}]))
    said = settle(Sequencer(logs.config(), Clock()))
    assert counted(said) == {("", 0, "malformed"): 2}
    assert (sum(r.records_read for r in reports(said)), sum(r.lines_bad for r in reports(said))) == (3, 2)
    letters = [letter for report in reports(said) for letter in report.dead_letters]
    assert letters[0].original == b"{broken" and letters[0].source == str(path)
    assert letters[1].reason.startswith("malformed: ")


def test_ticks_come_once_a_second_and_when_nothing_is_read(logs: Logs) -> None:
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    assert [batch.report is not None for batch in settle(sequencer)] == [True]
    assert len(reports(watch(sequencer, clock, 10, step_s=0.1))) == 10


def test_a_backlog_ticks_after_so_many_bytes(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(100)))
    said = settle(Sequencer(logs.config(tick_bytes=5_000), Clock()))
    ticks = [batch.seq for batch in said if batch.report is not None]
    assert 3 <= len(ticks) < len(said) / 3


def test_neither_source_runs_ahead_of_the_other(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(200)))
    logs.put("rewards", lines(reward(n, n) for n in range(0, 200, 2)))
    ahead = 0.0
    newest = {"decisions": 0.0, "rewards": 0.0}
    for batch in settle(Sequencer(logs.config(), Clock())):
        for block in blocks([batch]):
            for source, rows in (("decisions", block.decisions), ("rewards", block.rewards)):
                if len(rows):
                    newest[source] = max(newest[source], (int(rows.at_us.max()) - START_US) / S)
        ahead = max(ahead, abs(newest["decisions"] - newest["rewards"])) if min(newest.values()) < 195 else ahead
    assert ahead < 20  # a chunk of 1,000 bytes holds 5 decisions, or 7 rewards


def test_another_bandits_file_travels_in_the_next_block_and_report(logs: Logs) -> None:
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    watch(sequencer, clock, 2)
    changed = BANDITS.replace(b"generation: 1, model: b", b"generation: 2, model: b")
    logs.bandits.write_bytes(changed)
    logs.put("decisions", lines([decision(1, 1)]))
    assert not any(block.rules for block in blocks(watch(sequencer, clock, 3)))  # 30 s are not over
    logs.put("decisions", lines([decision(2, 1), decision(4, 1, arm_generation=2)]))  # names what is not known
    said = watch(sequencer, clock, 3)
    assert {block.rules for block in blocks(said) if len(block.decisions)} <= {changed, None}
    assert [report.rules for report in reports(said) if report.rules] == [changed]
    first = next(batch for batch in said if any(block.rules for block in blocks([batch])))
    assert [block.rules for block in blocks([first])] == [changed, changed]


def test_an_invalid_bandits_file_is_not_taken_and_named_once(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    sequencer = Sequencer(logs.config(bandits_poll_us=S), clock)
    logs.bandits.write_bytes(BANDITS.replace(b"window: 20s", b"window: 30s"))  # in the same policy_epoch
    said = watch(sequencer, clock, 5)
    assert not any(block.rules for block in blocks(said))
    (message,) = [record.getMessage() for record in caplog.records]
    assert "window" in message and message.endswith("the rules before stay in force")


def test_it_ends_when_all_is_read_and_silent_with_unfinished_lines_counted_but_not_saved(logs: Logs) -> None:
    path = logs.put("decisions", lines([decision(1, 1), decision(2, 2)])[:-1])
    clock = Clock()
    sequencer = Sequencer(logs.config(stop_when_idle_us=3 * S), clock)
    assert sum(emitted(watch(sequencer, clock, 2)).values()) == 1
    said = watch(sequencer, clock, 5)
    assert sequencer.ended and sum(emitted(said).values()) == 1
    last = reports(said)[-1]
    assert last.final and not last.stop and blocks(said)[-1].final
    assert last.state.partitions["decisions"][str(path)].end == len(lines([decision(1, 1)]))
    logs.append(path, b"\n")
    clock = Clock()
    again = watch(Sequencer(logs.config(started=saved(last)), clock), clock, 2)
    assert sum(emitted(again).values()) == 2  # both are still open: read again, the second one whole now


def test_a_stop_file_ends_it_with_a_tick_that_closes_no_window(logs: Logs, tmp_path: pathlib.Path) -> None:
    clock = Clock()
    stop = tmp_path / "stop"
    sequencer = Sequencer(logs.config(stop_file=str(stop)), clock)
    watch(sequencer, clock, 2)
    stop.touch()
    (batch,) = settle(sequencer)
    assert sequencer.ended and batch.report is not None and batch.report.stop and not batch.report.final
    assert [(block.stop, block.tick, block.final) for block in blocks([batch])] == [(True, True, False)] * 2


def test_a_file_whose_records_are_all_late_is_counted_once(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 1_005)]))
    logs.put("rewards", lines([reward(1, 1_005)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(file_horizon_us=60 * S), clock)
    watch(sequencer, clock, 1)
    old = logs.put("decisions", lines(decision(n, 1) for n in range(2, 30)))
    logs.put("decisions", lines([decision(30, 1), decision(31, 1_000)]))
    report = reports(watch(sequencer, clock, 2))[-1]
    assert report.late_files == 1
    assert not report.state.partitions["decisions"][str(old)].late  # covered wholly: counted in the state
    assert report.state.counters[("home", 1, "late")] == 29
    old.unlink()
    report = reports(watch(sequencer, clock, 120, step_s=5))[-1]
    assert report.late_files == report.state.late_files == 1
    assert str(old) not in report.state.partitions["decisions"]


def test_a_source_idle_at_a_stop_is_idle_at_the_start_until_it_delivers(logs: Logs) -> None:
    logs.put("decisions", lines([decision(1, 100)]))
    logs.put("rewards", lines([reward(1, 30)]))
    clock = Clock()
    sequencer = Sequencer(logs.config(idle_after_us=dict.fromkeys(SOURCES, 10 * S)), clock)
    watch(sequencer, clock, 8)
    logs.put("decisions", lines([decision(2, 110)]))
    state = saved(reports(watch(sequencer, clock, 4))[-1])
    clock = Clock()
    sequencer = Sequencer(logs.config(idle_after_us=dict.fromkeys(SOURCES, 10 * S), started=state), clock)
    logs.put("decisions", lines([decision(3, 120)]))
    assert reports(watch(sequencer, clock, 1))[-1].maturing_us == START_US + 115 * S
    logs.put("rewards", lines([reward(2, 118)]))
    logs.put("decisions", lines([decision(3, 140)]))
    assert reports(watch(sequencer, clock, 1))[-1].maturing_us == START_US + 115 * S


def test_what_is_read_again_is_not_late_has_no_tick_and_marks_what_lies_before_the_cut(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(300)))
    logs.put("rewards", lines(reward(n, n) for n in range(300)))
    clock = Clock()
    first = watch(Sequencer(logs.config(), clock), clock, 2)
    state = saved(reports(first)[-1])
    cut_us = START_US + 294 * S - SPAN_US
    assert state.cut_us == cut_us
    again = watch(Sequencer(logs.config(started=state, tick_bytes=2_000), clock), clock, 2)
    rereading = [batch for batch in again if any(len(block) for block in blocks([batch]))]
    assert len(rereading) > 10
    assert reports(again)[0].seq >= rereading[-1].seq  # the first tick covers all of it
    marked = {at_us for _, at_us in emitted(rereading, markers=True)}
    assert max(marked) == cut_us - S and cut_us - LATENESS_US - 8 * S < min(marked) <= cut_us - LATENESS_US
    assert emitted(rereading) == Counter({key: n for key, n in emitted(first).items() if key[1] >= cut_us})
    assert {block.holding_us for block in blocks(rereading)} == {state.holding_us}


def test_a_stop_while_it_reads_again_says_nothing_so_that_the_checkpoint_stays(
    logs: Logs, tmp_path: pathlib.Path
) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(50)))
    clock = Clock()
    state = saved(reports(watch(Sequencer(logs.config(), clock), clock, 2))[-1])
    stop = tmp_path / "stop"
    sequencer = Sequencer(logs.config(started=state, stop_file=str(stop)), clock)
    first = sequencer.poll()
    assert first is not None and first.report is None
    stop.touch()
    assert settle(sequencer) == [] and sequencer.ended


def test_a_changed_file_is_read_again_as_new_and_what_it_said_before_stays_counted(logs: Logs) -> None:
    clock = Clock()
    sequencer = Sequencer(logs.config(), clock)
    path = logs.put("decisions", b"{broken\n" + lines([decision(1, 1)]))
    watch(sequencer, clock, 1)
    logs.put("decisions", lines([decision(2, 2)]), name=path.name)
    report = reports(watch(sequencer, clock, 2))[-1]
    assert report.state.counters == {("", 0, "malformed"): 1} and report.files_reread == 1
    assert report.state.partitions["decisions"][str(path)].end == len(lines([decision(2, 2)]))


# What a run reads: each entry is one file or one growth of a file, and how the clock goes on after it.
Delivery = tuple[str, list[dict[str, Any]], bool, float]


@st.composite
def deliveries(draw: st.DrawFn, late: bool) -> list[Delivery]:
    """Records in the order of their times, less a disorder of up to 4 s, as files and growing files of both sources.

    late: some are up to 200 s behind; some are malformed or in the future.
    """
    given: list[Delivery] = []
    at_s, number = 0.0, 0
    for _ in range(draw(st.integers(2, 8))):
        source = draw(st.sampled_from(["decisions", "rewards"]))
        records: list[dict[str, Any]] = []
        for _ in range(draw(st.integers(1, 12))):
            at_s += draw(st.sampled_from([0.0, 1.0, 7.0, 30.0]))
            number += 1
            behind_s = draw(st.sampled_from([0.0, 2.0, 4.0, *([45.0, 62.0, 66.0, 200.0] if late else [])]))
            make = decision if source == "decisions" else reward
            records.append(make(number, at_s - behind_s))
            if late and draw(st.integers(0, 9)) == 0:
                records.append({"broken": number})
            if late and draw(st.integers(0, 9)) == 0:
                number += 1
                received = {"received_at": format_time(START_US)}
                records.append(make(number, at_s + 10, **received))
        given.append((source, records, draw(st.booleans()), draw(st.sampled_from([0.0, 0.3, 1.5]))))
    return given


def deliver(logs: Logs, sequencer: Sequencer, clock: Clock, given: Sequence[Delivery]) -> list[NumberedBlocks]:
    """Put files, or let the last one grow, and note what is said meanwhile."""
    said = []
    last: dict[str, pathlib.Path] = {}
    for source, records, grows, pause_s in given:
        if grows and source in last:
            logs.append(last[source], lines(records))
        else:
            last[source] = logs.put(source, lines(records))
        clock.pass_s(0.2)
        said += watch(sequencer, clock, pause_s, step_s=0.3)
    return said + watch(sequencer, clock, 2)


@settings(max_examples=40)
@given(given_=deliveries(late=False), chunk_bytes=st.sampled_from([1, 500, 1_700, 100_000]), shards=st.integers(1, 3))
def test_every_division_into_files_and_chunks_emits_the_same_records_once(
    given_: list[Delivery], chunk_bytes: int, shards: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs, clock = Logs(pathlib.Path(folder)), Clock()
        sequencer = Sequencer(logs.config(chunk_bytes=chunk_bytes, shards=shards), clock)
        said = deliver(logs, sequencer, clock, given_)
        whole, whole_clock = Logs(pathlib.Path(folder, "whole")), Clock()
        for source in ("decisions", "rewards"):
            whole.put(source, lines(record for each, records, *_ in given_ if each == source for record in records))
        at_once = watch(Sequencer(whole.config(chunk_bytes=100_000, shards=1), whole_clock), whole_clock, 2)
    assert emitted(said) == emitted(at_once)
    assert sum(emitted(said).values()) == sum(len(records) for _, records, *_ in given_)
    assert not counted(said)
    assert [batch.seq for batch in said] == list(range(len(said)))
    holding = [block.holding_us for block in blocks(said)]
    assert holding == sorted(holding)


@settings(max_examples=60)
@given(given_=deliveries(late=True), data=st.data(), chunk_bytes=st.sampled_from([1, 500, 1_700]))
def test_from_any_tick_a_restart_counts_every_record_exactly_once(
    given_: list[Delivery], data: st.DataObject, chunk_bytes: int
) -> None:
    """Closed at the tick (decided before its cut), or saved in its counters, or said by the run that goes on."""
    with tempfile.TemporaryDirectory() as folder:
        logs, clock = Logs(pathlib.Path(folder)), Clock()
        said = deliver(logs, Sequencer(logs.config(chunk_bytes=chunk_bytes), clock), clock, given_)
        report = data.draw(st.sampled_from(reports(said)))
        state = saved(report)
        after = watch(Sequencer(logs.config(chunk_bytes=700, started=state), clock), clock, 3)
        restarted = saved(reports(after)[-1])
        twice = watch(Sequencer(logs.config(chunk_bytes=300, started=restarted), clock), clock, 3)
    total = sum(len(records) for _, records, *_ in given_)
    before = [batch for batch in said if batch.seq <= report.seq]
    closed = Counter({key: n for key, n in emitted(before).items() if key[1] < state.cut_us})
    outcomes = counted(after) + Counter(state.counters)
    assert closed.total() + emitted(after).total() + outcomes.total() == total
    assert not closed & emitted(after)
    assert all(n == 1 for n in emitted(after).values())
    again = counted(twice) + Counter(restarted.counters)
    assert again == outcomes  # nothing new came: the second restart finds what the first one did
    held = Counter({key: n for key, n in emitted(after).items() if key[1] >= restarted.cut_us})
    assert emitted(twice) == held


@settings(max_examples=30)
@given(given_=deliveries(late=True), data=st.data())
def test_an_engine_goes_on_from_a_mark_with_the_same_records(given_: list[Delivery], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs, clock = Logs(pathlib.Path(folder)), Clock()
        cut = data.draw(st.integers(0, len(given_)))
        first = Sequencer(logs.config(), clock)
        said = deliver(logs, first, clock, given_[:cut])
        mark = first.mark()
        given_ = given_[cut:]
        clock.pass_s(5)
        second = Sequencer(logs.config(), clock, mark)
        said += deliver(logs, second, clock, given_)
    assert [batch.seq for batch in said] == list(range(len(said)))
    assert all(n == 1 for n in emitted(said).values())
    read = sum(report.records_read for report in reports(said))
    assert read == emitted(said).total() + counted(said).total()


def test_the_cut_is_what_a_checkpoint_promises(logs: Logs) -> None:
    assert SPAN_US == WINDOW_US + LATENESS_US + FUTURE_US
    logs.put("decisions", lines([decision(1, 1_005)]))
    logs.put("rewards", lines([reward(1, 1_005)]))
    clock = Clock()
    report = reports(watch(Sequencer(logs.config(), clock), clock, 1))[-1]
    assert report.cut_us == report.state.cut_us == START_US + 1_000 * S - SPAN_US
