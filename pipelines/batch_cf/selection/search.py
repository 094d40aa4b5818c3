"""Hold what the command line leaves open for --similarity=auto, and name the candidates that remain."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from pipelines.batch_cf.selection.candidates import Candidate, candidates_for

__all__ = ["Search", "differ"]


@dataclasses.dataclass(frozen=True)
class Search:
    """The values that the user fixed.

    Args:
        fixed: Names and values of parameters.
        top_k: Neighbors kept per item, None if that is open.
        weighted: Whether weights are used, None if that is open.
        origin: Output folder of the run whose choice is reused, None to validate.
    """

    fixed: tuple[tuple[str, float], ...] = ()
    top_k: int | None = None
    weighted: bool | None = None
    origin: str | None = None

    def candidates(self, items: int, weights_differ: bool) -> list[Candidate]:
        """Return the candidates for a log.

        Args:
            items: Number of items.
            weights_differ: Whether the log has weights that differ.
        """
        if self.weighted is not None:
            weighted: tuple[bool, ...] = (self.weighted,)
        else:
            weighted = (False, True) if weights_differ else (True,)
        return candidates_for(items, weighted, dict(self.fixed), self.top_k)

    def unused(self, candidates: list[Candidate]) -> list[str]:
        """Return the fixed parameters that no candidate takes."""
        taken = {name for candidate in candidates for name in candidate.measure.similarity.parameters}
        return [name for name, _ in self.fixed if name not in taken]


def differ(weights: npt.NDArray[np.float64] | None) -> bool:
    """Return whether there are weights that differ. Equal weights say nothing."""
    return weights is not None and len(weights) > 0 and bool(weights.min() != weights.max())
