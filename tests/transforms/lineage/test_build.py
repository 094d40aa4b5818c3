"""What came from what, and what is wrong with it, in worlds whose answer is known by construction."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import pytest

from serving_client.contracts.bandits import config_hash
from transforms.attribution import bandits_file
from transforms.lineage.graph import downstream, upstream
from transforms.models.publish import publish, rollback

from .worlds import edges, flags, graph_of, keys_at, model, names, run, write


@pytest.fixture
def world(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two days of logs; a split reads both, cf reads train, and is published twice with a second cf in between.

    A report reads holdout and the first cf's model.
    """
    days = [write(tmp_path / "logs" / f"day{n}.csv", f"row {n}\n") for n in (1, 2)]
    split = run(tmp_path / "out/split", "r1", days, {"train/a": "t", "holdout/a": "h"}, "evaluate split")
    cf = run(tmp_path / "out/cf", "r2", [split / "train/a"], model("r2"))
    run(tmp_path / "out/report", "r3", [split / "holdout/a", cf / "model/saved_model.pb"], {"m.json": "{}"}, "evaluate")
    publish(cf / "model", tmp_path / "models/cf", lambda: 100_000_000)
    other = run(tmp_path / "out/cf2", "r4", [split / "train/a"], model("r4", "other"))
    publish(other / "model", tmp_path / "models/cf", lambda: 200_000_000)
    rollback(tmp_path / "models/cf", 100, lambda: 300_000_000)
    return tmp_path


def test_a_served_version_leads_back_to_the_log_through_its_model_card(world: pathlib.Path) -> None:
    graph = graph_of(world)
    found = upstream(graph, keys_at(graph, world / "models/cf/300"))
    assert edges(found) == {("logs", "split"), ("split", "train"), ("train", "cf"), ("cf", "model"), ("model", "300")}


def test_an_input_file_leads_to_everything_that_was_made_of_it(world: pathlib.Path) -> None:
    graph = graph_of(world)
    found = downstream(graph, keys_at(graph, world / "out/split/holdout/a"))
    assert names(found) == {"data holdout", "run report"}
    found = downstream(graph, keys_at(graph, world / "logs/day2.csv"))
    assert {"run split", "run cf", "run cf2", "run report", "version 100", "version 200", "version 300"} < names(found)


def test_a_world_without_changes_has_no_flags_with_and_without_digests(world: pathlib.Path) -> None:
    assert flags(graph_of(world)) == flags(graph_of(world, check=True)) == []


def test_a_version_with_the_files_of_an_earlier_one_says_so(world: pathlib.Path) -> None:
    again = publish(world / "out/cf/model", world / "models/cf", lambda: 400_000_000)
    details = {node.title.rpartition("/")[2]: node.detail for node in graph_of(world).nodes.values()}
    assert details["100"] == "older" and details["200"] == "older"
    assert details["300"] == "older, back to 100"
    assert details[str(again)] == "newest, same as 100"


