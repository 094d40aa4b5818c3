"""The choice between broadcast and shuffle: its bounds on rows and bytes, and the graph that it leads to."""

from __future__ import annotations

import gzip
import json
import pathlib
import random
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf.histories import HistoryMatrix, transpose
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.strategy import GZIP_RATIO, choose_by_size, has_weights, matrix_bytes, most_rows
from transforms.interactions.columns import Columns
from transforms.interactions.files import InputFile, match
from transforms.interactions.format import InteractionFormat

from .running import pipeline_of, run, write_rows
from .test_pipeline import make_rows

PLAIN = Columns("user_id", "item_id", None, None)
TIMED = Columns("user_id", "item_id", "timestamp", None)
FORMAT = InteractionFormat()


def rows_of(path: pathlib.Path, columns: Columns = PLAIN, format: InteractionFormat = FORMAT) -> int:
    return most_rows(match([str(path)]), columns, format)


def test_parquet_rows_are_read_from_the_footers_of_all_files(tmp_path: pathlib.Path) -> None:
    write_rows(tmp_path, make_rows(1, rows=217), files=3)
    assert rows_of(tmp_path) == 217


def test_parquet_rows_are_exact_where_a_row_takes_less_than_a_byte(tmp_path: pathlib.Path) -> None:
    same = pa.array(["u"] * 100_000)
    pq.write_table(pa.table({"user_id": same, "item_id": same}), tmp_path / "same.parquet")
    assert (tmp_path / "same.parquet").stat().st_size < 100_000
    assert rows_of(tmp_path) == 100_000


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("user_id,item_id\nu,a\nu,b\n", PLAIN, 6),  # 24 bytes, 4 a row
        ("user_id,item_id\nu,a\nu,b", PLAIN, 6),  # 23 bytes are 5.75 rows
        ("user_id,item_id,timestamp\nu,a,1\n", TIMED, 6),  # 32 bytes, 6 a row
        ('{"user_id":1,"item_id":2}\n' * 3, PLAIN, 3),  # 26 bytes a row
        ('{"user_id":1,"item_id":2}', PLAIN, 1),
        ('{"user_id":1,"item_id":2,"timestamp":3}\n' * 2, TIMED, 2),
    ],
)
def test_text_is_counted_as_if_every_row_were_the_shortest(
    text: str, columns: Columns, rows: int, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "log").write_text(text)
    assert rows_of(tmp_path, columns) == rows
    assert rows >= text.rstrip("\n").count("\n") + ("{" in text)  # the bound holds


def test_gzipped_text_is_counted_at_ten_times_its_size(tmp_path: pathlib.Path) -> None:
    packed = gzip.compress(b"user_id,item_id\nu,a\nu,b\n")
    (tmp_path / "log.gz").write_bytes(packed)
    assert rows_of(tmp_path) == -(-len(packed) * GZIP_RATIO // 4)


def test_a_log_of_random_ids_in_gzip_has_fewer_rows_than_the_bound(tmp_path: pathlib.Path) -> None:
    rng = random.Random(3)
    lines = sorted(f"u{rng.randrange(5_000)},c{rng.randrange(900)},{1_700_000_000 + n}" for n in range(20_000))
    text = "user_id,item_id,timestamp\n" + "\n".join(lines) + "\n"
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert rows_of(tmp_path, TIMED) >= 20_000


def test_an_unreadable_file_counts_no_rows_and_is_left_to_the_run(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    write_rows(tmp_path, make_rows(1, rows=50))
    assert rows_of(tmp_path) == 50
    assert most_rows([InputFile(str(tmp_path / "gone"), 10)], PLAIN, FORMAT) == 0


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30), weighted=st.booleans(), repeats=st.integers(0, 20))
def test_the_rows_bound_the_matrix_that_a_worker_holds(lengths: list[int], weighted: bool, repeats: int) -> None:
    """Every item is new at worst, and every repeated row vanishes when it is merged."""
    entries = sum(lengths)
    histories = HistoryMatrix(
        np.cumsum([0, *lengths]).astype(np.int64),
        np.arange(entries, dtype=np.uint32),
        np.ones(entries) if weighted else None,
    )
    by_item = transpose(histories, entries)
    arrays = (by_item.indptr, by_item.users, by_item.places)
    held = histories.nbytes + sum(array.nbytes for array in arrays if array is not None)
    assert held == matrix_bytes(entries, len(lengths), entries, weighted)
    rows = entries + repeats
    assert held <= matrix_bytes(rows, rows, rows, weighted)


