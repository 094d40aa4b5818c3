"""What a killed training run needs to go on: weights, optimiser and place, whole or not at all.

checkpoints/ckpt-STEP*        the newest two, from which a run goes on
checkpoints/best/epoch-N*     the best weights so far, which count only once a checkpoint says so
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
    """Where a run is. epoch: epochs done; then, in the epoch under way: passes done, batches of the next pass done.

    step: steps since the beginning. sums: total loss, log-likelihood and KL of the epoch under way, over `users` users;
    kl_users: those of passes that compute KL. best_epoch: 0 before the first validation. seconds: spent on the epoch
    under way.
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
    """Checkpoints of a model and its optimisers below work_dir. Only the chief writes; all may restore."""

    def __init__(self, work_dir: str, model: Any, optimizers: Mapping[str, Any], *, chief: bool = True) -> None:
        self._folder = os.path.join(work_dir, "checkpoints")
        self._best_folder = os.path.join(self._folder, "best")
        self._chief = chief
        self._state = tf.Variable("", dtype=tf.string, trainable=False)
        self._all = tf.train.Checkpoint(model=model, optimizers=dict(optimizers), state=self._state)
        self._model = tf.train.Checkpoint(model=model)
        self._manager = tf.train.CheckpointManager(self._all, self._folder, max_to_keep=_KEPT) if chief else None

    def restore(self) -> State:
        """Put the newest checkpoint's values in place; State() where there is none.

        Raises BadInput for a checkpoint of another model.
        """
        newest = tf.train.latest_checkpoint(self._folder)
        if newest is None:
            return State()
        self._read(self._all, newest)
        values = json.loads(self._state.numpy())
        return State(**{**values, "sums": tuple(values["sums"])})

    def save(self, state: State) -> None:
        """Write everything; the best weights of other epochs than state.best_epoch go. Once per step at most.

        Raises RecbeamError where the disk takes no more; the checkpoint before is whole.
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
        """Write the model's weights as the best, for a State with that best_epoch to be saved next."""
        if self._chief:
            with _writing(self._best_folder):
                self._model.write(os.path.join(self._best_folder, _name(epoch)))

    def restore_best(self, epoch: int) -> None:
        """Put the best weights in the model. Raises BadInput if they are not there."""
        self._read(self._model, os.path.join(self._best_folder, _name(epoch)))

    def _read(self, checkpoint: Any, path: str) -> None:
        try:
            checkpoint.read(path).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            reason = str(error).partition("\n")[0]
            raise BadInput(
                f"{path}: is not a checkpoint of this model ({reason}); remove {self._folder} to train anew"
            ) from error


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        raise RecbeamError(
            f"{folder}: a checkpoint cannot be written ({reason}); free space or pass --work_dir on another disk, "
            "then the same command goes on from the last one"
        ) from error


def _name(epoch: int) -> str:
    return f"epoch-{epoch:05d}"
