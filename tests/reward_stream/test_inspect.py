"""`reward-stream inspect`: the numbers are right, nothing is cut, and it watches until Ctrl-C."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from rich.console import Console
from rich.text import Text

from pipelines.reward_stream.inspect import command
from pipelines.reward_stream.inspect.estimates import estimate, normal, wilson
from pipelines.reward_stream.inspect.summary import summarize
from pipelines.reward_stream.inspect.tables import fit, render
from serving_client.contracts.times import format_time, parse_time

PUBLISHED = "2026-11-24T06:00:00.000000Z"
NOW_US = parse_time(PUBLISHED) + 3_200_000


def row(arm, n, sum_r, *, generation=1, segment="*", sum_r2=None, p=0.5, pending=0, fallbacks=0):
    """An arm drawn with propensity p each time, and its rewards."""
    w = 1 / p
    sum_r2 = sum_r if sum_r2 is None else sum_r2
    ipw = {"n": n, "sum_w": w * n, "sum_w2": w * w * n, "sum_wr": w * sum_r, "sum_w2r2": w * w * sum_r2, "missing": 0}
    return {
        "segment": segment, "arm_id": arm, "arm_generation": generation, "n": n, "sum_r": sum_r, "sum_r2": sum_r2,
        "pending": pending, "fallbacks": fallbacks, "kinds": {}, "max_event_ts": PUBLISHED, "decayed": {}, "hours": [],
        "ipw": ipw,
    }  # fmt: skip


def snapshot(rows, bandit_id="home_row", version=7, **more):
    return {
        "schema_version": 1, "bandit_id": bandit_id, "policy_epoch": 1, "version": version, "published_at": PUBLISHED,
        "watermark": "2026-11-24T05:59:47.700000Z", "event_time_lag": 12.3, "final": False, "config_hash": "c",
        "arms": rows, "rolled_back": [], "counters": {"counted": 1500, "late": 0, "duplicate": 3},
    } | more  # fmt: skip


def publish(folder, document):
    data = json.dumps(document).encode()
    (folder / document["bandit_id"]).mkdir(parents=True, exist_ok=True)
    (folder / document["bandit_id"] / f"{document['version']}.json").write_bytes(data)
    pointer = {"version": document["version"], "sha256": hashlib.sha256(data).hexdigest()}
    (folder / document["bandit_id"] / "LATEST").write_text(json.dumps(pointer))


def inspect(*arguments, width=80, height=200, terminal=True, sleep=None, now_us=NOW_US):
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, force_terminal=terminal)
    code = command.main([str(each) for each in arguments], lambda: now_us, sleep or pytest.fail, console)
    return code, out.getvalue()


ROWS = [row("cf", 500, 55, pending=1_234, fallbacks=2), row("vae", 500, 50)]


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I, method 3: 15 of 148 is .0624 to .1605, 0 of 20 is 0 to .1611."""
    assert wilson(148, 15) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(20, 0) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(20, 20)[1] == 1


def test_wilsons_interval_ends_exactly_at_0_and_1():
    assert {wilson(n, 0)[0] for n in range(1, 2_000)} == {0.0}
    assert {wilson(n, n)[1] for n in range(1, 2_000)} == {1.0}


def test_the_normal_interval_is_worked_by_hand():
    """Rewards 1, 2, 3: mean 2, sample variance 1, half a width of 1.96 / sqrt 3 = 1.1316."""
    assert normal(3, 6, 14) == pytest.approx((2 - 1.13158, 2 + 1.13158), abs=1e-5)
    assert normal(1, 2, 4) == (None, None)


def test_a_row_says_mean_snips_and_effective_size():
    """p = .5 throughout: SNIPS is the mean and the effective sample size n."""
    found = estimate(ROWS[0])
    assert (found.mean, found.kind) == (0.11, "wilson")
    assert (found.snips, found.ess) == pytest.approx((0.11, 500))
    assert estimate(row("a", 2, 3, sum_r2=5)).kind == "normal"


