"""The command: what mistakes end in, a bounded run, and what workers' faults become."""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import sys
import threading

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PortableOptions

from pipelines.reward_stream.__main__ import main
from pipelines.reward_stream.monitoring.faults import fault_in, record_fault, recorded_fault
from pipelines.reward_stream.monitoring.prometheus import render
from pipelines.reward_stream.monitoring.status import Status
from pipelines.reward_stream.monitoring.terminal import line
from pipelines.reward_stream.publishing.letter_files import write_letters
from pipelines.reward_stream.publishing.publisher import PublisherProgress
from pipelines.reward_stream.publishing.versions import Written
from serving_client.contracts.times import format_time
from tests.reward_stream.publisher_setup import SECOND, T0, bandits_bytes
from transforms.dead_letters import DeadLetter, from_json_line
from transforms.errors import BadInput, RecbeamError, Refused

FLAGS = ("--bandits=b.yaml", "--decisions=d/*", "--rewards=r/*", "--snapshots=out", "--dead_letters=dead")


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten decisions of arm a, three of them clicked, one reward that nobody asked for."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("b.yaml").write_bytes(bandits_bytes())
    decisions = [
        {
            "decision_id": f"d{k}", "bandit_id": "row", "policy_epoch": 1, "segment": "free", "arm_id": "a",
            "arm_generation": 1, "propensity": 0.5, "decided_at": format_time(T0 + k * SECOND),
        }
        for k in range(10)
    ]  # fmt: skip
    rewards = [
        {
            "event_id": "e", "decision_id": name, "kind": "click", "value": 1,
            "occurred_at": format_time(T0 + 12 * SECOND),
        }
        for name in ("d0", "d1", "d2", "nobody")
    ]  # fmt: skip
    for folder, records in (("d", decisions), ("r", rewards)):
        pathlib.Path(folder).mkdir()
        pathlib.Path(folder, "1.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def snapshot(name: str = "row") -> dict[str, object]:
    version = json.loads(pathlib.Path("out", name, "LATEST").read_text())["version"]
    found: dict[str, object] = json.loads(pathlib.Path("out", name, f"{version}.json").read_text())
    return found


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (FLAGS[1:], "--bandits is missing; pass the bandits file"),
        ((*FLAGS, "--job_server_timeout=abc"), "--job_server_timeout=abc is not a whole number; correct the value"),
        ((*FLAGS, "--prism_log_level=wran"), "--prism_log_level=wran is not a choice; did you mean warn?"),
        ((*FLAGS, "--shards=0"), "--shards=0 is not between 1 and 1024"),
        ((*FLAGS, "--state=st"), "--state works only with --streaming"),
        ((*FLAGS, "--metric_port=1"), "did you mean --metrics_port?"),
        ((*FLAGS, "--max_disorder=2h"), "b.yaml: row.attribution.allowed_lateness 40s is less than --max_disorder 2h"),
        (
            (*FLAGS[:4], "--dead_letters=d"),
            "--dead_letters=d: files there are read as --decisions; name another folder",
        ),
        ((*FLAGS[:4], "--dead_letters=b.yaml"), "--dead_letters=b.yaml: is a file; name a folder"),
        ((*FLAGS, "--rewards=./d/*"), "--decisions and --rewards name the same files"),
        ((*FLAGS, "--snapshots=b.yaml"), "b.yaml"),
        ((*FLAGS, "--metrics_file=none/here/m.prom"), "--metrics_file=none/here/m.prom: No such file or directory"),
    ],
)
def test_bad_usage_exits_2_with_a_sentence_and_writes_nothing(
    flags: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 2
    assert sentence in capsys.readouterr().err
    assert not pathlib.Path("out").exists()


def test_all_mistakes_are_named_one_sentence_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("--snapshots=out", "--dead_letters=out", "--shards=0")) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 5


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--decisions=none/*",), "--decisions=none/*: no such file; check the pattern"),
        (("--bandits=none.yaml",), "--bandits=none.yaml: the file does not exist; correct the path"),
    ],
)
def test_bad_input_exits_3_and_publishes_nothing(
    flags: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main((*FLAGS, *flags)) == 3
    assert sentence in last_line(capsys)
    assert not pathlib.Path("out").exists()


def test_a_bounded_run_publishes_a_final_snapshot_and_keeps_dead_letters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*FLAGS, "--metrics_file=m.prom")) == 0
    assert last_line(capsys) == "done: 14 records read, 1 dead letters; out: _stream version 1, row version 1"
    found = snapshot()
    assert found["final"] and [(row["segment"], row["n"], row["sum_r"]) for row in found["arms"]] == [  # type: ignore[attr-defined]
        ("*", 10, 3.0),
        ("free", 10, 3.0),
    ]
    (letters,) = pathlib.Path("dead").glob("*.jsonl")
    (letter,) = [from_json_line(text) for text in letters.read_text().splitlines()]
    assert letter.reason == "orphan" and b"nobody" in letter.original
    metrics = pathlib.Path("m.prom").read_text()
    assert 'recbeam_reward_stream_arm_decisions{arm="a",bandit="row",generation="1"} 10.0' in metrics
    assert 'recbeam_reward_stream_outcomes_total{outcome="orphan"} 1.0' in metrics


def test_two_bounded_runs_write_two_versions_and_the_same_dead_letters() -> None:
    assert main(FLAGS) == main(FLAGS) == 0
    assert snapshot()["version"] == 2
    assert len(list(pathlib.Path("dead").glob("*.jsonl"))) == 1


def test_too_many_malformed_lines_exit_3_and_publish_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pathlib.Path("d/1.jsonl").open("a") as log:
        log.write("no json\n")
    assert main(FLAGS) == 3
    assert last_line(capsys).startswith("1 of 15 lines are malformed, more than --max_bad_fraction=0.01")
    assert not pathlib.Path("out").exists() and list(pathlib.Path("dead").glob("*.jsonl"))
    assert main((*FLAGS, "--max_bad_fraction=0.1")) == 0


def test_files_without_a_record_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("d/1.jsonl", "r/1.jsonl"):
        pathlib.Path(path).write_text("")
    assert main(FLAGS) == 3
    assert "no record in any file" in last_line(capsys)


def test_a_fault_reaches_the_command_by_its_file_and_by_a_runners_text(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "fault.json")
    assert recorded_fault(path) is None
    record_fault(path, Refused("row: another run publishes there"))
    record_fault(path, BadInput("a later one"))
    fault = recorded_fault(path)
    assert isinstance(fault, Refused) and str(fault) == "row: another run publishes there"
    text = (
        "Traceback …\n  raise\ntransforms.errors.BadInput: f: cannot be read; remove it [while running 'Read']\n\nmore"
    )
    found = fault_in(RuntimeError(text))
    assert isinstance(found, BadInput) and str(found) == "f: cannot be read; remove it"
    assert fault_in(ValueError("a defect")) is None


def test_letters_of_a_tick_have_a_file_and_come_back(tmp_path: pathlib.Path) -> None:
    letters = [DeadLetter("f", 2, "late", b"\xff"), DeadLetter("f", 1, "orphan", b"{}")]
    for _ in range(2):
        write_letters(str(tmp_path / "kept"), "run", 7, letters)
    (file,) = (tmp_path / "kept").iterdir()
    assert file.name.startswith("run-0000000007-")
    assert [from_json_line(text) for text in file.read_text().splitlines()] == sorted(letters)


def test_metrics_count_upwards_alone() -> None:
    status = Status()
    status.add(PublisherProgress(outcomes={"orphan": 3}, failures=["x"], records_read=9))  # type: ignore[arg-type]
    status.add(PublisherProgress(outcomes={"orphan": -1, "counted": 1}, watermark_us=T0))  # type: ignore[arg-type]
    status.add(PublisherProgress(heard_us={"decisions": T0, "rewards": T0 - 5 * SECOND}))
    status.add(PublisherProgress(files_reread=2))
    status.add(PublisherProgress())
    text = render(status, T0 + 2 * SECOND).decode()
    for expected in (
        'outcomes_total{outcome="orphan"} 3.0',
        'outcomes_total{outcome="counted"} 1.0',
        "publish_failures_total 1.0",
        "records_read_total 9.0",
        "event_time_lag_seconds 2.0",
        'source_age_seconds{source="decisions"} 2.0',
        "reread_files_total 2.0",
        'source_age_seconds{source="rewards"} 7.0',
    ):
        assert f"recbeam_reward_stream_{expected}\n" in text


def test_the_progress_line_says_rate_lag_pending_and_version() -> None:
    status = Status()
    assert line(status, T0, 0, streaming=True) == "starting"

    class _Content:
        bandit_id = "row"

    written = Written(12, T0, _Content())  # type: ignore[arg-type]
    status.add(PublisherProgress(ticks=1, records_read=5000, watermark_us=T0, pending=7, versions=[written]))
    said = line(status, T0 + 4 * SECOND, 250, streaming=True)
    assert said == "5,000 records (250/s), lag 4.0s, 7 pending, row v12"


@pytest.mark.parametrize("latest", ["junk", '{"version": 9, "sha256": "of a version that is gone"}'])
def test_a_damaged_place_ends_a_bounded_run_in_one_sentence(latest: str, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("out/row").mkdir(parents=True)
    pathlib.Path("out/row/LATEST").write_text(latest)
    assert main(FLAGS) == 3
    assert "restore it" in last_line(capsys)
    assert [path.name for path in pathlib.Path("out/row").iterdir()] == ["LATEST"]


def test_an_unexpected_end_is_one_sentence_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("pipelines.reward_stream.publishing.publisher.Publisher.finish", fail)
    assert main(FLAGS) == RecbeamError.exit_code
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error and "add --verbose for the worker's traceback" in error.splitlines()[-1]


def test_a_bounded_run_does_not_publish_among_a_streams_snapshots(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FLAGS) == 0
    version = json.loads(pathlib.Path("out/row/LATEST").read_text())["version"]
    live = snapshot() | {"final": False, "version": version + 1}
    data = json.dumps(live).encode()
    pathlib.Path(f"out/row/{version + 1}.json").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    pathlib.Path("out/row/LATEST").write_text(json.dumps({"version": version + 1, "sha256": digest}))
    assert main(FLAGS) == 4
    assert "row is published by a stream; give a bounded run a --snapshots of its own" in last_line(capsys)
    assert json.loads(pathlib.Path("out/row/LATEST").read_text())["version"] == version + 1


def test_a_file_that_cannot_be_read_is_bad_input_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("d/2.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 1_000)[:-6])
    assert main(("--decisions=d/*", *(flag for flag in FLAGS if "decisions" not in flag))) == 3
    said = last_line(capsys)
    assert "d/2.jsonl.gz: cannot be read" in said and "while running" not in said
    assert not pathlib.Path("out").exists()


def test_a_clock_that_is_years_ahead_takes_nobody_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Stamped 9999 by a broken clock, the decision is from the future whatever its received_at says."""
    lines = pathlib.Path("d/1.jsonl").read_text().splitlines()
    mad = json.loads(lines[0]) | {"decision_id": "mad", "decided_at": "9999-12-31T23:59:59.000000Z"}
    pathlib.Path("d/2.jsonl").write_text(json.dumps(mad | {"received_at": mad["decided_at"]}) + "\n")
    assert main(FLAGS) == 0
    assert snapshot()["counters"]["future"] == 1  # type: ignore[index]
    assert snapshot()["watermark"] < "2100"  # type: ignore[operator]


def test_a_bounded_run_that_cannot_write_its_dead_letters_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.reward_stream.steps.publish._INSIST_US", 0)
    pathlib.Path("dead").mkdir()
    pathlib.Path("dead").rename("gone")
    pathlib.Path("dead").symlink_to("gone/missing/deeper")
    assert main(FLAGS) == 1
    assert not pathlib.Path("out", "row").exists()


def test_a_stream_outlives_beams_watch_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Beam's default every stream ended after 300 s; benchmarks/reward_stream.py stream runs longer than that."""
    seen: list[int] = []

    def run_pipeline(pipeline: beam.Pipeline, *_: object, **__: object) -> None:
        seen.append(pipeline.options.view_as(PortableOptions).job_server_timeout)

    monkeypatch.setattr("pipelines.reward_stream.run._run_pipeline", run_pipeline)
    main((*FLAGS, "--streaming"))
    main((*FLAGS, "--streaming", "--job_server_timeout=60"))
    assert seen == [10 * 365 * 86_400, 60]


def test_what_beams_threads_say_of_a_runner_that_has_ended_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The closing sentence is the last line of stderr; an error of another kind in a thread is still shown."""
    monkeypatch.setattr(sys, "argv", ["reward-stream"])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    assert main() == 2
    for error in (grpc.RpcError("Socket closed"), ValueError("a defect")):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
    said = capsys.readouterr().err
    assert "Socket closed" not in said and "a defect" in said
