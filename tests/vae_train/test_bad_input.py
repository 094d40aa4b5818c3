"""Input that no model can be made of: an exit code, a sentence that says where, what and what to do, nothing written.

What a log may hold without harm (users with a single item, weights of zero, odd ids) is in test_command.
"""

from __future__ import annotations

import json
import math
import pathlib

import pytest

from tests.vae_train.running import Row, clusters, run, snapshot, write_log

ITEMS = [f"c{place}" for place in range(10)]
ROWS = clusters(20, ITEMS, 4)
"""80 interactions, every item with 8 users."""
Weights = list[float] | None

UNFIT: dict[str, tuple[list[Row], Weights, tuple[str, ...], str]] = {
    "an empty vocabulary": (
        ROWS,
        None,
        ("--min_item_users=21",),
        "no item has --min_item_users=21 training users, the most frequent has ",
    ),
    "one user": (
        [row for row in ROWS if row[0] == "u3"],
        None,
        (),
        "one user alone is left, a model needs one to train and one to validate; pass more users",
    ),
    "nobody with two items": (
        [(f"u{user}", ITEMS[user % 3], user) for user in range(20)],
        None,
        (),
        "none of the 20 users has two items, so that none can validate",
    ),
    "weights of zero alone": (
        ROWS,
        [0.0] * len(ROWS),
        (),
        "no interaction is left, 80 have weight 0; correct the weights, or name another --weight_column",
    ),
}


@pytest.fixture
def before(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """The test's folder with a log and, in `out`, another run's output; returns what is in `out`."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.parquet", ROWS)
    (tmp_path / "out/model").mkdir(parents=True)
    (tmp_path / "out/model/saved_model.pb").write_bytes(b"of another run")
    (tmp_path / "out/run.json").write_text('{"run_id": "another", "pipeline": "vae_train", "status": "done"}\n')
    return snapshot(tmp_path / "out")


@pytest.mark.parametrize("case", UNFIT)
def test_a_log_that_no_model_can_be_made_of_exits_3(case: str, before, tmp_path: pathlib.Path) -> None:
    rows, weights, flags, sentence = UNFIT[case]
    write_log(tmp_path / "log.parquet", rows, weights)
    done = run("--interactions=log.parquet", "--output=out", "--overwrite", *flags)
    assert done.code == 3
    [error] = [line for line in done.error.splitlines() if not line.startswith("columns")]
    assert error.startswith(sentence)
    assert snapshot(tmp_path / "out") == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_negative_weights_and_nan_are_rejected_with_the_rows_that_say_so(before, tmp_path: pathlib.Path) -> None:
    weights = [1.0] * len(ROWS)
    weights[3], weights[5], weights[7] = -1.0, math.nan, math.inf
    write_log(tmp_path / "log.parquet", ROWS, weights)
    done = run("--interactions=log.parquet", "--output=out", "--overwrite")
    assert done.code == 3
    assert "log.parquet: 3 bad rows here, 3 of 80 in all" in done.error and "out/rejected" in done.error
    [file] = (tmp_path / "out/rejected").iterdir()
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    assert [letter["position"] for letter in letters] == [4, 6, 8]
    assert all("weight" in letter["reason"] for letter in letters)
    assert {name: one for name, one in snapshot(tmp_path / "out").items() if "rejected" not in name} == before


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--item_column=course"], 3, "log.parquet: has no column course"),
        (["--weight_column=stars"], 3, "log.parquet: has no column stars"),
        (["--interactions=nothing.parquet"], 3, "nothing.parquet"),
        (["--items=nothing.csv"], 3, "nothing.csv"),
        (["--items=items.csv", "--side_columns=colour"], 2, "--items has no column colour (it has title"),
        (["--laten=8"], 2, "unknown argument --laten=8; did you mean --latent?"),
        (["--hidden=wide"], 2, "--hidden=wide is not a whole number"),
        (["--model=transformer"], 2, "--model=transformer is not a choice (choices: recvae, multvae)"),
        (["--model_dir=log.parquet"], 2, "--model_dir=log.parquet: is a file; name a folder"),
        (["--output=."], 2, "is an input and lies in --output=."),
        (["--distribute=multiworker"], 2, "--distribute=multiworker: TF_CONFIG lists no workers"),
        (["--learning_rate=0"], 2, "--learning_rate=0.0 must be a number greater than 0"),
    ],
)
def test_a_command_that_cannot_be_carried_out_leaves_the_output_as_it_was(
    flags: list[str], code: int, sentence: str, before, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "items.csv").write_text("item_id,title\nc1,One\n")
    said = {flag.partition("=")[0] for flag in flags}
    usual = [flag for flag in ("--interactions=log.parquet", "--output=out") if flag.partition("=")[0] not in said]
    done = run(*usual, *flags, "--overwrite")
    assert (done.code, sentence in done.error) == (code, True), done.error
    assert snapshot(tmp_path / "out") == before


def test_a_folder_that_holds_something_else_is_not_touched_without_overwrite(before, tmp_path: pathlib.Path) -> None:
    done = run("--interactions=log.parquet", "--output=out")
    assert done.code == 2 and "out: holds run another with other options or inputs; pass --overwrite" in done.error
    (tmp_path / "out/run.json").unlink()
    done = run("--interactions=log.parquet", "--output=out")
    assert done.code == 2 and "out: is not empty (it holds model)" in done.error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


def test_a_refused_run_to_a_new_folder_leaves_no_folder(before) -> None:
    assert run("--interactions=log.parquet", "--output=new", "--item_column=course").code == 3
    assert not pathlib.Path("new").exists()


@pytest.mark.parametrize(("flag", "value"), [("--split=time", ""), ("--recency_half_life", "=5")])
def test_what_needs_times_is_refused_on_a_log_without(flag: str, value: str, tmp_path: pathlib.Path) -> None:
    write_log(tmp_path / "timeless.parquet", ROWS, times=False)
    done = run(f"--interactions={tmp_path}/timeless.parquet", f"--output={tmp_path}/timed", flag + value)
    assert done.code == 3 and f"timeless.parquet: has no times, which {flag} needs" in done.error
    assert not (tmp_path / "timed").exists()


def test_a_catalogue_of_nothing_available_is_refused_before_training(before, tmp_path: pathlib.Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,available\n" + "".join(f"{item},false\n" for item in ITEMS))
    done = run("--interactions=log.parquet", "--items=items.csv", "--output=out", "--overwrite")
    assert done.code == 3 and done.error.splitlines()[-1].startswith(
        "--items marks every item of the log as not available"
    )
    assert snapshot(tmp_path / "out") == before


def test_two_columns_for_one_role_are_bad_usage(before, tmp_path: pathlib.Path) -> None:
    (tmp_path / "log.csv").write_text("user,customer_id,item\nu,c,i\n")
    done = run("--interactions=log.csv", "--output=new")
    assert (done.code, done.error) == (
        2,
        "log.csv: has 2 columns that could hold the user; pass --user_column=user or --user_column=customer_id\n",
    )
    assert not pathlib.Path("new").exists()
