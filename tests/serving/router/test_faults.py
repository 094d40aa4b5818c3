"""Faults are counted by bandit and reason, and logged once a minute."""

from __future__ import annotations

from serving_client.router.faults import Faults


def test_a_fault_is_counted_each_time_and_logged_once_a_minute(caplog):
    now_s = [0.0]
    faults = Faults(clock=lambda: now_s[0])
    for at_s in (0.0, 1.0, 59.9, 60.0):
        now_s[0] = at_s
        faults.report("home_row", "policy", f"at {at_s}")
    faults.report("home_row", "user_key", "another reason")
    faults.report("side", "policy", "another bandit")
    assert faults.counts() == {("home_row", "policy"): 4, ("home_row", "user_key"): 1, ("side", "policy"): 1}
    assert [record.getMessage() for record in caplog.records] == [
        "router, bandit home_row: at 0.0",
        "router, bandit home_row: at 60.0",
        "router, bandit home_row: another reason",
        "router, bandit side: another bandit",
    ]
