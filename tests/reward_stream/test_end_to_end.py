"""Whole runs over the generator's world against the oracle, which shares no code with them.

3,000 decisions over two minutes of event time with every oddity, so that a stream matures, corrects and lets go of
records while it reads. How the records are divided into files, lines, shards and bundles must not matter, nor whether
the run is bounded (FnApiRunner) or a stream (Prism).
"""

from __future__ import annotations

import concurrent.futures
import copy
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import uuid
from collections import Counter
from typing import Any

import apache_beam as beam
import jsonschema
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from examples.reward_stream import generate
from examples.reward_stream.world import Knobs
from pipelines.reward_stream.__main__ import main
from pipelines.reward_stream.metrics import RewardStreamMetrics
from pipelines.reward_stream.pipeline import build
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.config import SequencerConfig
from pipelines.reward_stream.steps.publish import PublishConfig
from serving_client.contracts.schemas import load
from tests.oracles.oracle import comparable, statistics_of
from transforms.dead_letters import DeadLetter, from_json_line

ROOT = pathlib.Path(__file__).resolve().parents[2]
STREAM = "_stream"
OF_THE_RUN = ("version", "published_at", "watermark", "event_time_lag")
BESIDE_OUTCOMES = ("conflicting_duplicates", "segments_over_limit")

# Everything often enough for 3,000 decisions; nothing late, which a bounded run does not know.
OFTEN = Knobs(
    duplicate_decisions=0.03, duplicate_rewards=0.05, conflicting_decisions=0.02, conflicting_rewards=0.03,
    far_skewed_rewards=0.02, edge_rewards=0.05, tied_rewards=0.05, orphan_rewards=0.02, bots=0.03, failures=0.04,
    old_generations=0.05, unknown_generations=0.01, old_epochs=0.01, unknown_epochs=0.01, unknown_arms=0.01,
    unknown_bandits=0.01, zero_propensities=0.01, odd_features=0.1, malformed=0.004, future=0.01,
)  # fmt: skip

Snapshots = dict[str, dict[str, Any]]


def flags(world: pathlib.Path, output: pathlib.Path, *more: str) -> list[str]:
    return [
        f"--bandits={world}/bandits.yaml", f"--decisions={world}/decisions/*.jsonl*",
        f"--rewards={world}/rewards/*.jsonl*", f"--snapshots={output}/snapshots", f"--dead_letters={output}/letters",
        *more,
    ]  # fmt: skip


def published(output: pathlib.Path) -> Snapshots:
    """What each LATEST names."""
    found = {}
    for pointer in (output / "snapshots").glob("*/LATEST"):
        version = json.loads(pointer.read_bytes())["version"]
        found[pointer.parent.name] = json.loads(pointer.with_name(f"{version}.json").read_bytes())
    return found


def batch(world: pathlib.Path, output: pathlib.Path, *more: str) -> Snapshots:
    assert main(flags(world, output, *more)) == 0
    return published(output)


def alike(snapshots: Snapshots) -> tuple[Snapshots, int]:
    """As the oracle says it; orphans and rewards outside every window by their sum, which alone is promised."""
    plain = {name: comparable(copy.deepcopy(snapshot)) for name, snapshot in snapshots.items()}
    apart = sum(each["counters"].pop(name) for each in plain.values() for name in ("orphan", "outside_window"))
    return plain, apart


def outcomes(snapshots: Snapshots) -> Counter[str]:
    return sum((Counter(snapshot["counters"]) for snapshot in snapshots.values()), Counter())


def number_of_lines(world: pathlib.Path) -> int:
    lines: dict[str, int] = json.loads((world / "generated.json").read_text())["lines"]
    return sum(lines.values())


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """One with everything that can go wrong, one without what lies outside the promise that stream equals batch."""
    made = {}
    for name, knobs in (("odd", OFTEN), ("clean", OFTEN.clean())):
        made[name] = tmp_path_factory.mktemp(name)
        generate.write(made[name], 3_000, knobs=knobs, rewards_per_decision=0.8, rate=45.0, files_every_us=4_000_000)
    return made


