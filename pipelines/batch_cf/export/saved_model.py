"""Write a neighbor table as the folder that TF Serving loads: SavedModel, warm-up requests, model card, fallback.

`graph` defines what the model computes. `transforms.models.publish` gives the folder a version number. TensorFlow is
imported only when a model is written.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.batch_cf.table import NeighborTable
from serving_client.contracts import signatures as contract
from transforms.errors import BadInput, BadUsage
from transforms.models.assets import model_folder, write_extras, write_lines
from transforms.models.import_tensorflow import import_tensorflow

__all__ = ["export_model"]

VOCABULARY_FILE = "items.txt"
"""Asset with one item id a line, in the order of the table."""


def export_model(
    table: NeighborTable,
    directory: str | os.PathLike[str],
    *,
    serving_top_k: int = contract.SERVING_TOP_K,
    recency_half_life: float | None = None,
    model_card: Mapping[str, Any],
) -> None:
    """Write a SavedModel with the contract's four signatures.

    The folder appears by rename, so it is complete or absent.

    Args:
        table: The item neighbors.
        directory: Local path that must not exist yet.
        serving_top_k: Number of items in an answer.
        recency_half_life: Places in a history after which an item counts half. None weighs all items alike.
        model_card: Content of assets.extra/model_card.json.

    Raises:
        BadUsage: The directory exists, or an option is out of range.
        BadInput: The table has no items, or a score is not finite.
    """
    if serving_top_k < 1:
        raise BadUsage(f"--serving_top_k={serving_top_k}: a model returns at least one item; use 1 or more")
    if recency_half_life is not None and not 0 < recency_half_life < math.inf:
        raise BadUsage(f"--recency_half_life={recency_half_life}: is not a positive number of places; use one or none")
    if not len(table.items):
        raise BadInput(f"{directory}: a model needs at least one item, the table has none; check the filters")
    if not np.isfinite(table.scores).all():
        raise BadInput(f"{directory}: the table holds a score that is not finite; check the similarity's parameters")

    with model_folder(directory) as place:
        vocabulary = place.scratch / VOCABULARY_FILE
        write_lines(vocabulary, table.items)
        _save(table, place.model, vocabulary, serving_top_k, recency_half_life)
        write_extras(place.model, contract.SIGNATURES, table.items, table.users, table.available, model_card)


def _save(
    table: NeighborTable, model: Path, vocabulary: Path, serving_top_k: int, recency_half_life: float | None
) -> None:
    tf = import_tensorflow()

    from pipelines.batch_cf.export.graph import ServableModel

    module = ServableModel(table, str(vocabulary), serving_top_k=serving_top_k, recency_half_life=recency_half_life)
    tf.saved_model.save(module, str(model), signatures=module.signatures())
