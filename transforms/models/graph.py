"""Build the parts of a served graph that every model needs: a vocabulary, frozen arrays and traced signatures.

The module imports TensorFlow. Import it inside a function, after calling
`transforms.models.import_tensorflow.import_tensorflow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving_client.contracts import signatures as contract

__all__ = ["frozen", "traced", "vocabulary_table"]


def vocabulary_table(path: str, items: int) -> tf.lookup.StaticHashTable:
    """Return a table from item id to line number, counted from 0.

    Args:
        path: Text file with one item id per line.
        items: Number of lines. Unknown ids map to this number.
    """
    lines = tf.lookup.TextFileInitializer(
        path,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        vocab_size=items,
    )
    return tf.lookup.StaticHashTable(lines, default_value=items)


def frozen(name: str, values: npt.NDArray[np.generic] | npt.NDArray[np.object_]) -> tf.Variable:
    """Return an array of the model as a variable that is not trained.

    A constant would be stored in the graph, which is one protobuf and limited to 2 GB. A variable is stored in the
    checkpoint.
    """
    with tf.device("CPU"):  # the GPU of the exporting machine is not needed and may be full
        return tf.Variable(values, trainable=False, name=name)


def traced(module: Any, names: Iterable[str]) -> dict[str, Any]:
    """Trace signatures and return their concrete functions by name.

    Args:
        module: Object with a method per signature, named like the signature.
        names: Signatures of `serving_client.contracts.signatures`.
    """
    functions = {}
    for name in names:
        inputs = contract.SIGNATURES[name].inputs
        specs = [tf.TensorSpec([None, None], tf.string, name=argument) for argument in inputs]
        # AutoGraph has no Python control flow to convert here, and an export takes half as long without it. The
        # functions are not attributes of the module, because saving the module would trace them again.
        functions[name] = tf.function(getattr(module, name), autograph=False).get_concrete_function(*specs)
    return functions
