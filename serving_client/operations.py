"""The operations of TensorFlow Serving's protocol: the request of each method, and how to read its answer.

An operation turns arguments into bytes and bytes into a result, without network or waiting. The blocking and the
asynchronous client differ only in how they send it. Arguments are checked here, before anything is sent. A reader
raises ValueError for an answer that breaks the protocol or the contract.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from serving_client import codec
from serving_client.contracts import signatures as contract
from serving_client.deadline import Deadline, checked_timeout_s
from serving_client.errors import (
    BadResponse,
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    NotReady,
    NotSupported,
    ServingError,
    Unauthorized,
    from_status,
)
from serving_client.padding import checked_k, encode, listed, newest, pad, parts, rounded_up, text, with_cut_off
from serving_client.protocol import messages, methods
from serving_client.results import ModelMetadata, Prediction, Recommendation, TensorSpec, VersionStatus

__all__ = [
    "Operation",
    "Origin",
    "Spec",
    "Wait",
    "Widths",
    "batch",
    "checked",
    "explain",
    "metadata",
    "predict",
    "recommend",
    "recommend_many",
    "reload_config",
    "score_items",
    "status",
]

T = TypeVar("T")

QUESTION_S = 2.0
"""Deadline in seconds of one request of wait_until_ready. A healthy server answers from memory."""
_DT_STRING = 7
_DTYPE_NAMES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_STRING": "str"}
"""Names that differ. numpy's other names are TensorFlow's in lower case without DT_."""
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_LARGEST_VERSION = 2**63 - 1
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Spec(NamedTuple):
    """The model of a call, with a version, a label, or neither. Neither calls the latest version that is available."""

    model: str
    version: int | None
    version_label: str | None


class Widths(NamedTuple):
    """Columns that requests are padded to."""

    history: int
    candidates: int
    exclude: int


class Origin(NamedTuple):
    """Where an answer came from: the target, and how many requests it took."""

    target: str
    attempts: int


@dataclasses.dataclass(slots=True, eq=False)  # frozen would cost 2 µs a call
class Operation(Generic[T]):
    """One call: the request, and how to read the answer.

    Args:
        method: Full path of the gRPC method.
        spec: The model.
        request: The message, encoded once for all attempts.
        read: Reads the answer. Raises ValueError if the answer breaks the protocol.
        repeatable: Whether the request may be sent twice.
        look_into_not_found: Whether NOT_FOUND may mean that the model is still loading.
    """

    method: str
    spec: Spec
    request: bytes
    read: Callable[[bytes, Origin], T]
    repeatable: bool = True
    look_into_not_found: bool = False


def checked(spec: Spec) -> Spec:
    """Return the spec if a server can have it, else raise InvalidRequest."""
    model, version, label = spec
    if not isinstance(model, str) or not model:
        raise InvalidRequest(f"model is {model!r}; pass model=… to the call or to the client")
    if version is not None and label is not None:
        raise InvalidRequest(f"version={version} and version_label={label!r} are both given; pass one", "", model)
    if version is not None and not (
        isinstance(version, int | np.integer) and not isinstance(version, bool) and 0 <= version <= _LARGEST_VERSION
    ):
        raise InvalidRequest(f"version is {version!r}; pass a whole number from 0", "", model)
    if label is not None and (not isinstance(label, str) or not label):
        raise InvalidRequest(f"version_label is {label!r}; pass text that is not empty", "", model)
    text(model, "model")
    text(label or "", "version_label")
    return spec


def predict(spec: Spec, inputs: Mapping[str, Any], signature: str, outputs: Sequence[str]) -> Operation[Prediction]:
    """Run any signature on any tensors."""
    if not isinstance(inputs, Mapping):
        raise InvalidRequest(f"inputs is {type(inputs).__name__}, not a mapping from names to values", "", spec.model)
    outputs = [text(name, "outputs") for name in listed(outputs, "outputs", "names")]
    text(signature, "signature")
    request = messages.PredictRequest(output_filter=outputs)
    for name, value in inputs.items():
        try:
            codec.write_tensor(request.inputs[name], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequest(f"input {name!r}: {error}", "", spec.model, spec.version) from error

    def read(reply: bytes, origin: Origin) -> Prediction:
        response = messages.PredictResponse.FromString(reply)
        arrays = codec.to_arrays(response.outputs)
        missing = [name for name in outputs if name not in arrays]
        if missing:
            raise ValueError(f"the answer lacks the outputs {missing}; it has {sorted(arrays)}")
        answered = response.model_spec
        return Prediction(
            arrays,
            answered.name or spec.model,
            _version(answered),
            answered.signature_name or signature or contract.SERVING_DEFAULT,
            *origin,
        )

    return _predict(spec, signature, request.SerializeToString(), read)


def recommend(
    spec: Spec, widths: Widths, history: Sequence[str], exclude: Sequence[str] | None, k: int | None
) -> Operation[Recommendation]:
    """Recommend items for one history.

    The request uses the signature `filtered` if an item is excluded or the history is longer than its width.
    """
    excludes = None if exclude is None else (exclude,)
    many = recommend_many(spec, widths, (history,), excludes, k, ("history", "exclude"))
    read_many = many.read

    def read(reply: bytes, origin: Origin) -> Recommendation:
        return read_many(reply, origin)[0]

    return Operation(methods.PREDICT, spec, many.request, read, True, True)


def batch(
    histories: Sequence[Sequence[str]], excludes: Sequence[Sequence[str]] | None
) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]] | None]:
    """Return histories and excludes as lists.

    Raises:
        InvalidRequest: There is not one list of excludes per history.
    """
    histories = listed(histories, "histories", "histories")
    if excludes is not None:
        excludes = listed(excludes, "excludes", "lists")
        if len(excludes) != len(histories):
            raise InvalidRequest(f"{len(excludes)} excludes for {len(histories)} histories; pass one list per history")
    return histories, excludes


def recommend_many(
    spec: Spec,
    widths: Widths,
    histories: Sequence[Sequence[str]],
    excludes: Sequence[Sequence[str]] | None,
    k: int | None,
    names: tuple[str, str] | None = None,
) -> Operation[list[Recommendation]]:
    """Recommend items for several histories in one request.

    The request excludes the ids of a history that do not fit into its row. The model does not see them otherwise.

    Args:
        spec: The model.
        widths: Columns of the request.
        histories: Item ids, oldest first.
        excludes: One list of excluded ids per history, or None.
        k: Number of items per history at most, or None.
        names: What messages call a history and its excludes. By default histories[0] and so on.
    """
    k = checked_k(k)
    rows, excluded = [], []
    for place, history in enumerate(histories):
        ids = encode(history, names[0] if names else f"histories[{place}]")
        out = encode(excludes[place], names[1] if names else f"excludes[{place}]") if excludes is not None else []
        excluded.append(with_cut_off(out, ids, widths.history))
        rows.append(pad(ids[-widths.history :], widths.history))
    inputs = {contract.HISTORY: rows}
    longest = max(map(len, excluded))
    if longest:
        width = rounded_up(longest, widths.exclude)
        inputs[contract.EXCLUDE] = [pad(row, width) for row in excluded]
    signature = contract.FILTERED if contract.EXCLUDE in inputs else contract.SERVING_DEFAULT
    count = len(rows)

    def read(reply: bytes, origin: Origin) -> list[Recommendation]:
        response = messages.PredictResponse.FromString(reply)
        outputs = response.outputs
        items = codec.strings(_output(outputs, contract.ITEMS, signature))
        scores = codec.to_array(_output(outputs, contract.SCORES, signature))
        if scores.ndim != 2 or scores.shape[0] != count or scores.dtype != np.float32 or scores.size != len(items):
            raise ValueError(
                f"signature {signature} gave {len(items)} items and scores {scores.dtype} {list(scores.shape)} for "
                f"{count} histories; the contract is items and float32 scores, both [{count}, K]"
            )
        answered = response.model_spec
        model, version, length = answered.name or spec.model, _version(answered), scores.shape[1]
        cut = length if k is None else min(k, length)
        found = []
        for row in range(count):
            ids = items[row * length : row * length + cut]
            if cut and ids[-1] == contract.PAD_ID:
                ids = ids[: ids.index(contract.PAD_ID)]
            found.append(Recommendation(ids, scores[row, : len(ids)], model, version, *origin))
        return found

    return _predict(spec, signature, _string_inputs(inputs), read)


def score_items(
    spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
) -> Operation[npt.NDArray[np.float32]]:
    """Score each candidate.

    More candidates than fit into a row make further rows of the same request, so one version scores all.
    """
    request, _, rows, count = _with_candidates(widths, history, candidates)

    def read(reply: bytes, origin: Origin) -> npt.NDArray[np.float32]:
        response = messages.PredictResponse.FromString(reply)
        tensor = _output(response.outputs, contract.SCORES, contract.SCORE_ITEMS)
        return _shaped(tensor, (rows, widths.candidates), contract.SCORE_ITEMS).reshape(-1)[:count]

    return _predict(spec, contract.SCORE_ITEMS, request, read)


def explain(
    spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
) -> Operation[npt.NDArray[np.float32]]:
    """Split the score of each candidate into the contributions of the history's items that were sent."""
    request, sent, rows, count = _with_candidates(widths, history, candidates)

    def read(reply: bytes, origin: Origin) -> npt.NDArray[np.float32]:
        response = messages.PredictResponse.FromString(reply)
        tensor = _output(response.outputs, contract.CONTRIBUTIONS, contract.EXPLAIN)
        found = _shaped(tensor, (rows, widths.candidates, widths.history), contract.EXPLAIN)
        return found.reshape(-1, widths.history)[:count, :sent]

    return _predict(spec, contract.EXPLAIN, request, read)


