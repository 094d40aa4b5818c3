"""The whole command on made-up logs: estimates of known values, refusals, and what is left out."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from pipelines.off_policy.__main__ import main
from tests.off_policy import made_up


def estimates(logs: made_up.Logs) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((logs.folder / "out" / "estimates.json").read_text())
    return value


def test_the_estimates_of_an_arm_hold_its_value(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = made_up.write(tmp_path)
    assert main(logs.arguments("arm:b")) == 0
    printed = capsys.readouterr()
    assert f"look at {tmp_path}/out/report.html" in printed.err
    found, truth = estimates(logs), made_up.value_of({"b": 1.0})
    assert truth == pytest.approx(0.18)
    for name, each in found["estimates"].items():
        assert each["interval"][0] <= truth <= each["interval"][1], name
        assert each["bernstein"][0] <= truth <= each["bernstein"][1], name
    assert found["logged"]["value"] == pytest.approx(made_up.value_of(made_up.LOGGED), abs=0.03)
    assert found["unsupported_share"] == 0.0
    assert found["weights"]["mean"] == pytest.approx(1, abs=0.1)
    assert found["weights"]["bound"] == pytest.approx(1 / 0.3)
    drawn = {arm["arm_id"]: arm["decisions"] for arm in found["arms"]}
    assert found["ess"] == pytest.approx(drawn["b"])
    assert "promote" in printed.out or "undecided" in printed.out
    assert (tmp_path / "out" / "run.json").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 5 and "always b" in page
    assert main(logs.arguments("arm:b")) == 0
    assert "already done" in capsys.readouterr().err


def test_the_logged_policy_itself_has_weights_of_1(tmp_path: pathlib.Path) -> None:
    logs = made_up.write(tmp_path, 500, seed=2)
    same = logs.write_policy("same.yaml")
    assert main(logs.arguments(same)) == 0
    found = estimates(logs)
    assert found["ess"] == pytest.approx(500) and found["weights"]["largest"] == pytest.approx(1)
    for name in ("ips", "snips"):
        assert found["estimates"][name]["value"] == pytest.approx(found["logged"]["value"])
    assert found["promote"]["verdict"] == "undecided"


def test_too_small_a_sample_is_refused_and_the_figures_are_there(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = made_up.write(tmp_path, 300)
    assert main(logs.arguments("arm:b")) == 4
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("refused: the effective sample size ") and "below --min_ess=200" in said
    assert estimates(logs)["promote"]["verdict"] == "refused"
    assert main(logs.arguments("arm:b")) == 4
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_mass_on_an_arm_that_the_log_never_drew_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arm c has 2% of the target's mass and no decision in the log; 1% is accepted."""
    arms = {name: {"generation": 1, "model": name} for name in "abc"}
    logs = made_up.write(tmp_path, 1_000)
    policy = logs.write_policy(
        "next.yaml", arms=arms, policy={"kind": "fixed", "weights": {"a": 0.7, "b": 0.28, "c": 0.02}}
    )
    assert main(logs.arguments(policy)) == 4
    found = estimates(logs)
    assert found["unsupported_share"] == pytest.approx(0.02)
    assert {arm["arm_id"]: arm["unsupported_share"] for arm in found["arms"]}["c"] == pytest.approx(0.02)
    assert "refused: 2.0% of the policy's mass has no logged propensity, more than 1%, mostly on arm c" in (
        capsys.readouterr().err
    )


