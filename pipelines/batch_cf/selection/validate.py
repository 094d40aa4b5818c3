"""Compute the candidates of one group on a sample, and measure NDCG@20 on its held-out items.

The candidates of a group share their pair sums: each chunk of sums is scored and ranked for all of them. A worker needs
the sample, twice HELD_BYTES for neighbors, and the neighbors of one candidate if they are more. EASE needs 16 bytes a
pair and three matrices of EASE_ITEMS x EASE_ITEMS.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf import sums
from pipelines.batch_cf.ease import ease_neighbors
from pipelines.batch_cf.encoding import encode
from pipelines.batch_cf.histories import HistoryMatrix, ItemMajor, transpose
from pipelines.batch_cf.plan import Marginals, Plan, make_plan, totals_of
from pipelines.batch_cf.ranking import TASK_ROWS, Neighbors, join, rank_sums
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure, pair_exponent, scoring_of, user_scale_of
from pipelines.batch_cf.selection.candidates import Candidate
from pipelines.batch_cf.selection.holdout import Sample
from pipelines.batch_cf.selection.recommending import quality_of_users
from transforms.ranking.lists import Lists

__all__ = ["measure_group", "validate_group"]

HELD_BYTES = 512 << 20
"""Neighbors of several candidates that are kept at once. Of more candidates the pairs are summed again."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """The histories of a sample in the units of one group, with what its validation users were given and not given."""

    plan: Plan
    marginals: Marginals
    histories: HistoryMatrix
    by_item: ItemMajor
    given: Lists
    held: Lists


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """Neighbors of all items, best first. Row i is indptr[i]:indptr[i + 1]."""

    indptr: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.float32]


def validate_group(
    sample: Sample,
    candidates: Sequence[Candidate],
    share: float,
    rules: HistoryRules,
    unavailable: pa.StringArray,
    threads: int,
) -> list[float]:
    """Return the mean NDCG@20 of each candidate over the validation users.

    Args:
        sample: The sample.
        candidates: Candidates that weigh interactions and users alike.
        share: The sample's share of the log. Shrinkage and l2 are numbers of users and are taken times this share.
        rules: Which interactions make a history. Limits on items do not apply to a sample.
        unavailable: Item ids that are never recommended.
        threads: Number of threads.

    Returns:
        A mean for each candidate, 0.0 without validation users.
    """
    if not len(sample.users):
        return [0.0] * len(candidates)
    measured = measure_group(sample, candidates, share, rules, unavailable, threads)
    return [math.fsum(ndcg) / len(ndcg) for ndcg, _ in measured]


def measure_group(
    sample: Sample,
    candidates: Sequence[Candidate],
    share: float,
    rules: HistoryRules,
    unavailable: pa.StringArray,
    threads: int,
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return NDCG@20 and recall@20 of every validation user, for each candidate. The arguments are as above."""
    group = _group(sample, candidates[0], rules, unavailable)
    # Candidates that differ in top_k alone are ranked once, with the largest. EASE keeps other neighbors for other K.
    rankings: dict[Measure, list[int]] = {}
    for place, candidate in enumerate(candidates):
        measure = candidate.measure
        rankings.setdefault(measure if measure.name == "ease" else dataclasses.replace(measure, top_k=0), []).append(
            place
        )
    widest = {
        key: dataclasses.replace(key, top_k=max(candidates[place].measure.top_k for place in places))
        for key, places in rankings.items()
    }
    found: dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}
    for keys in _batches(widest, len(group.plan.items)):
        tables = _tables(group, [_at_share(widest[key], share) for key in keys], threads)
        for key, table in zip(keys, tables, strict=True):
            for place in rankings[key]:
                found[place] = quality_of_users(
                    group.given, group.held, table.indptr, table.neighbors, table.scores,
                    candidates[place].measure.top_k, threads,
                )  # fmt: skip
    return [found[place] for place in range(len(candidates))]


