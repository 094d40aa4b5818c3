"""The error of a training whose loss is no longer a number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.errors import RecbeamError

__all__ = ["TrainingDiverged", "diverged"]

_NAMED_USERS = 3


class TrainingDiverged(RecbeamError):
    """The loss became infinite or no number; nothing was published."""


def diverged(
    loss: float, epoch: int, step: int, user_keys: npt.NDArray[np.uint64], learning_rate: float
) -> TrainingDiverged:
    """The error for a loss at a step (from 1) of an epoch (from 1), with the first users of its batch by user_key."""
    named = ", ".join(str(key) for key in user_keys[:_NAMED_USERS])
    more = f" and {len(user_keys) - _NAMED_USERS} more" if len(user_keys) > _NAMED_USERS else ""
    return TrainingDiverged(
        f"epoch {epoch}, step {step}: the loss became {loss} (batch of users with user_key {named}{more}); "
        f"use a --learning_rate below {learning_rate:g}, or look at those users' weights"
    )
