"""Check that a model was not trained on the held-out rows.

A model's `run.json` lists the files that the model was trained on. The model is refused if one of them is a holdout
file (same path or same content), or one of the files that the split was made from, which contain the holdout rows too.
A model without a run.json cannot be checked, and the caller notes that in the report.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluate.models import ModelSource
from transforms.errors import Refused
from transforms.files import storage
from transforms.runs.run_record import Artifact

__all__ = ["SPLIT", "Fingerprint", "check", "check_models", "fingerprints", "inputs_of", "model_record", "split_record"]

SPLIT = "evaluate split"
"""Name of the split pipeline in run.json."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """One input file: its absolute path without file://, and the digest of its content, None if unknown."""

    uri: str
    digest: str | None


def check_models(sources: Mapping[str, ModelSource], holdout: Sequence[Artifact]) -> list[str]:
    """Check that no model was trained on the holdout.

    Args:
        sources: The models by name.
        holdout: The holdout files.

    Returns:
        Notes on the models that cannot be checked.

    Raises:
        Refused: A model was trained on the holdout.
    """
    forbidden = fingerprints(holdout)
    for folder in sorted({os.path.dirname(file.uri) for file in holdout}):
        record = split_record(folder)
        forbidden += inputs_of(record) if record else []
    notes = []
    for name, source in sources.items():
        record = model_record(source.given) or model_record(source.uri)
        if record is None:
            notes.append(f"{name} has no run.json: whether it was trained on the holdout is not known")
        else:
            check(name, inputs_of(record), forbidden)
    return notes


def model_record(folder: str) -> dict[str, Any] | None:
    """Read the run.json of a model: in its folder, in assets.extra, or above DIR/model and its versions.

    Returns:
        The content, or None if there is none.
    """
    folder = folder.rstrip("/")
    places = [folder, os.path.join(folder, "assets.extra")]
    while os.path.basename(folder) == "model" or os.path.basename(folder).isdecimal():
        folder = os.path.dirname(folder)
        places.append(folder)
    return next((record for record in map(_record, places) if record is not None), None)


def split_record(folder: str) -> dict[str, Any] | None:
    """Read the run.json of the split that wrote a folder of holdout files, None if no split did."""
    for place in (folder, os.path.dirname(folder.rstrip("/"))):
        record = _record(place)
        if record is not None and record.get("pipeline") == SPLIT:
            return record
    return None


def inputs_of(record: dict[str, Any]) -> list[Fingerprint]:
    """Return the inputs that a run.json lists."""
    return [Fingerprint(_plain(entry["uri"]), entry.get("digest")) for entry in record.get("inputs", [])]


def fingerprints(files: Sequence[Artifact]) -> list[Fingerprint]:
    """Return the fingerprints of the holdout files."""
    return [Fingerprint(_plain(file.uri), file.digest) for file in files]


def check(model: str, trained_on: Sequence[Fingerprint], forbidden: Sequence[Fingerprint]) -> None:
    """Check that a model was not trained on a forbidden file.

    Raises:
        Refused: The model was trained on a forbidden file.
    """
    uris = {one.uri for one in forbidden}
    digests = {one.digest for one in forbidden if one.digest}
    for one in trained_on:
        if one.uri in uris or one.digest in digests:
            raise Refused(
                f"model {model} was trained on {one.uri}, which holds the holdout; train it on the train rows alone"
            )


def _record(folder: str) -> dict[str, Any] | None:
    found = storage.read_json(os.path.join(folder, "run.json"))
    return found if isinstance(found, dict) else None


def _plain(uri: str) -> str:
    uri = uri.removeprefix("file://")
    return uri if "://" in uri else os.path.realpath(uri)
