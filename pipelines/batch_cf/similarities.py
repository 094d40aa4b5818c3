"""Measure how alike two items are, given their users. Every measure but ease is one function over arrays.

Shared notation: i is the history item (the row), j the candidate. n_ij, n_i and n_j are float64 [pairs]. For binary
measures they are numbers of users. For the other measures they are sums over users of w_ui w_uj (n_ij) and of w^2 (n_i,
n_j), which with unit weights are again numbers of users. Every function returns float64 [pairs], larger for more alike.

To add a measure, write the function and add a line to SIMILARITIES. Options, pipeline and oracle tests then include it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = [
    "SIMILARITIES",
    "Float64s",
    "Parameters",
    "Similarity",
    "asymmetric_cosine",
    "cosine",
    "count",
    "degree_normalized",
    "jaccard",
    "lift",
    "llr",
    "rp3beta",
]

Float64s = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters of a measure. `Similarity.parameters` names those that it takes.

    Args:
        users: Users with at least one interaction (N).
        candidate_exponent: None stands for 1 - item_exponent.
    """

    users: int = 0
    asymmetry: float = 0.5
    shrinkage: float = 0.0
    user_exponent: float = 1.0
    item_exponent: float = 0.5
    candidate_exponent: float | None = None
    alpha: float = 1.0
    beta: float = 0.6
    locality: float = 1.0
    l2: float = 500.0


