"""The command `recbeam lineage`: its text, its page, its exit codes, and that it writes nothing else."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import pytest

from transforms.lineage.command import main
from transforms.models.publish import publish

from .worlds import model, run, write


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    log = write(tmp_path / "logs/day1.csv")
    split = run(tmp_path / "out/split", "r1", [log], {"train/a": "t"}, "evaluate split")
    cf = run(tmp_path / "out/cf", "r2", [split / "train/a"], model("r2"))
    publish(cf / "model", tmp_path / "models/cf", lambda: 100_000_000)
    run(tmp_path / "out/r", "r3", [cf / "model/saved_model.pb", split / "train/a"], {"m.json": "{}"}, "evaluate")
    return tmp_path


def test_the_text_leads_from_the_log_to_the_version(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "data logs/day1.csv  1 file, 6 B",
        "└── run evaluate split out/split  r1",
        "    └── data out/split/train  1 file, 1 B",
        "        ├── run batch_cf out/cf  r2",
        "        │   └── model out/cf/model  2 files, 85 B",
        "        │       ├── version models/cf/100  newest",
        "        │       └── run evaluate out/r  r3",
        "        └── run evaluate out/r  r3  (see above)",
    ]
    assert err == "7 nodes, 0 doubts; sizes and times were compared; --check compares digests\n"


def test_upstream_leads_from_the_version_to_the_log(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["out", "models", "--upstream=models/cf/100", "--check"]) == 0
    out, err = capsys.readouterr()
    first = [line.strip(" └─").split()[0] for line in out.splitlines()]
    assert first == ["version", "model", "run", "data", "run", "data"]
    assert err == "6 nodes, 0 doubts; digests match\n"


def test_downstream_needs_the_folders_of_the_runs_alone(world, capsys) -> None:
    assert main(["out", "--downstream=out/cf"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "run batch_cf out/cf  r2"


def test_doubts_stand_below_their_node(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "logs/day1.csv").write_text("")
    assert main(["--upstream=out/split"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "run evaluate split out/split  r1",
        "└── data logs/day1.csv  1 file, 6 B  (stale)",
        "    └── ! changed: day1.csv has 0 bytes instead of 6; read before by r1",
    ]


def test_runs_in_a_circle_are_printed_once(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    """a read b, and b was rebuilt with the same content from a afterwards."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "b", "r1", [], {"x": "1"})
    run(tmp_path / "a", "r2", [tmp_path / "b/x"], {"y": "2"})
    run(tmp_path / "b", "r3", [tmp_path / "a/y"], {"x": "1"})
    assert main([]) == 0
    assert [line.strip(" └─") for line in capsys.readouterr().out.splitlines()] == [
        "run batch_cf a  r2",
        "data a/y  1 file, 1 B",
        "run batch_cf b  r3",
        "data b/x  1 file, 1 B",
        "run batch_cf a  r2  (see above)",
    ]
    assert main(["--output=page.html"]) == 0


def test_check_ends_with_bad_input_if_a_digest_differs(world, capsys) -> None:
    (world / "logs/day1.csv").write_text("A row\n")
    assert main([]) == 0
    capsys.readouterr()
    assert main(["--check"]) == 3
    said = "day1.csv has another digest; read before by r1 (1 in all); restore the files, or run again"
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere"], "nowhere: does not exist; name folders of runs and of published models"),
        (["logs"], "logs: holds no run.json, model version or snapshot; name folders of runs"),
        (["models", "--upstream=logs/day1.csv"], "logs/day1.csv: is no input or output of a run below models; name"),
    ],
)
def test_what_leads_to_nothing_is_bad_input(world, capsys, argv: list[str], said: str) -> None:
    assert main(argv) == 3
    assert capsys.readouterr().err.startswith(said)


def test_upstream_and_downstream_exclude_each_other(world, capsys) -> None:
    assert main(["--upstream=out/cf", "--downstream=out/cf"]) == 2


def test_the_page_shows_every_node_once_and_needs_no_other_file(world, capsys) -> None:
    (world / "logs/day1.csv").unlink()
    assert main(["--output=lineage.html"]) == 0
    assert capsys.readouterr().out == ""
    page = (world / "lineage.html").read_text()
    boxes = re.findall(r'<g class="([^"]+)"', page)
    assert sorted(boxes) == ["data", "data flagged", "model", "run", "run", "run", "version"]
    assert len(re.findall(r'<div class="node" id=', page)) == 7
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == [] and "<script" not in page
    assert '<b class="down">missing</b>' in page
    assert page.count('class="stale"') == 1
    assert "Sizes and times were compared." in page


def test_names_from_files_are_escaped_in_the_page(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"run_id": "<b>id</b>", "pipeline": "<script>", "inputs": [{"uri": "<i>.csv", "bytes": 1, "digest": ""}]}
    write(tmp_path / "out/run.json", json.dumps(record))
    assert main(["--output=page.html"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "<b>id" not in page and "<i>" not in page


def test_nothing_is_written_without_output(world: pathlib.Path) -> None:
    def state() -> dict[pathlib.Path, int]:
        return {path: path.stat().st_mtime_ns for path in world.rglob("*")}

    before = state()
    assert main(["--check"]) == 0
    assert state() == before


def test_text_can_be_printed_beside_the_page(world, capsys) -> None:
    assert main(["--output=x.html", "--text"]) == 0
    assert "run batch_cf" in capsys.readouterr().out
    assert (world / "x.html").exists()


@pytest.mark.slow
def test_a_run_of_the_pipelines_is_traced_from_the_served_version_to_the_log(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Split, train, evaluate and publish for real: the version leads to the log, through the gate that published it."""
    from pipelines.batch_cf.__main__ import main as batch_cf
    from pipelines.evaluate.__main__ import main as evaluate

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    rows = "".join(f"u{user},c{(user * step) % 7},{user + step}\n" for user in range(1, 41) for step in range(1, 6))
    write(tmp_path / "logs/day1.csv", f"user_id,item_id,timestamp\n{rows}")
    assert evaluate(["split", "--interactions=logs", "--output=out/split", "--by=user"]) == 0
    assert batch_cf(["--interactions=out/split/train", "--output=out/cf", "--similarity=cosine"]) == 0
    argv = ["--model=cf=out/cf/model", "--interactions=out/split/train", "--holdout=out/split/holdout"]
    gate = ["--output=out/report", "--gate=cf>=popularity:ndcg@100:1", "--publish=cf:models/cf"]
    assert evaluate(["evaluate", *argv, *gate]) == 0
    capsys.readouterr()
    (version,) = (tmp_path / "models/cf").glob("[0-9]*")
    assert main(["out", "models", f"--upstream={version}", "--check"]) == 0
    out, err = capsys.readouterr()
    assert [re.sub(r"^[ │├└─]*|  .*", "", line) for line in out.splitlines()] == [
        f"version models/cf/{version.name}",
        "model out/cf/model",
        "run batch_cf out/cf",
        "data out/split/train",
        "run evaluate split out/split",
        "data logs/day1.csv",
        "run evaluate out/report",
        "data out/split/holdout",
        "run evaluate split out/split",
        "data out/split/train",
        "model out/cf/model",
    ]
    assert err.endswith("digests match\n")