def test_an_arm_without_decisions_says_nothing():
    found = estimate(row("a", 0, 0))
    assert (found.mean, found.low, found.snips, found.ess) == (None, None, None, None)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_nothing_is_cut_at_any_width(tmp_path, width):
    name = "an_arm_with_a_name_that_is_rather_long_for_a_terminal_of_eighty_columns_as_names_go"
    publish(tmp_path, snapshot([row(name, 1_234_567, 123_456.5, sum_r2=9e6), *ROWS]))
    code, out = inspect(tmp_path, width=width)
    assert code == 0
    for text in ("1,234,567", "99.9%", "0.0952 to 0.1048", "0.1100", "0.0855 to 0.1405", "12.3 s", "3.2 s"):
        assert text in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    first_cells = [line[2:].split("  ")[0].strip() for line in out.splitlines()]
    assert name in "".join(first_cells)


@pytest.mark.parametrize(("width", "tables"), [(200, 1), (80, 2), (50, 3)])
def test_columns_that_do_not_fit_go_to_a_further_table(tmp_path, width, tables):
    publish(tmp_path, snapshot(ROWS))
    assert inspect(tmp_path, width=width)[1].count("arm (generation)") == tables


def test_numbers_of_a_column_have_as_many_decimals(tmp_path):
    publish(tmp_path, snapshot([row("cf", 10_000, 24), row("vae", 10_000, 250), row("new", 5, 0)]))
    out = inspect(tmp_path, width=200)[1]
    for text in ("0.00240", "0.02500", "0.00000", "0.00161 to 0.00357", "0.00000 to 0.43448"):
        assert text in out
    assert "e-" not in out
    publish(tmp_path, snapshot([row("cf", 100, 250_000, sum_r2=1e9), row("vae", 0, 0)]))
    assert " 2,500 " in inspect(tmp_path, width=200)[1]


def test_without_a_terminal_it_is_one_table_without_trailing_spaces(tmp_path):
    name = "an_arm_with_a_name_that_is_rather_long_for_a_terminal_of_eighty_columns_as_names_go"
    publish(tmp_path, snapshot([row(name, 100, 10), *ROWS]))
    code, out = inspect(tmp_path, width=80, terminal=False)
    assert code == 0
    assert out.count("arm (generation)") == 1
    assert f"  {name} (1) " in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    watched = inspect(tmp_path, "--watch", terminal=False, sleep=stop)[1]
    assert watched == out


def test_share_is_of_the_segment_and_segments_are_shown_on_demand(tmp_path):
    publish(tmp_path, snapshot([*ROWS, row("cf", 30, 3, segment="free"), row("vae", 10, 1, segment="free")]))
    assert "50.0%" in inspect(tmp_path)[1]
    assert "segments not shown: 1 " in inspect(tmp_path)[1]
    free = inspect(tmp_path, "--segment=free")[1]
    assert "75.0%" in free
    assert "50.0%" not in free
    assert "segment free" in inspect(tmp_path, "--all_segments")[1]
    assert inspect(tmp_path, "--segment=paid")[0] == 3
    assert inspect(tmp_path, "--segment=free", "--all_segments")[0] == 2


def test_below_the_table_stand_times_outcomes_and_what_was_rolled_back(tmp_path):
    stopped = {"arm": "vae", "generation": 1, "reason": "fallbacks", "at": PUBLISHED}
    publish(tmp_path, snapshot(ROWS, final=True, rolled_back=[stopped]))
    out = inspect(tmp_path, width=200)[1]
    assert "watermark 2026-11-24T05:59:47.700000Z, 12.3 s behind when published" in out
    assert "published 3.2 s ago, final" in out
    assert "records: counted 1,500, duplicate 3" in out
    assert "late" not in out
    assert f"rolled back: vae (1) at {PUBLISHED}, fallbacks" in out
    assert "Wilson's" in out
    assert "exposure: ok" in out


def test_a_mismatch_is_named_with_its_arm(tmp_path):
    publish(tmp_path, snapshot([row("cf", 60_000, 0), row("vae", 40_000, 0)]))
    assert "exposure: MISMATCH" in inspect(tmp_path, width=200)[1]
    assert "cf gets more" in inspect(tmp_path, width=200)[1]


