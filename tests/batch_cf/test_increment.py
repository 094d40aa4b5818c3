"""A run over a base and new interactions writes the bytes of a run over all of them."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from transforms.errors import BadUsage

from .running import promised_bytes, read_neighbors, run, write_rows
from .test_pipeline import make_rows

CASES = {
    "counts": ("--similarity=count",),
    "weights that change on old pairs": ("--similarity=cosine",),
    "sums of weights": ("--dedupe=sum",),
    "first": ("--dedupe=first",),
    "a cap that pushes items out": ("--max_items_per_user=4", "--similarity=jaccard"),
    "users weighed by degree": ("--similarity=degree_normalized", "--item_exponent=0.6"),
    "limits on users": ("--min_user_items=3", "--max_user_items=9"),
    "lift, which every new user moves": ("--similarity=lift",),
}
RECOMPUTED = {
    "decay": (("--half_life=5d",), "--half_life"),
    "decayed sums": (("--half_life=5d", "--dedupe=sum"), "--half_life"),
    "limits on items": (("--min_item_users=3",), "--min_item_users"),
}


def split_rows(seed: int) -> tuple[list, list]:
    """An old log, and a new one with old users, new users, new items and corrections of old interactions."""
    rows = make_rows(seed, users=50, items=25, rows=700)
    random.Random(seed).shuffle(rows)
    new = [*rows[600:], ("fresh", "c1", 1.0, 10), ("fresh", "new item", 2.0, 11), (rows[0][0], "a new item", 0.5, 12)]
    return rows[:600], new


def notes_of(output: pathlib.Path) -> str:
    return " ".join(json.loads((output / "run.json").read_text())["notes"])


@pytest.mark.parametrize("case", CASES)
def test_an_increment_writes_the_bytes_of_a_full_run(case: str, tmp_path: pathlib.Path) -> None:
    old, new = split_rows(len(case))
    flags = (*CASES[case], "--top_k=6")
    base = run(
        write_rows(tmp_path / "old", old, files=2), tmp_path / "base", *flags, "--keep_increment", "--user_shards=3"
    )
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", *flags, f"--base={base}", "--user_shards=5")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full", *flags)
    assert "added to the sums" in notes_of(added)
    assert promised_bytes(added) == promised_bytes(full)


@pytest.mark.parametrize("case", RECOMPUTED)
def test_an_option_that_moves_every_user_recomputes_in_full_and_says_so(case: str, tmp_path: pathlib.Path) -> None:
    flags, named = RECOMPUTED[case]
    old, new = split_rows(3)
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", *flags, "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", *flags, f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full", *flags)
    assert "recomputed in full" in notes_of(added) and named in notes_of(added)
    assert promised_bytes(added) == promised_bytes(full)


def test_increments_chain(tmp_path: pathlib.Path) -> None:
    old, new = split_rows(5)
    parts = [old[:300], old[300:], new]
    base = run(write_rows(tmp_path / "0", parts[0]), tmp_path / "out0", "--keep_increment")
    for number in (1, 2):
        interactions = write_rows(tmp_path / str(number), parts[number])
        base = run(interactions, tmp_path / f"out{number}", f"--base={base}", "--keep_increment")
    assert promised_bytes(base) == promised_bytes(run(write_rows(tmp_path / "all", old + new), tmp_path / "full"))


def test_another_measure_over_the_same_sums_still_adds(tmp_path: pathlib.Path) -> None:
    old, new = split_rows(6)
    base = run(
        write_rows(tmp_path / "old", old, columns="t"), tmp_path / "base", "--similarity=lift", "--keep_increment"
    )
    added = run(
        write_rows(tmp_path / "new", new, columns="t"), tmp_path / "added", "--similarity=llr", f"--base={base}"
    )
    full = run(write_rows(tmp_path / "all", old + new, columns="t"), tmp_path / "full", "--similarity=llr")
    assert "added to the sums" in notes_of(added)
    assert promised_bytes(added) == promised_bytes(full)


def test_larger_weights_that_need_coarser_units_are_summed_anew(tmp_path: pathlib.Path) -> None:
    """Weights of a million leave no room for 40 bits behind the point: the base's units no longer fit."""
    old, new = split_rows(7)
    new = [*new, ("u1", "c1", 1e6, 10**15), ("u1", "c2", 1e6, 10**15)]
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full")
    assert promised_bytes(added) == promised_bytes(full)


def test_an_item_taken_back_by_its_last_user_leaves_the_output(tmp_path: pathlib.Path) -> None:
    old = [("u", "a", 1.0, 1), ("u", "b", 1.0, 1), ("v", "a", 1.0, 1), ("v", "c", 1.0, 1)]
    new = [("u", "b", 0.0, 5)]
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", f"--base={base}")
    assert sorted(read_neighbors(added)) == ["a", "c"]
    assert promised_bytes(added) == promised_bytes(run(write_rows(tmp_path / "all", old + new), tmp_path / "full"))


def test_a_base_whose_interactions_were_merged_otherwise_is_refused_by_name(tmp_path: pathlib.Path) -> None:
    old, new = split_rows(8)
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", "--keep_increment")
    interactions = write_rows(tmp_path / "new", new)
    with pytest.raises(BadUsage, match=r"--dedupe=last, this run has --dedupe=sum"):
        run(interactions, tmp_path / "out", f"--base={base}", "--dedupe=sum")
    with pytest.raises(BadUsage, match="holds no increment"):
        run(interactions, tmp_path / "out", f"--base={tmp_path / 'old'}")
    assert not (tmp_path / "out").exists()
