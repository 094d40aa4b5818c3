"""Define the error for a loss that is not finite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.errors import RecbeamError

__all__ = ["TrainingDiverged", "diverged"]

_NAMED_USERS = 3


class TrainingDiverged(RecbeamError):
    """The loss became infinite or NaN. Nothing was published."""


def diverged(
    loss: float, epoch: int, step: int, user_keys: npt.NDArray[np.uint64], learning_rate: float
) -> TrainingDiverged:
    """Create the error for a loss that is not finite.

    Args:
        loss: Mean loss per user.
        epoch: Epoch, from 1.
        step: Step since the run began, from 1.
        user_keys: The batch's users, uint64 [b]. The message names the first ones.
        learning_rate: Learning rate of the run.
    """
    named = ", ".join(str(key) for key in user_keys[:_NAMED_USERS])
    more = f" and {len(user_keys) - _NAMED_USERS} more" if len(user_keys) > _NAMED_USERS else ""
    return TrainingDiverged(
        f"epoch {epoch}, step {step}: the loss became {loss} (batch of users with user_key {named}{more}); "
        f"use a --learning_rate below {learning_rate:g}, or check the weights of these users"
    )
