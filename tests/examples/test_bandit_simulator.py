"""The simulator learns what snapshots hold, knows rewards when it should, and compares regrets rightly."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from examples.bandit_simulator.__main__ import main
from examples.bandit_simulator.cases import CASES, Run, half_life_of
from examples.bandit_simulator.contextual import RUNS, simulate_contextual
from examples.bandit_simulator.defaults import SETTINGS, simulate_defaults
from examples.bandit_simulator.environments import Piecewise, Replaced, stationary
from examples.bandit_simulator.learned import Learned
from examples.bandit_simulator.simulate import simulate
from examples.bandit_simulator.tables import compare
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.canonical import canonical_json
from serving_client.contracts.times import format_time
from serving_client.policies.statistics import statistics_of
from serving_client.snapshots.snapshot import parse_snapshot
from transforms.attribution.rules import Label
from transforms.attribution.statistics.row_sums import Counted, sum_rows
from transforms.attribution.statistics.rows import HOUR_US, row_document

ARMS = ("a", "b", "c")
THOMPSON = {"kind": "thompson_beta"}


def bandit(parameter: str):
    text = f"""
bandits:
  simulated:
    policy_epoch: 1
    default_arm: a
    arms: {{a: {{generation: 1, model: m}}, b: {{generation: 1, model: m}}, c: {{generation: 1, model: m}}}}
    policy: {{kind: thompson_beta, {parameter}}}
    half_lives: [20h]
    attribution: {{window: 1ms, allowed_lateness: 1h}}
"""
    return parse_bytes(text.encode(), "bandits.yaml").bandits["simulated"]


def statistics_by_the_stream(found, arms, rewards):
    """Return what a policy reads from the snapshot that reward_stream's own code makes of these decisions."""
    last_us = (len(arms) - 1) * HOUR_US
    counted = Counted(
        np.array(arms, np.int32),
        np.arange(len(arms), dtype=np.int64) * HOUR_US,
        np.array(rewards, np.int64) * 10**6,
        np.full(len(arms), 0.5),
    )
    sums = sum_rows(counted, [found] * 3, [("", 0)] * 3)
    rows = [
        row_document(Label("simulated", 1, "*", ARMS[arm], 1), sums[arm], 0, last_us, last_us, found)
        for arm in sorted(sums)
    ]
    document = {
        "schema_version": 1,
        "bandit_id": "simulated",
        "policy_epoch": 1,
        "version": 1,
        "published_at": format_time(last_us),
        "watermark": format_time(last_us),
        "event_time_lag": 0.0,
        "final": False,
        "config_hash": "0" * 64,
        "arms": rows,
        "rolled_back": [],
        "counters": {},
    }
    return statistics_of(found, parse_snapshot(canonical_json(document)), "*", ARMS)


@pytest.mark.parametrize(
    ("parameter", "settings"),
    [("half_life: 20h", {"half_life": 20.0}), ("hours: 7", {"hours": 7}), ("floor: 0", {})],
)
def test_a_policy_reads_the_same_from_the_simulator_and_from_a_snapshot(parameter, settings) -> None:
    found, rng = bandit(parameter), np.random.default_rng(3)
    arms, rewards = rng.integers(3, size=(2, 60)), rng.integers(2, size=(2, 60))
    learned = Learned(2, 3, (1.0, 1.0), **settings)
    for t in range(60):
        learned.add(t, arms[:, t], rewards[:, t].astype(float))
        if t % 13 == 12:
            for repetition in range(2):
                expected = statistics_by_the_stream(found, arms[repetition, : t + 1], rewards[repetition, : t + 1])
                np.testing.assert_allclose(learned.statistics.n[repetition], expected.n, rtol=1e-12, atol=1e-12)
                np.testing.assert_allclose(learned.statistics.sum_r[repetition], expected.sum_r, rtol=1e-12, atol=1e-12)
                np.testing.assert_array_equal(learned.statistics.prior[repetition], expected.prior)


