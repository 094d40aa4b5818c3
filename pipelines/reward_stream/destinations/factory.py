"""Which destination a uri means, and what is wrong with one that means none."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.reward_stream.destinations.directory import DirectoryDestination
from pipelines.reward_stream.destinations.dynamodb import DynamoDestination
from pipelines.reward_stream.destinations.interface import Destination
from pipelines.reward_stream.destinations.redis import RedisDestination
from transforms.errors import BadUsage

__all__ = ["check", "open_destination"]


def open_destination(uri: str, clock: Callable[[], int] | None = None) -> Destination:
    """The destination of `--snapshots`; nothing is connected to before its first call, and it can be pickled.

    clock: microseconds since 1970, for stores that do not keep the time of writing themselves; None: the machine's.
    Raises BadUsage for a uri that means none, MissingExtra where its client library is not installed.
    """
    if not uri:
        raise BadUsage("no place for snapshots is named; use a directory, s3://, gs://, dynamodb:// or redis://")
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in ("", "s3", "gs"):
        return DirectoryDestination(uri)
    if scheme == "dynamodb":
        return DynamoDestination(uri, clock)
    if scheme in ("redis", "rediss"):
        return RedisDestination(uri, clock)
    raise BadUsage(
        f"{uri}: {scheme}:// is no place for snapshots; use a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
        "dynamodb://TABLE or redis://HOST:PORT/PREFIX"
    )


def check(uri: str) -> list[str]:
    """What is wrong with the text of a uri, one sentence each; no store is asked. Raises MissingExtra as above."""
    try:
        open_destination(uri)
    except BadUsage as error:
        return [str(error)]
    return []