@pytest.fixture(scope="module")
def bounded(worlds: dict[str, pathlib.Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The folders that the command left."""
    outputs = {name: tmp_path_factory.mktemp(f"{name}-batch") for name in worlds}
    for name, output in outputs.items():
        batch(worlds[name], output)
    return outputs


@pytest.fixture(scope="module")
def streamed(worlds: dict[str, pathlib.Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The folders that the command with --streaming left, one job per world, side by side."""
    outputs = {name: tmp_path_factory.mktemp(f"{name}-stream") for name in worlds}

    def run(name: str) -> subprocess.CompletedProcess[str]:
        more = ("--streaming", "--stop_when_idle=2s", "--publish_interval=1s", f"--state={outputs[name]}/state")
        return subprocess.run(
            [sys.executable, "-m", "pipelines.reward_stream", *flags(worlds[name], outputs[name], *more)],
            check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(len(worlds)) as pool:
        for job in [pool.submit(run, name) for name in worlds]:
            assert job.result().returncode == 0, job.result().stderr
    return outputs


@pytest.mark.parametrize("shards", [1, 7])
def test_a_bounded_run_equals_the_oracle_whatever_the_number_of_shards(
    worlds: dict[str, pathlib.Path], tmp_path: pathlib.Path, shards: int
) -> None:
    found = batch(worlds["odd"], tmp_path, f"--shards={shards}")
    assert alike(found) == alike(statistics_of(worlds["odd"]))
    assert sum(count for name, count in outcomes(found).items() if name not in BESIDE_OUTCOMES) == number_of_lines(
        worlds["odd"]
    )


def test_lines_in_any_order_and_in_other_files_give_the_same_bytes(
    worlds: dict[str, pathlib.Path], bounded: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """Five files, one of them compressed, one without a last line end."""
    rng, world = random.Random(5), tmp_path / "divided"
    world.mkdir()
    (world / "bandits.yaml").write_bytes((worlds["odd"] / "bandits.yaml").read_bytes())
    for source in ("decisions", "rewards"):
        lines = [
            line for path in sorted((worlds["odd"] / source).iterdir()) for line in path.read_bytes().split(b"\n")[:-1]
        ]
        rng.shuffle(lines)
        (world / source).mkdir()
        for number in range(5):
            name, data = world / source / f"{rng.getrandbits(30)}.jsonl", b"\n".join(lines[number::5])
            if number == 0:
                name.with_name(f"{name.name}.gz").write_bytes(gzip.compress(data + b"\n"))
            else:
                name.write_bytes(data + b"\n" * (number != 1))
    again, before = batch(world, tmp_path / "again"), published(bounded["odd"])
    assert {name: _without_clock(each) for name, each in again.items()} == {
        name: _without_clock(each) for name, each in before.items()
    }


def test_everything_delivered_twice_changes_nothing_but_the_duplicates(
    worlds: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    world = tmp_path / "twice"
    for source in ("decisions", "rewards"):
        (world / source).mkdir(parents=True)
        for path in (worlds["odd"] / source).iterdir():
            for name in (path.name, f"again-{path.name}"):
                (world / source / name).write_bytes(path.read_bytes())
    (world / "bandits.yaml").write_bytes((worlds["odd"] / "bandits.yaml").read_bytes())
    found, once = batch(world, tmp_path / "out"), statistics_of(worlds["odd"])
    assert alike(found) == alike(statistics_of(world))
    assert all(found[name].get("arms") == once[name].get("arms") for name in once)


def test_beam_counters_say_what_a_bounded_run_did(worlds: dict[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """Each by its name and value; a decision with an outcome beside others is among them once."""
    world = worlds["odd"]
    data = (world / "bandits.yaml").read_bytes()
    reading = SequencerConfig(
        decisions=f"{world}/decisions/*", rewards=f"{world}/rewards/*", bandits=f"{world}/bandits.yaml",
        bandits_data=data,
    )  # fmt: skip
    publishing = PublishConfig(
        str(tmp_path / "snapshots"), str(tmp_path / "letters"), reading.shards, Pace(), uuid.uuid4().hex, data
    )
    pipeline = beam.Pipeline(FnApiRunner())
    build(pipeline, reading, publishing, streaming=False)
    result = pipeline.run()
    result.wait_until_finish()
    found = published(tmp_path)
    assert alike(found) == alike(statistics_of(world))
    counters = {
        each.key.metric.name: each.committed
        for each in result.metrics().query(MetricsFilter().with_namespace(RewardStreamMetrics.NAMESPACE))["counters"]
    }
    letters = [line for path in (tmp_path / "letters").iterdir() for line in path.read_text().splitlines()]
    counts = {name: count for name, count in outcomes(found).items() if count and name != "segments_over_limit"}
    assert {name: count for name, count in counters.items() if count} == {
        "records_read": number_of_lines(world),
        "records_malformed": counts["malformed"],
        "dead_letters_written": len(letters),
        "snapshots_published": len(found),
        **{f"outcome_{name}": count for name, count in counts.items()},
    }


@pytest.mark.needs("prism")
@pytest.mark.parametrize("name", ["odd", "clean"])
def test_the_stream_equals_the_bounded_run_and_the_oracle(
    worlds: dict[str, pathlib.Path], streamed: dict[str, pathlib.Path], bounded: dict[str, pathlib.Path], name: str
) -> None:
    found, expected = published(streamed[name]), published(bounded[name])
    assert alike(found) == alike(expected) == alike(statistics_of(worlds[name]))
    for bandit_id, snapshot in found.items():
        differing = {key for key, value in snapshot.items() if value != expected[bandit_id][key]} - {"counters"}
        assert differing <= {*OF_THE_RUN}, bandit_id
    kept = BESIDE_OUTCOMES
    assert sum(n for outcome, n in outcomes(found).items() if outcome not in kept) == number_of_lines(worlds[name])
    assert all(snapshot["final"] for snapshot in (*found.values(), *expected.values()))


@pytest.mark.needs("prism")
@pytest.mark.parametrize("name", ["odd", "clean"])
def test_stream_and_bounded_run_bury_the_same_records(
    streamed: dict[str, pathlib.Path], bounded: dict[str, pathlib.Path], name: str
) -> None:
    """Each record once, by place and bytes.

    A reward outside every window may be an orphan in one of the two. And a stream lets go of a reward's bytes once its
    decision is known: a conflicting one of unknown label that wins later is buried without its rewards.
    """
    buried = []
    for output in (streamed[name], bounded[name]):
        texts = [line for path in (output / "letters").iterdir() for line in path.read_text().splitlines()]
        letters = [from_json_line(text) for text in texts]
        assert len({(letter.source, letter.position) for letter in letters}) == len(letters)
        for letter in letters:
            data = pathlib.Path(letter.source).read_bytes()
            assert data[letter.position :].startswith(letter.original)
        buried.append({letter for letter in letters if letter.reason != "orphan"})
    if name == "odd":
        buried = [{each for each in letters if not _is_reward_of_unknown(each)} for letters in buried]
    assert buried[0] == buried[1]
    assert len(buried[0]) > 50


@pytest.mark.needs("prism")
def test_all_that_is_published_keeps_to_its_schema(streamed: dict[str, pathlib.Path]) -> None:
    validators = {
        name: jsonschema.Draft202012Validator(load(name)) for name in ("snapshot", "stream_snapshot", "latest")
    }
    seen: Counter[str] = Counter()
    for path in (streamed["odd"] / "snapshots").glob("*/[!.]*"):
        name = "latest" if path.name == "LATEST" else "stream_snapshot" if path.parent.name == STREAM else "snapshot"
        validators[name].validate(json.loads(path.read_bytes()))
        seen[name] += 1
    assert seen["latest"] == 6 and seen["snapshot"] == 5 * seen["stream_snapshot"] > 0


def _without_clock(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in snapshot.items() if key not in OF_THE_RUN}


def _is_reward_of_unknown(letter: DeadLetter) -> bool:
    return letter.reason.startswith("unknown") and pathlib.Path(letter.source).parent.name == "rewards"
