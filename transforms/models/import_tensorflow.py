"""Import TensorFlow without its start-up messages: a dozen lines on stderr about CPU features and missing GPUs.

Native code prints these lines before any log level applies, so stderr's file descriptor is redirected during the
import. If the import fails, the held lines are printed. Looking for GPUs prints such lines as well, so it happens
during the redirection.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from transforms.extras import require

__all__ = ["import_tensorflow"]


def import_tensorflow() -> Any:
    """Return the tensorflow module. Its first import prints nothing.

    Raises:
        MissingExtra: TensorFlow is not installed.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_stderr():
        tf = require("tensorflow", "pipelines")
        tf.config.list_physical_devices()
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
