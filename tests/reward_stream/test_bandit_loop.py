"""A bandit that learns through log files, stream and snapshots decides as the same policy in memory does.

The smaller version of benchmarks/bandit_loop.py, whose parts it runs.
"""

from __future__ import annotations

import math
import pathlib
import re

import numpy as np
import pytest

from benchmarks.bandit_loop import faults
from benchmarks.loop.live import run_live
from benchmarks.loop.memory import Memory, arms_by_weights, regret_in_memory
from benchmarks.loop.regret import ratio_of
from benchmarks.loop.world import Draws, World

SECOND = 1_000_000


@pytest.mark.slow
@pytest.mark.needs("prism")
def test_a_bandit_that_learns_through_the_loop_decides_as_in_memory(tmp_path: pathlib.Path) -> None:
    """Every decision, every snapshot and the recount of the logs are equal. Then a click is removed from the logs."""
    world = World(bandits=20, rounds=8, moments=20)
    live = run_live(world, tmp_path, seed=1, tell=print)
    assert faults(world, live, tmp_path) == []
    assert live.decisions == 20 * 8 * 20
    assert live.matured[-1] > 2 * world.moments
    assert live.snapshots >= 4 * world.bandits, "of no decision yet, and of the three rounds that mature decisions"
    rewards = next((tmp_path / "logs").glob("rewards-*-1.jsonl"))
    rewards.write_bytes(rewards.read_bytes().partition(b"\n")[2])
    first, second = faults(world, live, tmp_path)
    assert first == f"{live.rewards - 1} of {live.rewards} rewards are in the log files"
    assert re.fullmatch(r"bandit\d{4}\.[ab]\.sum_r is \d+, and the logs say \d+", second)


def test_statistics_in_memory_hold_the_matured_decisions_and_the_clicks_inside_the_window() -> None:
    """Two bandits decide three times. Bandit 0 draws a, a, b; bandit 1 draws b, b, b.

    Click rates are 0.1 and 0.05, so 0.07 clicks with the better arm alone: `a` of bandit 0 and `b` of bandit 1. The
    click after 301 s is outside the window of 300 s. Matured are the first two moments, so the third one of bandit 1,
    a click, does not count.
    """
    memory = Memory(World(bandits=2, rounds=1, moments=3))
    arm = np.array([[0, 1], [0, 1], [1, 1]])
    delay_us = np.array([[300, 1], [301, 1], [1, 1]]) * SECOND
    memory.add(arm, Draws(np.zeros((3, 2)), np.full((3, 2), 0.07), delay_us))
    memory.mature(2)
    assert memory.n.tolist() == [[2, 0], [0, 2]]
    assert memory.sum_r.tolist() == [[1, 0], [0, 2]]
    assert memory.regret.tolist() == pytest.approx([0.05, 0.0])
    memory.mature(3)
    assert memory.n.tolist() == [[2, 1], [0, 3]]
    assert memory.sum_r.tolist() == [[1, 0], [0, 3]]


def test_decisions_mature_when_the_watermark_reaches_the_end_of_their_window() -> None:
    world = World(bandits=1, rounds=2, moments=2)
    end_us = int(world.times_us()[1]) + world.window_us
    assert np.diff(world.times_us()).tolist() == [30 * SECOND] * 3
    assert [world.matured(end_us - 1), world.matured(end_us), world.matured(-(2**62))] == [1, 2, 0]


def test_both_ways_to_draw_in_memory_have_the_same_regret() -> None:
    """Drawing from the posteriors and drawing by the router's probabilities, within four standard errors."""
    world = World(bandits=100, rounds=12, moments=30)
    matured = [max(0, (number - 2) * world.moments) for number in range(world.rounds)]
    rng = np.random.default_rng(3)
    memory = Memory(world)
    for count in matured:
        draws = world.draws(rng)
        memory.add(arms_by_weights(memory.statistics(), draws), draws)
        memory.mature(count)
    ratio = ratio_of(memory.regret, regret_in_memory(world, matured, 10, rng))
    assert abs(math.log(ratio.ratio)) < 4 / 1.96 * math.log(ratio.upper / ratio.ratio)
    assert ratio.upper / ratio.lower < 1.4


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says() -> None:
    """Exponential samples with means 3 and 2: the ratio is 1.5. Of 1,000 intervals 950 are expected, sd 6.9."""
    rng = np.random.default_rng(5)
    found = [ratio_of(rng.exponential(3, 200), rng.exponential(2, 1_000)) for _ in range(1_000)]
    assert 920 <= sum(each.lower <= 1.5 <= each.upper for each in found) <= 975
    assert ratio_of(np.array([1.0, 3.0]), np.array([1.0, 1.0])) == pytest.approx(
        (2.0, 2 * math.exp(-1.959964 / 2), 2 * math.exp(1.959964 / 2)), rel=1e-6
    )
