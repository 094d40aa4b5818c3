"""Compute the values that metrics.json, the report and the terminal show from the sums.

Means and errors are over evaluated users. Coverage and popularity are over the lists of all of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.evaluate.dataset import Counts, Dataset
from pipelines.evaluate.gate import Z95, Verdict, as_json
from pipelines.evaluate.sums import BUCKETS, Moments, Sums, moments, paired
from transforms.ranking.metrics import DENOMINATORS, columns

__all__ = [
    "BEYOND",
    "BUCKET_USERS",
    "Bucket",
    "Evaluation",
    "ModelResult",
    "bucket_label",
    "bucket_ranges",
    "percentiles",
    "summarize",
    "to_json",
]

BUCKET_USERS = 30
"""Fewest users of an activity class. The interval of a smaller class is too wide to read anything from it."""

BEYOND = {
    "coverage": "items recommended to anybody / items in train",
    "popularity_percentile": "mean over recommended places of the share of train items with fewer users, ties by half",
}


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Users of one activity class, at least BUCKET_USERS if there are so many, and their metrics by metric column."""

    label: str
    users: int
    metrics: dict[str, Moments]


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """The results of one model.

    metrics, coverage, popularity_percentile and foreign_items are by column or cut-off.

    Args:
        against: Paired difference (this model - reference) of each metric column. Evaluation.reference is the
            reference.
        foreign_items: Places taken by items that neither train nor holdout has.
        removed_places: Places that were taken back because the model returned an item of the history, or an item twice.
    """

    name: str
    kind: str
    source: str
    metrics: dict[str, Moments]
    against: dict[str, Moments]
    coverage: dict[int, float]
    popularity_percentile: dict[int, float]
    foreign_items: dict[int, int]
    removed_places: int
    buckets: tuple[Bucket, ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of a run. reference: the best baseline by ndcg at the largest k."""

    ks: tuple[int, ...]
    counts: Counts
    reference: str
    models: tuple[ModelResult, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]


def summarize(
    dataset: Dataset,
    sums: Sums,
    ks: Sequence[int],
    described: Sequence[tuple[str, str, str]],
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
) -> Evaluation:
    """Compute the results of all models.

    Args:
        dataset: The evaluated dataset.
        sums: The sums of all models.
        ks: Cut-offs of the metrics.
        described: (name, kind, source) of every model in the order of the sums. Kind `baseline` marks a baseline.
        verdicts: The results of the gates.
        notes: Notes for the user. Notes on models without an item of the data are added.

    Returns:
        The results.
    """
    names = columns(ks)
    users = sums.total_users()
    main = names.index(f"ndcg@{max(ks)}")
    standings = [int(sums.values[model, :, main].sum()) for model in range(len(described))]
    candidates = [model for model, (_, kind, _) in enumerate(described) if kind == "baseline"]
    reference = max(candidates, key=lambda model: standings[model])
    train_users = dataset.item_users()
    percentile = percentiles(train_users)
    ranges = bucket_ranges([int(one) for one in sums.users])
    results = []
    for model, (name, kind, source) in enumerate(described):
        shown = sums.recommended[[model * len(ks) + place for place in range(len(ks))]]
        results.append(
            ModelResult(
                name=name,
                kind=kind,
                source=source,
                metrics={
                    column: moments(int(sums.values[model, :, i].sum()), int(sums.squares[model, :, i].sum()), users)
                    for i, column in enumerate(names)
                },
                against={column: paired(sums, model, reference, i) for i, column in enumerate(names)},
                coverage={k: _coverage(shown[[i]].toarray()[0], train_users) for i, k in enumerate(ks)},
                popularity_percentile={
                    k: _mean_percentile(shown[[i]].toarray()[0], percentile) for i, k in enumerate(ks)
                },
                foreign_items={k: int(sums.foreign[model, i]) for i, k in enumerate(ks)},
                removed_places=int(sums.removed[model]),
                buckets=tuple(_bucket(sums, model, first, last, names) for first, last in ranges),
            )
        )
    notes = [*notes, *_strangers(sums, described, len(ks))]
    return Evaluation(tuple(ks), dataset.counts, described[reference][0], tuple(results), tuple(verdicts), tuple(notes))


def percentiles(users: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return per item the share of train items with fewer users. Items with as many users count half.

    The most popular of n distinct items has 1 - 1/(2n).

    Args:
        users: int64 [items].

    Returns:
        float64 [items], 0.0 where users is 0.
    """
    known = users > 0
    ordered = np.sort(users[known])
    below = np.searchsorted(ordered, users, side="left")
    upto = np.searchsorted(ordered, users, side="right")
    return np.where(known, (below + upto) / 2 / max(1, len(ordered)), 0.0)


def bucket_ranges(users: Sequence[int]) -> list[tuple[int, int]]:
    """Merge neighboring buckets until each has at least BUCKET_USERS users.

    Args:
        users: Users per bucket of BUCKETS.

    Returns:
        First and last bucket of every activity class. An empty bucket at an end of a class does not belong to it. A
        last class with too few users is merged into the one before it.
    """
    found: list[tuple[int, int]] = []
    filled = [bucket for bucket, count in enumerate(users) if count]
    held = 0
    for bucket in filled:
        first = bucket if not held else found.pop()[0]
        found.append((first, bucket))
        held += users[bucket]
        if held >= BUCKET_USERS:
            held = 0
    if held and len(found) > 1:
        _, last = found.pop()
        found.append((found.pop()[0], last))
    return found


def bucket_label(first_bucket: int, last_bucket: int) -> str:
    """Return the history lengths of neighboring buckets as a label: 0, 1-4, ..., 200+."""
    first, last = BUCKETS[first_bucket][0], BUCKETS[last_bucket][1]
    return f"{first}+" if last is None else str(first) if first == last else f"{first}-{last}"


def to_json(evaluation: Evaluation) -> str:
    """Return the text of metrics.json. Keys are sorted, and equal sums give equal bytes."""
    ks = evaluation.ks

    def named(values: dict[str, Moments]) -> dict[str, Any]:
        return {name: dataclasses.asdict(value) for name, value in values.items()}

    def at(values: dict[int, Any], name: str) -> dict[str, Any]:
        return {f"{name}@{k}": values[k] for k in ks}

    document = {
        "format": 1,
        "k": list(ks),
        "data": dataclasses.asdict(evaluation.counts),
        "denominators": {**DENOMINATORS, **BEYOND},
        "reference": evaluation.reference,
        "notes": list(evaluation.notes),
        "models": {
            model.name: {
                "kind": model.kind,
                "source": model.source,
                "metrics": named(model.metrics),
                "minus_reference": named(model.against),
                **at(model.coverage, "coverage"),
                **at(model.popularity_percentile, "popularity_percentile"),
                **at(model.foreign_items, "foreign_items"),
                "removed_places": model.removed_places,
                "activity": [
                    {"history": bucket.label, "users": bucket.users, "metrics": named(bucket.metrics)}
                    for bucket in model.buckets
                ],
            }
            for model in evaluation.models
        },
        "gates": [as_json(verdict) for verdict in evaluation.verdicts],
        "interval_z": Z95,
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _strangers(sums: Sums, described: Sequence[tuple[str, str, str]], cut_offs: int) -> list[str]:
    """Return notes on models whose lists hold no item of the data. Their ids are most likely of another kind."""
    return [
        f"{name} recommended no item of train or holdout to anybody; are its item ids those of --interactions?"
        for model, (name, kind, _) in enumerate(described)
        if kind != "baseline" and not sums.recommended[[(model + 1) * cut_offs - 1]].nnz
    ]


def _bucket(sums: Sums, model: int, first: int, last: int, names: Sequence[str]) -> Bucket:
    merged = slice(first, last + 1)
    users = int(sums.users[merged].sum())
    values, squares = sums.values[model, merged].sum(axis=0), sums.squares[model, merged].sum(axis=0)
    metrics = {name: moments(int(values[i]), int(squares[i]), users) for i, name in enumerate(names)}
    return Bucket(bucket_label(first, last), users, metrics)


def _coverage(shown: npt.NDArray[np.int64], users: npt.NDArray[np.int64]) -> float:
    known = users > 0
    return int(((shown > 0) & known).sum()) / max(1, int(known.sum()))


def _mean_percentile(shown: npt.NDArray[np.int64], percentile: npt.NDArray[np.float64]) -> float:
    return float((shown * percentile).sum() / max(1, int(shown.sum())))
