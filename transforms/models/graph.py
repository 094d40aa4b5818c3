"""The parts of a served graph that every model needs: a vocabulary, frozen arrays, and signatures traced once.

TensorFlow alone; import this module inside functions, after `transforms.models.import_tensorflow.import_tensorflow`.
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
    """Item id to its line in the text file at `path`, counted from 0; any other string to `items`, the line count."""
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
    """An array of the model. A variable, not a constant: a graph is one protobuf and ends at 2 GB, a checkpoint not."""
    with tf.device("CPU"):  # where the exporting machine has a GPU, it is busy with something better
        return tf.Variable(values, trainable=False, name=name)


def traced(module: Any, names: Iterable[str]) -> dict[str, Any]:
    """The concrete function of each of these signatures of the contract: the module's method of that name."""
    functions = {}
    for name in names:
        inputs = contract.SIGNATURES[name].inputs
        specs = [tf.TensorSpec([None, None], tf.string, name=argument) for argument in inputs]
        # Without AutoGraph (there is no Python control flow to convert) an export takes half as long. These are
        # not attributes of the module: saving would trace them again.
        functions[name] = tf.function(getattr(module, name), autograph=False).get_concrete_function(*specs)
    return functions