def _group(sample: Sample, candidate: Candidate, rules: HistoryRules, unavailable: pa.StringArray) -> _Group:
    shard = sample.given if candidate.weighted else dataclasses.replace(sample.given, weights=None)
    rules = dataclasses.replace(rules, min_item_users=1, max_item_users=None, binary=not candidate.weighted)
    plan = make_plan(totals_of(shard, rules.max_items_per_user), rules, unavailable)
    histories, marginals = encode(shard, plan, rules, candidate.measure.user_exponent)
    number = pc.fill_null(pc.index_in(shard.items, value_set=plan.items), -1).to_numpy().astype(np.int32)
    row = np.full(len(shard.users), -1)
    row[sample.users] = np.arange(len(sample.users))
    mine = row[shard.user_codes] >= 0
    given = Lists.from_pairs(row[shard.user_codes[mine]], number[shard.item_codes[mine]], len(sample.users))
    rows, held = sample.held.rows(), number[sample.held.items]
    held = held[np.lexsort((held, rows))]  # an item that nobody has but in the held-out part is -1 and never a hit
    return _Group(
        plan, marginals, histories, transpose(histories, len(plan.items)), given, Lists(sample.held.indptr, held)
    )


def _batches(widest: Mapping[Measure, Measure], items: int) -> list[list[Measure]]:
    """Return the rankings in batches whose neighbors fit HELD_BYTES."""
    batches: list[list[Measure]] = [[]]
    held = 0
    for key, measure in widest.items():
        size = 8 * items * min(items, measure.top_k)
        if batches[-1] and held + size > HELD_BYTES:
            batches.append([])
            held = 0
        batches[-1].append(key)
        held += size
    return batches


def _at_share(measure: Measure, share: float) -> Measure:
    """Return the measure as it is on a sample: parameters that count users are taken times the share."""
    p = measure.parameters
    return dataclasses.replace(
        measure, parameters=dataclasses.replace(p, shrinkage=p.shrinkage * share, l2=p.l2 * share)
    )


def _tables(group: _Group, measures: Sequence[Measure], threads: int) -> list[_Table]:
    """Return the neighbors of each measure. The pairs are summed once for all that are functions of a pair."""
    scorings = [scoring_of(group.plan, group.marginals, measure) for measure in measures]
    pairwise = [scoring for scoring in scorings if scoring.similarity.score is not None]
    solved = [scoring for scoring in scorings if scoring.similarity.score is None]
    exponent = pair_exponent(group.plan, group.marginals, measures[0])
    scale = user_scale_of(group.histories, exponent, measures[0].user_exponent)
    items = len(group.plan.items)

    def rank_task(first: int) -> tuple[list[list[Neighbors]], list[sums.PairSums]]:
        parts: list[list[Neighbors]] = [[] for _ in pairwise]
        kept = []
        for part in sums.sum_rows(group.histories, group.by_item, first, min(first + TASK_ROWS, items), scale):
            for place, scoring in enumerate(pairwise):
                neighbors = rank_sums(part, scoring)
                parts[place].append(dataclasses.replace(neighbors, cooccurrence=np.zeros(0, np.int64)))
            if solved:
                kept.append(sums.gather([part]))
        return parts, kept

    ranked: list[list[Neighbors]] = [[] for _ in pairwise]
    pairs: list[sums.PairSums] = []
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for parts, kept in pool.map(rank_task, range(0, items, TASK_ROWS)):
            pairs += kept
            for place, found in enumerate(parts):
                ranked[place] += found
    joined = []
    while ranked:  # so that the parts of a ranking are freed as soon as they are joined
        joined.append(_table(join(ranked.pop(0))))
    tables = iter(joined)
    return [
        _table(join(list(ease_neighbors(pairs, s)))) if s.similarity.score is None else next(tables) for s in scorings
    ]


def _table(neighbors: Neighbors) -> _Table:
    indptr = np.concatenate([[0], np.cumsum(neighbors.lengths)]).astype(np.int64)
    return _Table(indptr, neighbors.neighbors, neighbors.scores)
