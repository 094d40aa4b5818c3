"""Measure R@20 and N@20 of every similarity beside popularity and EASE, with settings chosen on the train part.

A seeded random share of each user's train items is held out for validation (--holdout_share, a tenth). A larger share
would make the rest less similar to the whole train part: at two fifths RP3 beta beats EASE on mooc, at a tenth it does
not. Every similarity gets the parameters and the K with the highest validation N@20. They are searched one parameter at
a time. The test part is read only after that choice, and the model is trained on the whole train part. Test figures
follow the LightGCN convention: recall divides by the number of held-out items, the ideal of NDCG takes min(20, number
of held-out items), and train items are never ranked. The two lines that answer are the best similarity at its best K
and EASE (only up to 20,000 items).

Scores are those of the served model: sums of the neighbors' published float32 scores. The benchmark measures no time
and sets no threshold.

    python benchmarks/cf_quality.py --train TRAIN.parquet --test TEST.parquet [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table
import scipy.linalg.lapack
import scipy.sparse

from pipelines.batch_cf.histories import HistoryMatrix, transpose
from pipelines.batch_cf.plan import exponent_for
from pipelines.batch_cf.ranking import Scoring, rank_histories
from pipelines.batch_cf.scoring import Measure, user_scale_of
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters

CUT = 20
TABLE_K = 100
"""The K of the table's first column pair: the pipeline's default."""

EASE_ITEMS = 20_000
"""EASE inverts a dense items x items matrix: 1.6 GB in float32 at this size, twice that while it does."""

Matrix: TypeAlias = scipy.sparse.csr_array
Scorer = Callable[[Matrix], npt.NDArray[np.float32]]
"""Histories of some users to their scores of all items, float32 [users, items]."""

WIDE_K = 1000
"""The K at which parameters are chosen; the best K is looked for afterwards."""

KS = (100, 200, 500, 1000, 2000, 5000)
"""Values of K to try, those below the number of items, and all."""

USER_BLOCK = 256
"""Users scored at a time: 256 x 41,000 items of float32 are 42 MB a thread."""

GRIDS: dict[str, dict[str, tuple[Sequence[float], float]]] = {
    "asymmetric_cosine": {
        "asymmetry": ((0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), 0.5),
        "shrinkage": ((0.0, 3.0, 10.0, 30.0, 100.0), 0.0),
    },
    "rp3beta": {
        "alpha": ((0.4, 0.55, 0.7, 0.85, 1.0, 1.15, 1.3), 0.85),
        "beta": ((0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7), 0.4),
        "shrinkage": ((0.0, 3.0, 10.0, 30.0, 100.0), 0.0),
    },
    "degree_normalized": {
        "user_exponent": ((0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2), 0.7),
        "item_exponent": ((0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8), 0.55),
        "shrinkage": ((0.0, 3.0, 10.0, 30.0), 0.0),
    },
}
"""Values to try, ascending, and where the climb starts."""

LOCALITIES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Tried upwards with every setting of GRIDS until one is worse: the order of neighbors stays, so no ranking is due."""

PAIRWISE = tuple(name for name, similarity in SIMILARITIES.items() if similarity.score is not None)
"""The measures that are functions of a pair. EASE has a function of its own here."""

EASE_LAMBDAS = (100.0, 300.0, 500.0, 1000.0, 1250.0, 1500.0, 2000.0, 3000.0)