def test_sticky_assignment_is_tested_by_user(tmp_path):
    """Six users in ten got arm cf, 1,000 decisions each: nothing to wonder about."""
    publish(tmp_path / "out", snapshot([row("cf", 6_000, 0), row("vae", 4_000, 0)]))
    log = [
        {"bandit_id": "home_row", "policy_epoch": 1, "arm_id": arm, "propensity": 0.5, "user_key": f"u{user}"}
        for user, arm in enumerate(["cf"] * 6 + ["vae"] * 4)
        for _ in range(1_000)
    ]
    (tmp_path / "d.jsonl").write_text("not json\n" + "".join(json.dumps(record) + "\n" for record in log))
    assert "MISMATCH" in inspect(tmp_path / "out", width=200)[1]
    by_user = inspect(tmp_path / "out", f"--decisions={tmp_path}/d.jsonl", width=200)[1]
    assert "exposure: no mismatch seen in 10 users (by user, e = " in by_user


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("cf", 0, 0, pending=9), row("vae", 0, 0)], "not yet (no decision has matured)"),
        ([], "not yet (no decision has matured)"),
        ([row("cf", 10, 1), row("cf", 10, 1, segment="free")], "one arm, nothing to compare"),
        (
            [row("cf", 10, 1), row("vae", 10, 1, generation=2)],
            "no verdict, generation 1 of vae is not in this snapshot; --decisions=GLOB tests by user",
        ),
        (
            [row("cf", 10, 1), row("vae", 10, 1, generation=4)],
            "no verdict, generation 1 of vae and 2 more are not in this snapshot; --decisions=GLOB tests by user",
        ),
        ([row("cf", 3, 1), row("vae", 2, 1)], "no mismatch seen in 5 decisions (e = "),
        ([row("cf", 0, 0), row("vae", 1, 1)], "no mismatch seen in 1 decision (e = "),
        ([row("cf", 500, 1), row("vae", 500, 1)], "ok (e = "),
    ],
)
def test_exposure_says_how_much_it_knows(tmp_path, rows, says):
    publish(tmp_path, snapshot(rows))
    assert f"  exposure: {says}" in inspect(tmp_path, width=200)[1]


def test_a_log_without_users_is_no_verdict(tmp_path):
    publish(tmp_path / "out", snapshot(ROWS))
    (tmp_path / "d.jsonl").write_text("not json\n")
    out = inspect(tmp_path / "out", f"--decisions={tmp_path}/d.jsonl", width=200)[1]
    assert "exposure: not yet (no decision of a user in --decisions)" in out


def test_the_stream_s_own_snapshot_comes_last_and_has_no_arms(tmp_path):
    publish(tmp_path, snapshot(ROWS))
    stream = snapshot([], bandit_id="_stream", version=9, counters={"unknown_bandit": 4, "late": 2})
    publish(tmp_path, {name: stream[name] for name in stream if name not in ("arms", "rolled_back", "policy_epoch")})
    out = inspect(tmp_path)[1]
    assert out.index("home_row") < out.index("_stream, version 9")
    assert "unknown_bandit 4, late 2" in out
    assert "_stream" not in inspect(tmp_path, "--bandit=home_row")[1]


def test_the_stream_s_own_snapshot_tells_how_old_each_source_is(tmp_path, capsys):
    """NOW is the clock; a source is silent from 5 minutes on, unless both are."""
    for rewards_s, decisions_s, line in (
        (299.0, 1.0, "last record: decisions 1.0 s ago, rewards 4 min 59 s ago"),
        (300.0, 1.0, "last record: decisions 1.0 s ago, rewards 5 min 0 s ago; REWARDS ARE SILENT"),
        (7200.0, 7200.0, "last record: decisions 2 h 0 min ago, rewards 2 h 0 min ago"),
    ):
        heard = {"rewards": rewards_s, "decisions": decisions_s}
        at = {source: format_time(NOW_US - round(age_s * 1e6)) for source, age_s in heard.items()}
        publish(tmp_path, snapshot([], bandit_id="_stream", delivered_at=at))
        assert line in [each.strip() for each in inspect(tmp_path)[1].splitlines()]
        inspect(tmp_path, "--json")
        (found,) = json.loads(capsys.readouterr().out)["snapshots"]
        assert found["source_age_s"] == heard
        assert found["silent"] == (["rewards"] if "SILENT" in line else [])


