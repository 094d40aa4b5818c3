"""Run the warm-up requests that lie beside a model before it serves, so that the first client gets a warm graph.

`transforms.models.warmup_requests` writes these requests.
"""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from local_serving.errors import Status
from local_serving.servable import LoadedModel
from local_serving.signatures import checked_inputs, checked_outputs, signature_of
from local_serving.tensorflow import import_tensorflow
from serving_client.contracts.signatures import WARMUP_FILE
from serving_client.protocol import messages

__all__ = ["warm_up"]

MAX_RECORDS = 1000
_log = logging.getLogger(__name__)


def warm_up(model: LoadedModel, iterations: int = 1) -> int:
    """Run every record of assets.extra/tf_serving_warmup_requests.

    The file is a TFRecord file of PredictionLog. Only Predict records are run. Other kinds are named in a warning. The
    model names in the records are ignored.

    Args:
        model: The loaded model.
        iterations: How often each record is run.

    Returns:
        Number of records.

    Raises:
        Status: A record fails, the file is damaged, or it has more than 1,000 records.
    """
    path = model.path / "assets.extra" / WARMUP_FILE
    if not path.is_file():
        return 0
    tf = import_tensorflow()
    count = 0
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    try:
        for record in records:
            _replay(model, record, path, iterations)
            count += 1
            if count > MAX_RECORDS:
                raise _invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise Status(grpc.StatusCode.DATA_LOSS, message) from error
    return count


def _replay(model: LoadedModel, record: bytes, path: Path, iterations: int) -> None:
    try:
        log = messages.PredictionLog.FromString(record)
    except Exception as error:  # DecodeError; its class differs between protobuf's implementations
        raise _invalid(f"Failed to parse warmup record: {record!r} from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        _log.warning("%s: skipping a warm-up record of kind %s; local_serving runs only predict_log", path, kind)
        return
    request = log.predict_log.request
    name, signature = signature_of(model.signature_defs, request.model_spec.signature_name)
    for _ in range(max(1, iterations)):
        model.run(
            name, checked_inputs(signature, request.inputs), checked_outputs(signature, request.output_filter)
        )  # fmt: skip


def _invalid(message: str) -> Status:
    return Status(grpc.StatusCode.INVALID_ARGUMENT, message)