@dataclasses.dataclass(frozen=True)
class Quality:
    """Means over users."""

    recall: float
    ndcg: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """What validation chose for a similarity: its parameters at K, and what they reached there."""

    parameters: dict[str, float]
    top_k: int
    validation: Quality


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table. At TABLE_K and at the best K; for a model without K the two are one."""

    name: str
    short: Choice | None
    short_test: Quality | None
    best: Choice
    best_test: Quality


def main(argv: Sequence[str] | None = None) -> int:
    """Tune on train, test once, print the table."""
    arguments = _parser().parse_args(argv)
    began = time.perf_counter()
    console = rich.console.Console(stderr=True)
    train, test = read(arguments.train, arguments.test, arguments.user_column, arguments.item_column)
    rng = np.random.default_rng(arguments.seed)
    given, holdout = hold_out(train, arguments.holdout_share, rng)
    users = np.flatnonzero(np.diff(holdout.indptr))
    sample = 1000 if arguments.quick else arguments.validation_users
    users = np.sort(rng.choice(users, min(sample, len(users)), replace=False))
    rounds = 1 if arguments.quick else 4

    def validate(scorer: Scorer) -> Quality:
        return quality(scorer, given, holdout, users, arguments.threads)

    def examine(scorer: Scorer) -> Quality:
        return quality(scorer, train, test, np.flatnonzero(np.diff(test.indptr)), arguments.threads)

    def tell(
        name: str, parameters: dict[str, float], top_k: int | None, reached: Quality, on_test: Quality | None = None
    ) -> None:
        settings = " ".join(f"{key}={value:g}" for key, value in parameters.items())
        at = "" if top_k is None else f" K={top_k}"
        line = f"{name} {settings}{at}: validation R {reached.recall:.4f} N {reached.ndcg:.4f}"
        if on_test is not None:
            line += f", test R {on_test.recall:.4f} N {on_test.ndcg:.4f}"
        console.print(f"{time.perf_counter() - began:6.0f} s  {line}", style="dim", highlight=False, soft_wrap=True)

    rows = []
    popularity = validate(popularity_scorer(given))
    rows.append(Row("popularity", None, None, Choice({}, 0, popularity), examine(popularity_scorer(train))))
    if train.shape[1] <= EASE_ITEMS:
        lambdas = EASE_LAMBDAS[1::2] if arguments.quick else EASE_LAMBDAS
        choices = []
        for value in lambdas:
            choices.append(Choice({"lambda": value}, 0, validate(ease_scorer(given, value))))
            tell("ease", choices[-1].parameters, None, choices[-1].validation)
        best = max(choices, key=lambda choice: choice.validation.ndcg)
        rows.append(Row("ease", None, None, best, examine(ease_scorer(train, best.parameters["lambda"]))))
    for name in arguments.similarities or PAIRWISE:
        short, best = tune(name, given, validate, rounds, arguments.threads, tell)
        tests = []
        for choice in (short, best):
            ranked = neighbors(train, name, choice.parameters, choice.top_k, arguments.threads)
            tests.append(examine(neighbor_scorer(ranked, choice.top_k)))
            tell(f"test: {name}", choice.parameters, choice.top_k, choice.validation, tests[-1])
        rows.append(Row(name, short, tests[0], best, tests[1]))
    head = {
        "train": arguments.train, "test": arguments.test, "users": train.shape[0], "items": train.shape[1],
        "train_rows": train.nnz, "test_rows": test.nnz, "validation_users": len(users), "seed": arguments.seed,
        "holdout_share": arguments.holdout_share, "quick": arguments.quick, "machine": platform.machine(),
        "threads": arguments.threads, "numpy": np.__version__, "scipy": scipy.__version__,
        "wall_s": round(time.perf_counter() - began),
    }  # fmt: skip
    _print_table(rows, head)
    if arguments.json:
        record = {**head, "rows": [dataclasses.asdict(row) for row in rows]}
        pathlib.Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n")
    return 0


def read(train: str, test: str, user_column: str, item_column: str) -> tuple[Matrix, Matrix]:
    """Both files as users x items of ones, numbered alike; duplicates count once.

    Items of test alone are columns that train leaves empty: nobody can rank them, and they stay in the denominators.
    """
    tables = [pq.read_table(path, columns=[user_column, item_column]) for path in (train, test)]
    both = pa.concat_tables(tables)
    users, items = (both[name].combine_chunks().dictionary_encode() for name in (user_column, item_column))
    codes = users.indices.to_numpy(), items.indices.to_numpy()
    shape = len(users.dictionary), len(items.dictionary)
    rows = tables[0].num_rows
    return _ones(codes[0][:rows], codes[1][:rows], shape), _ones(codes[0][rows:], codes[1][rows:], shape)


def hold_out(train: Matrix, share: float, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Each user's items at random into (given, held out): share of them, rounded, at least one of two or more."""
    lengths = np.diff(train.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((rng.random(len(users)), users))
    place = np.arange(len(users)) - np.repeat(train.indptr[:-1], lengths)
    held = np.where(lengths > 1, np.maximum(1, np.rint(lengths * share)), 0)
    out = np.empty(len(users), np.bool_)
    out[order] = place < np.repeat(held, lengths)
    return tuple(_ones(users[at], train.indices[at], train.shape) for at in (~out, out))


def neighbors(train: Matrix, name: str, parameters: dict[str, float], top_k: int, threads: int) -> Matrix:
    """The pipeline's kernels: items x items, row i the top_k neighbors of i, best first, and their scores."""
    histories = HistoryMatrix(train.indptr.astype(np.int64), train.indices.astype(np.uint32))
    item_users = np.bincount(train.indices, minlength=train.shape[1])
    users = int((np.diff(train.indptr) > 0).sum())
    measure = Measure(name, _parameters(users, parameters), top_k)
    exponent = None if measure.user_exponent is None else exponent_for(int(item_users.max()), 1.0)
    filled = HistoryMatrix(np.unique(histories.indptr), histories.items)  # a user without items has no factor
    scoring = Scoring(
        similarity=measure.similarity,
        parameters=measure.parameters,
        marginals=item_users.astype(np.float64),
        exponent=exponent or 0,
        eligible=np.ones(train.shape[1], np.bool_),
        top_k=top_k,
    )
    scale = user_scale_of(filled, exponent, measure.user_exponent)
    ranked = rank_histories(filled, transpose(filled, train.shape[1]), 0, train.shape[1], scoring, scale, threads)
    indptr = np.append(0, np.cumsum(ranked.lengths))
    return Matrix((ranked.scores, ranked.neighbors.astype(np.int32), indptr), shape=(train.shape[1], train.shape[1]))


def tune(
    name: str,
    given: Matrix,
    validate: Callable[[Scorer], Quality],
    rounds: int,
    threads: int,
    tell: Callable[[str, dict[str, float], int | None, Quality], None],
) -> tuple[Choice, Choice]:
    """The choice at TABLE_K and the choice with K free, by validation N@20.

    A climb at WIDE_K: one parameter at a time, to the value beside the current one as long as that is better, in rounds
    until nothing changes; every setting takes its best locality. At TABLE_K the best of all settings seen.
    """
    grid = GRIDS.get(name, {})
    items = given.shape[1]
    wide = min(WIDE_K, items)
    seen: dict[tuple[float, ...], dict[float, tuple[Quality, Quality]]] = {}

    def settings_of(values: tuple[float, ...], locality: float) -> dict[str, float]:
        return dict(zip(grid, values, strict=True)) | ({"locality": locality} if grid else {})

    def reach(values: tuple[float, ...]) -> float:
        if values not in seen:
            ranked = neighbors(given, name, settings_of(values, 1.0), wide, threads)
            seen[values] = {}
            best = -1.0
            for locality in LOCALITIES if grid else (1.0,):
                sharp = Matrix((ranked.data**locality, ranked.indices, ranked.indptr), shape=ranked.shape)
                reached = validate(neighbor_scorer(sharp, TABLE_K)), validate(neighbor_scorer(sharp, wide))
                tell(name, settings_of(values, locality), wide, reached[1])
                seen[values][locality] = reached
                if reached[1].ndcg < best:
                    break
                best = reached[1].ndcg
        return max(at_wide.ndcg for _, at_wide in seen[values].values())

    current = tuple(start for _, start in grid.values())
    reach(current)
    for _ in range(rounds):
        before = current
        for at, (values, _) in enumerate(grid.values()):
            for step in (-1, 1):
                place = values.index(current[at]) + step
                while 0 <= place < len(values):
                    moved = (*current[:at], values[place], *current[at + 1 :])
                    if reach(moved) <= reach(current):
                        break
                    current, place = moved, place + step
        if current == before:
            break
    at_short = max(((v, q) for v, of in seen.items() for q in of), key=lambda at: seen[at[0]][at[1]][0].ndcg)
    short = Choice(settings_of(*at_short), min(TABLE_K, items), seen[at_short[0]][at_short[1]][0])
    settings = settings_of(current, max(seen[current], key=lambda locality: seen[current][locality][1].ndcg))
    ranked = neighbors(given, name, settings, items, threads)
    choices = [short]
    for top_k in [k for k in KS if k < items] + [items]:
        choices.append(Choice(settings, top_k, validate(neighbor_scorer(ranked, top_k))))
        tell(name, settings, top_k, choices[-1].validation)
    return short, max(choices, key=lambda choice: choice.validation.ndcg)


def neighbor_scorer(ranked: Matrix, top_k: int) -> Scorer:
    """What the served model does with the best top_k of each row: a history's neighbors' scores, summed."""

    def scores(histories: Matrix) -> npt.NDArray[np.float32]:
        summed = np.zeros(histories.shape, np.float32)
        _sum_scores(histories.indptr, histories.indices, ranked.indptr, ranked.indices, ranked.data, top_k, summed)
        return summed

    return scores


def popularity_scorer(train: Matrix) -> Scorer:
    """The same for everyone: an item's number of users."""
    item_users = np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)
    return lambda histories: np.tile(item_users, (histories.shape[0], 1))


