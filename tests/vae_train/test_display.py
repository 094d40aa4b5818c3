"""What a terminal shows of a training, and that nothing else shows anything."""

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


def test_without_a_terminal_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    tell("vae_train 17")
    assert capfd.readouterr() == ("", "")
