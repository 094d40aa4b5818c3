"""Import TensorFlow on first use and without its start-up messages.

The light modules (flags, config, discovery) do not import TensorFlow, so that a wrong command line is reported at once.
TensorFlow prints to stderr from native code before any log level applies. So the file descriptor is redirected during
the import. If the import fails, the held output is printed.
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
    """Return the tensorflow module. The first import takes seconds and prints nothing.

    Raises:
        StartError: TensorFlow is not installed.
    """
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
        tf.config.list_physical_devices()  # looking for GPUs prints messages too
        tf.get_logger().setLevel("ERROR")  # hides the deprecation warning of the SavedModel loader for sessions
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
