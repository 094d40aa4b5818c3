"""Writes a neighbor table as the folder that TF Serving loads: SavedModel, warm-up requests, model card, fallback.

What the model computes is `graph`'s; giving it a version number is `transforms.publish`'s. TensorFlow is imported
when a model is written, not before.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.batch_cf.export.tables import popularity
from pipelines.batch_cf.table import NeighborTable
from serving_client.contracts import signatures as contract
from transforms.errors import BadInput, BadUsage
from transforms.quiet import import_tensorflow

__all__ = ["export_model"]

VOCABULARY_FILE = "items.txt"
"""Asset with one item id a line, in the order of the table."""

FALLBACK_ITEMS = 1000
"""Length of popularity.json: what a client falls back to when no server answers, minus what its user owns."""


def export_model(
    table: NeighborTable,
    directory: str | os.PathLike[str],
    *,
    serving_top_k: int = contract.SERVING_TOP_K,
    recency_half_life: float | None = None,
    model_card: Mapping[str, Any],
) -> None:
    """Writes a SavedModel with the contract's four signatures to `directory`, a local path that must not exist yet.

    serving_top_k: the width of every answer. recency_half_life: in places of the history; None weighs all alike.
    model_card: becomes assets.extra/model_card.json. The folder appears by rename, whole or not at all. Raises BadUsage
    for an existing directory or an option out of range, BadInput for a table without items or with a score that is
    not finite.
    """
    target = Path(directory)
    if target.exists():
        raise BadUsage(f"{target}: exists already; remove it or write the model elsewhere")
    if serving_top_k < 1:
        raise BadUsage(f"--serving_top_k={serving_top_k}: a model returns at least one item; use 1 or more")
    if recency_half_life is not None and not 0 < recency_half_life < math.inf:
        raise BadUsage(f"--recency_half_life={recency_half_life}: is not a positive number of places; use one or none")
    if not len(table.items):
        raise BadInput(f"{target}: a model needs at least one item, the table has none; check the filters")
    if not np.isfinite(table.scores).all():
        raise BadInput(f"{target}: the table holds a score that is not finite; check the similarity's parameters")

    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    try:
        vocabulary = work / VOCABULARY_FILE
        vocabulary.write_bytes(b"".join(item.encode() + b"\n" for item in table.items.to_pylist()))
        # Inside mkdtemp's folder, which is private: the model itself gets the permissions everything gets.
        model = work / "model"
        _save(table, model, vocabulary, serving_top_k, recency_half_life)
        _write_extras(table, model / "assets.extra", model_card)
        model.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _save(
    table: NeighborTable, model: Path, vocabulary: Path, serving_top_k: int, recency_half_life: float | None
) -> None:
    tf = import_tensorflow()

    from pipelines.batch_cf.export.graph import ServableModel

    module = ServableModel(table, str(vocabulary), serving_top_k=serving_top_k, recency_half_life=recency_half_life)
    tf.saved_model.save(module, str(model), signatures=module.signatures())


def _write_extras(table: NeighborTable, folder: Path, model_card: Mapping[str, Any]) -> None:
    folder.mkdir()
    order, scores = popularity(table)
    first = order[:FALLBACK_ITEMS]
    items = table.items.take(pa.array(first)).to_pylist()
    _write_json(folder / contract.POPULARITY_FILE, {"items": items, "scores": scores[first].tolist()})
    _write_json(folder / contract.MODEL_CARD_FILE, dict(model_card))
    _write_warmup(folder / contract.WARMUP_FILE, items or table.items[:1].to_pylist())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _write_warmup(path: Path, popular: Sequence[str]) -> None:
    """One request a signature, padded to the widths that clients send, so that a server meets no new shape later."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    widths = {
        contract.HISTORY: contract.HISTORY_WIDTH,
        contract.CANDIDATES: contract.CANDIDATES_WIDTH,
        contract.EXCLUDE: contract.EXCLUDE_WIDTH,
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in contract.SIGNATURES.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            for argument in signature.inputs:
                ids = list(popular[: widths[argument]])
                ids += [contract.PAD_ID] * (widths[argument] - len(ids))
                request.inputs[argument].CopyFrom(tf.make_tensor_proto([ids], tf.string))
            writer.write(log.SerializeToString())
