"""A router's counts as metrics, read from a real registry."""

from __future__ import annotations

import prometheus_client
import pytest

from serving_client.router import Router
from serving_client.router.prometheus import register
from tests.serving.router.world import Log, Shelf, bandits, snapshot


def samples(registry):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def test_decisions_fallbacks_faults_and_rewards_are_counted():
    def broken(kind, line):
        raise OSError("as the test wants it")

    of = bandits(policy={"kind": "fixed", "weights": {"vae": 1}})
    router = Router(of, snapshots=Shelf(snapshot(of)), log=broken)
    registry = prometheus_client.CollectorRegistry()
    register(router, registry)
    for _ in range(3):
        decision = router.route("home_row", user_key="a\nb")
    router.log(decision, served_by="cf", fallback_reason="unavailable")
    router.log(router.route("home_row", eligible=[]))
    with pytest.raises(ValueError, match="value"):
        router.record(decision.decision_id, "click", float("nan"))
    found = samples(registry)
    home = ("bandit", "home_row")
    assert found["recbeam_router_decisions_total", (("arm", "vae"), home, ("rung", "fresh"))] == 3
    assert found["recbeam_router_decisions_total", (("arm", "cf"), home, ("rung", "default"))] == 1
    fallbacks = "recbeam_router_fallbacks_total"
    assert found[fallbacks, (("arm", "vae"), home, ("reason", "unavailable"))] == 1
    assert found[fallbacks, (("arm", "cf"), home, ("reason", "no_eligible_arm"))] == 1
    assert found["recbeam_router_probabilities_computed_total", (home,)] == 2
    assert found["recbeam_router_faults_total", (home, ("reason", "user_key"))] == 3
    assert found["recbeam_router_rewards_rejected_total", (("reason", "invalid"),)] == 1
    lost = (("kind", "decisions"), ("reason", "call_failed"))
    assert found["recbeam_router_log_lines_lost_total", lost] == 2


def test_the_age_of_a_followed_snapshot_is_a_metric(tmp_path):
    """Nothing is published, so there is a fault and no age."""
    with Router(bandits(), snapshots=tmp_path, log=Log()) as router:
        registry = prometheus_client.CollectorRegistry()
        register(router, registry)
        while not router.counts().faults:
            router.wait_until_ready(0.05)
        found = samples(registry)
        assert found["recbeam_router_faults_total", (("bandit", "home_row"), ("reason", "missing"))] >= 1
        assert not {name for name, _ in found} & {"recbeam_router_snapshot_age_seconds"}
