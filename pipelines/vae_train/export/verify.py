"""Check that an exported model, in its own process, answers as the trained model does in this process.

Tests of the trainer do not find some errors of an export: a table that was not saved, ids in the wrong order, or an
operation that is only registered in this process. A fresh interpreter that imports only TensorFlow (`answer`) therefore
loads the folder and answers histories. This module compares the answers with scores from the trained weights. It does
not import TensorFlow.
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
"""Factor of max(1, |score|). A float32 product of 600 terms varies by about 1e-6 with the order of summation."""
EXCLUDED = 3
"""How many of a history's best items the request for `filtered` excludes."""
CANDIDATES = 20
"""How many of a history's best items the request for `score_items` contains."""
NOT_AN_ID = "\n"
"""An id outside of every vocabulary, since ids do not contain line feeds."""
PATIENCE_S = 900.0
"""Timeout in seconds. A model of a few GB on a busy disk takes a minute to load."""

Answers = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Expected:
    """The answers of the trained model. Items are in the UTF-8 order of ids.

    Attributes:
        ids: Item ids [items].
        available: bool [items].
        histories: Item ids of each history, oldest first. Some are outside the vocabulary.
        scores: float32 [histories, items], the popularity if no item of a history is known.
    """

    ids: Sequence[str]
    available: npt.NDArray[np.bool_]
    histories: Sequence[Sequence[str]]
    scores: npt.NDArray[np.float32]


def verify(model: Path, scratch: Path, expected: Expected, serving_top_k: int) -> None:
    """Check the answers of a SavedModel.

    Args:
        model: Folder of the SavedModel.
        scratch: Folder for temporary files.
        expected: Answers of the trained model.
        serving_top_k: Number of items per answer.

    Raises:
        RecbeamError: The SavedModel fails, or its answers differ from the expected answers.
    """
    requests = make_requests(expected)
    answers = run_fresh(model, scratch, requests)
    difference = compare(requests, answers, expected, serving_top_k)
    if difference:
        raise RecbeamError(
            f"the exported model does not answer as the trained model, nothing was written: {difference}; this is a "
            "defect of the export, please report it"
        )


def make_requests(expected: Expected) -> list[dict[str, Any]]:
    """Create one request per signature. Each contains all histories."""
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
    """Return the answers of a model in a new interpreter.

    Args:
        model: Folder of the SavedModel.
        scratch: Folder for two temporary files.
        requests: Content of requests.json (see `answer`).

    Raises:
        RecbeamError: The process fails or times out.
    """
    asked, answered = scratch / "requests.json", scratch / "answers.npz"
    asked.write_text(json.dumps(list(requests)), encoding="utf-8")
    # The trainer may hold all memory of the GPU. Importing TF-Transform has set TF_USE_LEGACY_KERAS in this process.
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-I", answer.__file__, str(model), str(asked), str(answered)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise RecbeamError(f"the exported model timed out after {PATIENCE_S:g} s in a fresh process") from error
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise RecbeamError(f"the exported model fails in a fresh process (exit {done.returncode}): {said}")
    with np.load(answered) as arrays:
        return dict(arrays)


def compare(requests: Sequence[Mapping[str, Any]], answers: Answers, expected: Expected, serving_top_k: int) -> str:
    """Describe the first wrong answer. Return an empty string if all answers are right."""
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
    """Check a list by its scores, since items with scores within the tolerance may have swapped places."""
    best = -np.sort(-expected[allowed])[: len(items)]
    names = [one for one in items if one]
    if len(names) != len(best) or any(items[len(best) :]) or (scores[len(best) :] != contract.PAD_SCORE).any():
        return f"{len(names)} items instead of {len(best)}, or padding before the end"
    if len(set(names)) != len(names):
        return "an item is repeated"
    for place, name in enumerate(names):
        if name not in known or not allowed[known[name]]:
            return f"place {place + 1} has {name!r}, which must not be recommended"
    return _wrong_scores(names, scores[: len(best)], expected, known) or next(
        (
            f"place {place + 1} has {name!r} with {score:.6g}, but the trained weights give {due:.6g} for this place"
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
            return f"{item!r} has the score {score:.6g}, but the trained weights give {due:.6g}"
    return ""


def _close(score: float, due: float) -> bool:
    if not math.isfinite(due):
        return score == due
    return abs(score - due) <= TOLERANCE * max(1.0, abs(due))  # False for NaN


def _allowed(expected: Expected, known: Mapping[str, int], masked: Sequence[str]) -> npt.NDArray[np.bool_]:
    allowed = expected.available.copy()
    allowed[[known[one] for one in masked if one in known]] = False
    return allowed


def _padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    width = max(map(len, rows), default=0)
    return [[*row, *[contract.PAD_ID] * (width - len(row))] for row in rows]
