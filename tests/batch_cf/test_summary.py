"""The printout of batch_cf's choice of a similarity."""

from __future__ import annotations

import pytest

from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.candidates import Candidate, candidates_for
from pipelines.batch_cf.selection.choice import choose, explicit, flags_of
from pipelines.batch_cf.summary import show_choice

SAMPLE = {"validation_users": 1234, "share": 0.25}


def test_the_table_has_every_score_once_and_marks_the_chosen_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    candidates = candidates_for(100, (False, True), {}, None)
    scores = [0.1 + place / 1000 for place in range(len(candidates))]
    scores[-3] = 0.9
    show_choice(choose(candidates, scores, SAMPLE).record())
    printed = capsys.readouterr().out
    for score in scores:
        assert printed.count(f"{score:.4f}") == 1
    assert "0.9000 *" in printed and printed.count(" *\n") + printed.count(" *  ") == 1
    assert "1,234 users (25% of the log)" in printed
    assert printed.endswith(f"flags that repeat this choice:\n  {flags_of(candidates[-3])}\n")


def test_a_choice_of_the_flags_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_choice(explicit(Measure("cosine"), weighted=True).record())
    assert capsys.readouterr().out == ""


def test_candidates_of_one_row_differ_in_top_k_and_weights_alone(capsys: pytest.CaptureFixture[str]) -> None:
    candidates = [Candidate(Measure("cosine", top_k=k), weighted) for weighted in (False, True) for k in (1, 2)]
    show_choice(choose(candidates, [0.1, 0.2, 0.3, 0.4], SAMPLE).record())
    row = next(line for line in capsys.readouterr().out.splitlines() if "cosine" in line and "0.1" in line)
    assert row.split() == ["cosine", "0.1000", "0.2000", "0.3000", "0.4000", "*"]
