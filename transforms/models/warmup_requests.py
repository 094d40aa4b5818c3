"""Write the warm-up requests of a model: one per signature, which a server runs before the model answers clients.

`local_serving.warmup` and TensorFlow Serving run them. TensorFlow is imported only when they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from serving_client.contracts import signatures as contract

__all__ = ["write_warmup_requests"]


def write_warmup_requests(path: Path, signatures: Collection[str], popular: Sequence[str]) -> None:
    """Write one request per signature, padded to the widths that clients send.

    The server then traces each shape before it answers clients.

    Args:
        path: File to write, a TFRecord of PredictionLog.
        signatures: Names of the signatures.
        popular: Item ids to fill the requests with, most popular first.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    widths = {
        contract.HISTORY: contract.HISTORY_WIDTH,
        contract.CANDIDATES: contract.CANDIDATES_WIDTH,
        contract.EXCLUDE: contract.EXCLUDE_WIDTH,
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name in signatures:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            for argument in contract.SIGNATURES[name].inputs:
                ids = list(popular[: widths[argument]])
                ids += [contract.PAD_ID] * (widths[argument] - len(ids))
                request.inputs[argument].CopyFrom(tf.make_tensor_proto([ids], tf.string))
            writer.write(log.SerializeToString())
