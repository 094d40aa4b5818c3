"""Normal posteriors, as `maximum.Variables`."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from serving_client.policies.statistics import Float64s

__all__ = ["Normal", "normal"]

_NARROWEST = 1e-6
_LEAST = 1e-150  # its square is a number


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """k normal variables. `maximum.Variables` describes the methods.

    Args:
        mean: Means, float64 [k].
        scale: Standard deviations, float64 [k], greater than 0.
    """

    mean: Float64s
    scale: Float64s

    def bounds(self, log_odds: float) -> tuple[Float64s, Float64s]:
        """Return bounds of the tails: P(Z > z) <= exp(-z^2 / 2)."""
        width = math.sqrt(2 * log_odds) * self.scale
        return self.mean - width, self.mean + width

    def density(self, x: Float64s) -> Float64s:
        """Return the densities."""
        z = (x - self.mean[:, None]) / self.scale[:, None]
        z *= z
        z *= -0.5
        density: Float64s = np.exp(z, out=z)
        density *= (1 / math.sqrt(2 * math.pi)) / self.scale[:, None]
        return density

    def distribution(self, x: Float64s) -> Float64s:
        """Return the distribution functions."""
        result: Float64s = special.ndtr((x - self.mean[:, None]) / self.scale[:, None])
        return result

    def take(self, at: npt.NDArray[np.intp]) -> Normal:
        """Return the variables at these positions."""
        return Normal(self.mean[at], self.scale[at])


def normal(mean: Float64s, scale: Float64s) -> Normal:
    """Return normal variables, shifted so that the largest mean is 0. Only differences decide which one is the largest.

    A deviation below a millionth of the largest one is raised to it, for quadrature.

    Args:
        mean: Means, float64 [k].
        scale: Standard deviations, float64 [k]. If all are 0, the largest mean wins and equal means share.
    """
    return Normal(mean - mean.max(), np.maximum(scale, max(float(scale.max()) * _NARROWEST, _LEAST)))
