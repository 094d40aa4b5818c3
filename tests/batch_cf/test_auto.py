"""--similarity=auto as a whole: the run equals the explicit run that it names, on every runner, and can be repeated."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from pipelines.batch_cf.__main__ import main
from transforms.errors import BadUsage

from .oracle import Row
from .running import promised_bytes, run, write_rows


def rows_of(users: int = 120, items: int = 40, weights: bool = False, seed: int = 3) -> list[Row]:
    """Two groups of users with items of their own, and a share of items of all.

    With weights, those of all have weight 50 and a user's own weight 1: the weights mislead.
    """
    rng = np.random.default_rng(seed)
    rows: dict[tuple[str, str], Row] = {}
    for time in range(14 * users):
        user, own = int(rng.integers(users)), rng.random() < 0.7
        item = int(rng.beta(1, 2) * items / 2) * 2 + (user % 2 if own else int(rng.integers(2)))
        weight = 50.0 if weights and not own else 1.0
        rows[f"u{user}", f"i{item}"] = (f"u{user}", f"i{item}", weight, time)
    return list(rows.values())


def choice_of(output: pathlib.Path) -> dict:
    return json.loads((output / "run.json").read_text())["details"]["choice"]


def test_auto_writes_the_bytes_of_the_run_that_its_flags_name(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(), columns="t")
    auto = run(interactions, tmp_path / "auto", "--similarity=auto")
    choice = choice_of(auto)
    assert choice["origin"] == "validation" and len(choice["candidates"]) == 25
    named = run(interactions, tmp_path / "named", *choice["flags"].split())
    assert promised_bytes(named) == promised_bytes(auto)
    assert choice_of(named)["flags"] == choice["flags"] and choice_of(named)["origin"] == "flags"
    best = max(row["validation_ndcg@20"] for row in choice["candidates"])
    chosen = next(row for row in choice["candidates"] if row["validation_ndcg@20"] == best)
    assert chosen["flags"] == choice["flags"]


def test_the_choice_is_the_same_however_the_input_is_divided(tmp_path: pathlib.Path) -> None:
    rows = rows_of()
    one = run(write_rows(tmp_path / "in", rows, columns="t"), tmp_path / "one", "--similarity=auto")
    shuffled = write_rows(tmp_path / "in4", rows[::-1], columns="t", files=4)
    four = run(shuffled, tmp_path / "four", "--similarity=auto", "--user_shards=5", "--compute_threads=1")
    assert choice_of(four) == choice_of(one)
    assert promised_bytes(four) == promised_bytes(one)


@pytest.mark.needs("prism")
def test_prism_makes_the_choice_of_fn_api_runner(tmp_path: pathlib.Path, prism: str) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(), columns="t", files=2)
    here = run(interactions, tmp_path / "here", "--similarity=auto")
    there = run(
        interactions, tmp_path / "prism", "--similarity=auto", "--runner=PrismRunner", f"--prism_location={prism}",
        "--environment_type=LOOPBACK",
    )  # fmt: skip
    assert choice_of(there) == choice_of(here)
    assert promised_bytes(there) == promised_bytes(here)


def test_weights_are_tried_both_ways_and_the_flags_name_the_choice(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(weights=True))
    auto = run(interactions, tmp_path / "auto", "--similarity=auto")
    choice = choice_of(auto)
    assert len(choice["candidates"]) == 50
    assert choice["weights"] == "ignore" and "--weights=ignore" in choice["flags"]
    named = run(interactions, tmp_path / "named", *choice["flags"].split())
    assert promised_bytes(named) == promised_bytes(auto)


def test_flags_fix_values_and_decay_keeps_the_weights(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(weights=True))
    choice = choice_of(
        run(interactions, tmp_path / "out", "--similarity=auto", "--top_k=9", "--shrinkage=2", "--half_life=5d")
    )
    assert all("--top_k=9" in row["flags"] and "--weights" not in row["flags"] for row in choice["candidates"])
    tempered = [row["flags"] for row in choice["candidates"] if "cosine --top_k" not in row["flags"]]
    assert all("--shrinkage=2.0" in flags for flags in tempered if "ease" not in flags)


def test_a_base_run_takes_the_choice_of_the_base_and_equals_a_full_run_with_it(tmp_path: pathlib.Path) -> None:
    rows = rows_of()
    old = run(
        write_rows(tmp_path / "old", rows[:900], columns="t"),
        tmp_path / "base",
        "--similarity=auto",
        "--keep_increment",
    )
    added = run(
        write_rows(tmp_path / "new", rows[900:], columns="t"), tmp_path / "added", "--similarity=auto", f"--base={old}"
    )
    everything = write_rows(tmp_path / "all", rows, columns="t")
    full = run(everything, tmp_path / "full", "--similarity=auto", f"--similarity_from={old}")
    assert choice_of(added)["flags"] == choice_of(full)["flags"] == choice_of(old)["flags"]
    assert choice_of(added)["origin"] == f"--base={old}" and "candidates" not in choice_of(full)
    assert promised_bytes(added) == promised_bytes(full)


def test_a_run_without_a_choice_cannot_lend_one(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(users=20))
    with pytest.raises(BadUsage, match="is not a complete output of batch_cf"):
        run(interactions, tmp_path / "out", "--similarity=auto", f"--similarity_from={tmp_path}")


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        '{"pipeline": "batch_cf", "details": {"choice": {"similarity": "of another version", "top_k": 5}}}',
        '{"pipeline": "batch_cf", "details": {"choice": {"similarity": "cosine"}}}',
    ],
)
def test_a_run_json_of_another_version_or_program_is_bad_usage(content: str, tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", rows_of(users=20))
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadUsage, match=r"is not a complete output of batch_cf|this version cannot use"):
        run(interactions, tmp_path / "out", "--similarity=auto", f"--similarity_from={tmp_path}")


def test_a_parameter_of_ease_is_refused_where_ease_is_no_candidate(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.batch_cf.selection.candidates.EASE_ITEMS", 5)
    interactions = write_rows(tmp_path / "in", rows_of(users=20))
    with pytest.raises(BadUsage, match="--l2 has no effect: of the candidates"):
        run(interactions, tmp_path / "out", "--similarity=auto", "--l2=5")
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_log_without_anything_to_hold_out_gets_the_first_candidate(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", [(f"u{n}", f"i{n % 3}", 1.0, n) for n in range(6)])
    choice = choice_of(run(interactions, tmp_path / "out", "--similarity=auto"))
    assert choice["flags"] == "--similarity=cosine --top_k=100" and choice["sample"]["validation_users"] == 0
    notes = " ".join(json.loads((tmp_path / "out/run.json").read_text())["notes"])
    assert "compared nothing" in notes and "of the 0 validation users" in notes


def test_the_command_prints_the_candidates_and_the_flags_and_puts_the_choice_on_the_model_card(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    interactions = write_rows(tmp_path / "in", rows_of(users=40), columns="t")
    argv = [f"--interactions={interactions}", "--output=out", "--timestamp_unit=us"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    choice = choice_of(tmp_path / "out")
    assert (
        "rp3beta: alpha\N{NO-BREAK SPACE}0.85, beta\N{NO-BREAK SPACE}0.4" in shown and f"  {choice['flags']}\n" in shown
    )
    card = json.loads((tmp_path / "out/model/assets.extra/model_card.json").read_text())
    assert card["choice"] == choice and card["similarity"] == choice["similarity"]
    assert main(argv) == 0
    assert "already done" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--similarity_from=x", "--similarity=cosine"], "--similarity_from=x has no effect with --similarity=cosine"),
        (["--similarity_from=x", "--alpha=0.5"], "--alpha=0.5 has no effect with --similarity_from"),
        (["--base=x", "--top_k=5"], "--top_k=5 has no effect with --base"),
        (["--base=x", "--similarity_from=y"], "both name a choice"),
        (["--weights=ignore", "--half_life=3d"], "--weights=ignore counts users and cannot decay"),
        (["--similarity=count", "--weights=use"], "--weights=use has no effect with --similarity=count"),
        (["--strategy=broadcast"], "cannot form every measure"),
    ],
)
def test_contradicting_flags_exit_2(flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--interactions=in", "--output=out", *flags]) == 2
    assert sentence in capsys.readouterr().err
