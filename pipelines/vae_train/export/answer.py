"""Answer requests with a SavedModel in the separate process of `verify`.

    python -I answer.py MODEL requests.json answers.npz

This script imports TensorFlow and nothing of this project. requests.json is a list of
{"signature": name, "inputs": {argument: [batch, width] strings}}. answers.npz has an array `PLACE/OUTPUT` for each
output of the request at that place in the list. Strings are stored as bytes.
"""

from __future__ import annotations

import json
import sys

__all__ = ["answer"]


def answer(model: str, requests: str, answers: str) -> None:
    """Load the model, answer the requests and write the answers.

    Errors are not caught, because the caller shows the end of the traceback.

    Args:
        model: Folder of the SavedModel.
        requests: Path of requests.json.
        answers: Path of the answers.npz to write.
    """
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    found = {}
    with open(requests, encoding="utf-8") as file:
        for place, request in enumerate(json.load(file)):
            inputs = {
                # An empty list has neither a width in JSON nor a string type in TensorFlow.
                name: tf.reshape(tf.constant(rows, tf.string), [len(rows), len(rows[0]) if rows else 0])
                for name, rows in request["inputs"].items()
            }
            for name, value in loaded.signatures[request["signature"]](**inputs).items():
                array = value.numpy()
                found[f"{place}/{name}"] = array.astype(np.bytes_) if array.dtype == object else array
    np.savez(answers, **found)


if __name__ == "__main__":
    answer(*sys.argv[1:])
