"""The other process of `verify`: answers requests with a SavedModel, with TensorFlow and nothing of this project.

    python -I answer.py MODEL requests.json answers.npz

requests.json is a list of {"signature": name, "inputs": {argument: [batch, width] strings}}; answers.npz has an array
`PLACE/OUTPUT` for each output of the request at that place, strings as bytes.
"""

from __future__ import annotations

import json
import sys

__all__ = ["answer"]


def answer(model: str, requests: str, answers: str) -> None:
    """Load, answer, write. Whatever goes wrong is the traceback that the caller shows the end of."""
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    found = {}
    with open(requests, encoding="utf-8") as file:
        for place, request in enumerate(json.load(file)):
            inputs = {
                # JSON does not say how wide no rows are, nor TensorFlow that no strings are strings.
                name: tf.reshape(tf.constant(rows, tf.string), [len(rows), len(rows[0]) if rows else 0])
                for name, rows in request["inputs"].items()
            }
            for name, value in loaded.signatures[request["signature"]](**inputs).items():
                array = value.numpy()
                found[f"{place}/{name}"] = array.astype(np.bytes_) if array.dtype == object else array
    np.savez(answers, **found)


if __name__ == "__main__":
    answer(*sys.argv[1:])
