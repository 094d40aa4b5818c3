"""`reward-stream replay`: what is counted again, what stays, and that no live destination is ever touched."""

from __future__ import annotations

import gzip
import json
import pathlib

import pytest

from pipelines.reward_stream.replay import command
from pipelines.reward_stream.replay.letters import Moment, read_letters, sort_letters
from serving_client import bandits_file
from serving_client.contracts.times import format_time, parse_time
from serving_client.snapshots.published import read_latest
from serving_client.snapshots.stores import open_store
from tests.reward_stream.test_inspect import publish, snapshot
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter, to_json_line
from transforms.errors import BadInput, BadUsage, RecbeamError, Refused

NOW = "2026-11-24T12:00:00.000000Z"
NOW_US = parse_time(NOW)
MINUTE_US = 60_000_000

BANDITS = """
bandits:
  home_row:
    policy_epoch: 2
    default_arm: cf
    arms:
      cf: {generation: 1, model: cf}
      vae: {generation: 2, model: vae}
    policy: {kind: thompson_beta, floor: 0.02}
    attribution: {window: 30m, allowed_lateness: 1h, max_future: 60s}
"""


@pytest.fixture
def rules():
    return Rules(bandits_file.parse_bytes(BANDITS.encode(), "bandits.yaml"))


def decision(decision_id, minutes=0.0, **more):
    """A decision so many minutes after now."""
    return {
        "decision_id": decision_id, "bandit_id": "home_row", "policy_epoch": 2, "segment": "free", "arm_id": "vae",
        "arm_generation": 2, "propensity": 0.5, "decided_at": format_time(NOW_US + round(minutes * MINUTE_US)),
    } | more  # fmt: skip


def reward(decision_id, event_id="e", minutes=0.0, **more):
    return {
        "event_id": event_id, "decision_id": decision_id, "kind": "click", "value": 1,
        "occurred_at": format_time(NOW_US + round(minutes * MINUTE_US)),
    } | more  # fmt: skip


def letter(record, reason, source="d.jsonl", position=0):
    original = record if isinstance(record, bytes) else json.dumps(record).encode()
    return DeadLetter(source, position, reason, original)


def ids(letters):
    return [json.loads(each.original).get("event_id", json.loads(each.original)["decision_id"]) for each in letters]


def test_what_has_since_become_known_goes_back_and_what_has_not_stays(rules):
    found = sort_letters(
        [
            letter(decision("d1"), "unknown_generation", position=1),
            letter(decision("d2", arm_generation=3), "unknown_generation", position=2),
            letter(decision("d3", arm_id="new"), "unknown_arm", position=3),
            letter(decision("d4", bandit_id="other"), "unknown_bandit", position=4),
            letter(decision("d5", policy_epoch=1), "unknown_epoch", position=5),
            letter(reward("d1", "e1"), "unknown_generation", "r.jsonl", 1),
            letter(reward("d2", "e2"), "unknown_generation", "r.jsonl", 2),
        ],
        rules,
        Moment(NOW_US),
    )
    assert ids(found.decisions) == ["d1"]
    assert ids(found.rewards) == ["e1"]
    assert found.fates == {
        ("unknown_generation", "to decisions"): 1,
        ("unknown_generation", "stays: unknown_generation"): 1,
        ("unknown_arm", "stays: unknown_arm"): 1,
        ("unknown_bandit", "stays: unknown_bandit"): 1,
        ("unknown_epoch", "stays: old_epoch"): 1,
        ("unknown_generation", "to rewards"): 1,
        ("unknown_generation", "stays: its decision does"): 1,
    }


def test_the_future_comes_unless_it_was_stamped(rules):
    found = sort_letters(
        [
            letter(decision("d1", -5), "future", position=1),
            letter(decision("d2", 5), "future", position=2),
            letter(decision("d3", -5, received_at=format_time(NOW_US - 60 * MINUTE_US)), "future", position=3),
            letter(reward("d1", "e1", -4), "future", "r.jsonl", 1),
        ],
        rules,
        Moment(NOW_US),
    )
    assert ids(found.decisions) == ["d1"]
    assert ids(found.rewards) == ["e1"]


def test_a_letter_s_id_is_its_source_and_position(rules):
    twice = [letter(reward("d", "e1"), "orphan", position=7)] * 2
    assert (
        len(sort_letters([*twice, letter(reward("d", "e1"), "orphan", position=8)], rules, Moment(NOW_US)).rewards) == 2
    )


