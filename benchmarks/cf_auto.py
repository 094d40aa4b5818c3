"""Does --similarity=auto choose well? Validation and test figures of every candidate, and what the choice costs.

The candidates are validated as `recbeam batch-cf` validates them, and one is chosen. Only then the test part is read:
every candidate is computed on the whole of train and ranks for all users of test. Recall is divided by the number of
held-out items, the ideal of NDCG takes min(20, number of held-out items), and train items are never ranked. Beside them
stands EASE without a limit on neighbors ("dense"), up to 4,000 items, with its strength chosen on the validation part.

The lines that answer are the chosen candidate, the best candidate on test, and dense EASE. ± is the standard error of
the paired difference to the chosen candidate. Seconds are CPU seconds of this process, on --threads threads.

A FILE instead of a folder is a log in order of time. The newest item of every user is then the test part.

    python benchmarks/cf_auto.py --data DATA/gowalla [--data DATA/mooc] [--json FILE]
    python benchmarks/cf_auto.py --data DATA/ml1m/ratings_ge4_10core.parquet --data DATA/ml100k/u.data
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table

from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.candidates import EASE_ITEMS, Candidate, groups_of
from pipelines.batch_cf.selection.choice import Chosen, choose, flags_of
from pipelines.batch_cf.selection.holdout import Sample, hold_out
from pipelines.batch_cf.selection.sample import share_of, size_of
from pipelines.batch_cf.selection.search import Search
from pipelines.batch_cf.selection.validate import measure_group
from pipelines.batch_cf.similarities import Parameters
from transforms.histories.shards import UserShard, concatenate_blocks, merge_entries
from transforms.ranking.lists import Lists

SEED = 1
NO_IDS = pa.array([], pa.string())


@dataclasses.dataclass(frozen=True)
class Line:
    """A candidate: mean validation NDCG@20, and means over the users of test."""

    name: str
    validation: float
    recall: float
    ndcg: float
    error: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each data set, print its table."""
    arguments = _parser().parse_args(argv)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    records = []
    for folder in arguments.data:
        began = time.process_time()
        train, held_out = parts_of(pathlib.Path(folder))
        read_s = time.process_time() - began
        whole = merge_entries(concatenate_blocks([train]), None, "last")
        size = size_of(train, SEED)
        assert share_of(size.rows).share == 1.0, f"{folder}: more rows than a sample has; this benchmark takes all"
        sample = hold_out(whole, SEED)
        candidates = Search().candidates(len(size.items), weights_differ=False)
        scores = validated(sample, candidates, arguments.threads)
        chosen = choose(candidates, [float(of_users[0].mean()) for of_users in scores], {})
        selection_s = time.process_time() - began - read_s
        lines = test(held_out, whole, candidates, scores, chosen, arguments.threads)
        head = {"data": folder, "users": len(whole.users), "items": len(whole.items), "rows": len(whole.user_codes),
                "validation_users": len(sample.users), "selection_cpu_s": round(selection_s, 1)}  # fmt: skip
        _print(console, head, lines, flags_of(chosen.candidate))
        records.append({**head, "chosen": flags_of(chosen.candidate), "lines": [dataclasses.asdict(o) for o in lines]})
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(records, indent=2) + "\n")
    return 0


def parts_of(path: pathlib.Path) -> tuple[pa.RecordBatch, Callable[[], pa.RecordBatch]]:
    """Return train, and a function that returns test, of a folder or of a log in order of time.

    A log is Parquet with the columns user, item and position, or tab-separated user, item, rating and time.
    """
    if path.is_dir():
        return block(pq.read_table(path / "train.parquet")), lambda: block(pq.read_table(path / "test.parquet"))
    if path.suffix == ".parquet":
        log = pq.read_table(path).rename_columns({"position": "time"})
    else:
        names = csv.ReadOptions(column_names=["user", "item", "rating", "time"])
        log = csv.read_csv(path, names, csv.ParseOptions(delimiter="\t"))
    log = log.sort_by([("user", "ascending"), ("time", "ascending"), ("item", "ascending")])
    users = log["user"].to_numpy()
    last = np.append(users[1:] != users[:-1], True)
    return block(log.filter(pa.array(~last))), lambda: block(log.filter(pa.array(last)))