def test_json_holds_the_same_numbers(tmp_path, capsys):
    publish(tmp_path, snapshot(ROWS))
    assert inspect(tmp_path, "--json")[0] == 0
    (said,) = json.loads(capsys.readouterr().out)["snapshots"]
    assert (said["bandit_id"], said["version"], said["age_s"], said["exposure"]["verdict"]) == (
        "home_row",
        7,
        3.2,
        "ok",
    )
    assert said["arms"][0]["estimate"]["mean"] == 0.11
    assert said["arms"][0]["pending"] == 1_234


def test_nothing_published_is_exit_code_3_and_one_sentence(tmp_path, capsys):
    assert inspect(tmp_path)[0] == 3
    assert "nothing is published here" in capsys.readouterr().err
    publish(tmp_path, snapshot(ROWS))
    assert inspect(tmp_path, "--bandit=other")[0] == 3
    assert "there are home_row" in capsys.readouterr().err


def test_watch_draws_again_until_ctrl_c_and_survives_what_it_cannot_read(tmp_path, capsys):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 1:
            publish(tmp_path, snapshot(ROWS))
        elif len(looks) == 2:
            publish(tmp_path, snapshot(ROWS, version=8))
        else:
            raise KeyboardInterrupt

    code, out = inspect(tmp_path, "--watch=500ms", sleep=sleep)
    assert code == 0
    assert looks == [0.5, 0.5, 0.5]
    assert "version 8" in out
    assert capsys.readouterr().err == ""
    assert inspect(tmp_path, "--watch=soon")[0] == 2


@pytest.mark.parametrize("interval", ["0s", "99ms"])
def test_watching_without_a_pause_is_refused(tmp_path, capsys, interval):
    publish(tmp_path, snapshot(ROWS))
    assert inspect(tmp_path, f"--watch={interval}")[0] == 2
    assert f"--watch={interval}: is less than 100ms; write 100ms or more" in capsys.readouterr().err


def stop(_):
    raise KeyboardInterrupt


def test_what_a_window_is_too_low_for_is_said_at_its_bottom(tmp_path):
    for bandit in ("a", "b", "c"):
        publish(tmp_path, snapshot(ROWS, bandit_id=bandit))
    drawn = inspect(tmp_path, "--watch", width=80, height=24, sleep=stop)[1]
    assert drawn.removesuffix("\x1b[?25h").rstrip().endswith("more: --bandit=ID")
    assert "a, epoch 1" in drawn
    assert "\n..." not in drawn.replace(" ", "")
    assert "more:" not in inspect(tmp_path, "--watch", "--bandit=a", width=80, height=24, sleep=stop)[1]
    assert "more: a taller window" in inspect(tmp_path, "--watch", "--bandit=a", height=5, sleep=stop)[1]


@pytest.mark.parametrize("height", [24, 8])
def test_a_picture_is_never_higher_than_the_window(height):
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    console.print(fit(Text("\n".join(map(str, range(24)))), console, "more: here"), end="")
    lines = console.file.getvalue().splitlines()
    assert len(lines) == height
    assert lines[-1] == ("23" if height == 24 else "more: here")


def test_a_file_in_place_of_a_folder_is_one_sentence(tmp_path, capsys):
    publish(tmp_path, snapshot(ROWS))
    file = tmp_path / "home_row" / "7.json"
    assert inspect(file)[0] == 2
    assert capsys.readouterr().err == (
        f"recbeam reward-stream inspect: DEST={file}: is a file; name the folder of --snapshots\n"
    )


def test_tables_are_all_that_is_said(tmp_path, capsys):
    publish(tmp_path, snapshot(ROWS))
    assert inspect(tmp_path)[0] == 0
    assert capsys.readouterr() == ("", "")


def test_a_damaged_snapshot_is_not_shown(tmp_path, capsys):
    publish(tmp_path, snapshot(ROWS))
    (tmp_path / "home_row" / "7.json").write_text("{}")
    assert inspect(tmp_path)[0] == 3
    assert "damaged" in capsys.readouterr().err


def test_times_before_any_event_are_left_out():
    console = Console(file=io.StringIO(), width=100)
    summary = summarize(snapshot([], watermark=None, event_time_lag=None), NOW_US)
    console.print(render([summary], console))
    assert "no event read yet" in console.file.getvalue()