@pytest.mark.parametrize(("delay", "batch"), [(1, 1), (5, 1), (1, 4)])
def test_a_reward_is_known_after_its_delay_and_dropped_with_its_item(delay, batch) -> None:
    """The oracle keeps every decision, and recounts them before each step."""
    rng, steps, repetitions = np.random.default_rng(5), 80, 3
    learned = Learned(repetitions, 3, (1.0, 1.0), delay=delay, batch=batch)
    log: list[list[tuple[int, int, int, int]]] = [[] for _ in range(repetitions)]  # step, arm, generation, reward
    generation = np.zeros((repetitions, 3), int)
    for t in range(steps):
        replaced = rng.random((repetitions, 3)) < 0.03
        if replaced.any():
            generation += replaced
            learned.replace(replaced)
        known_until = t - delay if batch == 1 else t // batch * batch - 1
        for repetition, arm in itertools.product(range(repetitions), range(3)):
            mine = [each for each in log[repetition] if each[1:3] == (arm, generation[repetition, arm])]
            known = [each for each in mine if each[0] <= known_until]
            assert learned.statistics.n[repetition, arm] == len(known)
            assert learned.statistics.sum_r[repetition, arm] == sum(each[3] for each in known)
            if batch == 1:
                assert learned.statistics.pending[repetition, arm] == len(mine) - len(known)
        arms, rewards = rng.integers(3, size=repetitions), rng.integers(2, size=repetitions)
        for repetition in range(repetitions):
            arm = int(arms[repetition])
            log[repetition].append((t, arm, int(generation[repetition, arm]), int(rewards[repetition])))
        learned.add(t, arms, rewards.astype(float))


def test_decay_with_a_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="without a delay"):
        Learned(1, 2, (1.0, 1.0), half_life=3.0, delay=2)


def test_a_policy_that_learns_nothing_has_the_regret_of_chance() -> None:
    regret = simulate(stationary([0.7, 0.3]), {"kind": "epsilon_greedy", "epsilon": 1.0}, 2_000, 50, 1)
    assert regret.shape == (1, 50)
    assert regret.mean() == pytest.approx(0.4 * 0.5 * 2_000, rel=0.02)


def test_regret_is_measured_at_each_mark_and_repeats_with_its_seed() -> None:
    environment = Piecewise([[0.9, 0.1], [0.1, 0.9]], [0, 300])
    first = simulate(environment, THOMPSON, 600, 20, 7, at=[300, 600])
    assert (first[0] < first[1]).all()
    np.testing.assert_array_equal(first, simulate(environment, THOMPSON, 600, 20, 7, at=[300, 600]))
    np.testing.assert_array_equal(first[0], simulate(environment, THOMPSON, 300, 20, 7)[0])


def test_items_are_replaced_at_the_stated_rate() -> None:
    environment = Replaced(arms=4, chance=0.05)
    environment.start(50, np.random.default_rng(2))
    replaced = sum(0 if gone is None else int(gone.sum()) for _, gone in map(environment.step, range(2_000)))
    assert replaced == pytest.approx(50 * 2_000 * 0.05, rel=0.06)


def test_segments_and_features_help_where_users_differ() -> None:
    regret = {run.name: simulate_contextual(run, 2_000, 10, 1).mean() for run in RUNS}
    plain = regret.pop("Thompson, without context")
    assert all(each < plain / 2 for each in regret.values()), regret


def test_the_cap_saves_regret_when_a_new_arm_is_bad() -> None:
    without, default = (simulate_defaults(setting, 0.01, 4_000, 3, 1).mean() for setting in SETTINGS[:2])
    # 1,000 decisions pass before the first reward counts: nearly all go to the new arm, or a tenth.
    assert 30 < without < 50
    assert default < 10


def test_a_regret_far_from_its_reference_is_told() -> None:
    regret = np.array([90.0, 110.0, 100.0, 100.0])  # mean 100, standard error 4.08
    near, far = Run("near", THOMPSON, 112.0, 1.0), Run("far", THOMPSON, 120.0, 1.0)
    assert compare(regret, near, 0.0).agrees
    assert not compare(regret, far, 0.0).agrees
    assert compare(regret, far, 0.2).agrees
    assert compare(regret, Run("alone", THOMPSON), 0.0).agrees is None


def test_a_discount_is_a_half_life() -> None:
    assert 2 ** (-1 / half_life_of(0.95)) == pytest.approx(0.95, rel=1e-12)
    assert half_life_of(1) == float("inf")


def test_the_command_prints_a_case_and_writes_its_figures(tmp_path, capsys) -> None:
    code = main(["piecewise", "--repetitions=20", f"--json={tmp_path}/regret.json"])
    said = capsys.readouterr().out
    assert "Thompson, last 206" in said
    assert code == 0, said
    figures = json.loads((tmp_path / "regret.json").read_text())["piecewise"]
    assert figures.keys() == {run.name for run in CASES["piecewise"].runs}
    (regret,) = simulate(CASES["piecewise"].environment, {"kind": "ucb1"}, 5_000, 20, 1)
    assert figures["UCB1"]["mean"] == pytest.approx(regret.mean())
    assert figures["UCB1"]["error"] == pytest.approx(regret.std(ddof=1) / 20**0.5)


def test_an_unknown_case_is_named(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["stationery"])
    assert stopped.value.code == 2
    assert "stationery is not a case; choose from stationary" in capsys.readouterr().err