def test_malformed_letters_stay_with_their_count(rules):
    letters = [letter(b"{", "malformed: no JSON object", position=1), letter(b"[]", "value is missing", position=2)]
    found = sort_letters(letters, rules, Moment(NOW_US))
    assert list(found.fates.values()) == [2]
    assert not found.decisions + found.rewards


def test_what_the_stream_would_call_late_again_stays(rules):
    """A decision is late once the watermark is past decided_at + 30m + 1h, a reward past occurred_at + 1h."""
    letters = [
        letter(decision("d1", -90), "unknown_arm", position=1),
        letter(decision("d2", -90.01), "unknown_arm", position=2),
        letter(reward("x", "e1", -60), "orphan", "r.jsonl", 1),
        letter(reward("x", "e2", -60.01), "orphan", "r.jsonl", 2),
    ]
    found = sort_letters(letters, rules, Moment(NOW_US, watermark_us=NOW_US))
    assert (ids(found.decisions), ids(found.rewards)) == (["d1"], ["e1"])
    everything = sort_letters(letters, rules, Moment(NOW_US))
    assert (ids(everything.decisions), ids(everything.rewards)) == (["d1", "d2"], ["e1", "e2"])


@pytest.fixture
def place(tmp_path):
    """bandits.yaml; logs: decisions d0 to d5 an hour apart from now on, a reward each; dead: two letters."""
    (tmp_path / "bandits.yaml").write_text(BANDITS)
    for name in ("d", "r", "dead"):
        (tmp_path / name).mkdir()
    lines = [json.dumps(decision(f"d{hour}", 60 * hour)) for hour in range(6)]
    (tmp_path / "d" / "a.jsonl").write_text("\n".join([*lines[:3], "not json", ""]))
    with gzip.open(tmp_path / "d" / "b.jsonl.gz", "wt") as file:
        file.write("\n".join([*lines[3:], '{"decided_at": 5}']) + "\n")
    rewards = [json.dumps(reward(f"d{hour}", minutes=60 * hour + 1)) for hour in range(6)]
    (tmp_path / "r" / "a.jsonl").write_text("\n".join(rewards) + "\n")
    letters = [
        letter(decision("dead1", 30), "unknown_arm", "kafka://b/d/0", 5),
        letter(reward("dead1", "er", 31), "orphan", "kafka://b/r/0", 6),
        letter(decision("d1", 60), "unknown_arm", str(tmp_path / "d" / "a.jsonl"), 99),
        letter(b"?", "malformed: no JSON object", "kafka://b/d/0", 9),
    ]
    (tmp_path / "dead" / "x.jsonl").write_text("".join(to_json_line(each) + "\n" for each in letters))
    return tmp_path


class Run:
    """A bounded run that notes what it was given, publishes a snapshot and then fails if it has an error."""

    def __init__(self, error=None):
        self.error, self.arguments, self.files = error, {}, {}

    def __call__(self, arguments):
        self.arguments = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        for name in ("decisions", "rewards"):
            folder = self.arguments[name].removesuffix("/*")
            text = b"".join(path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir()))
            self.files[name] = [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]
        publish(pathlib.Path(self.arguments["snapshots"]), snapshot([]))
        if self.error is not None:
            raise self.error


def count_again(place, run, *more, snapshots="out"):
    arguments = [
        f"--bandits={place}/bandits.yaml",
        f"--decisions={place}/d/*",
        f"--rewards={place}/r/*",
        f"--snapshots={place}/{snapshots}",
    ]
    return command.main([*arguments, *more], lambda: NOW_US, run)


RANGE = ("--from=2026-11-24T13:00:00Z", "--to=2026-11-24T15:00:00.0Z")


def test_a_range_takes_decisions_from_its_start_to_before_its_end_and_all_rewards(place, capsys):
    run = Run()
    assert count_again(place, run, *RANGE, "--shards=2") == 0
    assert [each["decision_id"] for each in run.files["decisions"]] == ["d1", "d2"]
    assert len(run.files["rewards"]) == 6
    assert run.arguments["shards"] == "2"
    said = capsys.readouterr().err
    assert "2 decisions in the range, 4 outside, 2 lines without a readable decided_at left out" in said
    assert f"reward-stream inspect {place}/out" in said


