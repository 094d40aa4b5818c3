"""Define the contenders: how each turns the same matrix into the same ranked neighbors, at its best for given threads.

This module only computes. `worker` reads and writes, in the same way for all contenders. A peer keeps the result of
its library and sorts it with `_ranked`. The cooccurrence column is the score times sqrt(n_i n_j), which is exact after
rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse

from benchmarks.cf.inputs import Matrix
from pipelines.batch_cf.histories import HistoryMatrix, transpose
from pipelines.batch_cf.ranking import Neighbors, Scoring, rank_histories
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters

__all__ = ["CONTENDERS", "PIPELINE", "Contender"]

SCIPY_ROWS = 1000
"""Item rows a product takes at a time; all of Gowalla's at once are 42 M pairs."""

_SELF_JOIN = """
WITH n AS (SELECT item, count(*) AS n FROM log GROUP BY item),
pairs AS (SELECT a.item AS i, b.item AS j, count(*) AS c FROM log a JOIN log b ON a.usr = b.usr AND a.item <> b.item
  GROUP BY a.item, b.item),
scored AS (SELECT p.i, p.j, p.c, CAST(p.c / sqrt(ni.n * nj.n) AS FLOAT) AS s
  FROM pairs p JOIN n ni ON ni.item = p.i JOIN n nj ON nj.item = p.j)
SELECT i, j, c, s FROM scored QUALIFY row_number() OVER (PARTITION BY i ORDER BY s DESC, j) <= {top_k}
"""

_HALF_JOIN = """
WITH n AS (SELECT item, count(*) AS n FROM log GROUP BY item),
half AS (SELECT a.item AS i, b.item AS j, count(*) AS c FROM log a JOIN log b ON a.usr = b.usr AND a.item < b.item
  GROUP BY a.item, b.item),
scored AS (SELECT h.i, h.j, h.c, CAST(h.c / sqrt(ni.n * nj.n) AS FLOAT) AS s
  FROM half h JOIN n ni ON ni.item = h.i JOIN n nj ON nj.item = h.j),
pairs AS (SELECT i, j, c, s FROM scored UNION ALL SELECT j AS i, i AS j, c, s FROM scored)
SELECT i, j, c, s FROM pairs QUALIFY row_number() OVER (PARTITION BY i ORDER BY s DESC, j) <= {top_k}
"""

Compute = Callable[[Matrix, int, int], Neighbors]


@dataclasses.dataclass(frozen=True)
class Contender:
    """name: as in --contenders. imports: modules loaded before the clock starts. compute: (matrix, top_k, threads).

    compute None is the pipeline itself. slow: takes --slow_repeats and no warm-up. most_multiply_adds: above them it
    is left out unless asked for by name (time and memory of a join grow with every pair).
    """

    name: str
    label: str
    imports: tuple[str, ...]
    compute: Compute | None
    slow: bool = False
    most_multiply_adds: float = float("inf")


def _recbeam(matrix: Matrix, top_k: int, threads: int) -> Neighbors:
    by_user = matrix.by_user
    histories = HistoryMatrix(by_user.indptr.astype(np.int64), by_user.indices.astype(np.uint32))
    items = len(matrix.items)
    by_item = transpose(histories, items)
    scoring = Scoring(
        similarity=SIMILARITIES["cosine"],
        parameters=Parameters(users=histories.users),
        marginals=matrix.item_users.astype(np.float64),
        exponent=0,
        eligible=np.ones(items, np.bool_),
        top_k=min(top_k, items),
    )
    return rank_histories(histories, by_item, 0, items, scoring, threads=threads)


def _implicit(matrix: Matrix, top_k: int, threads: int) -> Neighbors:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=top_k + 1, num_threads=threads)  # an item is its own first neighbor there
    model.fit(matrix.by_user, show_progress=False)
    return _ranked(model.similarity, matrix, top_k)


def _sparse_dot_topn(matrix: Matrix, top_k: int, threads: int) -> Neighbors:
    from sparse_dot_topn import sp_matmul_topn

    norms = scipy.sparse.diags(1.0 / np.sqrt(matrix.item_users))
    unit = (matrix.by_user @ norms).tocsr()
    return _ranked(sp_matmul_topn(unit.T.tocsr(), unit, top_n=top_k + 1, n_threads=threads), matrix, top_k)


def _scipy(matrix: Matrix, top_k: int, threads: int) -> Neighbors:
    by_user = matrix.by_user.astype(np.int32)
    by_item = by_user.T.tocsr()
    root = np.sqrt(matrix.item_users)
    parts = []
    for start in range(0, by_item.shape[0], SCIPY_ROWS):
        counts = (by_item[start : start + SCIPY_ROWS] @ by_user).tocsr()
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)) + start
        keys = _keys(counts.data / (root[rows] * root[counts.indices]), counts.indices)
        keys[counts.indices == rows] = -1
        best = np.full((counts.shape[0], top_k), -1, np.int64)
        for row in range(counts.shape[0]):
            own = keys[counts.indptr[row] : counts.indptr[row + 1]]
            best[row, : min(len(own), top_k)] = own if len(own) <= top_k else np.partition(own, -top_k)[-top_k:]
        parts.append(best)
    return _from_keys(np.concatenate(parts), matrix, top_k)


