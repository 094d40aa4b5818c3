"""Write the files that every servable model needs beside its graph, whatever the model computes.

`model_folder` makes a model's folder appear whole or not at all. `by_popularity` is the one rule for popular items.
`write_extras` writes assets.extra: warm-up requests for TF Serving (`warmup_requests`), a model card, and the items
that a client falls back to when no server answers.

Trainers define what the signatures compute. `serving_client.contracts.signatures` defines their names and widths.
`transforms.models.publish` gives a model a version number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving_client.contracts import signatures as contract
from transforms.errors import BadUsage
from transforms.models.warmup_requests import write_warmup_requests

__all__ = ["Workplace", "by_popularity", "model_folder", "write_extras", "write_lines"]

FALLBACK_ITEMS = 1000
"""Length of popularity.json, the items that a client falls back to when no server answers."""


class Workplace(NamedTuple):
    """Where a model is being written.

    Attributes:
        model: Folder to write the model to. It does not exist yet.
        scratch: Folder for temporary files. It is removed after the block.
    """

    model: Path
    scratch: Path


@contextlib.contextmanager
def model_folder(directory: str | os.PathLike[str]) -> Iterator[Workplace]:
    """Give a place to write a model. After the block the model appears at `directory` by a rename.

    If the block raises, nothing appears.

    Args:
        directory: Local path that must not exist yet.

    Yields:
        The folders to write to.

    Raises:
        BadUsage: `directory` exists.
    """
    target = Path(directory)
    if target.exists():
        raise BadUsage(f"{target}: exists already; remove it or write the model to another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    try:
        # mkdtemp makes its folder private. The folder inside it gets the usual permissions.
        model = scratch / "model"
        yield Workplace(model, scratch)
        model.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_lines(path: Path, ids: pa.StringArray) -> None:
    """Write a vocabulary asset: one item id per line, in the given order."""
    path.write_bytes(b"".join(item.encode() + b"\n" for item in ids.to_pylist()))


def by_popularity(
    users: npt.NDArray[np.int64], available: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Rank the available items by their number of training users.

    Scores are compared as published (float32). Items with equal scores stay in the order of their ids. From 2^24
    users on, scores that are nearly equal become equal.

    Args:
        users: Training users per item, int64 [items], items in UTF-8 order of their ids.
        available: Whether an item may be recommended, bool [items].

    Returns:
        Indices of the available items, most users first, int32; and the score of every item, its number of users,
        float32 [items].
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
    """Write assets.extra below `model`: warm-up requests, popularity.json and the model card.

    Args:
        model: Folder of the SavedModel.
        signatures: Names of the signatures; each gets a warm-up request.
        items: Item ids, string [items], at least one, in UTF-8 order.
        users: Training users per item, int64 [items].
        available: Whether an item may be recommended, bool [items].
        model_card: Content of model_card.json.

    Raises:
        TypeError: `model_card` holds a value that is not JSON.
        ValueError: `model_card` holds NaN or infinity.
    """
    folder = model / "assets.extra"
    folder.mkdir()
    order, scores = by_popularity(users, available)
    first = order[:FALLBACK_ITEMS]
    popular = items.take(pa.array(first)).to_pylist()
    _write_json(folder / contract.POPULARITY_FILE, {"items": popular, "scores": scores[first].tolist()})
    _write_json(folder / contract.MODEL_CARD_FILE, dict(model_card))
    write_warmup_requests(folder / contract.WARMUP_FILE, signatures, popular or items[:1].to_pylist())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