def count(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Count the users with both items: n_ij. This is the result of a SQL self-join."""
    return n_ij.astype(np.float64)


def cosine(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute the cosine of the angle between two item columns: n_ij / sqrt(n_i n_j), in [0, 1].

    Source: Sarwar et al. 2001, Item-based collaborative filtering recommendation algorithms.
    """
    return n_ij / np.sqrt(n_i * n_j)


def jaccard(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute the share of the users of either item who have both: n_ij / (n_i + n_j - n_ij). Binary.

    Under a cap n_ij counts capped histories and n_i, n_j whole ones. Source: Jaccard 1912.
    """
    return n_ij / (n_i + n_j - n_ij)


def lift(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute how much more often than chance two items share a user: n_ij N / (n_i n_j). Binary.

    The value is 1 at independence. Source: Brin et al. 1997 (there "interest").

    Raises:
        ValueError: p.users < 1.
    """
    if p.users < 1:
        raise ValueError(f"lift needs at least one user, got users={p.users}")
    return n_ij / n_i * (p.users / n_j)


def llr(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute the log-likelihood ratio of the 2x2 table of users with and without each item. Binary.

    The value is 2 (H(rows) + H(columns) - H(cells)) with H(k) = N log N - sum k log k, so 2 sum k log(k N / (row col)).
    It is 0 at independence and never below 0. The measure is two-sided: a pair that shares fewer users than chance
    scores high as well. Source: Dunning 1993, Accurate methods for the statistics of surprise.

    Raises:
        ValueError: p.users < 1.
    """
    if p.users < 1:
        raise ValueError(f"llr needs at least one user, got users={p.users}")
    only_i, only_j = n_i - n_ij, n_j - n_ij
    neither = p.users - n_i - n_j + n_ij
    cells = _x_log_x(n_ij) + _x_log_x(only_i) + _x_log_x(only_j) + _x_log_x(neither)
    sides = _x_log_x(n_i) + _x_log_x(p.users - n_i) + _x_log_x(n_j) + _x_log_x(p.users - n_j)
    total = p.users * np.log(float(p.users))
    ratio: Float64s = np.maximum(0.0, 2.0 * (cells - sides + total))
    return ratio


def asymmetric_cosine(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute a cosine whose two sides weigh differently: (n_ij / (n_i^a n_j^(1-a) + h))^q, a = asymmetry.

    h = shrinkage and q = locality, see `_tempered`. With h = 0 and q = 1, a = 1 is the conditional probability of j
    given i, and a = .5 is the cosine.
    Source: Aiolli 2013, Efficient top-N recommendation for very large scale binary rated datasets.
    """
    return _tempered(n_ij, n_i**p.asymmetry * n_j ** (1.0 - p.asymmetry), p)


def rp3beta(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute a random walk from item to user to item that prefers less popular ends.

    The value is (sum_u n_u^-alpha r_ui r_uj / (n_i^alpha n_j^beta + h))^q. `_tempered` explains h and q. n_ij is here
    the sum that `Similarity.user_exponent` weights by n_u^-alpha.
    Source: Paudel et al. 2017, Updatable, accurate, diverse, and scalable recommendations (RP3 beta; h = 0, q = 1).
    """
    return _tempered(n_ij, n_i**p.alpha * n_j**p.beta, p)


def degree_normalized(n_ij: Float64s, n_i: Float64s, n_j: Float64s, p: Parameters) -> Float64s:
    """Compute co-occurrence over degrees: (sum_u n_u^-a r_ui r_uj / (n_i^b n_j^c + h))^q.

    a = user_exponent, b = item_exponent and c = candidate_exponent, which is 1 - b by default. `_tempered` explains h
    and q. n_ij is here the sum that `Similarity.user_exponent` weights by n_u^-a. a = 0, b = c = .5, h = 0, q = 1 is
    the cosine. Equal b and c with q below 1 is the filter of Turbo-CF.
    Sources: the normalised adjacency of GF-CF (Shen et al. 2021), exponents set apart per side; Park et al. 2024,
    Turbo-CF: Matrix decomposition-free graph filtering for fast recommendation.
    """
    c = 1.0 - p.item_exponent if p.candidate_exponent is None else p.candidate_exponent
    return _tempered(n_ij, n_i**p.item_exponent * n_j**c, p)


@dataclasses.dataclass(frozen=True)
class Similarity:
    """A measure with the kind of sums that it needs.

    Args:
        score: The function over arrays. None for ease, which solves the sums of all pairs together.
        binary: Sums are numbers of users whatever the weights, so time decay is refused.
        user_exponent: Returns the e of a user's factor (sum of w^2 of the user's history) ** -e, given the parameters.
        parameters: Names of the parameters that the measure takes.
    """

    score: Callable[[Float64s, Float64s, Float64s, Parameters], Float64s] | None
    binary: bool = False
    user_exponent: Callable[[Parameters], float] | None = None
    parameters: tuple[str, ...] = ()


def _rp3beta_exponent(p: Parameters) -> float:
    return p.alpha


def _degree_normalized_exponent(p: Parameters) -> float:
    return p.user_exponent


SIMILARITIES: dict[str, Similarity] = {
    "count": Similarity(count, binary=True),
    "cosine": Similarity(cosine),
    "jaccard": Similarity(jaccard, binary=True),
    "lift": Similarity(lift, binary=True),
    "llr": Similarity(llr, binary=True),
    "asymmetric_cosine": Similarity(asymmetric_cosine, parameters=("asymmetry", "shrinkage", "locality")),
    "rp3beta": Similarity(
        rp3beta, user_exponent=_rp3beta_exponent, parameters=("alpha", "beta", "shrinkage", "locality")
    ),
    "degree_normalized": Similarity(
        degree_normalized,
        user_exponent=_degree_normalized_exponent,
        parameters=("user_exponent", "item_exponent", "candidate_exponent", "shrinkage", "locality"),
    ),
    "ease": Similarity(None, parameters=("l2",)),
}


def _tempered(numerator: Float64s, denominator: Float64s, p: Parameters) -> Float64s:
    """Return (numerator / (denominator + h))^q, h = shrinkage, q = locality: the plain quotient at h = 0, q = 1.

    h takes most from items with few users. q > 1 lets the near neighbors of a history outweigh the many distant ones
    when scores are summed. q < 1 gives the many distant ones more weight. q does not change the order within a row.
    Sources: h as in similaripy and Dacrema et al. 2019; q is the locality of Aiolli 2013, f(w) = w^q.
    """
    quotient = numerator / (denominator + p.shrinkage)
    return quotient if p.locality == 1.0 else quotient**p.locality


def _x_log_x(x: Float64s) -> Float64s:
    return x * np.log(np.where(x > 0, x, 1.0))
