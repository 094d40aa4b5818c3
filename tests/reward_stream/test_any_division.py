"""A made-up log in any order, with any repetitions, divided in any way: the oracle's statistics, and sums that merge.

The parts of a bounded run without Beam, so that there is time for many examples: ranges of files, shards, publisher.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import pathlib
import random
import tempfile
from typing import Any

import numpy as np
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.reward_stream import generate
from examples.reward_stream.world import BANDITS, Knobs
from pipelines.reward_stream.steps.read_files import read_range
from pipelines.reward_stream.totals.ledger import Ledger
from pipelines.reward_stream.totals.segments import Segments
from serving_client.contracts.bandits import Bandit
from serving_client.contracts.bandits_document import bandits_of
from tests.oracles.oracle import comparable, statistics_of
from tests.reward_stream.publisher_setup import Clock, Memory, publisher
from transforms.attribution.block import decode
from transforms.attribution.joining.delta import Delta
from transforms.attribution.joining.fold import Shard, finish, fold
from transforms.attribution.parsing.file_ranges import FileRange
from transforms.attribution.rules import Label, Rules
from transforms.attribution.statistics.row_sums import Counted, sum_rows
from transforms.attribution.statistics.rows import RowSums

OFTEN = Knobs(
    duplicate_decisions=0.05, duplicate_rewards=0.1, conflicting_decisions=0.05, conflicting_rewards=0.1,
    far_skewed_rewards=0.05, edge_rewards=0.1, tied_rewards=0.1, orphan_rewards=0.05, bots=0.05, failures=0.05,
    old_generations=0.1, unknown_generations=0.03, old_epochs=0.03, unknown_epochs=0.03, unknown_arms=0.03,
    unknown_bandits=0.03, zero_propensities=0.05, odd_features=0.2, malformed=0.02, future=0.03,
)  # fmt: skip
FILE = bandits_of(yaml.safe_load(BANDITS), "test")
LATEST_US = 1 << 60


@functools.cache
def log() -> dict[str, list[bytes]]:
    """The lines of 150 decisions and their rewards, by source."""
    with tempfile.TemporaryDirectory() as folder:
        generate.write(pathlib.Path(folder), 150, knobs=OFTEN, rewards_per_decision=1.5, rate=10.0)
        return {
            source: [
                line + b"\n"
                for path in sorted(pathlib.Path(folder, source).iterdir())
                for line in path.read_bytes().split(b"\n")[:-1]
            ]
            for source in ("decisions", "rewards")
        }


def divide(rng: random.Random, folder: pathlib.Path) -> list[FileRange]:
    """Write the lines, some of them twice, in any order to any files; returns ranges that cover them, in any order."""
    (folder / "bandits.yaml").write_text(BANDITS)
    ranges = []
    for source, once in log().items():
        lines = [line for line in once for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        rng.shuffle(lines)
        (folder / source).mkdir()
        files = rng.randrange(1, 6)
        for number in range(files):
            path = folder / source / f"{number}.jsonl"
            path.write_bytes(b"".join(lines[number::files]))
            size, step = path.stat().st_size, rng.choice([700, 5_000, 1 << 20])
            ranges += [FileRange(source, str(path), at, min(at + step, size)) for at in range(0, size, step)]
    rng.shuffle(ranges)
    return ranges


def counted_from(rng: random.Random, ranges: list[FileRange], shards: int) -> dict[str, dict[str, Any]]:
    """The final snapshots."""
    rules = Rules(FILE)
    held = [Shard.empty(rules) for _ in range(shards)]
    reports, blocks = [], []
    for part in ranges:
        encoded, report = read_range(part, rules, shards, 5_000_000, LATEST_US)
        reports.append(report)
        blocks += [(shard, data) for shard, data in enumerate(encoded) if data]
    rng.shuffle(blocks)
    for shard, data in blocks:
        fold(held[shard], decode(data), rules)
    steps = [dataclasses.replace(finish(each, rules), shard=shard) for shard, each in enumerate(held)]
    rng.shuffle(steps)
    memory = Memory()
    publisher(memory, Clock(), file=FILE, shards=shards).finish(steps, reports)
    return {name: memory.document(name) for name in memory.names()}


def alike(snapshots: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """As the oracle says it; orphans and rewards outside every window by their sum, which alone is promised."""
    plain = {name: comparable(copy.deepcopy(snapshot)) for name, snapshot in snapshots.items()}
    apart = sum(each["counters"].pop(name) for each in plain.values() for name in ("orphan", "outside_window"))
    return plain, apart


@given(seed=st.integers(0, 2**32), shards=st.integers(1, 9))
@settings(max_examples=15)
def test_any_order_repetition_division_and_number_of_shards_gives_what_the_oracle_says(seed: int, shards: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        found = counted_from(rng, divide(rng, folder), shards)
        assert alike(found) == alike(statistics_of(folder))
        lines = sum(path.read_bytes().count(b"\n") for path in folder.glob("*/*.jsonl"))
    beside = ("conflicting_duplicates", "segments_over_limit")
    outcomes = [n for each in found.values() for outcome, n in each["counters"].items() if outcome not in beside]
    assert sum(outcomes) == lines


BANDIT: Bandit = FILE.bandits["course_page"]
LABEL = Label("course_page", 1, "free|de", "linear", 1)


def some_row(rng: random.Random) -> RowSums:
    """Every field in it, floats of very different sizes; now and then taken away instead of added."""
    n = rng.randrange(1, 6)
    columns = Counted(
        np.zeros(n, np.int32),
        np.array([1_795_500_000_000_000 + rng.randrange(2 * 3_600_000_000) for _ in range(n)]),
        np.array([rng.choice([0, 1_000_000, -500_000, 10**15, 1]) for _ in range(n)]),
        np.array([rng.choice([0.5, 1e-9, 0.3, 0.0, 1.0]) for _ in range(n)]),
        np.array([[rng.randrange(-(1 << 20), 1 << 20) for _ in range(6)] for _ in range(n)], np.int32),
        np.ones(n, np.bool_),
    )
    row = sum_rows(columns, [BANDIT], [("schema", 6)])[0]
    row.kinds = {rng.choice(["click", "hover"]): rng.randrange(1, 4)}
    row.fallbacks = rng.randrange(3)
    signed = RowSums()
    signed.add(row, rng.choice([1, 1, -1]))
    return signed


def merged(rows: list[RowSums]) -> RowSums:
    total = RowSums()
    for row in rows:
        total.add(row)
    return total


@given(seed=st.integers(0, 2**32))
@settings(max_examples=50)
def test_merging_rows_is_associative_and_commutative(seed: int) -> None:
    """(a + b) + c = a + (b + c) and a + b = b + a, to the bit, in the state and so in all that is derived from it."""
    rng = random.Random(seed)
    a, b, c = (some_row(rng) for _ in range(3))
    left, right = merged([merged([a, b]), c]), merged([a, merged([b, c])])
    assert left.to_state() == right.to_state()
    assert merged([a, b]).to_state() == merged([b, a]).to_state()


@given(seed=st.integers(0, 2**32), parts=st.integers(2, 8))
@settings(max_examples=30)
def test_a_ledger_does_not_tell_merged_deltas_from_single_ones(seed: int, parts: int) -> None:
    rng = random.Random(seed)
    deltas = [Delta({("course_page", 1, "counted"): rng.randrange(1, 9)}, {LABEL: some_row(rng)}) for _ in range(parts)]
    single, together = (Ledger(Segments()) for _ in range(2))
    for ledger in (single, together):
        ledger.follow(FILE)
    for delta in rng.sample(deltas, parts):
        single.add(delta)
    counted = sum(delta.counters["course_page", 1, "counted"] for delta in deltas)
    together.add(
        Delta({("course_page", 1, "counted"): counted}, {LABEL: merged([delta.rows[LABEL] for delta in deltas])})
    )
    assert json.dumps(single.to_state(), sort_keys=True) == json.dumps(together.to_state(), sort_keys=True)
