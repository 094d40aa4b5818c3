"""The command from flags to output: table, JSON, page, logs by user, and exit codes."""

from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import pytest

from pipelines.experiment.__main__ import main
from serving_client.contracts.times import format_time
from tests.experiment.worlds import HOUR_US, MONDAY_US, bandit_text, drawn, publish, row, snapshot

S = 1_000_000


@pytest.fixture
def site(tmp_path: pathlib.Path) -> pathlib.Path:
    """A week in which vae earns 20% more than cf, and a holdback that gets cf."""
    flat = {arm: [share] * 168 for arm, share in (("cf", 0.4), ("vae", 0.6))}
    rates = {"cf": [0.05] * 168, "vae": [0.06] * 168}
    publish(drawn(np.random.default_rng(1), rates, flat, holdback=400), tmp_path / "snapshots")
    (tmp_path / "bandits.yaml").write_text(bandit_text(holdback=0.2))
    return tmp_path


def flags(site: pathlib.Path, *more: str) -> list[str]:
    return [f"--bandits={site}/bandits.yaml", f"--snapshots={site}/snapshots", *more]


def test_without_an_output_the_result_is_printed_and_nothing_is_written(
    site: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(site.rglob("*"))
    assert main(flags(site, "--base=default")) == 0
    out, err = capsys.readouterr()
    assert out.startswith("vae is better than cf by +")
    assert re.search(r"│ vae +│ +100,\d{3} │ 0\.0\d+ │ +0\.0\d+ │ +\+\d.* │ +better │ +1 │", out)
    assert "Sample ratio: ok" in out and "The intervals take decisions as independent." in out
    assert err == "" and sorted(site.rglob("*")) == before
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_json_is_one_object_with_the_sentence(site: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(site, "--json", "--bandit=home_row")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sentence"].startswith("vae is better than the holdback (cf) by +")
    assert [each["name"] for each in document["comparisons"]] == ["*policy", "cf", "vae"]
    assert [each["verdict"] for each in document["comparisons"]] == ["better", "open", "better"]
    assert len(document["comparisons"][2]["trend"]["days"]) == 7 and document["hours"] == 168


def test_the_output_holds_the_json_and_a_page_without_external_files(
    site: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = site / "out"
    assert main(flags(site, f"--output={output}")) == 0
    out, err = capsys.readouterr()
    assert err.strip().splitlines()[-1] == f"look at {output}/report.html"
    assert sorted(path.name for path in output.iterdir()) == ["experiment.json", "report.html", "run.json"]
    document, page = json.loads((output / "experiment.json").read_text()), (output / "report.html").read_text()
    assert out.startswith(document["sentence"]) and f"<h1>{document['sentence']}</h1>" in page
    assert page.count("<svg") == 4
    for name in ("the holdback (cf)", "the policy&#39;s traffic", "vae"):
        assert f"{name}</td>" in page
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page.replace("xlink:href", "href"))
    inputs = json.loads((output / "run.json").read_text())["inputs"]
    assert [each["uri"] for each in inputs] == [f"{site}/bandits.yaml", f"{site}/snapshots/home_row/7"]
    assert main(flags(site, f"--output={output}")) == 0
    out, err = capsys.readouterr()
    assert (out.strip(), err.strip()) == (document["sentence"], f"{output}: already done")
    assert main(flags(site, f"--output={output}", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert main(flags(site, f"--output={output}", "--minimum_lift=0.1")) == 2
    assert main(flags(site, f"--output={output}", "--minimum_lift=0.1", "--overwrite")) == 0
    assert json.loads((output / "experiment.json").read_text())["minimum_lift"] == 0.1


def write_logs(folder: pathlib.Path) -> None:
    """1,000 users, a tenth of them held back, with 5 decisions each and one draw for all five.

    Of user k, the policy draws vae if k is odd. A click follows each of a user's decisions, or none: those of every
    third user of vae and of every fourth of the others.
    """
    decisions, rewards = [], []
    for user in range(1_000):
        held = user % 10 == 0
        arm = "vae" if user % 2 and not held else "cf"
        clicks = user % 3 == 0 if arm == "vae" else user % 4 == 0
        for turn in range(5):
            at_us = MONDAY_US + (5 * user + turn) * S
            decisions.append(
                {
                    "decision_id": f"d{user}-{turn}", "bandit_id": "home_row", "policy_epoch": 1, "segment": "*",
                    "arm_id": arm, "arm_generation": 1, "propensity": 1.0 if held else 0.5, "holdback": held,
                    "user_key": f"u{user}", "decided_at": format_time(at_us), "received_at": format_time(at_us),
                }
            )  # fmt: skip
            if clicks:
                at = format_time(at_us + S)
                rewards.append(
                    {
                        "event_id": "e", "decision_id": f"d{user}-{turn}", "kind": "click", "value": 1,
                        "occurred_at": at, "received_at": at,
                    }
                )  # fmt: skip
    for name, records in (("decisions", decisions), ("rewards", rewards)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))


def test_from_the_logs_users_are_counted(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 500 users of vae 167 click (all odd multiples of 3), of 400 of cf 200, of 100 held back 50."""
    rows = {
        ("*", "cf", 1): row([(2_000, 500)], [0.5]),
        ("*", "vae", 1): row([(2_500, 835)], [0.5]),
        ("*holdback", "cf", 1): row([(500, 250)]),
    }
    publish(snapshot(rows, MONDAY_US + HOUR_US), tmp_path / "snapshots")
    (tmp_path / "bandits.yaml").write_text(bandit_text(holdback=0.1))
    write_logs(tmp_path)
    logs = [f"--decisions={tmp_path}/decisions.jsonl", f"--rewards={tmp_path}/rewards.jsonl"]
    assert main(flags(tmp_path, *logs, f"--output={tmp_path}/out", "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unit"] == "users"
    assert document["held_back"] == {"share": 0.1, "expected": 0.1, "is_wrong": False}
    policy, cf, vae = document["comparisons"]
    assert vae["mean_on_all_traffic"] == pytest.approx(167 / 500)
    assert cf["mean_on_all_traffic"] == pytest.approx(200 / 400)
    assert policy["mean_on_all_traffic"] == pytest.approx(367 / 900)
    assert document["base"]["mean_on_all_traffic"] == pytest.approx(50 / 100)
    assert (vae["ess"], document["exposure"]["unit"], document["exposure"]["verdict"]) == (500, "users", "ok")
    counters = json.loads((tmp_path / "out" / "run.json").read_text())["counters"]
    assert counters["users"] == 1_000


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--bandit=other"], 2, "--bandit=other: "),
        (["--decisions=x"], 2, "--decisions is set and --rewards is not"),
        (["--decisions=x", "--rewards=y"], 2, "--decisions needs --output"),
        (["--minimum_lift=0"], 2, "--minimum_lift=0 must be greater than 0"),
        (["--snapshots=ftp://x"], 2, "--snapshots=ftp://x: "),
        (
            ["--decisions=no*", "--rewards=y", "--output=out"],
            3,
            "no*: no such file, nor a folder with files; check --dec",
        ),
        (["--bandits=none.yaml"], 3, "--bandits=none.yaml: the file does not exist"),
    ],
)
def test_mistakes_end_with_a_sentence(
    site: pathlib.Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, said: str
) -> None:
    assert main(flags(site, *more)) == code
    assert said in capsys.readouterr().err


def test_a_place_without_the_bandits_snapshot_is_bad_input(
    site: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "empty").mkdir()
    assert main([f"--bandits={site}/bandits.yaml", f"--snapshots={site}/empty"]) == 3
    assert "nothing is published for home_row" in capsys.readouterr().err
    text = bandit_text(holdback=0.2).replace("policy_epoch: 1", "policy_epoch: 2")
    (site / "bandits.yaml").write_text(text)
    assert main(flags(site)) == 3
    assert "counts policy_epoch 1 of home_row, and the bandits file says 2" in capsys.readouterr().err
    (site / "snapshots" / "home_row" / "7.json").write_text("{}")
    assert main(flags(site)) == 3
    assert "cannot be read" in capsys.readouterr().err


def test_a_base_that_is_not_there_and_several_bandits_are_refused(
    site: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = bandit_text()
    (site / "bandits.yaml").write_text(text)
    assert main(flags(site, "--base=holdback")) == 2
    assert "home_row has no holdback" in capsys.readouterr().err
    other = text.split("bandits:\n")[1].replace("home_row", "other_row")
    (site / "bandits.yaml").write_text(text + other)
    assert main(flags(site)) == 2
    assert "pass --bandit=NAME (bandits: home_row, other_row)" in capsys.readouterr().err
