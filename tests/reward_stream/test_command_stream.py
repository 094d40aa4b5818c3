"""The command as a stream on Prism: stopped by a signal and started again it ends where one bounded run does."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pipelines.reward_stream.__main__ import main
from tests.reward_stream.publisher_setup import SECOND, T0, bandits_bytes, without_clock

from .test_command import FLAGS, snapshot

pytestmark = pytest.mark.needs("prism")

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("b.yaml").write_bytes(bandits_bytes())
    for folder in "dr":
        pathlib.Path(folder).mkdir()


def deliver(part: int) -> None:
    """A minute of one decision per second, each clicked 1 s later."""
    from serving_client.contracts.times import format_time

    seconds = range(60 * part, 60 * part + 60)
    decisions = [
        {
            "decision_id": f"d{k}", "bandit_id": "row", "policy_epoch": 1, "segment": "free", "arm_id": "ab"[k % 2],
            "arm_generation": 1, "propensity": 0.5, "decided_at": format_time(T0 + k * SECOND),
        }
        for k in seconds
    ]  # fmt: skip
    rewards = [
        {
            "event_id": "e", "decision_id": f"d{k}", "kind": "click", "value": 1,
            "occurred_at": format_time(T0 + (k + 1) * SECOND),
        }
        for k in seconds
    ]  # fmt: skip
    for folder, records in (("d", decisions), ("r", rewards)):
        partial = pathlib.Path(f"{folder}.partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in records))
        partial.rename(pathlib.Path(folder, f"{part}.jsonl"))


@contextlib.contextmanager
def stream(*flags: str) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "pipelines.reward_stream",
        *FLAGS,
        "--streaming",
        "--publish_interval=200ms",
        *flags,
    ]
    root = pathlib.Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "the stream did not get there"
        time.sleep(0.05)


def counted() -> int:
    if not pathlib.Path("out/row/LATEST").exists():
        return -1
    rows = {(row["segment"], row["arm_id"]): row["n"] for row in snapshot()["arms"]}  # type: ignore[attr-defined]
    return rows.get(("*", "a"), 0) + rows.get(("*", "b"), 0)


def test_stopped_killed_and_started_again_it_ends_like_one_bounded_run() -> None:
    """The watermark is 5 s behind the newest of 60 s, and a window is 20 s: 35 of the first minute are mature."""
    deliver(0)
    with stream("--state=state") as process:
        wait_for(lambda: counted() == 35, process)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to the whole group
        said = process.communicate(timeout=PATIENCE_S)[1].strip().splitlines()
    assert process.returncode == 0 and said[-1].startswith("stopped: 120 records read"), said
    assert "Traceback" not in "".join(said) and counted() == 35
    deliver(1)
    with stream("--state=state") as process:
        wait_for(lambda: counted() == 95, process)
        process.kill()
    with stream("--state=state", "--stop_when_idle=500ms") as process:
        said = process.communicate(timeout=PATIENCE_S)[1].strip().splitlines()
    assert process.returncode == 0 and said[-1].startswith("done: "), said
    streamed = {name: without_clock(snapshot(name)) for name in ("row", "_stream")}
    assert main((*FLAGS, "--snapshots=bounded")) == 0
    for name, found in streamed.items():
        (version,) = pathlib.Path("bounded", name).glob("*.json")
        assert without_clock(json.loads(version.read_text())) == found


def test_a_stream_that_another_writer_overtook_exits_4_with_a_sentence() -> None:
    deliver(0)
    with stream("--heartbeat=200ms") as process:
        wait_for(lambda: counted() == 35, process)
        newest = max(int(path.stem) for path in pathlib.Path("out/row").glob("*.json"))
        for version in range(newest + 1, newest + 6):  # one of them is the next
            with contextlib.suppress(FileExistsError), pathlib.Path(f"out/row/{version}.json").open("x") as other:
                other.write("{}")
        said = process.communicate(timeout=PATIENCE_S)[1].strip().splitlines()
    assert process.returncode == 4
    assert said[0].startswith("publishing to out as ") and len(said) == 2
    assert said[-1].startswith("row: another run publishes to the same --snapshots")


def test_a_second_stream_does_not_win_against_a_healthy_one_unless_it_takes_over() -> None:
    deliver(0)
    with stream("--state=state") as first:
        wait_for(lambda: counted() == 35, first)
        name = json.loads(pathlib.Path("state/publisher.json").read_text())["publisher"]
        pointer = pathlib.Path("out/row/LATEST").read_bytes()
        with stream("--state=other") as second:
            said = second.communicate(timeout=PATIENCE_S)[1].strip().splitlines()
        assert second.returncode == 4
        assert said[-1].startswith(f"row: the stream {name} published version ") and "--take_over" in said[-1], said
        assert pathlib.Path("out/row/LATEST").read_bytes() == pointer and json.loads(pointer)["heartbeat"] == 30
        with stream("--state=third", "--take_over") as second:
            deliver(1)
            said = first.communicate(timeout=PATIENCE_S)[1].strip().splitlines()
            assert first.returncode == 4 and "another run publishes to the same --snapshots" in said[-1], said
            wait_for(lambda: counted() == 95, second)
