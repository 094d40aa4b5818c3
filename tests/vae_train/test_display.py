"""What a terminal shows of a training, and the lines that are written without one."""

from __future__ import annotations

import io
import re
import sys

import pytest

from pipelines.vae_train.training.display import open_display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(title: str) -> None:
    with open_display(title) as display:
        display.plan(7, 4, 4)
        display.validated(0.25, 0.5, 1)
        display.step(2, "encoder", 123.456, 7.891, 0.125)


def test_a_terminal_shows_epoch_losses_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    tell("vae_train 17")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    for part in ("vae_train 17", "epoch 2/7", "5/28", "loss 123.46", "KL 7.89", "beta 0.125", "ndcg@100 0.2500"):
        assert part in shown, part
    assert "best 0.5000 (epoch 1)" in shown


def test_a_narrow_terminal_shows_fewer_figures_and_cuts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with open_display("vae_train 17") as display:
        display.plan(100, 4, 160)
        display.validated(0.25, 0.5, 39)
        display.step(41, "encoder", 1234.567, 7.891, 0.125)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    for part in ("epoch 41/100", "loss 1234.57", "best 0.5000 (epoch 39)", "left"):
        assert part in shown, part
    assert "…" not in shown and "KL" not in shown


def test_a_terminal_shows_a_bar_of_the_validation_and_that_a_run_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with open_display("vae_train 17") as display:
        display.plan(7, 4, 5)
        display.resumed(1, 5)
        display.validating(1000, 3000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "resumes an interrupted training after epoch 1, step 5" in shown
    assert "validation" in shown and "1000/3000" in shown


def test_without_a_terminal_a_line_is_written_per_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(1000))
    with open_display("vae_train", clock=lambda: float(next(seconds))) as display:
        display.plan(7, 2, 2)
        display.resumed(1, 2)
        for epoch in (2, 3):
            display.step(epoch, "encoder", 123.456, 7.891, 0.125)
            display.step(epoch, "decoder", 120.0, 7.891, 0.125)
            display.validating(40, 40)
            display.validated(0.25 + epoch / 100, 0.28, 3)
            display.closed(epoch)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "vae_train: resumes an interrupted training after epoch 1, step 2"
    assert [re.sub(r" \([\d.]+ s\)$", "", line) for line in lines[1:]] == [
        "vae_train: epoch 2/7, loss 120.00, ndcg@100 0.2700, best 0.2800 (epoch 3)",
        "vae_train: epoch 3/7, loss 120.00, ndcg@100 0.2800, best 0.2800 (epoch 3)",
    ]


def test_without_a_terminal_a_long_epoch_writes_a_line_a_minute(capfd: pytest.CaptureFixture[str]) -> None:
    """A step takes 25 seconds: of five, the third and a validation are 60 seconds or more after the line before."""
    now = [0.0]
    with open_display("refit", clock=lambda: now[0]) as display:
        display.plan(2, 5, 0)
        for _ in range(5):
            now[0] += 25
            display.step(1, "encoder", 99.5, 1.0, 1.0)
        now[0] += 25
        display.validating(10, 30)
        display.closed(1)
    assert capfd.readouterr().err.splitlines() == [
        "refit: epoch 1/2, step 3 of 5, loss 99.50",
        "refit: epoch 1/2, validation, 10 of 30 users",
        "refit: epoch 1/2, loss 99.50 (150.0 s)",
    ]
