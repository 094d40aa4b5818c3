"""The operations of the Open Inference Protocol: the request of each method, and how to read its answer. No network.

There are two kinds of models. A model of the contract takes string tensors, history [1, n] with exclude [1, e] or
candidates [1, m], and returns items and scores. A plain scorer (xgboost, scikit-learn, PyTorch) takes features, one row
per candidate, and returns one number per row. The caller's function computes the features, and this module ranks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serving_client.contracts import signatures as contract
from serving_client.errors import InvalidRequest
from serving_client.open_inference_codec import read_tensors, write_tensor
from serving_client.operations import Operation, Origin, Spec, Widths
from serving_client.padding import checked_k, encode, listed, newest, pad, parts, rounded_up, text, with_cut_off
from serving_client.protocol import messages, methods
from serving_client.results import Prediction, Recommendation

__all__ = ["Featurize", "Scorer", "predict", "ready", "recommend", "score_items"]

T = TypeVar("T")

Featurize = Callable[[Sequence[str], Sequence[str]], Mapping[str, Any]]
"""History (oldest first, not cut) and candidates to the model's inputs by name, one row a candidate."""


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How scores are read from a model.

    Args:
        featurize: Function that computes the model's inputs, or None for a model of the contract.
        scores_output: Output of a model with `featurize` that holds the scores, [m] or [m, 1].
        scores_column: Column of the scores in an output [m, c]. A negative number counts from the end.
        catalogue: Item ids that `recommend` ranks when a call gives no candidates.
        raw: Send raw contents rather than typed ones.

    Raises:
        TypeError: `featurize` is not a function.
        ValueError: `scores_output` is empty, or an id of the catalogue is invalid.
    """

    featurize: Featurize | None = None
    scores_output: str = "predict"
    scores_column: int | None = None
    catalogue: Sequence[str] = ()
    raw: bool = True

    def __post_init__(self) -> None:
        if self.featurize is not None and not callable(self.featurize):
            raise TypeError(f"featurize is {type(self.featurize).__name__}, not a function of history and candidates")
        if not self.scores_output:
            raise ValueError("scores_output is empty; name the model's output, as in 'predict'")
        try:
            object.__setattr__(self, "catalogue", tuple(listed(self.catalogue, "catalogue")))
            encode(self.catalogue, "catalogue")
        except InvalidRequest as error:
            raise ValueError(error.message) from error


def predict(spec: Spec, inputs: Mapping[str, Any], outputs: Sequence[str], raw: bool) -> Operation[Prediction]:
    """Run any model on any tensors. Empty `outputs` returns all outputs."""
    if not isinstance(inputs, Mapping):
        raise InvalidRequest(f"inputs is {type(inputs).__name__}, not a mapping from names to values", "", spec.model)
    outputs = [text(name, "outputs") for name in listed(outputs, "outputs", "names")]

    def read(arrays: dict[str, npt.NDArray[Any]], model: str, version: int | None, origin: Origin) -> Prediction:
        missing = [name for name in outputs if name not in arrays]
        if missing:
            raise ValueError(f"the answer lacks the outputs {missing}; it has {sorted(arrays)}")
        return Prediction(arrays, model, version, "", *origin)

    return _infer(spec, inputs, outputs, raw, read)


def recommend(
    spec: Spec,
    scorer: Scorer,
    widths: Widths,
    history: Sequence[str],
    exclude: Sequence[str] | None,
    k: int | None,
    candidates: Sequence[str] | None,
) -> Operation[Recommendation] | None:
    """Recommend items: of the candidates, else of the catalogue, else the model ranks its own.

    Returns:
        None if history and exclude leave no item to rank.
    """
    k = checked_k(k)
    history, exclude = listed(history, "history"), listed(() if exclude is None else exclude, "exclude")
    candidates = None if candidates is None else listed(candidates, "candidates")
    for ids, name in ((history, "history"), (exclude, "exclude"), (candidates or (), "candidates")):
        encode(ids, name)
    if candidates is None and not scorer.catalogue:
        if scorer.featurize is not None:
            words = "a model with featurize needs items to rank; pass candidates=…, or catalogue=… to OpenInference"
            raise InvalidRequest(words, "", spec.model)
        return _model_ranks(spec, scorer, widths, history, exclude, k)
    hidden = {*history, *exclude}
    offered = scorer.catalogue if candidates is None else candidates
    ranked = [item for item in dict.fromkeys(offered) if item not in hidden]
    if not ranked:
        return None

    def read(scores: npt.NDArray[np.float32], model: str, version: int | None, origin: Origin) -> Recommendation:
        items, best = _rank(ranked, scores, k)
        return Recommendation(items, best, model, version, *origin)

    return _scored(spec, scorer, widths, history, ranked, read)


def score_items(
    spec: Spec, scorer: Scorer, widths: Widths, history: Sequence[str], candidates: Sequence[str]
) -> Operation[npt.NDArray[np.float32]] | None:
    """Score all candidates in one request.

    Returns:
        None if there is no candidate.
    """
    history, candidates = listed(history, "history"), listed(candidates, "candidates")
    encode(history, "history")
    if not encode(candidates, "candidates"):
        return None

    def read(scores: npt.NDArray[np.float32], _: str, __: int | None, ___: Origin) -> npt.NDArray[np.float32]:
        return scores

    return _scored(spec, scorer, widths, history, candidates, read)


def ready(spec: Spec) -> Operation[bool]:
    """Ask whether the server reports the model as ready."""
    request = messages.ModelReadyRequest(name=spec.model, version=_version_text(spec))

    def read(reply: bytes, origin: Origin) -> bool:
        return bool(messages.ModelReadyResponse.FromString(reply).ready)

    return Operation(methods.MODEL_READY, spec, request.SerializeToString(), read)


_Read = Callable[[npt.NDArray[np.float32], str, int | None, Origin], T]


def _model_ranks(
    spec: Spec, scorer: Scorer, widths: Widths, history: Sequence[str], exclude: Sequence[str], k: int | None
) -> Operation[Recommendation]:
    inputs = {contract.HISTORY: _rows([_history(history, widths)])}
    excluded = with_cut_off(encode(exclude, "exclude"), encode(history, "history"), widths.history)
    if excluded:
        inputs[contract.EXCLUDE] = _rows([pad(excluded, rounded_up(len(excluded), widths.exclude))])

    def read(arrays: dict[str, npt.NDArray[Any]], model: str, version: int | None, origin: Origin) -> Recommendation:
        items, scores = _named(arrays, contract.ITEMS), _named(arrays, contract.SCORES)
        if (
            items.dtype != object
            or scores.dtype != np.float32
            or items.shape != scores.shape
            or items.shape[:-1] != (1,)
        ):
            raise ValueError(
                f"items are {items.dtype} {list(items.shape)}, scores {scores.dtype} {list(scores.shape)}; "
                "the contract is BYTES and FP32, both [1, K]"
            )
        ids = [item.decode() for item in items[0, :k].tolist()]
        if contract.PAD_ID in ids:
            ids = ids[: ids.index(contract.PAD_ID)]
        return Recommendation(ids, scores[0, : len(ids)], model, version, *origin)

    return _infer(spec, inputs, (contract.ITEMS, contract.SCORES), scorer.raw, read)


def _scored(
    spec: Spec, scorer: Scorer, widths: Widths, history: Sequence[str], candidates: Sequence[str], read: _Read[T]
) -> Operation[T]:
    """Score one or more candidates, [m]."""
    count = len(candidates)
    if scorer.featurize is not None:
        inputs, output = _features(scorer.featurize, history, candidates), scorer.scores_output
    else:
        rows = parts(encode(candidates, "candidates"), widths.candidates)
        inputs = {contract.HISTORY: _rows([_history(history, widths)] * len(rows)), contract.CANDIDATES: _rows(rows)}
        output = contract.SCORES

    def read_scores(arrays: dict[str, npt.NDArray[Any]], model: str, version: int | None, origin: Origin) -> T:
        found = _named(arrays, output)
        if scorer.featurize is not None:
            scores = _column(found, output, count, scorer.scores_column)
        elif found.shape != (len(rows), widths.candidates) or found.dtype != np.float32:
            expected = [len(rows), widths.candidates]
            raise ValueError(f"scores are {found.dtype} {list(found.shape)}; the contract is FP32 {expected}")
        else:
            scores = found.reshape(-1)[:count]
        return read(scores, model, version, origin)

    return _infer(spec, inputs, (output,), scorer.raw, read_scores)


def _infer(
    spec: Spec,
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    raw: bool,
    read: Callable[[dict[str, npt.NDArray[Any]], str, int | None, Origin], T],
) -> Operation[T]:
    request = messages.ModelInferRequest(model_name=spec.model, model_version=_version_text(spec))
    for name, value in inputs.items():
        try:
            write_tensor(request, name, value, raw)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequest(f"input {name!r}: {error}", "", spec.model, spec.version) from error
    for name in outputs:
        request.outputs.add(name=name)

    def read_reply(reply: bytes, origin: Origin) -> T:
        response = messages.ModelInferResponse.FromString(reply)
        # A version is text in this protocol. It is reported if it is a number, as for TF Serving models.
        version = int(response.model_version) if response.model_version.isdecimal() else None
        return read(read_tensors(response), response.model_name or spec.model, version, origin)

    return Operation(methods.MODEL_INFER, spec, request.SerializeToString(), read_reply)


def _features(featurize: Featurize, history: Sequence[str], candidates: Sequence[str]) -> dict[str, Any]:
    """Call `featurize` and check that the rows of its arrays are the candidates."""
    inputs = featurize(history, candidates)
    if not isinstance(inputs, Mapping) or not inputs:
        raise InvalidRequest(f"featurize returned {type(inputs).__name__}, not a mapping from input names to arrays")
    arrays = {name: value if isinstance(value, np.ndarray) else np.asarray(value) for name, value in inputs.items()}
    for name, array in arrays.items():
        if array.ndim == 0 or array.shape[0] != len(candidates):
            raise InvalidRequest(
                f"featurize returned {name!r} with the shape {list(array.shape)} for {len(candidates)} candidates; "
                "return one row per candidate"
            )
    return arrays


def _column(found: npt.NDArray[Any], name: str, count: int, column: int | None) -> npt.NDArray[np.float32]:
    """Return the scores in an output [count], [count, 1], or [count, c] with a column."""
    if found.dtype.kind not in "fiub":
        raise ValueError(f"output {name!r} is {'text' if found.dtype == object else found.dtype}, not numbers")
    if column is not None and found.ndim == 2 and -found.shape[1] <= column < found.shape[1]:
        found = found[:, column]
    elif column is not None or (found.ndim == 2 and found.shape[1] != 1) or found.ndim not in (1, 2):
        asked = "one score a row" if column is None else f"column {column}"
        raise ValueError(
            f"output {name!r} has the shape {list(found.shape)}, which does not hold {asked}; see scores_column"
        )
    if found.shape[0] != count:
        raise ValueError(f"output {name!r} has {found.shape[0]} rows for {count} candidates")
    return found.reshape(count).astype(np.float32)


def _rank(
    candidates: Sequence[str], scores: npt.NDArray[np.float32], k: int | None
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Rank candidates, best first, equal scores by the id's UTF-8. Items with the score -inf are left out."""
    if np.isnan(scores).any():
        place = int(np.isnan(scores).argmax())
        raise ValueError(f"the score of candidate {place} of {len(candidates)} is not a number")
    values = scores.tolist()
    known = [place for place, value in enumerate(values) if value > contract.PAD_SCORE]
    known.sort(key=lambda place: (-values[place], candidates[place]))  # code points have the order of UTF-8
    best = known[:k]
    return [candidates[place] for place in best], scores[best]


def _history(history: Sequence[str], widths: Widths) -> list[bytes]:
    return pad(encode(newest(history, widths.history), "history"), widths.history)


def _rows(rows: list[list[bytes]]) -> npt.NDArray[Any]:
    array = np.empty((len(rows), len(rows[0])), dtype=object)
    array[:] = rows
    return array


def _named(arrays: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"the model returned no output {name!r}; it returned {sorted(arrays)}")
    return arrays[name]


def _version_text(spec: Spec) -> str:
    return "" if spec.version is None else str(spec.version)