def test_without_a_range_every_line_is_read(place):
    run = Run()
    assert count_again(place, run) == 0
    assert len(run.files["decisions"]) == 7


def test_dead_letters_join_the_run_unless_their_log_is_read_anyway(place, capsys):
    run = Run()
    assert count_again(place, run, f"--dead_letters={place}/dead") == 0
    assert [each["decision_id"] for each in run.files["decisions"] if "decision_id" in each].count("d1") == 1
    assert run.files["decisions"][-1]["decision_id"] == "dead1"
    assert run.files["rewards"][-1]["event_id"] == "er"
    table = capsys.readouterr().out
    assert "is in the logs" in table
    assert "to decisions" in table
    assert "correct it" in table


def test_letters_outside_the_range_are_left_out(place):
    run = Run()
    assert count_again(place, run, f"--dead_letters={place}/dead", *RANGE) == 0
    assert [each["decision_id"] for each in run.files["decisions"]] == ["d1", "d2"]


def test_a_live_destination_is_refused_whatever_is_asked(place, capsys):
    publish(place / "live", snapshot([]))
    before = sorted(str(path) for path in (place / "live").rglob("*"))
    for more in ([], ["--overwrite"]):
        assert count_again(place, pytest.fail, *more, snapshots="live") == 2
        assert "a stream may go on with" in capsys.readouterr().err
    assert sorted(str(path) for path in (place / "live").rglob("*")) == before


def test_a_folder_with_other_files_is_refused(place):
    assert count_again(place, pytest.fail, "--overwrite", snapshots="d") == 2
    assert (place / "d" / "a.jsonl").exists()


def test_an_earlier_replay_is_replaced_when_asked(place, capsys):
    assert count_again(place, Run(), *RANGE) == 0
    (place / "out" / "home_row" / "9.json").write_text("{}")
    assert count_again(place, pytest.fail, *RANGE) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert count_again(place, Run(), *RANGE, "--overwrite") == 0
    assert sorted(path.name for path in (place / "out").iterdir()) == ["home_row", "replay.json"]
    assert sorted(path.name for path in (place / "out" / "home_row").glob("[!.]*")) == ["7.json", "LATEST"]


def test_a_replays_place_that_a_stream_took_over_is_not_emptied(place, capsys):
    assert count_again(place, Run(), *RANGE) == 0
    latest = place / "out" / "home_row" / "LATEST"
    latest.write_text(json.dumps({**json.loads(latest.read_text()), "publisher": "a stream", "heartbeat": 30}))
    before = latest.read_bytes()
    assert count_again(place, pytest.fail, *RANGE, "--overwrite") == 2
    assert "a stream has published home_row there" in capsys.readouterr().err
    assert latest.read_bytes() == before


@pytest.mark.parametrize("kind", [RecbeamError, BadUsage, BadInput, Refused])
def test_a_run_that_fails_ends_the_replay_with_its_exit_code_and_leaves_nothing(place, kind):
    assert count_again(place, Run(kind("no")), *RANGE) == kind.exit_code
    assert not (place / "out").exists()


def test_a_replay_that_fails_keeps_the_earlier_one_also_with_overwrite(place):
    assert count_again(place, Run(), *RANGE) == 0
    before = {path: path.read_bytes() for path in (place / "out").rglob("*") if path.is_file()}
    for run, more in (
        (Run(BadInput("no")), ()),
        (pytest.fail, ("--sahrds=3",)),
        (pytest.fail, ("--shards=0",)),
        (pytest.fail, ("--from=2027-01-01T00:00:00Z",)),
    ):
        assert count_again(place, run, *(more or RANGE), "--overwrite") != 0
        assert {path: path.read_bytes() for path in (place / "out").rglob("*") if path.is_file()} == before


def test_flags_of_the_bounded_run_are_checked_before_anything_is_read(place, capsys):
    for flag, said in (
        ("--sahrds=3", "recbeam reward-stream replay: unknown argument --sahrds=3; did you mean --shards?"),
        ("--shards=0", "--shards=0 is not between 1 and 1024"),
        ("--streaming", "--streaming does not apply"),
        ("--max_bad_fraction=few", "--max_bad_fraction=few is not a number"),
    ):
        assert count_again(place, pytest.fail, flag) == 2
        assert said in capsys.readouterr().err
        assert not (place / "out").exists()


