"""recbeam route: what would be decided, from a bandits file and published snapshots."""

from __future__ import annotations

import json
import re
import sys

import pytest

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import publish
from recbeam.__main__ import main
from serving_client.contracts.times import wall_clock_us
from tests.serving.router.world import bandits_text
from tests.serving.snapshots.documents import published, row

ARMS = {
    "cf": {"generation": 1, "model": "cf"},
    "vae": {"generation": 1, "model": "vae"},
    "cold": {"generation": 1, "model": "new"},
    "canary": {
        "generation": 1,
        "model": "new",
        "ramp": {"started_at": "2020-01-01T00:00:00Z", "steps": [{"after": "0s", "share": 0.05}]},
    },
    "later": {
        "generation": 1,
        "model": "new",
        "ramp": {"started_at": "2999-01-01T00:00:00Z", "steps": [{"after": "0s", "share": 1}]},
    },
    "old": {"generation": 1, "model": "old", "state": "draining"},
    "gone": {"generation": 1, "model": "gone", "state": "retired"},
    "bad": {"generation": 2, "model": "bad"},
}


@pytest.fixture
def place(tmp_path):
    """A bandits file with an arm of every kind, and a snapshot that was published now."""

    def make(age_s=1.0, **changes):
        file = tmp_path / "bandits.yaml"
        file.write_bytes(bandits_text(**{"arms": ARMS, "cold": None, "policy": {"kind": "thompson_beta"}} | changes))
        arms = [
            row(arm, segment=segment, n=n, sum_r=sum_r, sum_r2=sum_r)
            for segment in ("*", "free")
            for arm, n, sum_r in (("cf", 5_000, 250.0), ("vae", 5_000, 600.0), ("cold", 20, 10.0))
        ]
        now_us = wall_clock_us() - round(age_s * 1e6)
        rolled_back = [{"arm": "bad", "generation": 2, "reason": "reward", "at": "2026-11-24T06:00:00Z"}]
        publish(
            open_destination(str(tmp_path / "snapshots")),
            "home_row",
            lambda version: published(version, published_at_us=now_us, arms=arms, rolled_back=rolled_back),
        )
        return [f"--bandits={file}", f"--snapshots={tmp_path / 'snapshots'}"]

    return make


def run(capsys, *arguments):
    assert main(["route", *arguments]) == 0
    return capsys.readouterr()


def whys(capsys, *arguments):
    found = json.loads(run(capsys, "--json", *arguments).out)
    return found, {arm["arm_id"]: arm["why"] for arm in found["arms"]}


def test_every_arm_has_its_probability_and_the_reason(place, capsys):
    found, why = whys(capsys, *place(), "--context=plan=free", "-n", "500")
    assert (found["segment"], found["rung"], found["version"], found["draws"]) == ("free", "fresh", 1, 500)
    assert why == {
        "cf": "policy thompson_beta",
        "vae": "policy thompson_beta",
        "cold": "cold: at most 0.1 until 500 decisions (now 20)",
        "canary": "ramp: at most 0.05",
        "later": "ramp: not started",
        "old": "draining",
        "gone": "retired",
        "bad": "rolled back by a guardrail",
    }
    p = {arm["arm_id"]: arm["probability"] for arm in found["arms"]}
    assert (p["cold"], p["canary"], p["later"] + p["old"] + p["gone"] + p["bad"]) == (0.1, 0.05, 0)
    assert sum(p.values()) == pytest.approx(1)
    assert sum(arm["drawn"] for arm in found["arms"]) == 500
    assert {arm["arm_id"]: arm["mean_reward"] for arm in found["arms"]}["vae"] == 0.12


def test_the_table_and_its_closing_sentence(place, capsys):
    shown = run(capsys, *place(), "--context=plan=free", "-n", "10")
    assert shown.out.splitlines()[0].split() == ["arm", "probability", "drawn", "decisions", "mean", "reward", "why"]
    (cold,) = [line for line in shown.out.splitlines() if line.startswith("cold")]
    assert re.fullmatch(r"cold +0\.1000 +\d+ +20 +0\.5000  cold: at most 0\.1 until 500 decisions \(now 20\)", cold)
    assert shown.err.startswith("home_row, segment free: rung fresh, snapshot 1, ")
    assert shown.err.endswith("s old; 10 draws\n")


