"""The folder from which a killed run goes on: who finds it, and who clears it."""

from __future__ import annotations

import pathlib

import pytest

from pipelines.vae_train.training.diverged import TrainingDiverged
from pipelines.vae_train.workspace import fingerprint, open_workspace, workspace_of
from transforms.errors import BadInput, BadUsage, RecbeamError
from transforms.runs.run_record import Artifact


def artifacts(*digests: str) -> list[Artifact]:
    return [Artifact(f"file-{digest}", 1, digest) for digest in digests]


def test_the_name_changes_with_an_option_or_a_content_and_not_with_a_place() -> None:
    name = fingerprint({"seed": 1, "model": "recvae"}, artifacts("a", "b"))
    assert len(name) == 16 and int(name, 16) >= 0
    assert name == fingerprint({"model": "recvae", "seed": 1}, [Artifact("elsewhere", 7, "a"), Artifact("y", 8, "b")])
    others = [
        fingerprint({"seed": 2, "model": "recvae"}, artifacts("a", "b")),
        fingerprint({"seed": 1, "model": "recvae"}, artifacts("a")),
        fingerprint({"seed": 1, "model": "recvae"}, artifacts("b", "a")),
    ]
    assert len({name, *others}) == 4


def test_a_finished_run_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    with open_workspace(str(tmp_path), None, "mine") as work:
        assert work == workspace_of(str(tmp_path), None, "mine") == str(tmp_path / ".resume/mine")
        pathlib.Path(work, "checkpoint").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RecbeamError("export"), OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_that_may_pass_keeps_what_is_done(tmp_path: pathlib.Path, error: BaseException) -> None:
    with pytest.raises(type(error)), open_workspace(str(tmp_path), None, "mine") as work:
        pathlib.Path(work, "checkpoint").touch()
        raise error
    with open_workspace(str(tmp_path), None, "mine") as work:
        assert pathlib.Path(work, "checkpoint").exists()


@pytest.mark.parametrize("error", [BadInput("rows"), BadUsage("flag"), TrainingDiverged("nan")])
def test_a_failure_that_would_come_again_leaves_the_output_as_it_was(tmp_path: pathlib.Path, error: Exception) -> None:
    with pytest.raises(type(error)), open_workspace(str(tmp_path), None, "mine") as work:
        pathlib.Path(work, "checkpoint").touch()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_workspaces_of_other_runs_in_the_output_are_cleared_those_in_a_work_dir_stay(tmp_path: pathlib.Path) -> None:
    for base in (tmp_path / "out/.resume", tmp_path / "work"):
        (base / "other").mkdir(parents=True)
    with open_workspace(str(tmp_path / "out"), None, "mine"):
        assert [path.name for path in (tmp_path / "out/.resume").iterdir()] == ["mine"]
    with open_workspace(str(tmp_path / "out"), str(tmp_path / "work"), "mine") as work:
        assert work == str(tmp_path / "work/mine")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["other"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_remote_output_without_a_work_dir_has_a_temporary_one(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match="disk"), open_workspace("s3://bucket/out", None, "mine") as work:
        assert pathlib.Path(work).is_dir()
        raise OSError("disk")
    assert not pathlib.Path(work).exists()
    with open_workspace("s3://bucket/out", str(tmp_path), "mine") as work:
        assert work == str(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time_trains_in_a_shared_work_dir(tmp_path: pathlib.Path) -> None:
    with open_workspace(str(tmp_path / "a"), str(tmp_path / "work"), "same"):
        with (
            pytest.raises(BadUsage, match="another run trains there"),
            open_workspace(str(tmp_path / "b"), str(tmp_path / "work"), "same"),
        ):
            pass
        assert (tmp_path / "work" / "same").is_dir()
