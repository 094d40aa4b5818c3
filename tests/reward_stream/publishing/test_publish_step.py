"""The publisher under Beam: what state is kept, how cheap, and that a lost cache changes nothing."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from pipelines.reward_stream.publishing.messages import decode_message, keyed_message
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.steps import publish
from pipelines.reward_stream.steps.publish import PublishConfig, PublishFn
from tests.reward_stream.publisher_setup import bandits_bytes, label, report, step, sums, without_clock
from transforms.errors import Refused


class Value:
    """A ReadModifyWrite state."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.written_bytes = 0

    def read(self) -> bytes | None:
        return self.value

    def write(self, value: bytes) -> None:
        self.value = value
        self.written_bytes += len(value)


class Bag:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def add(self, value: bytes) -> None:
        self.values.append(value)

    def read(self) -> list[bytes]:
        return list(self.values)

    def clear(self) -> None:
        self.values = []


class Run:
    """A DoFn and its state. forget: a worker is lost with its cache."""

    def __init__(self, folder: pathlib.Path, **changes: Any) -> None:
        self.config = PublishConfig(
            run_id=folder.name,
            bandits=bandits_bytes(),
            snapshots=str(folder / "out"),
            dead_letters=str(folder / "dead"),
            shards=1,
            pace=Pace(publish_interval_us=0),
            **changes,
        )
        self.mark, self.base, self.log = Value(), Value(), Bag()
        self.folder = folder
        self.start()

    def start(self) -> None:
        self.fn = PublishFn(self.config)
        self.fn.setup()

    def forget(self) -> None:
        publish._PUBLISHERS.pop(self.config.run_id, None)
        self.start()

    def tick(self, seq: int, n: int = 1, **changes: Any) -> list[str]:
        said: list[str] = []
        for keyed in (keyed_message(report(seq, **changes)), keyed_message(step(0, seq, {label(): sums(n)}))):
            said += self.fn.process(keyed, self.mark, self.base, self.log, None)
        return said

    def document(self) -> dict[str, Any]:
        version = json.loads((self.folder / "out/row/LATEST").read_text())["version"]
        found: dict[str, Any] = json.loads((self.folder / f"out/row/{version}.json").read_text())
        return found


def test_messages_come_back_as_they_were() -> None:
    for message in (report(3), step(1, 3, {label(): sums(2)})):
        assert decode_message(keyed_message(message)[1]) == message


def test_it_says_what_it_published(tmp_path: pathlib.Path) -> None:
    assert Run(tmp_path).tick(0) == ["row: version 1", "_stream: version 1"]


@pytest.mark.parametrize("fold_bytes", [1, 1 << 18])
def test_a_lost_cache_changes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fold_bytes: int) -> None:
    """With the whole state in the log, and with it folded at almost every message."""
    monkeypatch.setattr(publish, "_LEAST_LOG_BYTES", fold_bytes)
    documents = []
    for name, forgets in (("kept", False), ("lost", True)):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name)
        for seq in range(6):
            run.tick(seq, seq, rules=bandits_bytes() if seq == 0 else None)
            if forgets:
                run.forget()
        documents.append(run.document())
    assert documents[0]["arms"][0]["n"] == 15
    assert without_clock(documents[0]) == without_clock(documents[1])


def test_state_that_was_put_back_counts_no_message_twice(tmp_path: pathlib.Path) -> None:
    """A bundle that failed is tried again: the cache is ahead of the state."""
    run = Run(tmp_path)
    run.tick(0, 5)
    kept = run.mark.value, run.base.value, list(run.log.values)
    run.tick(1, 7)
    run.mark.value, run.base.value, run.log.values = kept
    run.tick(1, 7)
    assert run.document()["arms"][0]["n"] == 12


def test_the_whole_state_is_written_when_as_much_was_appended(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_LEAST_LOG_BYTES", 1)
    run = Run(tmp_path)
    appended = 0
    for seq in range(50):
        run.tick(seq)
        appended += sum(map(len, (keyed_message(report(seq))[1], keyed_message(step(0, seq, {label(): sums(1)}))[1])))
    assert run.base.written_bytes <= 2 * appended + len(run.base.value or b"")
    assert sum(map(len, run.log.values)) <= 2 * len(run.base.value or b"")


def test_a_fault_is_recorded_stops_the_source_and_nothing_more_is_published(tmp_path: pathlib.Path) -> None:
    run = Run(tmp_path, fault_file=str(tmp_path / "fault"), stop_file=str(tmp_path / "stop"))
    run.tick(0)
    (tmp_path / "out/row/2.json").write_text("{}")
    assert run.tick(1) == []
    assert json.loads((tmp_path / "fault").read_text())["kind"] == "Refused" and (tmp_path / "stop").exists()
    assert run.tick(2, stop=True) == []
    assert not (tmp_path / "out/row/3.json").exists()


def test_without_a_common_machine_a_fault_fails_the_pipeline(tmp_path: pathlib.Path) -> None:
    run = Run(tmp_path)
    run.tick(0)
    (tmp_path / "out/row/2.json").write_text("{}")
    with pytest.raises(Refused, match="another run publishes"):
        run.tick(1)


def test_the_engine_s_state_keeps_the_id_of_the_stream(tmp_path: pathlib.Path) -> None:
    """A job that an engine restores has a new id in its settings, and is the same stream."""
    run = Run(tmp_path, publisher="first")
    run.tick(0)
    run.config = dataclasses.replace(run.config, publisher="of the new job")
    run.forget()
    assert run.tick(1)
    assert json.loads((tmp_path / "out/row/LATEST").read_text())["publisher"] == "first"
    another = Run(tmp_path, publisher="another")
    another.forget()
    with pytest.raises(Refused, match="the stream first published version 3"):
        another.tick(0)
