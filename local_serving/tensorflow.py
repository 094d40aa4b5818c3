"""TensorFlow's import, once it is needed and without its greeting.

The light modules (flags, config, discovery) must not bring TensorFlow: a mistake in the command line is answered at
once. TensorFlow greets on stderr from native code before any log level is read, so the file descriptor itself is held;
if the import fails, what was held is shown.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from local_serving.errors import StartError

__all__ = ["import_tensorflow"]


def import_tensorflow() -> Any:
    """The tensorflow module; its first import takes seconds and is silent. Raises StartError where it is not there."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_stderr():
        try:
            tf = importlib.import_module("tensorflow")
        except ModuleNotFoundError as error:
            if error.name != "tensorflow":
                raise
            raise StartError('tensorflow is not installed; pip install "recbeam[pipelines]"') from error
        tf.config.list_physical_devices()  # looking for GPUs greets as well
        tf.get_logger().setLevel("ERROR")  # its loader of SavedModels for sessions calls itself deprecated
    return tf


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
