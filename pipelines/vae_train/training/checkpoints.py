"""Save and restore checkpoints, so that a killed training run can resume.

A checkpoint holds the weights, the optimisers and the position in the run. It is written completely or not at all.

checkpoints/ckpt-STEP*        the newest two checkpoints; a run resumes from the newest
checkpoints/best/epoch-N*     the best weights so far; valid once a checkpoint names their epoch
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from transforms.errors import BadInput, RecbeamError
from transforms.files import storage

__all__ = ["Checkpoints", "State"]

_KEPT = 2


@dataclasses.dataclass(frozen=True)
class State:
    """The position of a run.

    Attributes:
        epoch: Number of completed epochs.
        passes: Number of completed passes of the current epoch.
        batches: Number of completed batches of the current pass.
        step: Number of steps since the run began.
        sums: Total loss, log-likelihood and KL of the current epoch, summed over `users` users.
        users: Users in `sums`, once per pass.
        kl_users: Users in `sums` of passes that compute KL.
        best_epoch: Epoch of the best weights, 0 before the first validation.
        best_metrics: Validation metrics of that epoch.
        seconds: Seconds spent on the current epoch.
    """

    epoch: int = 0
    passes: int = 0
    batches: int = 0
    step: int = 0
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    users: int = 0
    kl_users: int = 0
    best_epoch: int = 0
    best_metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Checkpoints:
    """The checkpoints of a model and its optimisers. Only the chief writes, and every worker may restore.

    Args:
        work_dir: Folder of the run. Checkpoints are in its subfolder `checkpoints`.
        model: The model.
        optimizers: One optimiser per phase.
        chief: Whether this process writes.
    """

    def __init__(self, work_dir: str, model: Any, optimizers: Mapping[str, Any], *, chief: bool = True) -> None:
        self._folder = os.path.join(work_dir, "checkpoints")
        self._best_folder = os.path.join(self._folder, "best")
        self._chief = chief
        self._state = tf.Variable("", dtype=tf.string, trainable=False)
        self._all = tf.train.Checkpoint(model=model, optimizers=dict(optimizers), state=self._state)
        self._model = tf.train.Checkpoint(model=model)
        self._manager = tf.train.CheckpointManager(self._all, self._folder, max_to_keep=_KEPT) if chief else None

    def restore(self) -> State:
        """Restore the newest checkpoint into the model and the optimisers.

        Returns:
            The state of the checkpoint, or State() if there is no checkpoint.

        Raises:
            BadInput: The checkpoint belongs to another model.
        """
        newest = tf.train.latest_checkpoint(self._folder)
        if newest is None:
            return State()
        self._read(self._all, newest)
        values = json.loads(self._state.numpy())
        return State(**{**values, "sums": tuple(values["sums"])})

    def save(self, state: State) -> None:
        """Write a checkpoint and remove the best weights of all epochs except state.best_epoch.

        Call this at most once per step.

        Args:
            state: The position of the run.

        Raises:
            RecbeamError: The disk is full or fails. The previous checkpoint stays valid.
        """
        if self._manager is None:
            return
        self._state.assign(json.dumps(dataclasses.asdict(state)))
        with _writing(self._folder):
            self._manager.save(checkpoint_number=state.step)
        for path in storage.list_files(self._best_folder):
            if not os.path.basename(path).startswith(f"{_name(state.best_epoch)}."):
                storage.remove(path)

    def save_best(self, epoch: int) -> None:
        """Write the model's weights as the best. Afterwards save a State whose best_epoch is this epoch."""
        if self._chief:
            with _writing(self._best_folder):
                self._model.write(os.path.join(self._best_folder, _name(epoch)))

    def restore_best(self, epoch: int) -> None:
        """Restore the best weights into the model.

        Args:
            epoch: Epoch of the best weights.

        Raises:
            BadInput: The weights do not exist or belong to another model.
        """
        self._read(self._model, os.path.join(self._best_folder, _name(epoch)))

    def _read(self, checkpoint: Any, path: str) -> None:
        try:
            checkpoint.read(path).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            reason = str(error).partition("\n")[0]
            raise BadInput(
                f"{path}: is not a checkpoint of this model ({reason}); remove {self._folder} to train from the start"
            ) from error


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        raise RecbeamError(
            f"{folder}: a checkpoint cannot be written ({reason}); free space and run the same command to "
            "resume from the last checkpoint, or pass --work_dir on another disk"
        ) from error


def _name(epoch: int) -> str:
    return f"epoch-{epoch:05d}"
