"""A source that is silent while the other delivers is named in the stream's log, once per change."""

from __future__ import annotations

import logging
import pathlib

import pytest

from pipelines.reward_stream.sources.config import SOURCES
from pipelines.reward_stream.sources.sequencer import Sequencer
from pipelines.reward_stream.sources.silence import SilenceLog
from tests.reward_stream.reading import START_US, Clock, Logs, S, decision, lines, reports, reward, watch

MINUTE = 60 * S


@pytest.fixture(autouse=True)
def _caught(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("pipelines.reward_stream"), "propagate", True)


def said(caplog: pytest.LogCaptureFixture, log: SilenceLog, decisions: int, rewards: int) -> list[str]:
    """What is logged at a look after so many microseconds of silence."""
    caplog.clear()
    log.look({"decisions": decisions, "rewards": rewards})
    return caplog.messages


def test_a_silent_source_is_named_once_and_when_it_delivers_again(caplog: pytest.LogCaptureFixture) -> None:
    log = SilenceLog(dict.fromkeys(SOURCES, 5 * MINUTE))
    assert said(caplog, log, 0, 5 * MINUTE - 1) == []
    (warning,) = said(caplog, log, S, 5 * MINUTE)
    assert warning.startswith("rewards: silent for 5m while the other source delivers; decisions mature without them")
    assert said(caplog, log, 0, 12 * MINUTE) == []
    assert said(caplog, log, 0, 0) == ["rewards: delivers again after 12m"]
    (warning,) = said(caplog, log, 6 * MINUTE, 0)
    assert warning.startswith("decisions: silent for 5m") and "--decisions" in warning


def test_if_both_are_silent_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    log = SilenceLog(dict.fromkeys(SOURCES, 5 * MINUTE))
    assert said(caplog, log, 7 * MINUTE, 6 * MINUTE) == []
    assert said(caplog, log, 0, 0) == []


def test_a_source_that_holds_decisions_is_named_when_it_falls_silent_and_when_it_holds_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SilenceLog({"decisions": 5 * MINUTE, "rewards": 360 * MINUTE})
    (warning,) = said(caplog, log, 0, 5 * MINUTE)
    assert warning == (
        "rewards: silent for 5m while the other source delivers; decisions wait for them until 6h (--idle_after)"
    )
    assert said(caplog, log, 0, 359 * MINUTE) == []
    (warning,) = said(caplog, log, 0, 360 * MINUTE)
    assert warning.startswith("rewards: silent for 6h while the other source delivers; decisions mature without them")


def test_a_dead_reward_log_holds_maturing_as_long_as_its_own_idle_after_says(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Decisions alone never hold it: after 10 s without decisions the watermark would follow the rewards."""
    clock, logs = Clock(), Logs(tmp_path)
    config = logs.config(idle_after_us={"decisions": 10 * S, "rewards": 60 * S}, max_hold_us=600 * S)
    sequencer = Sequencer(config, clock)
    logs.put("rewards", lines([reward(1, 30)]))
    for second in range(0, 58, 2):
        logs.put("decisions", lines([decision(second, 100 + second)]))
        report = reports(watch(sequencer, clock, 2))[-1]
    assert report.maturing_us == START_US + 25 * S
    assert report.heard_us["rewards"] == clock.now_us - 58 * S
    assert clock.now_us - report.heard_us["decisions"] <= 2 * S
    for second in range(58, 64, 2):
        logs.put("decisions", lines([decision(second, 100 + second)]))
        report = reports(watch(sequencer, clock, 2))[-1]
    assert report.maturing_us == START_US + (162 - 5) * S
    assert [message for message in caplog.messages if "mature without them" in message] == [
        "rewards: silent for 1m while the other source delivers; decisions mature without them; look at the files of "
        "--rewards"
    ]
