"""Whether an exported model answers, in a process of its own, what the trained one says here.

An export can go wrong in ways that a test of the trainer does not see: a table that was not saved, an order of ids that
turned, an operation that only this process has registered. So a fresh interpreter that has TensorFlow and nothing else
(`answer`) loads the folder and answers histories, and the answers are compared with scores from the trained weights.
No TensorFlow is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.vae_train.export import answer
from serving_client.contracts import signatures as contract
from transforms.errors import RecbeamError

__all__ = ["NOT_AN_ID", "Expected", "compare", "make_requests", "run_fresh", "verify"]

TOLERANCE = 1e-4
"""Times max(1, |score|). One float32 product of 600 terms is off by some 1e-6 in another order of summation."""
EXCLUDED = 3
"""How many of a history's best items the request to `filtered` excludes."""
CANDIDATES = 20
"""How many of them the request to `score_items` asks for."""
NOT_AN_ID = "\n"
"""Stands for an item that the vocabulary does not have: no id holds a line feed."""
PATIENCE_S = 900.0
"""A model of some GB on a busy disk takes a minute to load; one that takes longer than this hangs."""

Answers = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Expected:
    """What the trained model says. Items are in the UTF-8 order of ids.

    ids: [items]. available: bool [items]. histories: item ids, oldest first, unknown ones among them.
    scores: float32 [histories, items], popularity where a history has no known item.
    """

    ids: Sequence[str]
    available: npt.NDArray[np.bool_]
    histories: Sequence[Sequence[str]]
    scores: npt.NDArray[np.float32]


def verify(model: Path, scratch: Path, expected: Expected, serving_top_k: int) -> None:
    """Raises RecbeamError where the SavedModel in `model` fails, or answers otherwise than expected."""
    requests = make_requests(expected)
    answers = run_fresh(model, scratch, requests)
    difference = compare(requests, answers, expected, serving_top_k)
    if difference:
        raise RecbeamError(
            f"the exported model does not answer as the trained one, nothing was written: {difference}; this is a "
            "defect of the export, please report it"
        )


def make_requests(expected: Expected) -> list[dict[str, Any]]:
    """One request a signature, all histories in each."""
    known = {one: place for place, one in enumerate(expected.ids)}
    histories = _padded(expected.histories)
    best, candidates = [], []
    for history, scores in zip(expected.histories, expected.scores, strict=True):
        allowed = _allowed(expected, known, history)
        order = np.lexsort((np.arange(len(scores)), -scores))
        ranked = [expected.ids[place] for place in order[allowed[order]][:CANDIDATES]]
        best.append(ranked[:EXCLUDED])
        candidates.append([*ranked, *history[-1:], NOT_AN_ID, contract.PAD_ID])
    inputs = {contract.HISTORY: histories}
    return [
        {"signature": contract.SERVING_DEFAULT, "inputs": inputs},
        {"signature": contract.FILTERED, "inputs": inputs | {contract.EXCLUDE: _padded(best)}},
        {"signature": contract.SCORE_ITEMS, "inputs": inputs | {contract.CANDIDATES: _padded(candidates)}},
    ]


def run_fresh(model: Path, scratch: Path, requests: Sequence[Mapping[str, Any]]) -> Answers:
    """The answers of `model` in a new interpreter, as `answer` writes them; scratch: a folder for two files."""
    asked, answered = scratch / "requests.json", scratch / "answers.npz"
    asked.write_text(json.dumps(list(requests)), encoding="utf-8")
    # The trainer may hold all of a GPU's memory, and importing TF-Transform has set Keras's switch for this process.
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-I", answer.__file__, str(model), str(asked), str(answered)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise RecbeamError(f"the exported model gives no answer in a fresh process within {PATIENCE_S:g} s") from error
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise RecbeamError(f"the exported model fails in a fresh process (exit {done.returncode}): {said}")
    with np.load(answered) as arrays:
        return dict(arrays)


def compare(requests: Sequence[Mapping[str, Any]], answers: Answers, expected: Expected, serving_top_k: int) -> str:
    """What the first wrong answer is, in words; empty if none is wrong."""
    return next(_differences(requests, answers, expected, serving_top_k), "")


def _differences(
    requests: Sequence[Mapping[str, Any]], answers: Answers, expected: Expected, serving_top_k: int
) -> Iterator[str]:
    known = {one: place for place, one in enumerate(expected.ids)}
    for number, request in enumerate(requests):
        scores = answers[f"{number}/{contract.SCORES}"]
        asked = request["inputs"].get(contract.CANDIDATES)
        width = len(asked[0]) if asked is not None else serving_top_k
        if scores.shape != (len(expected.histories), width):
            yield f"{request['signature']} returns shape {scores.shape}, not {(len(expected.histories), width)}"
            return
        for row, history in enumerate(expected.histories):
            where = f"{request['signature']}, history {[*history[-3:]]} ({len(history)} items): "
            if asked is not None:
                found = _wrong_scores(asked[row], scores[row], expected.scores[row], known)
            else:
                items = [one.decode() for one in answers[f"{number}/{contract.ITEMS}"][row].tolist()]
                excluded = request["inputs"].get(contract.EXCLUDE, [()] * len(expected.histories))[row]
                allowed = _allowed(expected, known, [*history, *excluded])
                found = _wrong_list(items, scores[row], expected.scores[row], allowed, known)
            if found:
                yield where + found


def _wrong_list(
    items: Sequence[str],
    scores: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    known: Mapping[str, int],
) -> str:
    """Items within the tolerance of each other may have changed places, so a list is right if its scores are."""
    best = -np.sort(-expected[allowed])[: len(items)]
    names = [one for one in items if one]
    if len(names) != len(best) or any(items[len(best) :]) or (scores[len(best) :] != contract.PAD_SCORE).any():
        return f"{len(names)} items where {len(best)} are due, or padding that is not at the end"
    if len(set(names)) != len(names):
        return "an item is there twice"
    for place, name in enumerate(names):
        if name not in known or not allowed[known[name]]:
            return f"place {place + 1} has {name!r}, which is not to be recommended"
    return _wrong_scores(names, scores[: len(best)], expected, known) or next(
        (
            f"place {place + 1} has {name!r} with {score:.6g}, trained weights have {due:.6g} for that place"
            for place, (name, score, due) in enumerate(zip(names, scores, best, strict=False))
            if not _close(float(score), float(due))
        ),
        "",
    )


def _wrong_scores(
    items: Sequence[str], scores: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], known: Mapping[str, int]
) -> str:
    for item, score in zip(items, scores, strict=True):
        due = expected[known[item]] if item in known else np.float32(contract.PAD_SCORE)
        if not _close(float(score), float(due)):
            return f"{item!r} has the score {score:.6g}, with the trained weights {due:.6g}"
    return ""


def _close(score: float, due: float) -> bool:
    if not math.isfinite(due):
        return score == due
    return abs(score - due) <= TOLERANCE * max(1.0, abs(due))  # False for nan


def _allowed(expected: Expected, known: Mapping[str, int], masked: Sequence[str]) -> npt.NDArray[np.bool_]:
    allowed = expected.available.copy()
    allowed[[known[one] for one in masked if one in known]] = False
    return allowed


def _padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    width = max(map(len, rows), default=0)
    return [[*row, *[contract.PAD_ID] * (width - len(row))] for row in rows]
