"""The benchmark's path through off_policy, on a small log like Open Bandit's, against the plain formulas."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from benchmarks.rewards import open_bandit


def test_estimates_of_a_policy_by_position_are_those_of_the_log_itself(tmp_path: pathlib.Path) -> None:
    rng, items = np.random.default_rng(2), 6
    target = rng.dirichlet(np.ones(items), 3)
    log = []
    for number in range(600):
        position, item = int(rng.integers(1, 4)), int(rng.integers(items))
        at = f"2019-11-24T06:{number // 60:02}:{number % 60:02}Z"
        decision = {
            "decision_id": f"ob-{number}", "bandit_id": "open_bandit", "policy_epoch": 1, "segment": str(position),
            "arm_id": str(item), "arm_generation": 1, "propensity": 1 / items, "decided_at": at,
        }  # fmt: skip
        click = {"event_id": "c", "decision_id": f"ob-{number}", "kind": "click", "value": 1, "occurred_at": at}
        log.append((decision, click if rng.random() < 0.2 else None))
    open_bandit.write_log(log, tmp_path)
    found = open_bandit.by_off_policy(
        tmp_path, open_bandit.bandits_yaml([str(item) for item in range(items)]), target, 1
    )
    plain = open_bandit.plain(log, target)
    ips, snips, *_ = found.estimates
    assert ips.value == pytest.approx(plain.ips, rel=1e-9)
    assert snips.value == pytest.approx(plain.snips, rel=1e-9)
    assert found.ess == pytest.approx(plain.ess, rel=1e-9)
    assert ips.standard_error == pytest.approx(plain.standard_error, rel=0.1)
