"""Write a trained autoencoder as a folder that TF Serving loads.

The folder appears only after a fresh process has verified the model's answers. `graph` defines what the model computes,
`verify` checks it, and `transforms.models.publish` assigns a version number. TensorFlow is imported only when a model
is written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.vae_train.export.verify import NOT_AN_ID, Expected, verify
from pipelines.vae_train.features.items import Vocabulary, read_vocabulary
from pipelines.vae_train.features.preprocessing import ITEM_IDS, SIDE_PREFIX
from pipelines.vae_train.features.side import side_sizes
from serving_client.contracts import signatures as contract
from transforms import progress
from transforms.errors import BadInput, BadUsage, RecbeamError
from transforms.models.assets import by_popularity, model_folder, write_extras, write_lines
from transforms.models.import_tensorflow import import_tensorflow

if TYPE_CHECKING:
    from pipelines.vae_train.export.graph import Score
    from pipelines.vae_train.model.interface import Model
    from pipelines.vae_train.model.linear import Term

__all__ = ["export_model"]

IDS_FILE = "ids.txt"
"""Asset with one item id per line in UTF-8 order. The vocabulary of TF-Transform is ordered by frequency."""

_PARTS = "parts exported"
"""Progress of an export: the graph, the check of its answers, the files beside it."""

CHECKED_USERS = 32
"""Number of histories to check. The written model must answer them as the trained model does."""


def export_model(
    model: Model,
    linear: Term | None,
    share: float,
    features_dir: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    serving_top_k: int = contract.SERVING_TOP_K,
    model_card: Mapping[str, Any],
) -> None:
    """Write a SavedModel with the signatures of `graph.SIGNATURES`.

    The folder is renamed into place, so it appears completely or not at all.

    Args:
        model: The trained model.
        linear: The linear term, or None.
        share: Share of the model's scores in the blend with the linear term, from 0 to 1.
        features_dir: A local folder with transform/, which becomes part of the model, vocabulary.parquet and examples/,
            from which a few histories are read for the check.
        directory: Folder to create. It must not exist.
        serving_top_k: Number of items per answer.
        model_card: Content of assets.extra/model_card.json.

    Raises:
        BadUsage: The directory exists, or an argument is out of range.
        BadInput: The vocabulary is empty.
        RecbeamError: Scores are not finite, or the written model, loaded by a process with only TensorFlow, answers
            differently from the trained model.
    """
    if serving_top_k < 1:
        raise BadUsage(f"--serving_top_k={serving_top_k} is below 1; use 1 or more")
    if linear is not None and not 0 <= share <= 1:
        raise BadUsage(f"share={share} must be between 0 and 1")
    import_tensorflow()

    from pipelines.vae_train.export.graph import SIGNATURES, blended, id_order

    vocabulary = read_vocabulary(os.fspath(features_dir))
    if not len(vocabulary.ids):
        raise BadInput(
            f"{features_dir}: the vocabulary is empty, but a model needs at least one item; lower --min_item_users"
        )
    order = id_order(vocabulary.ids)
    ids = vocabulary.ids.take(pa.array(order))
    users, available = vocabulary.users[order], vocabulary.available[order]
    score = functools.partial(blended, model, linear, share)
    progress.expect(_PARTS, 3)
    progress.advance(_PARTS, 0)
    with model_folder(directory) as place:
        write_lines(place.scratch / IDS_FILE, ids)
        histories, scores = _trained(score, Path(features_dir), vocabulary)
        if not np.isfinite(scores).all():
            raise RecbeamError(f"{directory}: the trained model's scores are not finite; lower --learning_rate")
        _save(score, vocabulary, Path(features_dir) / "transform", place.scratch / IDS_FILE, place.model, serving_top_k)
        progress.advance(_PARTS, 1)
        scores = scores[:, order]
        cold = [all(one == NOT_AN_ID for one in history) for history in histories]
        scores[cold] = by_popularity(users, available)[1]
        expected = Expected(ids.to_pylist(), available, histories, scores)
        verify(place.model, place.scratch, expected, serving_top_k)
        progress.advance(_PARTS, 1)
        write_extras(place.model, SIGNATURES, ids, users, available, model_card)
        progress.advance(_PARTS, 1)


def _save(
    score: Score, vocabulary: Vocabulary, transform: Path, ids_file: Path, target: Path, serving_top_k: int
) -> None:
    import tensorflow as tf

    from pipelines.vae_train.export.graph import ServableVae
    from pipelines.vae_train.features.serving import ServingFeatures

    features = ServingFeatures(str(transform))
    module = ServableVae(features, score, vocabulary, str(ids_file), serving_top_k=serving_top_k)
    tf.saved_model.save(module, str(target), signatures=module.signatures())


def _trained(
    score: Score, features_dir: Path, vocabulary: Vocabulary
) -> tuple[list[list[str]], npt.NDArray[np.float32]]:
    """Return some training users' histories as ids, and their scores float32 [users, items] from the trained weights.

    The users come from the training examples, which always exist. Their features are read from files, whereas the
    served model computes features in its own graph. One more user has an empty history.
    """
    import tensorflow as tf

    from pipelines.vae_train.features.examples import parse
    from pipelines.vae_train.features.known import known_history

    files = sorted(map(str, (features_dir / "examples").glob("train-*.gz")))
    records = next(iter(tf.data.TFRecordDataset(files, compression_type="GZIP").batch(CHECKED_USERS)))
    parsed = parse(records, list(side_sizes(str(features_dir / "transform"))))
    given = {name: parsed[name] for name in parsed if name == ITEM_IDS or name.startswith(SIDE_PREFIX)}
    given = {name: tf.concat([each, each[:1, :0]], axis=0) for name, each in given.items()}
    item_ids, sides = known_history(given[ITEM_IDS], {name: given[name] for name in given if name != ITEM_IDS})
    ids = np.array([*vocabulary.ids.to_pylist(), NOT_AN_ID], object)
    histories = [ids[np.array(row, np.int64)].tolist() for row in given[ITEM_IDS].to_list()]
    with tf.device("CPU"):  # verify runs the served model on the CPU, and a GPU may multiply with fewer bits
        scores: npt.NDArray[np.float32] = score({ITEM_IDS: item_ids, **sides}).numpy()
    return histories, scores
