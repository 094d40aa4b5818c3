"""What a servable model is called by: signatures, their tensors, and how lists of unequal length are padded.

Every trainer exports these names and every client sends them; shapes and rules are the contract "Servable model". This
module holds names and numbers alone: no tensors, no I/O.
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
"""string [batch, e], further items that must not be recommended."""
CANDIDATES = "candidates"
"""string [batch, m], items to be scored or explained."""

ITEMS = "items"
"""string [batch, K], best first."""
SCORES = "scores"
"""float32 [batch, K] beside `items`, or [batch, m] beside `candidates`."""
CONTRIBUTIONS = "contributions"
"""float32 [batch, m, n], what each item of the history adds to the score of each candidate."""

PAD_ID = ""
"""Fills `history`, `exclude`, `candidates` and `items` up to their width; never an item, ids are not empty."""
PAD_SCORE = float("-inf")
"""Stands beside PAD_ID in `scores`, and for candidates that the model does not know."""

HISTORY_WIDTH = 128
"""Columns a client pads `history` to (newest kept): a server's batching joins equal shapes alone."""
CANDIDATES_WIDTH = 256
"""Columns a client pads `candidates` to; longer lists go in parts."""
EXCLUDE_WIDTH = 128
"""Columns a client pads `exclude` to."""
SERVING_TOP_K = 100
"""K of a model whose trainer was given no --serving_top_k."""

WARMUP_FILE = "tf_serving_warmup_requests"
MODEL_CARD_FILE = "model_card.json"
POPULARITY_FILE = "popularity.json"
"""These three lie in a version's folder assets.extra; the name of the first is TF Serving's."""


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names of the tensors that go in, all string, and of those that come out."""

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
"""Every signature of the contract; `explain` is batch_cf's alone."""