def ease_scorer(train: Matrix, penalty: float) -> Scorer:
    """B = I - P diag(1 / P_jj), P = (X'X + penalty I)^-1. Source: Steck 2019, Embarrassingly shallow autoencoders.

    One dense float32 items x items array, inverted in place.
    """
    items = train.shape[1]
    weights = np.empty((items, items), np.float32, order="F")
    transposed = train.T.tocsr()
    by_item = train.tocsc()
    for start in range(0, items, 1024):
        weights[:, start : start + 1024] = (transposed @ by_item[:, start : start + 1024]).toarray()
    weights[np.diag_indices(items)] += penalty
    weights, fault = scipy.linalg.lapack.spotrf(weights, lower=1, overwrite_a=1)
    if fault:
        raise ArithmeticError(f"X'X + {penalty:g} I is not positive definite in float32 (LAPACK says {fault})")
    weights, _ = scipy.linalg.lapack.spotri(weights, lower=1, overwrite_c=1)
    for start in range(0, items, 1024):  # LAPACK fills the lower triangle alone
        stop = min(start + 1024, items)
        weights[start:stop, stop:] = weights[stop:, start:stop].T
        square = np.tril(weights[start:stop, start:stop])
        weights[start:stop, start:stop] = square + np.tril(square, -1).T
    weights /= -np.diag(weights).copy()
    weights[np.diag_indices(items)] = 0
    return lambda histories: histories @ weights


