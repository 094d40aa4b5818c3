"""A router's own log: the policy that made it has weights of 1, and other policies have their known values."""

from __future__ import annotations

import json
import random

import pytest
import yaml

from pipelines.off_policy.__main__ import main
from serving_client.contracts.bandits_document import bandits_of
from serving_client.router import Router
from serving_client.snapshots.follow import Held
from serving_client.snapshots.snapshot import parse_snapshot
from tests.off_policy import made_up
from tests.off_policy.test_target import learned

CHANGES = {
    "arms": {name: {"generation": 1, "model": name} for name in "abc"},
    "policy": {"kind": "thompson_beta", "floor": 0.1},
    "holdback": {"share": 0.1, "arm": "a"},
}
REQUESTS = 3_000


class OneSnapshot:
    """The snapshot of `learned`, which knows a and b. Arm c is new and gets what `cold` allows."""

    def held(self, bandit_id: str, /) -> Held:
        return Held(parse_snapshot(learned()), "fresh")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> made_up.Logs:
    """Route requests, a fifth of which do not allow b, and click by the chances of `made_up`, for c by those of a."""
    folder = tmp_path_factory.mktemp("router")
    document = {"bandits": {"row": made_up.bandit(**CHANGES)}}
    (folder / "bandits.yaml").write_text(yaml.safe_dump(document))
    (folder / "3.json").write_bytes(learned())
    lines: dict[str, list[bytes]] = {}
    rng, now_us = random.Random(1), made_up.START * 1_000_000
    with Router(
        bandits_of(document, "test"),
        snapshots=OneSnapshot(),
        log=lambda kind, line: lines.setdefault(kind, []).append(line),
        clock_us=lambda: now_us,
        uniform=rng.random,
    ) as router:
        for number in range(REQUESTS):
            now_us += 60_000_000
            plan = rng.choices(list(made_up.PLANS), list(made_up.PLANS.values()))[0]
            eligible = ["a", "c"] if rng.random() < 0.2 else None
            decision = router.route("row", {"plan": plan}, eligible=eligible, user_key=f"u{number}")
            router.log(decision)
            if rng.random() < made_up.MEANS[plan, {"b": "b"}.get(decision.arm_id, "a")]:
                router.record(decision.decision_id, "click")
    assert len(lines) == 2
    for kind, of_kind in lines.items():
        name = "decisions" if kind.startswith("decision") else "rewards"
        (folder / f"{name}.jsonl").write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in of_kind))
    return made_up.Logs(folder)


def test_the_policy_that_made_the_log_has_weights_of_1(logs: made_up.Logs) -> None:
    same = logs.write_policy("same.yaml", **CHANGES)
    out = f"--output={logs.folder / 'same'}"
    assert main([*logs.arguments(same, f"--snapshot={logs.folder / '3.json'}"), out]) == 0
    found = json.loads((logs.folder / "same" / "estimates.json").read_text())
    assert found["decisions"] + found["counts"]["holdback"] == REQUESTS
    assert 0.08 * REQUESTS < found["counts"]["holdback"] < 0.12 * REQUESTS
    assert found["weights"]["largest"] == pytest.approx(1, abs=1e-9)
    assert found["weights"]["bound"] == pytest.approx(1, abs=1e-9)
    assert found["ess"] == pytest.approx(found["decisions"])
    assert found["unsupported_share"] == 0
    assert found["estimates"]["ips"]["value"] == pytest.approx(found["logged"]["value"])
    assert {arm["arm_id"] for arm in found["arms"]} == {"a", "b", "c"}


def test_always_b_has_its_value_where_b_is_allowed_and_that_of_the_default_arm_elsewhere(logs: made_up.Logs) -> None:
    assert main([*logs.arguments("arm:b"), f"--output={logs.folder / 'always'}"]) == 0
    found = json.loads((logs.folder / "always" / "estimates.json").read_text())
    truth = 0.8 * made_up.value_of({"b": 1.0}) + 0.2 * made_up.value_of({"a": 1.0})
    for name, each in found["estimates"].items():
        assert each["interval"][0] <= truth <= each["interval"][1], name
    assert found["weights"]["mean"] == pytest.approx(1, abs=0.1)
    assert found["unsupported_share"] == 0
