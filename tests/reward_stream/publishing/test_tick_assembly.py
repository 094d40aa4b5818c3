"""Ticks: whole ones alone, in order, each once."""

from __future__ import annotations

from pipelines.reward_stream.publishing.tick_assembly import Ticks
from tests.reward_stream.publisher_setup import report, step


def test_a_tick_is_whole_with_its_report_and_a_step_of_every_shard() -> None:
    ticks = Ticks(2)
    ticks.add(report(3))
    ticks.add(step(1, 3, {}))
    assert list(ticks.whole()) == []
    ticks.add(step(0, 3, {}))
    ((given, steps),) = ticks.whole()
    assert given.seq == 3 and [each.shard for each in steps] == [0, 1]
    assert ticks.handed_out == 3


def test_a_final_tick_needs_the_last_step_of_every_shard_too() -> None:
    ticks = Ticks(1)
    ticks.add(report(0, final=True))
    ticks.add(step(0, 0, {}))
    assert list(ticks.whole()) == []
    ticks.add(step(0, 0, {}, final=True))
    ((_, steps),) = ticks.whole()
    assert [each.final for each in steps] == [False, True]


def test_what_was_handed_out_or_came_before_counts_once() -> None:
    ticks = Ticks(1)
    for _ in range(2):
        ticks.add(report(0))
        ticks.add(step(0, 0, {}))
        ticks.add(step(0, 0, {}))
    assert len(list(ticks.whole())) == 1
    ticks.add(report(0))
    assert list(ticks.whole()) == [] and ticks.waiting() == []


def test_later_ticks_wait_for_an_earlier_one() -> None:
    ticks = Ticks(1)
    ticks.add(report(0))
    ticks.add(report(1))
    ticks.add(step(0, 1, {}))
    assert list(ticks.whole()) == []
    again = Ticks(1, ticks.handed_out)
    for message in ticks.waiting():
        again.add(message)
    again.add(step(0, 0, {}))
    assert [given.seq for given, _ in again.whole()] == [0, 1]