def quality(scorer: Scorer, given: Matrix, holdout: Matrix, users: npt.NDArray[np.int64], threads: int) -> Quality:
    """Means over `users`, each with at least one item held out."""
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    ideals = np.append(0, np.cumsum(discounts))

    def of_block(start: int) -> tuple[float, float]:
        block = users[start : start + USER_BLOCK]
        histories, wanted = given[block], holdout[block]
        scores = scorer(histories)
        rows = np.arange(len(block))[:, None]
        scores[np.repeat(rows[:, 0], np.diff(histories.indptr)), histories.indices] = -np.inf
        hits = wanted.toarray()[rows, _best(scores, CUT)] > 0
        held = np.diff(wanted.indptr)
        return float((hits.sum(axis=1) / held).sum()), float((hits @ discounts / ideals[np.minimum(held, CUT)]).sum())

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        sums = list(pool.map(of_block, range(0, len(users), USER_BLOCK)))
    return Quality(*(sum(part) / len(users) for part in zip(*sums, strict=True)))


@numba.njit(nogil=True, cache=True)
def _sum_scores(ends, items, neighbor_ends, neighbor, score, top_k, summed):  # type: ignore[no-untyped-def]
    for user in range(len(ends) - 1):
        for at in range(ends[user], ends[user + 1]):
            begin = neighbor_ends[items[at]]
            for place in range(begin, min(begin + top_k, neighbor_ends[items[at] + 1])):
                summed[user, neighbor[place]] += score[place]


