"""The join as a function of the set of records: any order, any blocks, any ticks, and a restart, give the same sums."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.attribution.joining.worlds import (
    FUTURE_US,
    LATENESS_US,
    START_US,
    WINDOW_US,
    Decision,
    Reward,
    S,
    arrivals,
    beyond_arrival,
    block,
    both,
    label,
    rules,
    total,
    world,
)
from transforms.attribution.joining.delta import FoldResult
from transforms.attribution.joining.fold import Shard, advance, finish, fold
from transforms.attribution.joining.kernels import AGGREGATES, BOT, FALLBACK, MARKER
from transforms.attribution.rules import HOLDBACK, Rules

FAR_US = START_US + 10**6 * S
SEEDS = st.integers(0, 2**32)
WAYS = st.tuples(st.sampled_from(AGGREGATES), st.sampled_from(["decisions", "impressions"]))


def at_once(decisions: list[Decision], rewards: list[Reward], how: Rules) -> FoldResult:
    shard = Shard.empty(how)
    fold(shard, block(decisions, rewards), how)
    return finish(shard, how)


@given(seed=SEEDS, way=WAYS)
@settings(max_examples=30)
def test_order_and_blocks_do_not_matter(seed: int, way: tuple[str, str]) -> None:
    rng, how = random.Random(seed), rules(*way)
    decisions, rewards = world(rng)
    expected = at_once(decisions, rewards, how)
    mixed: list[Decision | Reward] = [*decisions, *rewards]
    rng.shuffle(mixed)
    shard = Shard.empty(how)
    while mixed:
        size = rng.randrange(1, 50)
        fold(shard, block(*both(mixed[:size])), how)
        del mixed[:size]
    step = finish(shard, how)
    assert total([step.live]) == total([expected.live])
    assert (step.max_event_us, step.max_decided_us) == (expected.max_event_us, expected.max_decided_us)


@given(seed=SEEDS, way=WAYS)
@settings(max_examples=60)
def test_a_stream_with_corrections_ends_where_a_batch_does(seed: int, way: tuple[str, str]) -> None:
    rng, how = random.Random(seed), rules(*way)
    decisions, rewards = world(rng)
    batch = at_once(decisions, rewards, how)
    shard, steps = Shard.empty(how), []
    timed = arrivals(rng, decisions, rewards)
    while timed:
        size = rng.randrange(1, 60)
        fold(shard, block(*both(record for _, record in timed[:size])), how)
        if rng.random() < 0.7:
            holding = timed[:size][-1][0] - 30 * S
            steps.append(advance(shard, holding, holding + rng.randrange(20 * S), how))
        del timed[:size]
    last = finish(shard, how)
    counters, rows = total(step.live for step in [*steps, last])
    batch_counters, batch_rows = total([batch.live])
    assert rows == batch_rows
    assert beyond_arrival(counters) == beyond_arrival(batch_counters)
    assert (last.max_event_us, last.max_decided_us) == (batch.max_event_us, batch.max_decided_us)
    # What has been published closes in the end, to the bit, and then nothing is held.
    final = advance(shard, FAR_US, FAR_US, how)
    assert total(step.closed for step in [*steps, final]) == (counters, rows)
    assert (final.open_decisions, final.open_rewards) == (0, 0)


@given(seed=SEEDS, way=WAYS)
@settings(max_examples=30)
def test_every_record_has_one_outcome(seed: int, way: tuple[str, str]) -> None:
    decisions, rewards = world(random.Random(seed))
    counters, _ = total([at_once(decisions, rewards, rules(*way)).live])
    outcomes = sum(count for (_, _, name), count in counters.items() if name != "conflicting_duplicates")
    assert outcomes == len(decisions) + len(rewards)


@given(seed=SEEDS, way=WAYS)
@settings(max_examples=40)
def test_a_restart_from_a_cut_reaches_the_same_sums(seed: int, way: tuple[str, str]) -> None:
    """Closed totals at the cut, and all records read again, those before the cut as markers."""
    rng, how = random.Random(seed), rules(*way)
    decisions, rewards = world(rng)
    timed = arrivals(rng, decisions, rewards)
    stop = rng.randrange(len(timed))
    shard, closed, live = Shard.empty(how), [], []
    before, after = timed[:stop], [record for _, record in timed[stop:]]
    while before:
        fold(shard, block(*both(record for _, record in before[:40])), how)
        now = before[:40][-1][0]
        closed.append(advance(shard, now - 30 * S, now - 25 * S, how).closed)
        del before[:40]
    cut = shard.cut_us
    uninterrupted = Shard.empty(how)
    again = Shard.empty(how)
    oldest = cut - how.reach_us
    for one, marks in ((uninterrupted, False), (again, True)):
        read = [record for _, record in timed[:stop]]
        if marks:
            read = [
                dataclasses.replace(each, flags=each.flags | MARKER) if each.at < cut else each
                for each in read
                if each.at >= oldest
            ]
            rng.shuffle(read)
        fold(one, block(*both(read)), how)
        fold(one, block(*both(after)), how)
        live.append(finish(one, how).live)
    resumed, whole = total([*closed, live[1]]), total([live[0]])
    assert resumed[1] == whole[1]
    assert beyond_arrival(resumed[0]) == beyond_arrival(whole[0])


def test_a_decision_counts_with_its_reward_when_its_window_ends() -> None:
    how, shard = rules(), Shard.empty(rules())
    fold(shard, block([Decision(1, START_US, 5, label())], [Reward(1, 1, START_US + 3 * S, 5)]), how)
    waiting = advance(shard, START_US, START_US + WINDOW_US - 1, how)
    assert (waiting.live.rows, waiting.pending) == ({}, {label(): 1})
    step = advance(shard, START_US, START_US + WINDOW_US, how)
    row = step.live.rows[label()]
    assert (row.n, row.sum_r, row.sum_r2, row.kinds, step.pending) == (1, S, S * S, {"click": 1}, {})


def test_a_reward_after_the_window_but_not_late_corrects_the_row_at_once() -> None:
    how, shard = rules(), Shard.empty(rules())
    fold(shard, block([Decision(1, START_US, 5, label())], []), how)
    assert advance(shard, START_US, START_US + WINDOW_US, how).live.rows[label()].sum_r == 0
    fold(shard, block([], [Reward(1, 1, START_US + WINDOW_US, 5)]), how)  # the window's end is inside
    row = advance(shard, START_US, START_US + WINDOW_US, how).live.rows[label()]
    assert (row.n, row.sum_r) == (0, S)


@pytest.mark.parametrize(
    ("offset_us", "outcome"),
    [
        (-FUTURE_US - 1, "outside_window"),
        (-FUTURE_US, "counted"),
        (WINDOW_US, "counted"),
        (WINDOW_US + 1, "outside_window"),
    ],
)
def test_both_ends_of_the_window_are_inside(offset_us: int, outcome: str) -> None:
    reward = Reward(1, 1, START_US + offset_us, 5)
    step = at_once([Decision(1, START_US, 5, label())], [reward], rules())
    counters, _ = total([step.live])
    assert counters[("b", 1, outcome)] == 1 + (outcome == "counted")


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (Decision(1, START_US, 5, label(), BOT), "bot"),
        (Decision(1, START_US, 5, label(), FALLBACK), "fallback"),
        (Decision(1, START_US, 5, label(epoch=0)), "old_epoch"),
        (Decision(1, START_US, 5, label(epoch=2)), "unknown_epoch"),
        (Decision(1, START_US, 5, label(arm="z")), "unknown_arm"),
        (Decision(1, START_US, 5, label(generation=3)), "unknown_generation"),
        (Decision(1, START_US, 5, label()._replace(bandit_id="c")), "unknown_bandit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reward_has_its_decisions_outcome(decision: Decision, outcome: str) -> None:
    step = at_once([decision], [Reward(1, 1, START_US, 5)], rules())
    assert total([step.live])[0] == {(decision.label.bandit_id, decision.label.policy_epoch, outcome): 2}
    letters = [letter.reason for letter in step.dead_letters]
    assert letters == ([outcome, outcome] if outcome.startswith("unknown") else [])


def test_without_an_impression_a_decision_is_unexposed_and_its_rewards_with_it() -> None:
    click, impression = Reward(1, 1, START_US, 5), Reward(1, 2, START_US, 5, kind="impression")
    how = rules(denominator="impressions")
    alone = at_once([Decision(1, START_US, 5, label())], [click], how)
    assert total([alone.live])[0] == {("b", 1, "unexposed"): 2}
    seen = at_once([Decision(1, START_US, 5, label())], [click, impression], how)
    assert total([seen.live])[0] == {("b", 1, "counted"): 3}


def test_of_the_holdback_share_everything_that_would_count_or_be_ignored_is_holdback() -> None:
    """A click, a view, a click after the window, and their decision. Bots, failures, unknown arms stay as they are."""
    held = label(segment=HOLDBACK)
    rewards = [
        Reward(1, 1, START_US, 5), Reward(1, 2, START_US, 5, kind="view"), Reward(1, 3, START_US + WINDOW_US + 1, 5),
    ]  # fmt: skip
    others = [
        Decision(2, START_US, 5, held, BOT), Decision(3, START_US, 5, held, FALLBACK),
        Decision(4, START_US, 5, held._replace(arm_id="z")),
    ]  # fmt: skip
    step = at_once([Decision(1, START_US, 5, held), *others], rewards, rules())
    assert total([step.live])[0] == {
        ("b", 1, "holdback"): 4,
        ("b", 1, "bot"): 1,
        ("b", 1, "fallback"): 1,
        ("b", 1, "unknown_arm"): 1,
    }
    row = step.live.rows[held]
    assert (row.n, row.sum_r, row.fallbacks, row.kinds) == (1, S, 1, {"click": 1, "view": 1})


def test_the_holdback_share_has_the_same_denominator_as_the_arms() -> None:
    held, click = label(segment=HOLDBACK), Reward(1, 1, START_US, 5)
    step = at_once([Decision(1, START_US, 5, held)], [click], rules(denominator="impressions"))
    assert total([step.live]) == ({("b", 1, "unexposed"): 2}, {})


def test_a_reward_without_a_decision_waits_and_then_is_an_orphan_with_its_bytes() -> None:
    how, shard = rules(), Shard.empty(rules())
    fold(shard, block([], [Reward(1, 9, START_US, 5)]), how)
    over = START_US + how.span_us
    assert advance(shard, over, over, how).live.counters == {}
    step = advance(shard, over + 1, over + 1, how)
    assert step.live.counters == step.closed.counters == {("", 0, "orphan"): 1}
    assert [(one.source, one.position, one.reason, one.original) for one in step.dead_letters] == [
        ("rewards", 9, "orphan", b"reward")
    ]


def test_an_unknown_arm_that_the_file_learns_in_time_counts() -> None:
    before, after = rules(arms="a"), rules(arms="ab")
    shard = Shard.empty(before)
    fold(shard, block([Decision(1, START_US, 5, label("b"))], [Reward(1, 1, START_US, 5)]), before)
    held = advance(shard, START_US, START_US + WINDOW_US, before)
    assert (held.live.counters, held.dead_letters) == ({}, ())
    step = advance(shard, START_US, START_US + WINDOW_US, after)
    assert (step.live.rows[label("b")].n, step.dead_letters) == (1, ())


def test_a_new_epoch_takes_back_what_the_old_one_counted() -> None:
    shard, before, after = Shard.empty(rules()), rules(), rules(epoch=2)
    shard = Shard.empty(before)
    fold(shard, block([Decision(1, START_US, 5, label())], []), before)
    first = advance(shard, START_US, START_US + WINDOW_US, before)
    second = advance(shard, START_US, START_US + WINDOW_US, after)
    assert total([first.live, second.live]) == ({("b", 1, "old_epoch"): 1}, {})


def test_the_first_of_simultaneous_rewards_is_that_of_the_smaller_event_id() -> None:
    """e10 < e9 as UTF-8 bytes."""
    rewards = [Reward(1, 9, START_US, 5, value=S), Reward(1, 10, START_US, 5, value=2 * S)]
    step = at_once([Decision(1, START_US, 5, label())], rewards, rules("first"))
    assert step.live.rows[label()].sum_r == 2 * S


def test_max_starts_below_every_reward() -> None:
    step = at_once([Decision(1, START_US, 5, label())], [Reward(1, 1, START_US, 5, value=-3)], rules("max"))
    assert step.live.rows[label()].sum_r == -3


def test_nothing_is_held_once_it_can_no_longer_matter() -> None:
    how = rules()
    shard = Shard.empty(how)
    for second in range(300):
        now = START_US + second * S
        fold(shard, block([Decision(second + 2, now, 5, label())], [Reward(second + 2, 1, now, 5)]), how)
        step = advance(shard, now, now, how)
    assert step.open_decisions <= (WINDOW_US + LATENESS_US + FUTURE_US) // S + 1
