"""The names and widths of the contract "Servable model": signatures, their tensors, and the padding of lists.

Every trainer exports these names and every client sends them. This module holds only names and numbers.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping

__all__ = [
    "CANDIDATES",
    "CANDIDATES_WIDTH",
    "CONTRIBUTIONS",
    "EXCLUDE",
    "EXCLUDE_WIDTH",
    "EXPLAIN",
    "FILTERED",
    "HISTORY",
    "HISTORY_WIDTH",
    "ITEMS",
    "MODEL_CARD_FILE",
    "PAD_ID",
    "PAD_SCORE",
    "POPULARITY_FILE",
    "SCORES",
    "SCORE_ITEMS",
    "SERVING_DEFAULT",
    "SERVING_TOP_K",
    "SIGNATURES",
    "WARMUP_FILE",
    "Signature",
]

SERVING_DEFAULT = "serving_default"
FILTERED = "filtered"
SCORE_ITEMS = "score_items"
EXPLAIN = "explain"

HISTORY = "history"
"""string [batch, n], a user's items, oldest first."""
EXCLUDE = "exclude"
"""string [batch, e], further items that are not recommended."""
CANDIDATES = "candidates"
"""string [batch, m], items to score or explain."""

ITEMS = "items"
"""string [batch, K], best first."""
SCORES = "scores"
"""float32 [batch, K] beside `items`, or [batch, m] beside `candidates`."""
CONTRIBUTIONS = "contributions"
"""float32 [batch, m, n], the contribution of each item of the history to the score of each candidate."""

PAD_ID = ""
"""Pads `history`, `exclude`, `candidates` and `items` to their width. It is not an item, because ids are not empty."""
PAD_SCORE = float("-inf")
"""The score of PAD_ID, and of candidates that the model does not contain."""

HISTORY_WIDTH = 128
"""Columns that a client pads `history` to, with the newest items. A server's batching joins only equal shapes."""
CANDIDATES_WIDTH = 256
"""Columns that a client pads `candidates` to. Longer lists take several rows."""
EXCLUDE_WIDTH = 128
"""Columns that a client pads `exclude` to, or a multiple of it."""
SERVING_TOP_K = 100
"""K of a model that was trained without --serving_top_k."""

WARMUP_FILE = "tf_serving_warmup_requests"
MODEL_CARD_FILE = "model_card.json"
POPULARITY_FILE = "popularity.json"
"""These three files are in assets.extra of a version. TF Serving sets the name of the first."""


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names of the input tensors, which are all strings, and of the output tensors."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


SIGNATURES: Mapping[str, Signature] = types.MappingProxyType(
    {
        SERVING_DEFAULT: Signature((HISTORY,), (ITEMS, SCORES)),
        FILTERED: Signature((HISTORY, EXCLUDE), (ITEMS, SCORES)),
        SCORE_ITEMS: Signature((HISTORY, CANDIDATES), (SCORES,)),
        EXPLAIN: Signature((HISTORY, CANDIDATES), (CONTRIBUTIONS,)),
    }
)
"""All signatures of the contract. Only models of batch_cf have `explain`."""
