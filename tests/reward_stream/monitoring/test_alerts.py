"""The alert rules, held by Prometheus' own promtool: what fires, what does not, and that each says what to do."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
import yaml

from tests.conftest import CI
from tests.third_party.environments import DEBIAN_TOOLS, INSTALL

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "reward_stream.rules.yml").read_text())["groups"][0]["rules"]
CASES = yaml.safe_load((FOLDER / "reward_stream_test.yml").read_text())["tests"]


@pytest.fixture(scope="session")
def promtool() -> str:
    (tool,) = (each for each in DEBIAN_TOOLS if each.name == "promtool")
    found = str(tool.path) if tool.path.exists() else shutil.which("promtool")
    if found is None:
        say = pytest.fail if CI else pytest.skip
        say(f"promtool is not installed; run {INSTALL}")
    return found


def run(promtool: str, *arguments: str, folder: pathlib.Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_promtool_accepts_the_rules(promtool):
    done = run(promtool, "check", "rules", "reward_stream.rules.yml")
    assert done.returncode == 0, done.stderr


def test_each_alert_fires_when_it_should_and_is_silent_otherwise(promtool):
    done = run(promtool, "test", "rules", "reward_stream_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("> 600", "> 6000"),
        ("> 120", "> 60"),
        (">= 1000", ">= 10"),
        ("[10m]) > 5", "[10m]) > 500"),
        ("> 100)", "> 0)"),
        ("unless on (job, instance)", "unless on ()"),
        ("timestamp_seconds\n        for: 5m", "timestamp_seconds\n        for: 2m"),
    ],
)
def test_the_cases_notice_another_threshold(promtool, tmp_path, before, after):
    rules = (FOLDER / "reward_stream.rules.yml").read_text()
    assert before in rules
    (tmp_path / "reward_stream.rules.yml").write_text(rules.replace(before, after))
    shutil.copy(FOLDER / "reward_stream_test.yml", tmp_path)
    assert run(promtool, "test", "rules", "reward_stream_test.yml", folder=tmp_path).returncode == 1


def test_every_alert_fires_in_some_case():
    fired = {
        yaml.safe_load(f"[{sample['labels'][1:-1].split(',')[0].partition('=')[2]}]")[0]
        for case in CASES
        for at in case["promql_expr_test"]
        for sample in at["exp_samples"]
    }
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule):
    assert set(rule["annotations"]) == {"summary", "action"}
    assert len(rule["annotations"]["action"].split()) > 15
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_alert_is_in_the_readme():
    readme = (FOLDER / "README.md").read_text()
    assert {f"`{rule['labels']['severity']}`" for rule in RULES} <= set(readme.split())
    assert [rule["alert"] for rule in RULES if rule["alert"] not in readme] == []
