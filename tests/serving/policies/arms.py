"""Statistics of arms for the tests of policies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving_client.policies.statistics import ArmStatistics


def arms(
    n: npt.ArrayLike,
    sum_r: npt.ArrayLike,
    sum_r2: npt.ArrayLike | None = None,
    pending: npt.ArrayLike = 0.0,
    prior: npt.ArrayLike = (0.0, 0.0),
    arm_ids: tuple[str, ...] = (),
) -> ArmStatistics:
    """Arms without features. sum_r2 defaults to sum_r, as for rewards of 0 and 1."""
    count = np.asarray(n, dtype=np.float64)
    rewards = np.asarray(sum_r, dtype=np.float64)
    squares = rewards if sum_r2 is None else np.asarray(sum_r2, dtype=np.float64)
    return ArmStatistics(
        count,
        rewards,
        squares,
        np.broadcast_to(np.asarray(pending, dtype=np.float64), count.shape),
        np.broadcast_to(np.asarray(prior, dtype=np.float64), (*count.shape, 2)),
        arm_ids=arm_ids,
    )


def linear_arms(rng: np.random.Generator, k: int, d: int, rows: int = 200) -> ArmStatistics:
    """Arms with `rows` decisions each, whose rewards depend a little on the features."""
    x = rng.normal(size=(k, rows, d))
    r = np.einsum("knd,kd->kn", x, 0.1 * rng.normal(size=(k, d))) + rng.normal(size=(k, rows))
    n = np.full(k, float(rows))
    xtx, xtr = np.einsum("knd,kne->kde", x, x), np.einsum("knd,kn->kd", x, r)
    return ArmStatistics(n, r.sum(1), (r * r).sum(1), np.zeros(k), np.zeros((k, 2)), xtx, xtr)
