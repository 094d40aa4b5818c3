"""Totals: the live ledger and the closed one share segments, rules and epochs."""

from __future__ import annotations

from pipelines.reward_stream.sources.reports import SourceState
from pipelines.reward_stream.totals.totals import Totals, outcomes_of
from tests.reward_stream.publisher_setup import bandits, bandits_bytes, label, report, step, sums
from transforms.attribution.joining.delta import Delta, FoldResult


def test_a_segment_that_has_a_live_row_has_a_closed_one() -> None:
    totals = Totals(bandits(max_segments=1))
    live, closed = {label("a", "s1"): sums(2)}, {label("a", "s2"): sums(1), label("a", "s1"): sums(1)}
    changed = totals.add([report(0)], [step(0, 0, live, closed=closed)])
    assert changed == {"row"}
    saved = totals.checkpoint(0, SourceState()).closed["bandits"]["row"]
    assert [key[0] for key in saved["rows"]] == ["*", "s1"]
    assert saved["counters"]["segments_over_limit"] == 1


def test_a_changed_bandits_file_makes_every_bandit_new() -> None:
    totals = Totals(bandits())
    assert totals.add([report(0, rules=bandits_bytes(epoch=2))], []) == {"row"}
    assert totals.bandits.bandits["row"].policy_epoch == 2
    assert totals.to_state().attribution["row"][0] == 2


def test_the_state_brings_all_back() -> None:
    totals = Totals(bandits())
    totals.add(
        [report(0, counters={("", 0, "malformed"): 2})], [step(0, 0, {label(): sums(3)}, closed={label(): sums(1)})]
    )
    again = Totals(bandits(), totals.to_state())
    assert again.to_state() == totals.to_state()


def test_pending_alone_is_a_change() -> None:
    totals = Totals(bandits())
    assert totals.add([], [step(0, 0, {}, pending={label(): 1})]) == {"row"}
    assert totals.add([], [step(0, 1, {}, pending={label(): 1})]) == set()


def test_outcomes_are_added_over_source_and_shards() -> None:
    one = step(0, 0, {label(): sums(3)})
    correction = FoldResult(1, 0, Delta({("row", 1, "counted"): -1, ("", 0, "orphan"): 1}), Delta(), {}, {}, {}, {}, {})
    found = outcomes_of([report(0, counters={("row", 1, "late"): 2})], [one, correction])
    assert found == {"counted": 2, "late": 2, "orphan": 1}
