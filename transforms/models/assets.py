"""What a trainer writes beside the graph of a servable model, whatever the model computes.

A servable folder appears whole or not at all (`model_folder`), ranks popular items by one rule (`by_popularity`) and
holds in assets.extra (`write_extras`) warm-up requests for TF Serving, a model card and the client's last fallback.
A trainer defines what the signatures compute, and `serving_client.contracts.signatures` their names and widths.
`transforms.models.publish` gives a folder a version number. TensorFlow is imported only when warm-up requests are
written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving_client.contracts import signatures as contract
from transforms.errors import BadUsage

__all__ = ["Workplace", "by_popularity", "model_folder", "write_extras", "write_lines"]

FALLBACK_ITEMS = 1000
"""Length of popularity.json: what a client falls back to when no server answers, minus what its user owns."""


class Workplace(NamedTuple):
    """Where a model is being written. model: becomes the folder, not there yet. scratch: for files that go with it."""

    model: Path
    scratch: Path


@contextlib.contextmanager
def model_folder(directory: str | os.PathLike[str]) -> Iterator[Workplace]:
    """A place to write a model; after the block the model is `directory`, or nothing is if the block raised.

    directory: a local path that must not exist yet; BadUsage if it does. It appears by rename.
    """
    target = Path(directory)
    if target.exists():
        raise BadUsage(f"{target}: exists already; remove it or write the model elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    try:
        # Inside mkdtemp's folder, which is private: the model itself gets the permissions everything gets.
        model = scratch / "model"
        yield Workplace(model, scratch)
        model.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_lines(path: Path, ids: pa.StringArray) -> None:
    """A vocabulary asset: one item id a line, in the order given."""
    path.write_bytes(b"".join(item.encode() + b"\n" for item in ids.to_pylist()))


def by_popularity(
    users: npt.NDArray[np.int64], available: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The available items, most users first, and every item's popularity score.

    users: int64 [items], training users, items in UTF-8 order of their ids; available: bool [items]. The score is the
    number of users as float32: a count that a person can read. It is compared as published, so items whose scores are
    equal (from 2^24 users, nearly equal) are in the order of their ids.
    """
    scores = users.astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return order[available[order]].astype(np.int32), scores


def write_extras(
    model: Path,
    signatures: Collection[str],
    items: pa.StringArray,
    users: npt.NDArray[np.int64],
    available: npt.NDArray[np.bool_],
    model_card: Mapping[str, Any],
) -> None:
    """Writes assets.extra below `model`: a warm-up request for each of `signatures`, popularity.json, the model card.

    items: string [items], at least one, in UTF-8 order; users, available: as in `by_popularity`. model_card: written as
    it is; TypeError or ValueError if it is not JSON.
    """
    folder = model / "assets.extra"
    folder.mkdir()
    order, scores = by_popularity(users, available)
    first = order[:FALLBACK_ITEMS]
    popular = items.take(pa.array(first)).to_pylist()
    _write_json(folder / contract.POPULARITY_FILE, {"items": popular, "scores": scores[first].tolist()})
    _write_json(folder / contract.MODEL_CARD_FILE, dict(model_card))
    _write_warmup(folder / contract.WARMUP_FILE, signatures, popular or items[:1].to_pylist())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _write_warmup(path: Path, signatures: Collection[str], popular: Sequence[str]) -> None:
    """One request a signature, padded to the widths that clients send, so that a server meets no new shape later."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    widths = {
        contract.HISTORY: contract.HISTORY_WIDTH,
        contract.CANDIDATES: contract.CANDIDATES_WIDTH,
        contract.EXCLUDE: contract.EXCLUDE_WIDTH,
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name in signatures:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            for argument in contract.SIGNATURES[name].inputs:
                ids = list(popular[: widths[argument]])
                ids += [contract.PAD_ID] * (widths[argument] - len(ids))
                request.inputs[argument].CopyFrom(tf.make_tensor_proto([ids], tf.string))
            writer.write(log.SerializeToString())