def _duckdb(query: str) -> Compute:
    def compute(matrix: Matrix, top_k: int, threads: int) -> Neighbors:
        import duckdb
        import pyarrow as pa

        log = pa.table(_log(matrix))
        with duckdb.connect(config={"threads": threads}) as database:
            database.register("log", log)
            return _from_sql(database.sql(query.format(top_k=top_k)).fetchnumpy(), matrix)

    return compute


def _polars(matrix: Matrix, top_k: int, threads: int) -> Neighbors:  # its threads are set by POLARS_MAX_THREADS
    import polars

    database = polars.SQLContext(log=polars.DataFrame(_log(matrix)))
    found = database.execute(_HALF_JOIN.format(top_k=top_k)).collect(engine="streaming")
    return _from_sql({name: found[name].to_numpy() for name in found.columns}, matrix)


PIPELINE = "recbeam"

CONTENDERS = (
    Contender(PIPELINE, "recbeam, the pipeline", ("tensorflow", "apache_beam", "pipelines.batch_cf.__main__"), None),
    Contender("recbeam_compute", "recbeam, its functions alone", (), _recbeam),
    Contender("implicit", "implicit CosineRecommender", ("implicit.nearest_neighbours",), _implicit),
    Contender("sparse_dot_topn", "sparse_dot_topn", ("sparse_dot_topn",), _sparse_dot_topn),
    Contender("scipy", f"scipy X'X, {SCIPY_ROWS} rows a block, 1 thread", (), _scipy),
    Contender("duckdb", "DuckDB self-join", ("duckdb",), _duckdb(_SELF_JOIN), True, 3e8),
    Contender("duckdb_half", "DuckDB, each pair once", ("duckdb",), _duckdb(_HALF_JOIN), True, 3e8),
    Contender("polars", "polars, each pair once", ("polars",), _polars, True, 1e8),
)


def _ranked(similarity: scipy.sparse.csr_matrix, matrix: Matrix, top_k: int) -> Neighbors:
    """A library's rows of at most top_k + 1 items in any order, the own one among them, as ordered neighbors."""
    lengths = np.diff(similarity.indptr)
    keys = _keys(similarity.data, similarity.indices)
    keys[similarity.indices == np.repeat(np.arange(len(lengths)), lengths)] = -1
    best = np.full((len(lengths), int(lengths.max(initial=1))), -1, np.int64)
    best[np.arange(best.shape[1]) < lengths[:, None]] = keys
    return _from_keys(best, matrix, top_k)


def _keys(scores: npt.NDArray[np.float64], columns: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """One integer that orders by float32 score, then by smaller item; scores are positive."""
    bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    return (bits << 32) | (0xFFFFFFFF - columns.astype(np.int64))


def _from_keys(keys: npt.NDArray[np.int64], matrix: Matrix, top_k: int) -> Neighbors:
    """keys: int64 [items, at least as many as are kept], -1 where there is none."""
    keys.sort(axis=1)
    keys = keys[:, ::-1][:, :top_k]
    found = keys >= 0
    lengths = found.sum(axis=1).astype(np.int64)
    flat = keys[found]
    neighbors = (0xFFFFFFFF - (flat & 0xFFFFFFFF)).astype(np.uint32)
    scores = (flat >> 32).astype(np.int32).view(np.float32)
    users = matrix.item_users.astype(np.float64)
    together = np.rint(scores * np.sqrt(np.repeat(users, lengths) * users[neighbors])).astype(np.int64)
    return Neighbors(0, lengths, neighbors, scores, together, pairs=0)


def _log(matrix: Matrix) -> dict[str, npt.NDArray[np.int32]]:
    by_user = matrix.by_user
    users = np.repeat(np.arange(by_user.shape[0], dtype=np.int32), np.diff(by_user.indptr))
    return {"usr": users, "item": by_user.indices}


def _from_sql(found: dict[str, npt.NDArray[np.generic]], matrix: Matrix) -> Neighbors:
    """Rows of the query, in any order, as ordered neighbors."""
    items, neighbors, scores = found["i"], found["j"], np.asarray(found["s"], np.float32)
    order = np.lexsort((neighbors, -scores, items))
    lengths = np.bincount(items, minlength=len(matrix.items)).astype(np.int64)
    together = np.asarray(found["c"])[order].astype(np.int64)
    return Neighbors(0, lengths, neighbors[order].astype(np.uint32), scores[order], together, pairs=0)