def metadata(spec: Spec) -> Operation[ModelMetadata]:
    """Read the inputs and outputs of all signatures."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    _write_spec(request.model_spec, spec, "")

    def read(reply: bytes, origin: Origin) -> ModelMetadata:
        response = messages.GetModelMetadataResponse.FromString(reply)
        if "signature_def" not in response.metadata:
            raise ValueError(f"the answer lacks signature_def; it has {sorted(response.metadata)}")
        found = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
        answered = response.model_spec
        return ModelMetadata(
            answered.name or spec.model,
            _version(answered),
            {name: _tensor_specs(signature.inputs) for name, signature in found.items()},
            {name: _tensor_specs(signature.outputs) for name, signature in found.items()},
        )

    return Operation(methods.GET_MODEL_METADATA, spec, request.SerializeToString(), read, look_into_not_found=True)


def status(spec: Spec) -> Operation[list[VersionStatus]]:
    """Read the state of the version, or of all versions, newest first. Servers ignore a label here."""
    request = messages.GetModelStatusRequest()
    _write_spec(request.model_spec, spec, "")

    def read(reply: bytes, origin: Origin) -> list[VersionStatus]:
        response = messages.GetModelStatusResponse.FromString(reply)
        rows = [
            VersionStatus(
                row.version,
                _STATES.get(row.state, str(row.state)),
                int(row.status.error_code),
                row.status.error_message if row.status.error_code else "",
            )
            for row in response.model_version_status
        ]
        return sorted(rows, key=lambda row: row.version, reverse=True)

    return Operation(methods.GET_MODEL_STATUS, spec, request.SerializeToString(), read)


def reload_config(config: str) -> Operation[None]:
    """Replace the config of the server. The request is never repeated."""
    request = messages.ReloadConfigRequest()
    try:
        text_format.Parse(config, request.config)
    except (text_format.ParseError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"config is not a ModelServerConfig in text form: {' '.join(str(error).split())}"
        ) from error
    if not request.config.WhichOneof("config"):
        raise InvalidRequest("config is empty; to unload all models pass model_config_list {}")

    def read(reply: bytes, origin: Origin) -> None:
        answered = messages.ReloadConfigResponse.FromString(reply).status
        if answered.error_code:
            raise from_status(_grpc_code(answered.error_code), answered.error_message, target=origin.target)

    return Operation(methods.RELOAD_CONFIG, Spec("", None, None), request.SerializeToString(), read, repeatable=False)


def _predict(spec: Spec, signature: str, inputs: bytes, read: Callable[[bytes, Origin], T]) -> Operation[T]:
    # Two encoded messages in a row are one message with the fields of both. The first is the same in every call.
    return Operation(methods.PREDICT, spec, _spec_bytes(spec, signature) + inputs, read, True, True)


@functools.lru_cache(maxsize=256)
def _spec_bytes(spec: Spec, signature: str) -> bytes:
    request = messages.PredictRequest()
    _write_spec(request.model_spec, spec, signature)
    encoded: bytes = request.SerializeToString()
    return encoded


def _write_spec(proto: Any, spec: Spec, signature: str) -> None:
    proto.name = spec.model
    if spec.version is not None:
        proto.version.value = spec.version
    elif spec.version_label is not None:
        proto.version_label = spec.version_label
    if signature:
        proto.signature_name = signature


def _string_inputs(inputs: Mapping[str, list[list[bytes]]]) -> bytes:
    """Return PredictRequest.inputs with one string tensor [rows, width] per name."""
    request = messages.PredictRequest()
    for name, rows in inputs.items():
        tensor = request.inputs[name]
        tensor.dtype = _DT_STRING
        tensor.tensor_shape.dim.add(size=len(rows))
        tensor.tensor_shape.dim.add(size=len(rows[0]))
        tensor.string_val.extend(rows[0] if len(rows) == 1 else list(itertools.chain.from_iterable(rows)))
    encoded: bytes = request.SerializeToString()
    return encoded


def _with_candidates(widths: Widths, history: Sequence[str], candidates: Sequence[str]) -> tuple[bytes, int, int, int]:
    """Return the inputs, how many ids of the history are sent, the rows of candidates, and the number of candidates."""
    newest_ids = encode(newest(listed(history, "history"), widths.history), "history")
    row, sent = pad(newest_ids, widths.history), len(newest_ids)
    encoded = encode(candidates, "candidates")
    candidate_rows = parts(encoded, widths.candidates) or [pad([], widths.candidates)]
    inputs = {contract.HISTORY: [row] * len(candidate_rows), contract.CANDIDATES: candidate_rows}
    return _string_inputs(inputs), sent, len(candidate_rows), len(encoded)


def _output(outputs: Any, name: str, signature: str) -> Any:
    if name not in outputs:  # reading a missing key of a proto map would add it
        raise ValueError(f"signature {signature} returned no output {name!r}; it returned {sorted(outputs)}")
    return outputs[name]


def _shaped(tensor: Any, shape: tuple[int, ...], signature: str) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = codec.to_array(tensor)
    if found.shape != shape or found.dtype != np.float32:
        raise ValueError(
            f"signature {signature} gave {found.dtype} {list(found.shape)}; the contract is float32 {list(shape)}"
        )
    return found


def _version(spec: Any) -> int | None:
    return int(spec.version.value) if spec.HasField("version") else None


def _tensor_specs(tensors: Any) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            _dtype_name(info),
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(tensors.items())
    }


def _dtype_name(info: Any) -> str:
    known = type(info).DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    name = known[info.dtype].name if info.dtype in known else f"DT_{info.dtype}"
    return _DTYPE_NAMES.get(name, name.removeprefix("DT_").lower())


def _grpc_code(number: int) -> grpc.StatusCode:
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


class Wait:
    """The decisions of wait_until_ready: how long a question may take, and how long until the next one.

    Args:
        spec: The model.
        timeout_s: Seconds for all questions together.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: The timeout is out of range.
    """

    def __init__(self, spec: Spec, timeout_s: float, clock: Callable[[], float]) -> None:
        self._spec = spec
        self._deadline = Deadline(checked_timeout_s(timeout_s), clock)
        self._heard: ServingError | None = None
        self._pauses = itertools.chain((0.02, 0.05, 0.1, 0.2), itertools.repeat(0.5))

    def timeout_s(self) -> float:
        """Return the seconds that the next question may take.

        A server that hangs must not use up the time for the others.
        """
        return min(QUESTION_S, self._deadline.left_s())

    def unready(self, reason: str) -> float:
        """Return the seconds until the next question, after an answer that says why the model is not ready.

        Raises:
            DeadlineExceeded: No time is left.
        """
        return self.failed(NotReady(reason, "", self._spec.model, self._spec.version))

    def failed(self, error: ServingError) -> float:
        """Return the seconds until the next question, after one that failed.

        Raises:
            DeadlineExceeded: No time is left.
            ServingError: The error itself, if waiting does not change it.
        """
        if isinstance(error, InvalidRequest | Unauthorized | NotSupported | BadResponse | ClientClosed):
            raise error
        if self._heard is None or not isinstance(error, DeadlineExceeded):
            self._heard = error
        pause_s = next(self._pauses)
        if pause_s >= self._deadline.left_s():
            said = f"not ready within {self._deadline.timeout_s:g} s; last answer: {self._heard.message}"
            raise DeadlineExceeded(said, self._heard.target, self._spec.model, self._spec.version) from self._heard
        return pause_s