@pytest.mark.parametrize(("weighted", "row_bytes"), [(False, 24), (True, 40)])
def test_the_choice_turns_exactly_at_the_limit(weighted: bool, row_bytes: int) -> None:
    needed = 1_000 * row_bytes + 16
    assert choose_by_size(1_000, weighted, needed).strategy == "broadcast"
    assert choose_by_size(1_000, weighted, needed - 1).strategy == "shuffle"


@pytest.mark.parametrize(
    ("columns", "rules", "weighted"),
    [
        (PLAIN, HistoryRules(), False),
        (Columns("u", "i", None, "weight"), HistoryRules(), True),
        (TIMED, HistoryRules(half_life_us=1), True),
        (PLAIN, HistoryRules(dedupe="sum"), True),
        (Columns("u", "i", None, "weight"), HistoryRules(binary=True), False),
    ],
)
def test_histories_have_weights_from_a_column_decay_or_sums(
    columns: Columns, rules: HistoryRules, weighted: bool
) -> None:
    assert has_weights(columns, rules) is weighted


def note_of(output: pathlib.Path) -> Any:
    return json.loads((output / "run.json").read_text())["notes"][-1]


def test_run_json_says_how_pairs_were_summed_and_why(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", [(f"u{n}", f"c{n % 7}", 1.0, n) for n in range(30_000)])
    fits = run(interactions, tmp_path / "fits")
    assert note_of(fits) == "strategy broadcast: at most 30,000 rows need 1 MiB, the limit is 1,024 MiB"
    large = run(interactions, tmp_path / "large", "--broadcast_limit_mb=1")
    assert note_of(large) == "strategy shuffle: at most 30,000 rows need 1 MiB, the limit of broadcast is 1 MiB"
    assert note_of(run(interactions, tmp_path / "set", "--strategy=shuffle")) == "strategy shuffle, set by --strategy"
    kept = run(interactions, tmp_path / "kept", "--keep_increment")
    assert note_of(kept) == "strategy shuffle, required by --keep_increment"
    added = run(write_rows(tmp_path / "new", [("u", "c", 1.0, 1)]), tmp_path / "added", f"--base={kept}")
    assert note_of(added) == "strategy shuffle, required by --base"


class _Labels(PipelineVisitor):
    def __init__(self) -> None:
        self.labels: set[str] = set()

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        self.labels.add(transform_node.full_label)


def steps_of(root: beam.Pipeline) -> set[str]:
    visitor = _Labels()
    root.visit(visitor)
    return {label for label in visitor.labels if label and "/" not in label}


COMMON = {
    "ReadBlocks", "WriteDeadLetters", "GroupByUser", "NumberItems", "EncodeHistories", "WriteItems", "WriteNeighbors",
    "GatherFacts",
}  # fmt: skip


def test_a_graph_holds_one_way_to_the_neighbors(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", make_rows(1))
    base = run(write_rows(tmp_path / "old", make_rows(2)), tmp_path / "base", "--keep_increment")
    cases = {
        (): {"RankByBroadcast"},
        ("--strategy=shuffle",): {"SumPairs", "RankSums"},
        ("--keep_increment",): {"SumPairs", "RankSums", "WriteIncrement"},
        (f"--base={base}",): {"SumPairs", "RankSums", "CompareWithBase"},
    }
    for number, (flags, steps) in enumerate(cases.items()):
        root = pipeline_of(interactions, tmp_path / f"out{number}", *flags)
        assert steps_of(root) == COMMON | steps, flags
