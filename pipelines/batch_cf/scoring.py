"""Join the similarity that the options ask for with the marginals and units of the data."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipelines.batch_cf.encoding import user_factors
from pipelines.batch_cf.histories import HistoryMatrix
from pipelines.batch_cf.plan import Marginals, Plan, exponent_for
from pipelines.batch_cf.ranking import Scoring
from pipelines.batch_cf.similarities import SIMILARITIES, Float64s, Parameters, Similarity

__all__ = ["Measure", "pair_exponent", "scoring_of", "user_scale_of"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """The similarity of a run, its parameters, and how many neighbors to keep."""

    name: str = "cosine"
    parameters: Parameters = dataclasses.field(default_factory=Parameters)
    top_k: int = 100

    @property
    def similarity(self) -> Similarity:
        """Return the similarity that the options name."""
        return SIMILARITIES[self.name]

    @property
    def user_exponent(self) -> float | None:
        """Return the exponent for `encoding.user_factors`, None where users weigh alike."""
        of = self.similarity.user_exponent
        return None if of is None else of(self.parameters)


def pair_exponent(plan: Plan, marginals: Marginals, measure: Measure) -> int | None:
    """Return the e of the unit 2^-e of pair sums, None where pairs are counted."""
    if not plan.weighted and measure.user_exponent is None:
        return None
    most_users = int(plan.item_users.max()) if len(plan.items) else 0
    return exponent_for(most_users, marginals.largest_pair)


def user_scale_of(histories: HistoryMatrix, exponent: int | None, user_exponent: float | None) -> Float64s | None:
    """Return the factor of each user's pairs that `sums.sum_rows` takes.

    Returns:
        float64 [users], or None where pairs are counted.
    """
    return None if exponent is None else np.ldexp(user_factors(histories, user_exponent), exponent)


def scoring_of(plan: Plan, marginals: Marginals, measure: Measure) -> Scoring:
    """Join the measure with the marginals, units and number of users of this run."""
    squares, scales = marginals.squares, plan.item_exponents
    n_i = plan.item_users.astype(np.float64)
    if squares is not None:
        n_i = np.ldexp(squares.astype(np.float64), 2 * scales - plan.marginal_exponent)
    return Scoring(
        similarity=measure.similarity,
        parameters=dataclasses.replace(measure.parameters, users=marginals.users),
        marginals=n_i,
        exponent=pair_exponent(plan, marginals, measure) or 0,
        eligible=plan.available,
        top_k=max(1, min(measure.top_k, len(plan.items))),
        scales=scales if plan.weighted and measure.user_exponent is None else None,
    )
