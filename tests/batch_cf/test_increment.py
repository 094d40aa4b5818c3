"""A run over a base and new interactions writes the bytes of a run over all of them."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from transforms.errors import BadInput, BadUsage

from .running import promised_bytes, read_neighbors, run, write_rows
from .test_pipeline import make_rows

CASES = {
    "counts": ("--similarity=count",),
    "weights that change on old pairs": ("--similarity=cosine",),
    "sums of weights": ("--dedupe=sum",),
    "first": ("--dedupe=first",),
    "a cap that pushes items out": ("--max_items_per_user=4", "--similarity=jaccard"),
    "users weighed by degree": ("--similarity=degree_normalized", "--item_exponent=0.6"),
    "EASE, from the raw sums": ("--similarity=ease", "--l2=4"),
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
    if "--dedupe=sum" in flags:  # so that no sum leaves the scale that its item had
        old, new = ([(user, item, weight / 3, time) for user, item, weight, time in rows] for rows in (old, new))
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
    """A weight of a million moves its item to another scale: the base's sums no longer fit."""
    old, new = split_rows(7)
    new = [*new, ("u1", "c1", 1e6, 10**15), ("u1", "c2", 1e6, 10**15)]
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full")
    assert "recomputed in full: an item's largest weight" in notes_of(added)
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
    with pytest.raises(BadUsage, match="not a complete output"):
        run(interactions, tmp_path / "out", f"--base={tmp_path / 'old'}")
    without = run(interactions, tmp_path / "without")
    with pytest.raises(BadUsage, match="holds no increment"):
        run(interactions, tmp_path / "out", f"--base={without}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--max_items_per_user=2",),
        ("--similarity=degree_normalized",),
        ("--similarity=rp3beta",),
        ("--similarity=llr",),
    ],
)
def test_an_item_that_vanishes_changes_what_its_users_added_to_other_pairs(
    flags: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    old = [("u0", item, 1.0, time) for time, item in enumerate("abc")] + [("u1", "a", 1.0, 1), ("u1", "b", 1.0, 2)]
    old += [("u2", "b", 1.0, 1), ("u2", "d", 1.0, 2)]
    new = [("u0", "c", 0.0, 9)]
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", *flags, "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", *flags, f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new), tmp_path / "full", *flags)
    assert promised_bytes(added) == promised_bytes(full)


@pytest.mark.parametrize("only_base", [("--min_item_users=3",), ("--half_life=2d",), ("--max_items_per_user=2",)])
def test_an_option_the_base_had_and_this_run_has_not_recomputes_in_full(
    only_base: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    old, new = split_rows(9)
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", *only_base, "--keep_increment")
    added = run(write_rows(tmp_path / "new", new), tmp_path / "added", f"--base={base}")
    assert "recomputed in full" in notes_of(added)
    assert promised_bytes(added) == promised_bytes(run(write_rows(tmp_path / "all", old + new), tmp_path / "full"))


def test_sums_of_a_log_without_weights_can_be_continued(tmp_path: pathlib.Path) -> None:
    old, new = split_rows(10)
    base = run(write_rows(tmp_path / "old", old, "t"), tmp_path / "base", "--dedupe=sum", "--keep_increment")
    added = run(write_rows(tmp_path / "new", new, "t"), tmp_path / "added", "--dedupe=sum", f"--base={base}")
    full = run(write_rows(tmp_path / "all", old + new, "t"), tmp_path / "full", "--dedupe=sum")
    assert promised_bytes(added) == promised_bytes(full)


def test_a_damaged_base_is_refused_and_a_changed_one_noticed(tmp_path: pathlib.Path) -> None:
    old, new = split_rows(11)
    interactions = write_rows(tmp_path / "new", new)
    base = run(write_rows(tmp_path / "old", old), tmp_path / "base", "--keep_increment", "--user_shards=2")
    output = run(interactions, tmp_path / "out", f"--base={base}")
    before = promised_bytes(output)
    run(write_rows(tmp_path / "old", old[:-50]), tmp_path / "base", "--keep_increment", "--overwrite")
    with pytest.raises(BadUsage, match="--overwrite"):  # not "already done"
        run(interactions, output, f"--base={base}")
    assert promised_bytes(run(interactions, output, f"--base={base}", "--overwrite")) != before
    next((base / "increment" / "interactions").iterdir()).unlink()
    with pytest.raises(BadUsage, match="not a complete output"):
        run(interactions, tmp_path / "again", f"--base={base}")


@pytest.mark.parametrize("dedupe", ["--dedupe=sum", "--dedupe=last"])
def test_files_that_the_base_has_read_are_left_out_with_a_note(dedupe: str, tmp_path: pathlib.Path) -> None:
    """The folder gains a file, and one of its files is renamed. A second increment knows the files of both runs."""
    old, new = split_rows(12)
    folder = tmp_path / "log"
    write_rows(folder, old, files=2)
    base = run(str(folder), tmp_path / "base", dedupe, "--keep_increment")
    (folder / "rows-0.parquet").rename(folder / "renamed.parquet")
    pathlib.Path(write_rows(tmp_path / "new", new), "rows-0.parquet").rename(folder / "fresh.parquet")
    added = run(str(folder), tmp_path / "added", dedupe, f"--base={base}", "--keep_increment")
    full = run(str(folder), tmp_path / "full", dedupe)
    assert promised_bytes(added) == promised_bytes(full)
    assert f"{folder}/renamed.parquet and 1 more: read by --base={base} already" in notes_of(added)
    record = json.loads((added / "run.json").read_text())
    assert record["counters"]["rows_read"] == len(new)
    assert len({each["digest"] for each in record["inputs"]}) == len(record["inputs"])
    pathlib.Path(write_rows(tmp_path / "newest", old[:9]), "rows-0.parquet").rename(folder / "newest.parquet")
    chained = run(str(folder), tmp_path / "chained", dedupe, f"--base={added}")
    assert promised_bytes(chained) == promised_bytes(run(str(folder), tmp_path / "all", dedupe))


@pytest.mark.parametrize("columns", ["wt", "t"])
def test_new_files_without_the_weights_of_the_base_are_refused(columns: str, tmp_path: pathlib.Path) -> None:
    """As in a run over all files. Otherwise every new interaction would weigh 1, or every old one."""
    old, new = split_rows(3)
    base = run(write_rows(tmp_path / "old", old, columns), tmp_path / "base", "--keep_increment")
    other = write_rows(tmp_path / "new", new, "t" if columns == "wt" else "wt")
    with pytest.raises(BadInput, match="has no weights but"):
        run(other, tmp_path / "added", f"--base={base}")
    assert not (tmp_path / "added").exists()


def test_a_base_that_has_read_every_file_is_refused(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "log", split_rows(13)[0], files=2)
    base = run(interactions, tmp_path / "base", "--keep_increment")
    with pytest.raises(BadUsage, match=r"--base=\S+: has read all files of --interactions; pass the new files"):
        run(interactions, tmp_path / "out", f"--base={base}")
    assert not (tmp_path / "out").exists()