@numba.njit(nogil=True, cache=True)
def _best(scores, k):  # type: ignore[no-untyped-def]
    """Places of the k largest of each row, largest first, of equals the one further left; there are k or more."""
    best = np.empty((len(scores), k), np.int64)
    for row in range(len(scores)):
        kept = 0
        for item in range(scores.shape[1]):
            value = scores[row, item]
            if kept == k and value <= scores[row, best[row, k - 1]]:
                continue
            place = min(kept, k - 1)
            while place > 0 and scores[row, best[row, place - 1]] < value:
                best[row, place] = best[row, place - 1]
                place -= 1
            best[row, place] = item
            kept = min(kept + 1, k)
    return best


def flags(name: str, choice: Choice) -> str:
    """What to pass to `python -m pipelines.batch_cf` for these neighbors."""
    named = {"similarity": name, **choice.parameters, "top_k": choice.top_k}
    return " ".join(f"--{key}={value if isinstance(value, str) else f'{value:g}'}" for key, value in named.items())


def _parameters(users: int, settings: dict[str, float]) -> Parameters:
    return Parameters(users, **settings)


def _ones(users: npt.NDArray[Any], items: npt.NDArray[Any], shape: tuple[int, ...]) -> Matrix:
    matrix = Matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _print_table(rows: list[Row], head: dict[str, Any]) -> None:
    console = rich.console.Console(width=None if sys.stdout.isatty() else 150)
    console.print("  ".join(f"{key}={value}" for key, value in head.items()), highlight=False)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    table.add_column("similarity")
    for title in (
        f"R@{CUT}, K={TABLE_K}",
        f"N@{CUT}, K={TABLE_K}",
        f"R@{CUT}",
        f"N@{CUT}",
        "best K",
        f"validation N@{CUT}",
    ):
        table.add_column(title, justify="right")
    for row in rows:
        short = ["", ""] if row.short_test is None else [f"{row.short_test.recall:.4f}", f"{row.short_test.ndcg:.4f}"]
        best = [f"{row.best_test.recall:.4f}", f"{row.best_test.ndcg:.4f}"]
        table.add_row(row.name, *short, *best, str(row.best.top_k or ""), f"{row.best.validation.ndcg:.4f}")
    console.print(table)
    for row in rows:
        if row.short is None:
            settings = " ".join(f"{key}={value:g}" for key, value in row.best.parameters.items())
            console.print(f"{row.name} {settings}", highlight=False, soft_wrap=True)
        else:
            for choice in [row.short] + ([row.best] if row.best != row.short else []):
                console.print(flags(row.name, choice), highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", required=True, metavar="FILE", help="Parquet, a row an interaction; required")
    add("--test", required=True, metavar="FILE", help="Parquet, what the same users did beside train; required")
    add("--user_column", default="user", help="(default: user)")
    add("--item_column", default="item", help="(default: item)")
    add("--holdout_share", type=float, default=0.1, help="share of a user's train items held out (default: 0.1)")
    add("--validation_users", type=int, default=4000, help="users to validate on, at random (default: 4000)")
    add("--similarities", nargs="+", choices=PAIRWISE, help="(default: all)")
    add("--seed", type=int, default=1, help="seed of the hold-out and the validation users (default: 1)")
    add("--threads", type=int, default=os.cpu_count() or 1, help="(default: all cores)")
    add("--quick", action="store_true", help="1,000 validation users and one round over the parameters (default: off)")
    add("--json", metavar="FILE", help="write the record there (default: none)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
