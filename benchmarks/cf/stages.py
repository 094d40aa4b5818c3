"""Measure the stages of the pipeline: its functions one after another without Beam, and their lower bound.

The time of the pipeline minus the sum of the stages is the cost of Beam. Grouping uses one shard, as in a run on a
small file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.batch_cf import kernels, neighbors_file
from pipelines.batch_cf.encoding import encode
from pipelines.batch_cf.export.saved_model import export_model
from pipelines.batch_cf.histories import transpose
from pipelines.batch_cf.plan import make_plan, merge_totals, totals_of
from pipelines.batch_cf.ranking import rank_histories
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure, scoring_of
from pipelines.batch_cf.shards import keep_histories
from pipelines.batch_cf.sums import sum_rows
from pipelines.batch_cf.table import NeighborTable
from transforms.interactions.files import match
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import read_unit, work_units

__all__ = ["time_stages"]


def time_stages(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each stage, by name, on one thread where the name says nothing else."""
    stages: dict[str, float] = {}
    clock = _Clock(stages)
    format = InteractionFormat(user_column=job["user_column"], item_column=job["item_column"])
    outputs = [o for unit in work_units(match([job["data"]]), format) for o in read_unit(unit, format)]
    blocks = [output for output in outputs if isinstance(output, pa.RecordBatch)]
    clock.note("reading")
    rules = HistoryRules()
    shard = keep_histories(blocks, rules, None).shard
    clock.note("grouping and deduplicating")
    nothing = pa.array([], pa.string())
    plan = make_plan(merge_totals([totals_of(shard, None)]), rules, nothing)
    histories, marginals = encode(shard, plan, rules, None)
    by_item = transpose(histories, len(plan.items))
    clock.note("numbering and transposing")

    items, scoring = len(plan.items), scoring_of(plan, marginals, Measure(top_k=job["top_k"]))
    clock.skip()
    _count_only(by_item.indptr, by_item.users, histories.indptr, histories.items, np.zeros(items, np.int32))
    clock.note("floor: bare counting loop, 1 thread")
    for _ in sum_rows(histories, by_item, 0, items):
        pass
    clock.note("summing kernel, 1 thread")
    score_s = rank_s = 0.0
    for part in sum_rows(histories, by_item, 0, items):
        mark = time.perf_counter()
        lengths = np.diff(part.row_ends, prepend=0)
        n_i = np.repeat(scoring.marginals[part.first_row : part.first_row + len(lengths)], lengths)
        n_j = scoring.marginals.take(part.columns)
        scores = scoring.similarity.score(part.counts.astype(np.float64), n_i, n_j, scoring.parameters)
        scores = scores.astype(np.float32)
        score_s += time.perf_counter() - mark
        mark = time.perf_counter()
        places = np.empty((len(lengths), scoring.top_k), np.int64)
        kernels.top_k(part.row_ends, part.columns, scores.view(np.int32), scoring.eligible, places, lengths)
        rank_s += time.perf_counter() - mark
    stages["scoring, 1 thread"], stages["ranking, 1 thread"] = score_s, rank_s
    clock.skip()
    neighbors = rank_histories(histories, by_item, 0, items, scoring, threads=job["threads"])
    clock.note(f"summing, scoring and ranking, {job['threads']} threads")

    folder = Path(job["output"])
    folder.mkdir(parents=True)
    with open(folder / "neighbors.parquet", "wb") as file:
        neighbors_file.write_table(neighbors_file.neighbors_table(neighbors, plan.items), file)
    clock.note("writing neighbors")
    table = NeighborTable(
        items=plan.items,
        indptr=np.append(0, np.cumsum(neighbors.lengths)),
        neighbors=neighbors.neighbors.astype(np.int32),
        scores=neighbors.scores,
        users=plan.item_users,
        available=plan.available,
    )
    clock.skip()
    export_model(table, folder / "model", model_card={})
    clock.note("exporting the model")
    return {"stages": stages, "multiply_adds": plan.pair_work, "pairs_scored": neighbors.pairs}


class _Clock:
    """Notes the time since the last note."""

    def __init__(self, stages: dict[str, float]) -> None:
        self._stages = stages
        self._mark = time.perf_counter()

    def note(self, stage: str) -> None:
        self._stages[stage] = time.perf_counter() - self._mark
        self.skip()

    def skip(self) -> None:
        self._mark = time.perf_counter()


@numba.njit(cache=True, nogil=True)
def _count_only(
    item_indptr: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.uint32],
    user_indptr: npt.NDArray[np.int64],
    user_items: npt.NDArray[np.uint32],
    counter: npt.NDArray[np.int32],
) -> None:
    """One addition to a dense counter for every multiply-add: no list of what was touched, nothing kept."""
    for row in range(item_indptr.shape[0] - 1):
        for place in range(item_indptr[row], item_indptr[row + 1]):
            user = item_users[place]
            for position in range(np.uint64(user_indptr[user]), np.uint64(user_indptr[user + np.uint32(1)])):
                counter[user_items[position]] += 1