def test_eligible_arms_the_floor_and_an_arm_that_exceeds_its_cap(place, capsys):
    arguments = [*place(policy={"kind": "thompson_beta", "floor": 0.01}), "--context=plan=free"]
    _, why = whys(capsys, *arguments, "--eligible=cf,vae")
    assert (why["cf"], why["cold"]) == ("floor: at least 0.01", "not eligible")
    _, why = whys(capsys, *arguments, "--eligible=canary")
    assert why["canary"] == "every arm is capped, so this arm exceeds its cap of 0.05"


def test_the_same_seed_draws_the_same_arms_and_a_user_keeps_the_draw(place, capsys):
    arguments = [*place(sticky=True), "--context=plan=free", "-n", "50"]
    first, second, other = (run(capsys, *arguments, "--json", f"--seed={seed}").out for seed in (1, 1, 2))
    drawn = [[arm["drawn"] for arm in json.loads(text)["arms"]] for text in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    found, _ = whys(capsys, *arguments, "--user_key=u1")
    assert sorted(arm["drawn"] for arm in found["arms"])[-1] == 50


def test_a_user_of_the_holdback_gets_its_arm(place, capsys):
    arguments = place(holdback={"share": 0.999, "arm": "vae"})
    _, why = whys(capsys, *arguments, "--user_key=u1")
    assert why["vae"] == "the user belongs to the holdback, so this arm is certain"
    assert why["cf"] == "the user belongs to the holdback, so another arm is certain"


def test_requests_of_the_holdback_are_counted_apart(place, capsys):
    """cf is drawn more often than its probability says, because the holdback shows it."""
    arguments = [*place(holdback={"share": 0.5, "arm": "cf"}), "--context=plan=free", "-n", "400"]
    found, _ = whys(capsys, *arguments)
    assert 150 < found["held_back"] < 250
    assert sum(arm["drawn"] for arm in found["arms"]) == 400
    shown = run(capsys, *arguments)
    assert shown.err.endswith(f"400 draws, {found['held_back']} of them in the holdback\n")


def test_old_statistics_give_the_default_arm(place, capsys):
    shown = run(capsys, *place(age_s=7_200), "--json")
    found = json.loads(shown.out)
    assert (found["rung"], found["version"]) == ("default", 1)
    assert found["arms"][0]["why"] == "no usable statistics, so this arm is certain"
    assert "rung default, snapshot 1, 7,20" in shown.err


def test_missing_statistics_are_named(place, capsys, tmp_path):
    shown = run(capsys, *place(), f"--snapshots={tmp_path / 'empty'}")
    store = f"FileStore({str(tmp_path / 'empty')!r})"
    assert f"in {store} nothing is published; check the address, and that reward_stream runs\n" in shown.err
    assert shown.err.endswith("rung default, no usable snapshot; 1000 draws\n")
    assert "no arm is eligible, so popular items are shown" in run(capsys, place()[0], "--eligible=vae").out


def test_features_of_the_context_have_their_types(place, capsys):
    features = [{"name": "age", "type": "numeric"}, {"name": "night", "type": "bool"}]
    arguments = place(features=features, policy={"kind": "lints"})
    run(capsys, *arguments, "--context=plan=free", "--context=age=31", "--context=night=true")
    for pair, wanted in (("age=old", "age takes a number"), ("night=1", "night takes true or false")):
        with pytest.raises(SystemExit, match="2"):
            main(["route", *arguments, f"--context={pair}"])
        assert f"--context={pair}: {wanted}; correct the value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--context=pln=free", "--context: pln is not a segment or feature key of the bandit; did you mean plan?"),
        ("--context=plan", "--context=plan is not KEY=VALUE; write --context=KEY=VALUE"),
        ("--eligible=vea", "--eligible: vea is not an arm; did you mean vae?"),
        ("--bandit=home", "--bandit: home is not a bandit of the file; did you mean home_row?"),
        ("--snapshots=ftp://x", "--snapshots: 'ftp://x' is not an address of snapshots"),
        ("-n0", "-n must be at least 1, got 0"),
    ],
)
def test_bad_usage_is_one_sentence(place, capsys, argument, message):
    with pytest.raises(SystemExit, match="2"):
        main(["route", *place(), argument])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"recbeam route: {message}")


def test_an_invalid_bandits_file_is_bad_input(tmp_path, capsys):
    (tmp_path / "bandits.yaml").write_text("bandits: 7")
    assert main(["route", f"--bandits={tmp_path / 'bandits.yaml'}"]) == 3
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'bandits.yaml'}: ")


def test_without_the_extra_the_command_says_what_to_install(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert main(["route", *place()]) == 1
    assert capsys.readouterr().err == "orjson is not installed; run: pip install 'recbeam[router]'\n"
