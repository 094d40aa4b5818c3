"""Run batch_cf on rows, in process on FnApiRunner unless a runner is named, and read what it wrote.

Most tests look at neighbors alone; they leave out TensorFlow's export, which takes longer than all the rest.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.batch_cf.options import CfOptions, cf_settings, check
from pipelines.batch_cf.run import run as run_batch_cf
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, pipeline_for

from .oracle import Neighbor, Row


def write_rows(path: pathlib.Path, rows: Sequence[Row], columns: str = "wt", files: int = 1) -> str:
    """Rows as Parquet in `files` files below path, with weights (w), times (t), both or neither; returns the folder."""
    path.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        part = list(rows[number::files])
        table = {
            "user_id": pa.array([r[0] for r in part], pa.string()),
            "item_id": pa.array([r[1] for r in part], pa.string()),
        }
        if "w" in columns:
            table["weight"] = pa.array([r[2] for r in part], pa.float64())
        if "t" in columns:
            table["timestamp"] = pa.array([r[3] for r in part], pa.int64())
        pq.write_table(pa.table(table), path / f"rows-{number}.parquet", row_group_size=max(1, len(part) // 2))
    return str(path)


FN_API_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
NOW_US = 1_800_000_000_000_000


def run(interactions: str, output: pathlib.Path, *flags: str) -> pathlib.Path:
    """Run batch_cf without an export, with cosine unless flags name a similarity. Raises what the run raises."""
    options = _options(interactions, output, flags)
    new_pipeline = functools.partial(pipeline_for, options)
    run_batch_cf(cf_settings(options), new_pipeline, lambda: NOW_US, export=_no_export)
    return output


def pipeline_of(interactions: str, output: pathlib.Path, *flags: str) -> beam.Pipeline:
    """The pipeline of such a run, which is carried out to learn its steps."""
    options = _options(interactions, output, flags)
    made: list[beam.Pipeline] = []

    def new_pipeline() -> beam.Pipeline:
        made.append(pipeline_for(options))
        return made[-1]

    run_batch_cf(cf_settings(options), new_pipeline, lambda: NOW_US, export=_no_export)
    return made[0]


def _options(interactions: str, output: pathlib.Path, flags: Sequence[str]) -> PipelineOptions:
    argv = [f"--interactions={interactions}", f"--output={output}", "--timestamp_unit=us"]
    if not any(flag.startswith("--runner") for flag in flags):
        argv.append(FN_API_RUNNER)
    if not any(flag.startswith("--similarity") for flag in flags):
        argv.append("--similarity=cosine")
    options = parse([*argv, *flags], (InteractionOptions, CfOptions), "batch-cf", "")
    assert check(options) == []
    return options


def _no_export(*_: object, **__: object) -> None:
    return None


def read_neighbors(output: pathlib.Path) -> dict[str, list[Neighbor]]:
    """Item -> neighbors in rank order, items without any included."""
    found: dict[str, list[Neighbor]] = {
        item: [] for item in pq.read_table(output / "items.parquet")["item_id"].to_pylist()
    }
    for row in pq.read_table(output / "neighbors").to_pylist():
        found[row["item_id"]].append(Neighbor(row["neighbor_id"], row["score"], row["cooccurrence"]))
        assert row["rank"] == len(found[row["item_id"]])
    return found


def promised_bytes(output: pathlib.Path) -> dict[str, str]:
    """sha256 of every file whose bytes the contract promises."""
    files = [output / "items.parquet", *sorted((output / "neighbors").glob("*.parquet"))]
    return {str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def assert_same(found: dict[str, list[Neighbor]], expected: dict[str, list[Neighbor]], tolerance: float = 1e-6) -> None:
    """Equal lists; where scores differ by less than the tolerance their order may differ, and who is last of them."""
    assert found.keys() == expected.keys()
    for item, neighbors in expected.items():
        got = found[item]
        assert [n.score for n in got] == pytest.approx([n.score for n in neighbors], rel=tolerance, abs=1e-9), item
        last = neighbors[-1].score if neighbors else 0.0
        clear = {(n.item, n.users) for n in neighbors if n.score > last * (1 + 4 * tolerance) + 1e-9}
        assert clear <= {(n.item, n.users) for n in got}, item
