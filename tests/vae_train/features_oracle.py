"""What the features of a log must be, the plain way: dicts and lists, one user at a time. And how tests run a pipeline.

A row is (user, item, weight, time); the log's columns are as named: w, t, both or none.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.examples import parse
from pipelines.vae_train.features.histories import Histories, hash_pairs
from pipelines.vae_train.features.items import read_vocabulary
from pipelines.vae_train.features.side import write_sides
from pipelines.vae_train.pipeline import Job, build
from transforms.hashing import siphash
from transforms.interactions.files import match
from transforms.interactions.format import InteractionFormat

Row = tuple[str, str, float, int]
Entry = tuple[str, float]

ODD_IDS = [
    "  a ",
    "a",
    "#",
    "a b",
    "'q' \"x\"",
    '"',
    "😀 course",
    "é",
    "e\u0301",
    "x" * 1024,
    "x" * 1023,
    "\t",
    "\x0b",
    "\x85",
    "\u2028line",
    "\ufeffb",
    "-1",
    "007",
    "7",
    "%00",
    "\\n",
    "[UNK]",
    " ",
    "0.5",
]
"""Ids that a text file, a CSV reader or a shell might change."""


def key_of(user: str, seed: int) -> int:
    return int(siphash(pa.array([user]), seed)[0])


def pair_hash(user: str, item: str, seed: int, key_seed: int) -> int:
    return int(hash_pairs(siphash(pa.array([user]), key_seed), pa.array([item]), [0], seed)[0])


def histories(rows: Sequence[Row], columns: str = "wt", seed: int = 1) -> dict[str, list[Entry]]:
    """User -> (item, weight), oldest first. Items of weight 0 are left out, and users without any other item."""
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for user, item, weight, time in rows:
        one = (time if "t" in columns else 0, weight if "w" in columns else 1.0)
        of = found.setdefault(user, {})
        of[item] = max(of.get(item, one), one)  # the newest; of equally new ones the heaviest
    found = {user: {item: one for item, one in of.items() if one[1]} for user, of in found.items()}

    def place(user: str, item: str) -> tuple[int, int]:
        return found[user][item][0], pair_hash(user, item, seed, seed)

    return {
        user: [(item, of[item][1]) for item in sorted(of, key=lambda item: place(user, item))]
        for user, of in found.items()
        if of
    }


def zero_weights(rows: Sequence[Row]) -> int:
    """Pairs of user and item whose newest interaction, of equally new ones the heaviest, has weight 0."""
    pairs = {row[:2] for row in rows}
    return sum(
        max((time, weight) for user, item, weight, time in rows if (user, item) == pair)[1] == 0 for pair in pairs
    )


def split_of(users: dict[str, list[Entry]], rule: SplitRule, analyze_all: bool = False) -> dict[str, str]:
    """User -> train, validation or test."""
    count = len(users)
    share = rule.validation_fraction
    if share is None:
        share = min(max(0.05 * count, 567), 9_700, 0.2 * count) / count
    places = {user: key_of(user, rule.seed) % 2**32 * 2**32 + key_of(user, rule.seed) // 2**32 for user in users}
    first = min((places[user] for user in users if len(users[user]) >= 2), default=None)
    last = max(places.values())
    splits = {}
    for user, place in places.items():
        below = place / 2**64 < share and (place != last or last == first)
        if not analyze_all and (below or place == first):
            splits[user] = "validation"
        elif place / 2**64 >= 1 - rule.test_fraction:
            splits[user] = "test"
        else:
            splits[user] = "train"
    return splits


def given_of(user: str, history: list[Entry], rule: SplitRule, key_seed: int = 1) -> set[str]:
    """The items of a held-out user that are shown."""
    shown = min(max(int(rule.fold_in * len(history) + 0.5), 1), max(1, len(history) - 1))
    items = [item for item, _ in history]
    if rule.by == "user":
        items.sort(key=lambda item: pair_hash(user, item, rule.seed, key_seed))
    return set(items[:shown])


def vocabulary(users: dict[str, list[Entry]], splits: dict[str, str], rules: FeatureRules) -> list[tuple[str, int]]:
    """(item, training users), in the order of the vocabulary."""
    counts: dict[str, int] = {}
    for user, history in users.items():
        for item, _ in history if splits[user] == "train" else []:
            counts[item] = counts.get(item, 0) + 1
    kept = [(item, count) for item, count in counts.items() if count >= rules.min_item_users]
    kept.sort(key=lambda pair: (pair[1], pair[0].encode()), reverse=True)
    return kept[: rules.max_items]


def examples(
    users: dict[str, list[Entry]], splits: dict[str, str], index: dict[str, int], rule: SplitRule, seed: int = 1
) -> dict[str, dict[int, dict[str, Any]]]:
    """Split -> user key -> what the record holds."""
    made: dict[str, dict[int, dict[str, Any]]] = {"train": {}, "validation": {}, "test": {}}
    for user, history in users.items():
        split = splits[user]
        given = {item for item, _ in history} if split == "train" else given_of(user, history, rule, seed)
        record: dict[str, Any] = {
            "item_ids": [index.get(item, -1) for item, _ in history if item in given],
            "weights": [weight for item, weight in history if item in given],
        }
        if split == "train" and max(record["item_ids"]) < 0:
            continue
        if split != "train":
            if len(history) < 2:
                continue
            record["target_ids"] = [index.get(item, -1) for item, _ in history if item not in given]
        made[split][key_of(user, seed)] = record
    return made


def make_rows(seed: int, users: int, items: Sequence[str], rows: int) -> list[Row]:
    """A log with repeated pairs, equal times, weights of 0, users of one item, popular and rare items."""
    rng = random.Random(seed)
    return [
        (
            f"u{int(rng.paretovariate(1.0)) % users if rng.random() < 0.3 else rng.randrange(users)}",
            items[min(int(rng.expovariate(1) * len(items) / 4), len(items) - 1)],
            rng.choice([0.0, 0.5, 1.0, 3.0]),
            rng.randrange(50) * 1_000_000,
        )
        for _ in range(rows)
    ]


def table_of(rows: Sequence[Row], columns: str = "wt") -> pa.Table:
    table = {
        "user_id": pa.array([row[0] for row in rows], pa.string()),
        "item_id": pa.array([row[1] for row in rows], pa.string()),
    }
    if "w" in columns:
        table["weight"] = pa.array([row[2] for row in rows], pa.float64())
    if "t" in columns:
        table["timestamp"] = pa.array([row[3] for row in rows], pa.int64())
    return pa.table(table)


@dataclasses.dataclass(frozen=True)
class Written:
    """A features folder, read."""

    folder: pathlib.Path
    facts: dict[str, Any]
    vocabulary: list[tuple[str, int]]
    examples: dict[str, dict[int, dict[str, Any]]]

    @property
    def transform_dir(self) -> str:
        return str(self.folder / "transform")


def run(
    folder: pathlib.Path,
    rows: Sequence[Row],
    rules: FeatureRules | None = None,
    split: SplitRule | None = None,
    *,
    columns: str = "wt",
    files: int = 1,
    user_shards: int = 1,
    analyze_all: bool = False,
    catalogue: pa.Table | None = None,
    unavailable: Sequence[str] = (),
    root: beam.Pipeline | None = None,
) -> Written:
    """Run the pipeline on rows, on FnApiRunner unless `root` is given, and read what it wrote."""
    rules = rules or FeatureRules()
    (folder / "in").mkdir(parents=True)
    for number in range(files):
        pq.write_table(table_of(rows[number::files], columns), folder / "in" / f"rows-{number}.parquet")
    out = folder / "out"
    job = Job(
        files=match([str(folder / "in" / "*.parquet")]),
        format=InteractionFormat(timestamp_unit="us"),
        rules=rules,
        split=split or SplitRule("time"),
        folder=str(out),
        side_files=write_sides(catalogue, rules.side_columns, str(out / "transform")) if catalogue else {},
        unavailable=pa.array(unavailable, pa.string()),
        user_shards=user_shards,
        analyze_all=analyze_all,
    )
    root = root or beam.Pipeline(runner=FnApiRunner())
    build(root, job)
    root.run().wait_until_finish()
    return read(out, rules.side_columns)


def read(folder: pathlib.Path, sides: Sequence[str] = ()) -> Written:
    facts = json.loads((folder / "facts.json").read_text())
    items = read_vocabulary(str(folder))
    return Written(
        folder=folder,
        facts=facts,
        vocabulary=list(zip(items.ids.to_pylist(), items.users.tolist(), strict=True)),
        examples={split: read_examples(folder, split, sides) for split in ("train", "validation", "test")},
    )


def read_examples(folder: pathlib.Path, split: str, sides: Sequence[str] = ()) -> dict[int, dict[str, Any]]:
    """User key -> the record's lists."""
    import tensorflow as tf

    found: dict[int, dict[str, Any]] = {}
    paths = sorted(str(path) for path in (folder / "examples").glob(f"{split}-*.gz"))
    for path in paths:
        records = list(tf.data.TFRecordDataset(path, compression_type="GZIP").as_numpy_iterator())
        if not records:
            continue
        parsed = parse(tf.constant(records), sides, targets=split != "train")
        lists = {name: tensor.to_list() for name, tensor in parsed.items() if name != "user_key"}
        for place, key in enumerate(parsed["user_key"].numpy().tolist()):
            assert key % 2**64 not in found, "a user has one record"
            found[key % 2**64] = {name: values[place] for name, values in lists.items()}
    return found


def as_dict(found: Histories) -> dict[str, list[Entry]]:
    """A shard's histories as the oracle writes them."""
    items = found.items.to_pylist()
    weights = [1.0] * len(found.codes) if found.weights is None else found.weights.tolist()
    entries = [(items[code], weight) for code, weight in zip(found.codes.tolist(), weights, strict=True)]
    bounds = zip(found.indptr[:-1].tolist(), found.indptr[1:].tolist(), strict=True)
    return {user: entries[a:b] for user, (a, b) in zip(found.users.to_pylist(), bounds, strict=True)}


def block_of(rows: Sequence[Row], columns: str = "wt") -> pa.RecordBatch:
    """Rows as the readers' block."""
    table = table_of(rows, columns)
    arrays = {name: table[name].combine_chunks() for name in table.column_names}
    for name in ("user_id", "item_id"):
        arrays[name] = arrays[name].dictionary_encode()
    return pa.RecordBatch.from_pydict(arrays)