def test_decisions_that_drew_nothing_are_left_out_and_counted(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {
        1: {"rung": "default"}, 2: {"holdback": True}, 3: {"served_by": "popularity"}, 4: {"bot": True},
        5: {"policy_epoch": 0}, 6: {"propensity": 0.0}, 7: {"arm_id": "a", "propensity": 1e-200},
    }  # fmt: skip
    logs = made_up.write(tmp_path, 800, fields=odd)
    assert main(logs.arguments("arm:a")) == 0
    counts = estimates(logs)["counts"]
    assert {name: counts[name] for name in ("rung_default", "holdback", "uncounted", "without_propensity")} == {
        "rung_default": 1, "holdback": 1, "uncounted": 2, "without_propensity": 2,
    }  # fmt: skip
    assert (estimates(logs)["decisions"], counts["fallbacks"]) == (794, 1)
    assert "left out: 1 decisions of the holdback, which drew nothing" in capsys.readouterr().out


def test_equal_records_give_equal_bytes(tmp_path: pathlib.Path) -> None:
    """The same lines in another order and in several files."""
    logs = made_up.write(tmp_path, 300)
    assert main(logs.arguments("arm:a")) == 0
    once = (tmp_path / "out" / "estimates.json").read_bytes()
    path = tmp_path / "decisions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)[::-1]
    path.write_bytes(b"".join(lines[:100]))
    (tmp_path / "decisions-2.jsonl").write_bytes(b"".join(lines[100:]))
    assert main([*logs.arguments("arm:a"), "--overwrite"]) == 0
    assert (tmp_path / "out" / "estimates.json").read_bytes() == once


def test_a_sticky_bandit_is_resampled_by_user(tmp_path: pathlib.Path) -> None:
    """Without the Bernstein bound, which needs independent decisions. 80 users are no more than 80 users' worth."""
    logs = made_up.write(tmp_path, 800, users=80, changes={"sticky": True})
    assert main(logs.arguments("arm:a", "--min_ess=50")) == 0
    assert estimates(logs)["clusters"] == "user_key" and 50 < estimates(logs)["ess"] < 85
    assert estimates(logs)["estimates"]["ips"]["bernstein"] is None


def test_wrong_propensities_are_noticed(tmp_path: pathlib.Path) -> None:
    """Arm b is logged with 0.2 and drawn with 0.3: the weights of always-b average 1.5."""
    lying = {"a": 0.8, "b": 0.2}
    logs = made_up.write(tmp_path, 1_000)
    path = tmp_path / "decisions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    text = "\n".join(json.dumps(line | {"propensity": lying[line["arm_id"]], "propensities": lying}) for line in lines)
    path.write_text(text)
    assert main(logs.arguments("arm:b")) == 0
    (note,) = estimates(logs)["notes"]
    assert note.startswith("the weights average 1.") and "do not trust the estimates" in note


def test_a_log_without_rewards_is_noticed(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = made_up.write(tmp_path, 500)
    (tmp_path / "rewards.jsonl").write_text("")
    assert main(logs.arguments("arm:a")) == 0
    (note,) = estimates(logs)["notes"]
    assert note == "every reward is 0; check that --rewards are those of --decisions, and the bandit's reward_kinds"
    assert "note: every reward is 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--policy=arm:z"], 2, "--policy=arm:z: row has no arm z; its arms are a, b"),
        (["--bandit=other"], 2, "--bandit=other: is not in"),
        (["--policy=nowhere.yaml"], 3, "--policy=nowhere.yaml: the file does not exist"),
        (["--min_ess=-1"], 2, "--min_ess=-1 must be 0 or greater"),
        (["--decisions=nowhere*"], 3, "nowhere*: no such file, nor a folder with files; check --decisions"),
        (["--rewards=nowhere*"], 3, "nowhere*: no such file, nor a folder with files; check --rewards"),
        (["--snapshot=x.json"], 2, "--snapshot has no effect with --policy=arm:a"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    logs = made_up.write(tmp_path, 10)
    assert main([*logs.arguments("arm:a"), *arguments]) == code
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_log_without_decisions_of_the_bandit_is_bad_input(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = made_up.write(tmp_path, 5, fields={number: {"policy_epoch": 0} for number in range(5)})
    assert main(logs.arguments("arm:a")) == 3
    assert "0 decisions of bandit row can be evaluated (left out: 5 uncounted)" in capsys.readouterr().err


def test_a_policy_that_learns_needs_a_snapshot(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = made_up.write(tmp_path, 10)
    learning = logs.write_policy("thompson.yaml", policy={"kind": "thompson_beta"})
    assert main(logs.arguments(learning)) == 2
    assert "kind thompson_beta learns; pass --snapshot=FILE" in capsys.readouterr().err


def test_wrong_flags_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed=-1", "--max_bad_fraction=2"]) == 2
    said = capsys.readouterr().err
    for flag in ("--bandits", "--decisions", "--rewards", "--policy", "--output", "--seed=-1", "--max_bad_fraction=2"):
        assert flag in said
