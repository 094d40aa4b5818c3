"""Compute EASE, the closed-form linear item-item model (Steck 2019).

batch_cf offers it as a similarity, evaluate as a baseline, and vae_train mixes it into the autoencoder.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse as sp

__all__ = ["DOUBLE_ITEMS", "ease_of_gram", "ease_weights"]

DOUBLE_ITEMS = 10_000
"""Up to this many items EASE inverts in float64 (800 MB). Beyond, it uses float32 (differences of 1e-4)."""
BLOCK_ITEMS = 1_000
"""How many rows of X'X are computed at once."""


def ease_weights(train: sp.csr_array, strength: float) -> npt.NDArray[np.float32]:
    """Compute the item-item weights of EASE.

    Args:
        train: Interactions as 0 and 1, [users, items].
        strength: L2 regularization, greater than 0.

    Returns:
        float32 [items, items]; a row belongs to an item of the history.

    Raises:
        ArithmeticError: The Gram matrix could not be inverted.
    """
    items = train.shape[1]
    kind = np.float64 if items <= DOUBLE_ITEMS else np.float32
    gram = np.zeros((items, items), kind)
    by_item = train.T.tocsr()
    for start in range(0, items, BLOCK_ITEMS):  # the whole product at once would need the memory of a second matrix
        gram[start : start + BLOCK_ITEMS] = (by_item[start : start + BLOCK_ITEMS] @ train).toarray()
    weights: npt.NDArray[np.float32] = ease_of_gram(gram, strength).astype(np.float32, copy=False)
    return weights


def ease_of_gram(gram: npt.NDArray[np.floating], strength: float) -> npt.NDArray[np.floating]:
    """Compute the weights of EASE from the Gram matrix X'X.

    Args:
        gram: [items, items], symmetric, float64 or float32. It is overwritten.
        strength: L2 regularization, greater than 0.

    Returns:
        [items, items] of the same type, with a diagonal of zeros; a row belongs to an item of the history.

    Raises:
        ArithmeticError: The Gram matrix could not be inverted.
    """
    diagonal = np.arange(len(gram))
    gram[diagonal, diagonal] += gram.dtype.type(strength)
    try:
        factor, _ = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError as error:
        raise ArithmeticError(f"EASE: the Gram matrix plus {strength:g} is not positive definite ({error})") from error
    (potri,) = scipy.linalg.get_lapack_funcs(("potri",), (factor,))
    inverse, info = potri(factor, lower=True, overwrite_c=True)
    if info:  # cannot happen: G + lambda I is positive definite
        raise ArithmeticError(f"EASE: the Gram matrix could not be inverted (LAPACK potri returned {info})")
    lower = np.tril(inverse, -1)
    scale = -1.0 / inverse[diagonal, diagonal]
    lower += lower.T
    lower *= scale[None, :]
    weights: npt.NDArray[np.floating] = lower
    return weights
