"""What a stage shows on a terminal, and without one."""

from __future__ import annotations

import io
import re
import sys
import threading

import pytest

from transforms import progress


class Watched(io.StringIO):
    """A stderr that says when a text was written to it."""

    def __init__(self, awaited: str, terminal: bool) -> None:
        super().__init__()
        self._awaited, self._terminal, self.seen = awaited, terminal, threading.Event()

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._awaited in self.getvalue():
            self.seen.set()
        return written


def run_stage(stderr: Watched, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.display("linear term"):
        progress.expect("users scored", 3000)
        progress.advance("users scored", 1200)
        progress.reach("strengths tried", 2)
        assert stderr.seen.wait(60)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stderr.getvalue())


def test_without_a_terminal_a_line_a_minute_says_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress._LINE_S == 60
    monkeypatch.setattr(progress, "_LINE_S", 0.01)
    told = run_stage(Watched("strengths tried", terminal=False), monkeypatch)
    assert "linear term: 0 s, users scored 1,200 of 3,000, strengths tried 2\n" in told


def test_a_short_stage_writes_nothing_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.display("export"):
        progress.advance("parts exported", 1)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_per_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    told = run_stage(Watched("1200/3000", terminal=True), monkeypatch)
    assert "linear term" in told and "users scored" in told