def test_an_empty_range_is_an_error(place, capsys):
    assert count_again(place, Run(), "--from=2027-01-01T00:00:00Z") == 3
    assert "no decision of 2 files" in capsys.readouterr().err


def write_back(place, *more):
    arguments = [f"--bandits={place}/bandits.yaml", f"--dead_letters={place}/dead"]
    arguments += [f"--decisions_dir={place}/back_d", f"--rewards_dir={place}/back_r"]
    return command.main([*arguments, *more], lambda: NOW_US)


def test_letters_go_back_as_whole_files_and_a_second_time_as_the_same_ones(place, capsys):
    assert write_back(place) == 0
    (file,) = (place / "back_d").iterdir()
    assert [json.loads(line)["decision_id"] for line in file.read_text().splitlines()] == ["d1", "dead1"]
    assert len(list((place / "back_r").iterdir())) == 1
    assert "2 decisions written" in capsys.readouterr().err
    assert write_back(place) == 0
    assert len(list((place / "back_d").iterdir())) == 1


def test_what_comes_back_from_a_replay_is_not_replayed_again(place, rules):
    assert write_back(place) == 0
    (file,) = (place / "back_d").iterdir()
    again = letter(decision("dead1", 30), "late", str(file), 0)
    assert not sort_letters([again], rules, Moment(NOW_US)).decisions


def test_the_live_watermark_says_what_is_late(place, capsys):
    publish(place / "live", snapshot([], watermark="2026-11-25T12:00:00.000000Z"))
    assert write_back(place, f"--live={place}/live") == 0
    assert not (place / "back_d").exists()
    assert "0 decisions written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--snapshots=x"], "--decisions is missing"),
        (["--dead_letters=x"], "--rewards_dir is missing"),
        (["--snapshots=x", "--decisions=a", "--rewards=b", "--live=c"], "--live works only without --snapshots"),
        (
            ["--dead_letters=x", "--decisions_dir=a", "--rewards_dir=b", "--from=2026-11-24T00:00:00Z"],
            "--from works only with --snapshots",
        ),
        (["--dead_letters=x", "--decisions_dir=a", "--rewards_dir=b", "--sahrds=3"], "unknown argument --sahrds=3"),
        (["--dead_letters=x", "--decisions_dir=a", "--rewards_dir=./a"], "give each log its own"),
        (["--snapshots=x", "--decisions=a", "--rewards=b", "--from=monday"], "'monday' is not an RFC 3339"),
        (["--snapshots=x", "--decisions=a", "--rewards=b", RANGE[0], "--to=2026-11-24T13:00:00Z"], "is not before"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said_before_anything_is_read(arguments, said, capsys):
    assert command.main(["--bandits=nowhere.yaml", *arguments], lambda: NOW_US) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_dead_letters_or_with_something_else_is_an_error(tmp_path, capsys):
    with pytest.raises(Exception, match="no files here"):
        list(read_letters(str(tmp_path)))
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(Exception, match=r"x\.jsonl:1: no dead letter"):
        list(read_letters(str(tmp_path)))


def test_a_replay_of_a_range_publishes_the_statistics_of_its_decisions_alone(place, capsys):
    """d1 and d2 are in the range, dead1 is not; each has one click inside its window."""
    assert command.main([
        f"--bandits={place}/bandits.yaml", f"--decisions={place}/d/*", f"--rewards={place}/r/*",
        f"--snapshots={place}/out", f"--dead_letters={place}/dead", "--max_bad_fraction=0.5", *RANGE,
    ]) == 0  # fmt: skip
    row = next(row for row in published(place / "out")["arms"] if row["segment"] == "*")
    assert (row["arm_id"], row["n"], row["sum_r"]) == ("vae", 2, 2)


def test_a_replay_with_dead_letters_counts_what_has_become_known(place):
    assert command.main([
        f"--bandits={place}/bandits.yaml", f"--decisions={place}/d/*", f"--rewards={place}/r/*",
        f"--snapshots={place}/out", f"--dead_letters={place}/dead", "--max_bad_fraction=0.5",
    ]) == 0  # fmt: skip
    document = published(place / "out")
    row = next(row for row in document["arms"] if row["segment"] == "*")
    assert document["final"]
    assert (row["n"], row["sum_r"]) == (7, 7)


def published(folder):
    return json.loads(read_latest(open_store(str(folder)), "home_row").data)
