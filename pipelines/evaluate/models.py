"""Find a model named on the command line, determine its kind, and load it as a Ranker.

A DIR may be the output of batch_cf (`neighbors/*.parquet`, `items.parquet`), a SavedModel (`saved_model.pb`), the
output of a trainer (`DIR/model`), or a serving base folder with numbered versions, of which the newest is taken.
TensorFlow is imported only when a SavedModel is loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp

from pipelines.evaluate.rankers import NeighborRanker, Ranker, ServedRanker, popular_first
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.models.import_tensorflow import import_tensorflow
from transforms.ranking.lists import FOREIGN

__all__ = ["ModelSource", "files", "load", "locate", "newest_version", "publishable", "read_neighbors"]


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A model that was found. `uri` is the folder that is read, `given` the folder that the user named."""

    name: str
    kind: Literal["neighbors", "saved_model"]
    uri: str
    given: str


def locate(name: str, folder: str) -> ModelSource:
    """Find the model in `folder`.

    Raises:
        BadInput: The folder holds no model.
    """
    if _exists(os.path.join(folder, "items.parquet")):
        return ModelSource(name, "neighbors", folder, folder)
    found = _saved_model(folder) or _saved_model(os.path.join(folder, "model"))
    if found is None:
        raise BadInput(
            f"{folder}: holds no model ({name}); pass a batch_cf output folder (items.parquet, neighbors/), "
            "a SavedModel (saved_model.pb) or a folder of numbered versions"
        )
    return ModelSource(name, "saved_model", found, folder)


def publishable(source: ModelSource) -> str:
    """Return the SavedModel folder that publishing copies.

    Raises:
        BadUsage: The model has no SavedModel.
    """
    found = source.uri if source.kind == "saved_model" else _saved_model(os.path.join(source.given, "model"))
    if found is None:
        raise BadUsage(f"{source.given}: model {source.name} has no SavedModel in model/ to publish; export it first")
    return found


def files(source: ModelSource) -> dict[str, int]:
    """Return the files of a model that decide how it ranks, with their sizes in bytes."""
    if source.kind == "neighbors":
        listed = [os.path.join(source.uri, "items.parquet"), os.path.join(source.uri, "neighbors")]
    else:
        # assets holds the vocabulary. The same weights with another vocabulary are another model.
        listed = [os.path.join(source.uri, part) for part in ("saved_model.pb", "variables", "assets")]
    return {uri: size for pattern in listed for uri, size in storage.list_files(pattern).items()}


def newest_version(base: str) -> str | None:
    """Return the folder of the highest complete version under a serving base folder, None without one."""
    versions = [name for name in _names(base) if name.isdecimal()]
    for name in sorted(versions, key=int, reverse=True):
        folder = os.path.join(base, name)
        if _exists(os.path.join(folder, "saved_model.pb")):
            return folder
    return None


def load(source: ModelSource, items: pa.StringArray) -> Ranker:
    """Load the model as a ranker for data with these items."""
    if source.kind == "neighbors":
        return read_neighbors(source.uri, items)
    return ServedRanker(_served(source.uri), items)


def read_neighbors(folder: str, items: pa.StringArray) -> NeighborRanker:
    """Read a batch_cf output folder as a ranker.

    Raises:
        BadInput: The files do not follow the contract.
    """
    try:
        catalogue = _parquet(os.path.join(folder, "items.parquet"))
        order = pc.array_sort_indices(catalogue.column("item_id").combine_chunks().cast(pa.string()))
        catalogue = catalogue.take(order)
        ids = catalogue.column("item_id").combine_chunks().cast(pa.string())
        users = catalogue.column("users").to_numpy().astype(np.int64)
        parts = [
            _neighbor_arrays(path, ids)
            for path in storage.list_files(os.path.join(folder, "neighbors"))
            if path.endswith(".parquet")
        ]
    except (KeyError, pa.ArrowException) as error:
        raise BadInput(f"{folder}: not a batch_cf output ({str(error).splitlines()[0]}); run batch_cf again") from error
    if not parts:
        raise BadInput(f"{folder}/neighbors: no Parquet files; run batch_cf again")
    rows, columns, scores = (np.concatenate([part[field] for part in parts]) for field in range(3))
    if (rows < 0).any() or (columns < 0).any():
        raise BadInput(f"{folder}: neighbors name items that items.parquet does not list; run batch_cf again")
    available = np.ones(len(ids), np.bool_)
    if "available" in catalogue.column_names:
        available = catalogue.column("available").fill_null(True).combine_chunks().to_numpy(zero_copy_only=False)
    popular = popular_first(users)
    return NeighborRanker(
        similarities=sp.coo_array((scores, (rows, columns)), shape=(len(ids), len(ids))).tocsr(),
        order=popular[available[popular]],
        available=available,
        to_model=_index(items, ids, -1),
        to_data=_index(ids, items, FOREIGN),
    )


def _neighbor_arrays(
    path: str, ids: pa.StringArray
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    table = _parquet(path, ["item_id", "neighbor_id", "score"])
    coded = []
    for name in ("item_id", "neighbor_id"):
        column = table.column(name).unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], pa.dictionary(pa.int32(), pa.string()))
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        coded.append(_index(column.dictionary.cast(pa.string()), ids, -1)[column.indices.to_numpy()])
    return coded[0], coded[1], table.column("score").to_numpy().astype(np.float64)


def _index(ids: pa.StringArray, among: pa.StringArray, missing: int) -> npt.NDArray[np.int32]:
    found = pc.index_in(ids, value_set=among).fill_null(missing)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int32)


def _served(folder: str) -> Any:
    if "://" in folder and not folder.startswith("gs://"):
        raise BadUsage(f"{folder}: TensorFlow cannot load a SavedModel from here; sync it to a local folder first")
    tf = import_tensorflow()

    model = tf.saved_model.load(folder)
    if "serving_default" not in model.signatures:
        raise BadInput(f"{folder}: SavedModel has no signature serving_default; export the model with one")
    return functools.partial(_call, model, model.signatures["serving_default"], tf)


def _call(model: Any, signature: Any, tf: Any, histories: npt.NDArray[Any]) -> npt.NDArray[Any]:
    del model  # held by the partial: a signature alone does not keep its variables and tables alive
    result: npt.NDArray[Any] = signature(history=tf.constant(histories, tf.string))["items"].numpy()
    return result


def _saved_model(folder: str) -> str | None:
    if _exists(os.path.join(folder, "saved_model.pb")):
        return folder
    return newest_version(folder)


def _names(folder: str) -> list[str]:
    if "://" not in folder:
        return os.listdir(folder) if os.path.isdir(folder) else []
    prefix = folder.rstrip("/") + "/"
    return sorted({uri[len(prefix) :].split("/")[0] for uri in storage.list_files(folder.rstrip("/"))})


def _exists(uri: str) -> bool:
    return os.path.exists(uri) if storage.is_local(uri) else bool(storage.list_files(uri))


def _parquet(uri: str, columns: list[str] | None = None) -> pa.Table:
    # Parquet needs to seek, which a remote file may not support. So its bytes are read once.
    with storage.open_read(uri) as file:
        return pq.read_table(io.BytesIO(file.read()), columns=columns, read_dictionary=["item_id", "neighbor_id"])
