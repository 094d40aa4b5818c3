"""Read and parse the newest snapshots at a destination."""

from __future__ import annotations

import json
from typing import Any

from pipelines.reward_stream.destinations.factory import open_destination
from transforms.errors import BadInput

__all__ = ["read_snapshots"]


def read_snapshots(destination: str, bandit_id: str | None = None) -> list[dict[str, Any]]:
    """Read the newest snapshots.

    Args:
        destination: Address of the destination.
        bandit_id: The bandit. None reads all bandits and _stream, which comes last.

    Returns:
        The parsed snapshots.

    Raises:
        BadInput: Nothing is published, or a snapshot cannot be read.
    """
    store = open_destination(destination)
    names = store.names()
    if not names:
        raise BadInput(f"{destination}: nothing is published here; is it the --snapshots of a stream that has begun?")
    if bandit_id is not None and bandit_id not in names:
        raise BadInput(
            f"{destination}: nothing is published for bandit {bandit_id!r}; there are {', '.join(sorted(names))}"
        )
    chosen = sorted(names, key=lambda name: (name.startswith("_"), name)) if bandit_id is None else [bandit_id]
    documents = []
    for name in chosen:
        try:
            published = store.latest(name)
        except ValueError as error:
            raise BadInput(
                f"{destination}: the snapshot of {name} is damaged ({error}); wait for the next one"
            ) from error
        if published is not None:
            documents.append(json.loads(published.data))
    if not documents:
        raise BadInput(f"{destination}: nothing is published yet; the first snapshot comes within --publish_interval")
    return documents
