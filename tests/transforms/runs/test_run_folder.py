"""Output folders appear whole, replace each other whole, and are recognised."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from transforms.errors import BadUsage
from transforms.runs.run_folder import already_done, is_complete, open_folder
from transforms.runs.run_record import RunRecord, describe_inputs, digest_of, new_run_id, parents_of


def record(run_id: str = "r1", **fields: object) -> RunRecord:
    values = {"pipeline": "p", "code_version": "0", "started_at": "t", "options": {"a": 1}, "inputs": []} | fields
    return RunRecord(run_id=run_id, **values)  # type: ignore[arg-type]


def fill(folder, text: str) -> None:
    pathlib.Path(folder.path("part")).mkdir()
    pathlib.Path(folder.path("part", "x")).write_text(text)
    pathlib.Path(folder.path("scratch")).write_text("not to be kept")


def test_commit_moves_the_parts_and_writes_the_record_last(tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "out")
    with open_folder(output, "r1", overwrite=False) as folder:
        fill(folder, "hello")
        assert sorted(os.listdir(output)) == [".lock", ".tmp-r1"]
        done = folder.commit(["part", "absent"], record())
    assert sorted(os.listdir(output)) == ["part", "run.json"]
    assert [(each.uri, each.bytes) for each in done.outputs] == [("part/x", 5)]
    assert json.loads((tmp_path / "out/run.json").read_text())["outputs"][0]["digest"] == digest_of(
        f"{output}/part/x", 5
    )


def test_what_is_there_is_replaced_only_when_asked(tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "out")
    with open_folder(output, "r1", overwrite=False) as folder:
        fill(folder, "one")
        folder.commit(["part"], record())
    with pytest.raises(BadUsage, match=r"holds run r1.*--overwrite"), open_folder(output, "r2", overwrite=False):
        pass
    with open_folder(output, "r2", overwrite=True) as second:
        fill(second, "two")
        assert (tmp_path / "out/part/x").read_text() == "one"
        second.commit(["part"], record("r2"))
    assert (tmp_path / "out/part/x").read_text() == "two"


def test_a_folder_with_a_stranger_in_it_is_not_touched(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.doc").write_text("do not lose")
    (tmp_path / "run.json").write_text("[]")  # of another program
    stranger = pytest.raises(BadUsage, match=r"is not empty \(it holds run.json\)")
    with stranger, open_folder(str(tmp_path), "r1", overwrite=False):
        pass


def test_a_run_killed_half_way_leaves_the_old_version_and_does_not_stand_in_the_way(tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "out")
    script = (
        "import os, signal, sys; sys.path.insert(0, '.')\n"
        "from transforms.runs.run_folder import open_folder\n"
        f"manager = open_folder({output!r}, 'dead', False); folder = manager.__enter__()\n"
        "open(folder.path('half'), 'w').write('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=pathlib.Path(__file__).parents[3], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert ".tmp-dead" in os.listdir(output)
    with open_folder(output, "r2", overwrite=False) as folder:
        fill(folder, "new")
        folder.commit(["part"], record("r2"))
    assert sorted(os.listdir(output)) == ["part", "run.json"]


def test_a_commit_cut_short_is_not_complete_and_the_next_run_finishes_the_folder(tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "out")
    with open_folder(output, "r1", overwrite=False) as folder:
        fill(folder, "one")
        folder.commit(["part"], record())
    (tmp_path / "out/run.json").unlink()
    (tmp_path / "out/.committing").write_text("r1")
    assert not is_complete(output)
    with open_folder(output, "r2", overwrite=False) as folder:
        fill(folder, "two")
        folder.commit(["part"], record("r2"))
    assert is_complete(output) and sorted(os.listdir(output)) == ["part", "run.json"]
    (tmp_path / "out/part/x").unlink()
    assert not is_complete(output)


def test_two_runs_do_not_write_to_one_folder_at_once(tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "out")
    with open_folder(output, "r1", overwrite=False):
        second = open_folder(output, "r2", overwrite=True)
        with pytest.raises(BadUsage, match="another run is writing there"), second:
            pass
        assert ".tmp-r1" in os.listdir(output)
    assert not (tmp_path / "out").exists()


def test_already_done_means_same_pipeline_options_and_input_bytes(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "in"
    source.write_text("abc")
    inputs = describe_inputs({str(source): 3})
    output = str(tmp_path / "out")
    with open_folder(output, "r1", overwrite=False) as folder:
        folder.commit([], record(inputs=inputs, options={"a": 1, "b": None, "names": ["x"]}))
    same = {"a": 1, "b": None, "names": ("x",)}
    assert already_done(output, "p", same, inputs)
    assert not already_done(output, "other", same, inputs)
    assert not already_done(output, "p", same | {"a": 2}, inputs)
    source.write_text("abd")
    assert not already_done(output, "p", same, describe_inputs({str(source): 3}))
    (tmp_path / "out/run.json").write_text('{"status": "done"')  # cut short
    assert not already_done(output, "p", same, inputs)


def test_secrets_stay_out_of_the_record() -> None:
    text = record(options={"s3_secret_access_key": "hush", "seed": 1}).to_json()
    assert "hush" not in text and '"seed": 1' in text


def test_parents_are_found_beside_and_one_folder_above_the_input(tmp_path: pathlib.Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "split-7"}))
    assert parents_of([str(tmp_path / "train" / "a.parquet"), str(tmp_path / "train" / "b.parquet")]) == ["split-7"]


def test_run_ids_sort_by_time() -> None:
    assert new_run_id(lambda: 1_000_000) < new_run_id(lambda: 2_000_000)
    assert new_run_id(lambda: 0).startswith("19700101T000000-")
