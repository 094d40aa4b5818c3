"""The command line: what a person's mistake ends in, and what stays as it was."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from pipelines.batch_cf.__main__ import main
from transforms.models.publish import versions

from .oracle import Row
from .running import promised_bytes, write_rows

ROWS: list[Row] = [(f"u{u}", f"c{c}", 1.0, u) for u in range(6) for c in range(u % 3 + 2)]
USAGE = {
    "ease without pair sums": (
        ("--interactions=in", "--output=out", "--similarity=ease", "--strategy=broadcast"),
        "--strategy=broadcast forms no pair sums, which --similarity=ease needs",
    ),
    "no input": (("--output=out",), "--interactions is missing"),
    "no output": (("--interactions=in",), "--output is missing"),
    "misspelt": (("--interactions=in", "--output=out", "--similarty=cosine"), "did you mean --similarity?"),
    "decay of a count": (("--interactions=in", "--output=out", "--similarity=lift", "--half_life=3d"), "cannot decay"),
    "no duration": (("--interactions=in", "--output=out", "--half_life=soon"), "--half_life=soon is not a duration"),
    "crossed limits": (
        ("--interactions=in", "--output=out", "--min_user_items=5", "--max_user_items=2"),
        "no interaction would be left",
    ),
    "no number": (
        ("--interactions=in", "--output=out", "--similarity=degree_normalized", "--user_exponent=nan"),
        "--user_exponent=nan is not a number of at least -16",
    ),
    "a power of zero": (
        ("--interactions=in", "--output=out", "--similarity=rp3beta", "--locality=0"),
        "--locality=0 is not a number above 0",
    ),
    "a parameter of another measure": (
        ("--interactions=in", "--output=out", "--similarity=cosine", "--alpha=0.7"),
        "--alpha=0.7 has no effect with --similarity=cosine; use --similarity=rp3beta",
    ),
    "negative seed": (("--interactions=in", "--output=out", "--seed=-1"), "--seed=-1 is not between"),
    "a word for a number": (
        ("--interactions=in", "--output=out", "--top_k=many"),
        "--top_k=many is not a whole number",
    ),
    "input in the output": (("--interactions=in", "--output=."), "lies in --output=."),
    "output is a file": (("--interactions=in", "--output=in/rows-0.parquet"), "cannot be written"),
    "a file for models": (("--interactions=in", "--output=out", "--model_dir=in/rows-0.parquet"), "is a file"),
    "base and output": (("--interactions=in", "--output=out", "--base=out/"), "is also --output"),
    "zero neighbors": (("--interactions=in", "--output=out", "--top_k=0"), "--top_k=0 is below 1"),
    "remote without dependencies": (
        ("--interactions=in", "--output=out", "--runner=FlinkRunner"),
        "--sdk_container_image or --requirements_file",
    ),
}


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "in", ROWS)


@pytest.mark.parametrize("case", USAGE)
def test_bad_usage_exits_2_with_a_sentence_and_writes_nothing(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv, sentence = USAGE[case]
    assert main(argv) == 2
    assert sentence in capsys.readouterr().err
    assert not pathlib.Path("out").exists()


def test_bad_input_exits_3_names_file_and_column_and_leaves_the_old_output(capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("no_item.csv").write_text("user_id,course\nu,c\n")
    cases = {
        "nothing.parquet": "nothing.parquet",
        "no_item.csv": "no_item.csv: has no column item_id",
    }
    write_rows(pathlib.Path("out/neighbors"), ROWS)
    before = sorted(pathlib.Path("out").rglob("*"))
    for name, sentence in cases.items():
        assert main([f"--interactions={name}", "--output=out", "--similarity=cosine", "--overwrite"]) == 3
        assert sentence in capsys.readouterr().err
    pathlib.Path("late.csv").write_text("user_id,item_id,timestamp\n" + "u,c,1\n" * 3 + "u,c,someday\n" * 3)
    assert main(["--interactions=late.csv", "--output=fresh", "--similarity=cosine"]) == 3
    assert "3 of 6" in (error := capsys.readouterr().err) and "fresh/rejected" in error
    letters = [
        json.loads(line) for file in pathlib.Path("fresh/rejected").iterdir() for line in file.read_text().splitlines()
    ]
    assert [letter["position"] for letter in letters] == [5, 6, 7] and "someday" in letters[0]["reason"]
    assert sorted(pathlib.Path("out").rglob("*")) == before
    assert not list(pathlib.Path("fresh").glob("neighbors"))


def test_nothing_left_after_the_filters_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--interactions=in", "--output=out", "--similarity=cosine", "--min_user_items=100"]) == 3
    assert "no interaction is left" in capsys.readouterr().err


def test_a_whole_run_writes_the_contract_and_publishes_and_a_second_one_knows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pathlib.Path("items.csv").write_text('item_id,title,available\nc0,"Course, zero",true\nc1,One,false\n')
    argv = ["--interactions=in", "--items=items.csv", "--output=out", "--model_dir=models/cf"]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "published as version" in shown.err
    for label in ("rows read", "repeats", "of weight 0", "decayed to nothing", "of users past the limits"):
        assert label in shown.out
    assert pq.read_schema("out/neighbors/part-00000-of-00001.parquet").to_string(show_schema_metadata=False) == (
        "item_id: string\nrank: int32\nneighbor_id: string\nscore: float\ncooccurrence: int64"
    )
    items = pq.read_table("out/items.parquet").to_pylist()
    assert items[:2] == [
        {"item_id": "c0", "users": 6, "title": "Course, zero", "available": True},
        {"item_id": "c1", "users": 6, "title": "One", "available": False},
    ]
    assert items[2]["title"] == "c2"
    assert "c1" not in pq.read_table("out/neighbors")["neighbor_id"].to_pylist()
    assert len(versions("models/cf")) == 1
    before = promised_bytes(pathlib.Path("out"))
    assert main(argv) == 0
    assert "already done" in capsys.readouterr().err
    assert main([*argv, "--top_k=1"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert promised_bytes(pathlib.Path("out")) == before
    assert main([*argv, "--top_k=1", "--overwrite"]) == 0
    assert promised_bytes(pathlib.Path("out")) != before


def test_a_model_loads_in_a_fresh_process_without_recbeam_and_recommends() -> None:
    assert main(["--interactions=in", "--output=out", "--similarity=cosine"]) == 0
    script = (
        "import tensorflow as tf\n"
        "model = tf.saved_model.load('out/model')\n"
        "answer = model.signatures['serving_default'](history=tf.constant([['c0', '']]))\n"
        "print([item.decode() for item in answer['items'].numpy()[0] if item])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['c1', 'c2', 'c3']"


@pytest.mark.parametrize("similarity", ["cosine", "lift"])
def test_filters_that_leave_nothing_end_in_one_sentence(similarity: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--interactions=in", "--output=out", "--since=2030-01-01T00:00:00Z", f"--similarity={similarity}"]) == 3
    )
    assert "no interaction is left" in capsys.readouterr().err


def test_decay_without_times_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(pathlib.Path("timeless"), ROWS, columns="")
    assert main(["--interactions=timeless", "--output=out", "--similarity=cosine", "--half_life=3d"]) == 3
    assert "has no times, which --half_life needs" in capsys.readouterr().err


def test_a_weight_past_all_measure_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(pathlib.Path("huge"), [*ROWS, ("u1", "c1", 1e200, 99)])
    assert main(["--interactions=huge", "--output=out", "--similarity=cosine"]) == 3
    assert "a weight of 1e+200" in capsys.readouterr().err


def test_after_a_refusal_the_corrected_input_runs_without_further_ado() -> None:
    bad = pathlib.Path("log.csv")
    bad.write_text("user_id,item_id\nu,a\nu,\nu,b\n")
    assert main(["--interactions=log.csv", "--output=out", "--similarity=cosine"]) == 3
    assert sorted(path.name for path in pathlib.Path("out").iterdir()) == ["rejected"]
    bad.write_text("user_id,item_id\nu,a\nu,b\n")
    assert main(["--interactions=log.csv", "--output=out", "--similarity=cosine"]) == 0
    assert not pathlib.Path("out/rejected").exists()


def test_a_finished_run_can_be_published_later_and_is_published_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--interactions=in", "--output=out", "--similarity=cosine"]) == 0
    for _ in range(2):
        assert main(["--interactions=in", "--output=out", "--similarity=cosine", "--model_dir=models"]) == 0
        assert "already done" in capsys.readouterr().err
    assert len(versions("models")) == 1


def test_a_damaged_output_is_not_already_done() -> None:
    assert main(["--interactions=in", "--output=out", "--similarity=cosine"]) == 0
    next(pathlib.Path("out/neighbors").iterdir()).unlink()
    assert main(["--interactions=in", "--output=out", "--similarity=cosine"]) == 2


def test_rows_of_the_catalogue_that_are_no_use_are_counted() -> None:
    pathlib.Path("items.csv").write_text("item_id,title\nc0,Zero\nc0,Again\n,Nobody\n")
    assert main(["--interactions=in", "--items=items.csv", "--output=out", "--similarity=cosine"]) == 0
    counters = json.loads(pathlib.Path("out/run.json").read_text())["counters"]
    assert (counters["catalogue_items"], counters["catalogue_duplicates"], counters["catalogue_rejected"]) == (1, 1, 1)


def test_a_run_records_the_parameters_that_its_measure_takes_with_their_values() -> None:
    assert main(["--interactions=in", "--output=out", "--similarity=rp3beta", "--alpha=0.7"]) == 0
    options = json.loads(pathlib.Path("out/run.json").read_text())["options"]
    assert (options["alpha"], options["beta"], options["top_k"]) == (0.7, 0.6, 100)
    assert options["asymmetry"] is None and options["user_exponent"] is None


def test_help_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "--similarity" in shown and "(default: auto)" in shown and "example:" in shown


def test_a_log_of_weight_0_alone_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(pathlib.Path("worthless"), [("u1", "a", 0.0, 1), ("u1", "b", 0.0, 2)])
    assert main(["--interactions=worthless", "--output=out", "--similarity=cosine"]) == 3
    assert "no interaction is left, 2 have weight 0; correct the weights" in capsys.readouterr().err


def test_a_model_without_neighbors_is_written_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(pathlib.Path("apart"), [("u1", "a", 1.0, 1), ("u2", "b", 1.0, 2)])
    assert main(["--interactions=apart", "--output=out", "--similarity=cosine"]) == 0
    warning = "no item has a neighbor, so the model recommends by popularity alone"
    assert warning in capsys.readouterr().err
    assert any(warning in note for note in json.loads(pathlib.Path("out/run.json").read_text())["notes"])