def block(table: pa.Table) -> pa.RecordBatch:
    """Return the columns user and item as a block."""
    columns = {name: table[name].combine_chunks().cast(pa.string()).dictionary_encode() for name in ("user", "item")}
    return pa.RecordBatch.from_pydict({f"{name}_id": column for name, column in columns.items()})


def validated(
    sample: Sample, candidates: Sequence[Candidate], threads: int
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return NDCG@20 and recall@20 of every user of a sample, for each candidate."""
    found = {}
    for places in groups_of(candidates):
        group = [candidates[place] for place in places]
        measured = measure_group(sample, group, 1.0, HistoryRules(), NO_IDS, threads)
        found |= dict(zip(places, measured, strict=True))
    return [found[place] for place in range(len(candidates))]


def test(
    held_out: Callable[[], pa.RecordBatch],
    whole: UserShard,
    candidates: Sequence[Candidate],
    scores: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
    chosen: Chosen,
    threads: int,
) -> list[Line]:
    """Read test, and measure every candidate on it, best validation score first."""
    sample = against(whole, held_out())
    validation = [float(ndcg.mean()) for ndcg, _ in scores]
    names = [flags_of(candidate) for candidate in candidates]
    everyone = list(candidates)
    if len(whole.items) <= EASE_ITEMS:
        solved = [place for place, candidate in enumerate(candidates) if candidate.measure.name == "ease"]
        best = candidates[max(solved, key=validation.__getitem__)].measure.parameters.l2
        everyone.append(Candidate(Measure("ease", Parameters(l2=best), len(whole.items)), True))
        names.append(f"dense EASE, l2={best:g}")
        validation.append(float("nan"))
    tested = validated(sample, everyone, threads)
    ours = tested[candidates.index(chosen.candidate)][0]
    lines = [
        Line(name, score, float(recall.mean()), float(ndcg.mean()), float((ndcg - ours).std() / np.sqrt(len(ours))))
        for name, score, (ndcg, recall) in zip(names, validation, tested, strict=True)
    ]
    return sorted(lines, key=lambda line: -line.ndcg)


def against(whole: UserShard, held_out: pa.RecordBatch) -> Sample:
    """Return train as given and test as held out. Items of test alone stay in the denominators."""
    other = merge_entries(concatenate_blocks([held_out]), None, "last")
    user_of = {user: code for code, user in enumerate(whole.users.to_pylist())}
    item_of = {item: code for code, item in enumerate(whole.items.to_pylist())}
    strange = len(whole.items)  # no code of train
    pairs = sorted(
        (user_of[user], item_of.get(item, strange))
        for user, item in zip(
            other.users.take(pa.array(other.user_codes)).to_pylist(),
            other.items.take(pa.array(other.item_codes)).to_pylist(),
            strict=True,
        )
        if user in user_of
    )
    codes, items = np.array(pairs, np.int64).T
    items_with_strange = pa.concat_arrays([whole.items, pa.array(["\U0010ffff"], pa.string())])
    users, rows = np.unique(codes, return_inverse=True)
    held = Lists.from_pairs(rows, items.astype(np.int32), len(users))
    return Sample(dataclasses.replace(whole, items=items_with_strange), users, held)


def _print(console: rich.console.Console, head: dict[str, object], lines: Sequence[Line], chosen: str) -> None:
    console.print("  ".join(f"{key}={value}" for key, value in head.items()), highlight=False, soft_wrap=True)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    table.add_column("candidate")
    for title in ("validation N@20", "test R@20", "test N@20", "±"):
        table.add_column(title, justify="right")
    for line in lines:
        name = f"{line.name.removeprefix('--similarity=')}{' <- chosen' if line.name == chosen else ''}"
        table.add_row(name, *(f"{x:.4f}" for x in (line.validation, line.recall, line.ndcg, line.error)))
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--data",
        action="append",
        required=True,
        metavar="PATH",
        help="folder with train.parquet and test.parquet, or a log",
    )
    add("--threads", type=int, default=os.cpu_count() or 1, help="(default: all cores)")
    add("--json", metavar="FILE", help="write the record there (default: none)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
