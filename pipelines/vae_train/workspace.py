"""Keep features and checkpoints of a run while it trains, so that the same command continues after a crash.

A workspace is a local folder. Its name depends on the options and the digests of the inputs. A run that finds its own
workspace continues from it. Workspaces of other runs in the same output are removed. A finished run removes its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.vae_train.training.diverged import TrainingDiverged
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.runs.run_record import Artifact

__all__ = ["fingerprint", "open_workspace", "workspace_of"]

_FOLDER = ".resume"


def fingerprint(options: Mapping[str, Any], inputs: Sequence[Artifact]) -> str:
    """Return 16 hexadecimal digits that change when an option or an input does."""
    content = json.dumps([dict(options), [each.digest for each in inputs]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def workspace_of(output: str, work_dir: str | None, name: str) -> str:
    """Return the folder of workspace `name`: below work_dir if it is set, else in the (local) output folder."""
    return os.path.join(work_dir or os.path.join(output, _FOLDER), name)


@contextlib.contextmanager
def open_workspace(output: str, work_dir: str | None, name: str) -> Iterator[str]:
    """Open the local folder of a workspace.

    The folder is removed when the block ends without an error. It is also removed after an error in the input or the
    options, because the error would occur again. It is kept after any other error. If the output is remote and work_dir
    is not set, the folder is temporary and always removed.

    Args:
        output: Folder of the output.
        work_dir: Local folder of workspaces, None for one within the output.
        name: Name of the workspace.

    Yields:
        The folder.
    """
    if work_dir is None and not storage.is_local(output):
        with tempfile.TemporaryDirectory(prefix="vae-train-") as folder:
            yield folder
        return
    folder = workspace_of(output, work_dir, name)
    base = os.path.dirname(folder)
    if work_dir is None and os.path.isdir(base):
        for other in os.listdir(base):
            if other != name:
                shutil.rmtree(os.path.join(base, other))
    os.makedirs(folder, exist_ok=True)
    with _only_run(folder):
        yield from _keep_on_crash(folder, base, keep_base=work_dir is not None)


def _keep_on_crash(folder: str, base: str, *, keep_base: bool) -> Iterator[str]:
    try:
        yield folder
    except (BadInput, BadUsage, TrainingDiverged):
        _clear(folder, base, keep_base=keep_base)
        raise
    _clear(folder, base, keep_base=keep_base)


@contextlib.contextmanager
def _only_run(folder: str) -> Iterator[None]:
    """Lock the workspace. Runs with equal options may share a --work_dir and would write the same checkpoints."""
    with open(os.path.join(folder, ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadUsage(f"{folder}: another run trains there; wait for it or pass another --work_dir") from error
        yield


def _clear(folder: str, base: str, *, keep_base: bool) -> None:
    shutil.rmtree(folder)
    if not keep_base:
        os.rmdir(base)