def test_a_run_that_published_a_version_is_among_what_the_version_came_from(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    cf = run(tmp_path / "out/cf", "r1", [log], model("r1"))
    publish(cf / "model", tmp_path / "models/cf", lambda: 100_000_000)
    more = {"options": {"publish": "cf:models/cf"}, "counters": {"published_version": 100}}
    run(tmp_path / "out/report", "r2", [cf / "model/saved_model.pb"], {"m.json": "{}"}, "evaluate", **more)
    assert ("report", "100") in edges(graph_of(tmp_path))


def test_files_that_the_same_runs_read_are_one_node_and_others_are_another(tmp_path: pathlib.Path) -> None:
    days = [write(tmp_path / "logs" / f"day{n}.csv", f"row {n}\n") for n in (1, 2, 3)]
    run(tmp_path / "out/a", "r1", days[:2], {"x": "x"})
    run(tmp_path / "out/b", "r2", days, {"x": "x"})
    graph = graph_of(tmp_path)
    assert edges(graph) == {("logs", "a"), ("logs", "b"), ("day3.csv", "b")}
    assert names(downstream(graph, keys_at(graph, days[2]))) == {"data day3.csv", "run b"}
    assert names(downstream(graph, keys_at(graph, days[0]))) == {"data logs", "run a", "run b"}
    assert [node.detail for node in graph.nodes.values() if node.title.endswith("logs")] == ["day1.csv, day2.csv, 12 B"]


def test_a_changed_input_is_flagged_by_its_size(world: pathlib.Path) -> None:
    (world / "logs/day1.csv").write_text("more rows\n")
    expected = "1 of 2 files, for example day1.csv has 10 bytes instead of 6; read before by r1"
    assert flags(graph_of(world)) == [("logs", "changed", expected)]
    assert [edge.stale for edge in graph_of(world).edges].count(True) == 1


def test_an_input_written_after_the_run_is_flagged_until_its_digest_is_compared(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    run(tmp_path / "out", "r1", [log], {"x": "x"}, started_at="2026-01-01T00:00:00Z")
    os.utime(log, (1_767_225_600, 1_767_225_600))  # 2026-01-01
    assert flags(graph_of(tmp_path)) == []
    os.utime(log, (1_767_225_610, 1_767_225_610))
    assert [flag[:2] for flag in flags(graph_of(tmp_path))] == [("log.csv", "changed")]
    assert flags(graph_of(tmp_path, check=True)) == []


def test_another_content_of_equal_size_is_found_by_its_digest_alone(world: pathlib.Path) -> None:
    (world / "logs/day1.csv").write_text("ROW 1\n")
    assert flags(graph_of(world)) == []
    assert [flag[:2] for flag in flags(graph_of(world, check=True))] == [("logs", "digest")]


def test_a_missing_input_is_flagged(world: pathlib.Path) -> None:
    (world / "logs/day2.csv").unlink()
    expected = "1 of 2 files, for example day2.csv is missing; read before by r1"
    assert flags(graph_of(world)) == [("logs", "missing", expected)]


def test_what_was_made_of_a_rebuilt_output_is_stale_and_the_old_run_is_lost(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    split = run(tmp_path / "split", "r1", [log], {"train/a": "t"}, "evaluate split")
    run(tmp_path / "cf", "r2", [split / "train/a"], {"x": "x"})
    run(tmp_path / "split", "r3", [log], {"train/a": "new"}, "evaluate split")
    graph = graph_of(tmp_path)
    assert ("train", "stale", "a was rebuilt by run r3; read before by r2") in flags(graph)
    assert ("r1", "cf") in edges(graph)
    assert {node.kind for node in graph.nodes.values() if node.title == "r1"} == {"lost run"}


def test_a_rebuilt_output_with_the_same_content_is_not_stale(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    split = run(tmp_path / "split", "r1", [log], {"train/a": "t"})
    run(tmp_path / "cf", "r2", [split / "train/a"], {"x": "x"})
    run(tmp_path / "split", "r3", [log], {"train/a": "t"})
    assert flags(graph_of(tmp_path)) == []


def test_a_version_whose_run_was_not_found_names_the_lost_run(world: pathlib.Path) -> None:
    graph = graph_of(world / "models")
    found = upstream(graph, keys_at(graph, world / "models/cf/100"))
    assert {(node.kind, node.title, node.pipeline) for node in found.nodes.values() if node.kind != "version"} == {
        ("lost run", "r2", "batch_cf")
    }


def test_a_version_without_a_model_card_stands_alone(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "models/own/7/saved_model.pb")
    assert names(graph_of(tmp_path)) == {"version 7"}


def test_a_version_that_is_not_the_newest_makes_what_read_it_stale(world: pathlib.Path) -> None:
    run(world / "out/r5", "r5", [world / "models/cf/200/saved_model.pb"], {"m.json": "{}"}, "evaluate")
    assert flags(graph_of(world)) == [("200", "stale", "version 300 is newer; read before by r5")]
    graph = graph_of(world)
    assert flags(upstream(graph, keys_at(graph, world / "models/cf/200"))) == []  # r5 is not upstream
    run(world / "out/r6", "r6", [world / "models/cf/300/saved_model.pb"], {"m.json": "{}"}, "evaluate")
    assert len(flags(graph_of(world))) == 1


def test_a_published_file_that_differs_from_its_list_is_flagged(world: pathlib.Path) -> None:
    (world / "models/cf/100/saved_model.pb").write_text("WEIGHTS")
    assert flags(graph_of(world)) == []
    sentence = "saved_model.pb has another digest, unlike _COMPLETE.json"
    assert flags(graph_of(world, check=True)) == [("100", "digest", sentence)]


def test_a_published_list_that_differs_from_the_run_is_flagged_without_reading_files(world: pathlib.Path) -> None:
    target = world / "models/cf/100/_COMPLETE.json"
    files = json.loads(target.read_text())
    files["files"][1]["sha256"] = "0" * 64
    target.write_text(json.dumps(files))
    sentence = "saved_model.pb differs from the model that run r2 wrote"
    assert ("100", "digest", sentence) in flags(graph_of(world))


@pytest.mark.parametrize("check", [False, True])
def test_a_missing_output_is_flagged_at_the_part_or_at_the_run(world: pathlib.Path, check: bool) -> None:
    (world / "out/split/train/a").unlink()
    (world / "out/report/m.json").unlink()
    assert flags(graph_of(world, check=check)) == [
        ("report", "missing", "m.json is missing, unlike run.json"),
        ("train", "missing", "train/a is missing, unlike run.json"),
    ]


def test_runs_are_found_from_their_readers_when_they_lie_elsewhere(world: pathlib.Path) -> None:
    """Only the report is named: its inputs lead to the split, to cf, and from there to the logs."""
    assert names(graph_of(world / "out/report")) >= {"run report", "run split", "run cf", "data logs"}


def test_relative_inputs_are_found_above_the_output_whatever_the_current_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "project/logs/day1.csv")
    monkeypatch.chdir(tmp_path / "project")
    run(pathlib.Path("out/cf"), "r1", ["logs/day1.csv"], {"x": "x"})
    monkeypatch.chdir("/")
    assert edges(graph_of(tmp_path)) == {("day1.csv", "cf")}
    assert flags(graph_of(tmp_path)) == []
    shutil.move(tmp_path / "project", tmp_path / "moved")
    assert flags(graph_of(tmp_path)) == []


def test_an_output_that_was_moved_is_recognised_by_the_parent_and_the_digest(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    split = run(tmp_path / "split", "r1", [log], {"train/a": "t"})
    run(tmp_path / "cf", "r2", [split / "train/a"], {"x": "x"})
    split.rename(tmp_path / "archive")
    graph = graph_of(tmp_path)
    assert edges(graph) == {("log.csv", "archive"), ("archive", "train"), ("train", "cf")}
    assert flags(graph) == []


def test_a_file_with_the_content_of_a_parents_output_is_its_own_as_long_as_it_is_there(tmp_path: pathlib.Path) -> None:
    split = run(tmp_path / "split", "r1", [], {"train/a": "", "train/b": "b"})
    raw = write(tmp_path / "raw.csv", "")
    run(tmp_path / "cf", "r2", [split / "train/b", raw], {"x": "x"})
    assert ("raw.csv", "cf") in edges(graph_of(tmp_path))


def test_runs_in_a_circle_end(tmp_path: pathlib.Path) -> None:
    """a read b, and b was rebuilt from a afterwards."""
    first, second = tmp_path / "a", tmp_path / "b"
    run(second, "r1", [], {"x": "1"})
    run(first, "r2", [second / "x"], {"x": "2"})
    run(second, "r3", [first / "x"], {"x": "1"})
    graph = graph_of(tmp_path)
    assert names(upstream(graph, keys_at(graph, first))) == {"run a", "run b", "data x"}


def test_a_copied_run_is_one_run(world: pathlib.Path) -> None:
    before = names(graph_of(world))
    shutil.copytree(world / "out/cf", world / "z_copy")
    assert names(graph_of(world)) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": 3}', "\x00"])
def test_a_file_that_is_no_run_record_is_skipped(tmp_path: pathlib.Path, text: str) -> None:
    write(tmp_path / "x/run.json", text)
    assert graph_of(tmp_path).nodes == {}


def test_a_record_with_odd_fields_is_a_run_without_them(tmp_path: pathlib.Path) -> None:
    odd = {"run_id": "r1", "inputs": None, "outputs": [3, {"uri": 4}], "started_at": "yesterday", "counters": []}
    write(tmp_path / "x/run.json", json.dumps(odd))
    assert names(graph_of(tmp_path)) == {"run x"}


def test_snapshots_are_nodes_and_an_older_one_that_was_read_is_stale(tmp_path: pathlib.Path) -> None:
    for version in (1, 2):
        write(tmp_path / f"snapshots/home/{version}.json", json.dumps({"policy_epoch": 1}))
    write(tmp_path / "snapshots/home/LATEST", '{"version": 2, "sha256": ""}')
    write(tmp_path / "snapshots/_stream/LATEST", '{"version": 9, "sha256": ""}')
    run(tmp_path / "out", "r1", [tmp_path / "snapshots/home/1.json"], {"x": "x"}, "off_policy")
    graph = graph_of(tmp_path)
    assert edges(graph) == {("1", "out")} and "snapshot 2" in names(graph)
    assert flags(graph) == [("1", "stale", "version 2 is newer; read before by r1")]


def test_the_name_of_a_snapshot_that_experiment_records_leads_to_its_file(tmp_path: pathlib.Path) -> None:
    """`experiment` records BANDIT/VERSION, and a directory holds BANDIT/VERSION.json."""
    snapshot = write(tmp_path / "snapshots/home/1.json", "{}")
    write(tmp_path / "snapshots/home/LATEST", '{"version": 1, "sha256": ""}')
    run(tmp_path / "out", "r1", [snapshot], {"x": "x"}, "experiment")
    record = json.loads((tmp_path / "out/run.json").read_text())
    record["inputs"][0]["uri"] = record["inputs"][0]["uri"].removesuffix(".json")
    (tmp_path / "out/run.json").write_text(json.dumps(record))
    assert edges(graph_of(tmp_path)) == {("1", "out")}
    assert flags(graph_of(tmp_path, check=True)) == []


def test_a_flag_names_all_readers_and_in_a_part_of_the_graph_those_of_the_part(tmp_path: pathlib.Path) -> None:
    log = write(tmp_path / "log.csv")
    for name in ("a", "b"):
        run(tmp_path / name, name, [log], {"x": "x"})
    log.unlink()
    graph = graph_of(tmp_path)
    assert flags(graph) == [("log.csv", "missing", "log.csv is missing; read before by a, b")]
    assert flags(upstream(graph, ["run:b"])) == [("log.csv", "missing", "log.csv is missing; read before by b")]


def test_a_snapshot_leads_back_to_the_bandits_file_of_its_configuration(tmp_path: pathlib.Path) -> None:
    """The file of a run and the file that is found by its name; a file of another configuration has no edge."""
    text = (pathlib.Path(__file__).parents[3] / "examples/reward_stream/one_bandit.yaml").read_text()
    read = write(tmp_path / "b.yml", text)
    write(tmp_path / "config/bandits.yaml", text + "\n")
    other = write(tmp_path / "other.yml", text.replace("0.02", "0.03"))
    broken = write(tmp_path / "broken.yml", "a: [")
    (bandit,) = bandits_file.read(str(read))[1].bandits.values()
    write(tmp_path / "snapshots/home/1.json", json.dumps({"config_hash": config_hash(bandit)}))
    write(tmp_path / "snapshots/home/LATEST", '{"version": 1, "sha256": ""}')
    for number, each in enumerate((read, other, broken)):
        run(tmp_path / f"out/{number}", f"r{number}", [each], {"x": "x"}, "off_policy")
    graph = graph_of(tmp_path)
    found = names(upstream(graph, keys_at(graph, tmp_path / "snapshots/home/1.json")))
    assert found == {"snapshot 1", "data b.yml", "data bandits.yaml"}
