"""Create the destination for a uri, or report what is wrong with the uri."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.reward_stream.destinations.directory import DirectoryDestination
from pipelines.reward_stream.destinations.dynamodb import DynamoDestination
from pipelines.reward_stream.destinations.interface import Destination
from pipelines.reward_stream.destinations.redis import RedisDestination
from serving_client.contracts.times import wall_clock_us
from transforms.errors import BadUsage

__all__ = ["check", "open_destination"]


def open_destination(uri: str, clock: Callable[[], int] = wall_clock_us) -> Destination:
    """Create the destination of `--snapshots`.

    A destination can be pickled. It connects at its first call.

    Args:
        uri: Directory, s3://, gs://, dynamodb:// or redis:// address.
        clock: Returns microseconds since 1970, for stores that do not keep the time of writing.

    Returns:
        The destination.

    Raises:
        BadUsage: The uri names no supported destination.
        MissingExtra: The destination's client library is not installed.
    """
    if not uri:
        raise BadUsage("--snapshots is empty; use a directory, s3://, gs://, dynamodb:// or redis://")
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in ("", "s3", "gs"):
        return DirectoryDestination(uri)
    if scheme == "dynamodb":
        return DynamoDestination(uri, clock)
    if scheme in ("redis", "rediss"):
        return RedisDestination(uri, clock)
    raise BadUsage(
        f"{uri}: {scheme}:// is not supported for snapshots; use a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
        "dynamodb://TABLE or redis://HOST:PORT/PREFIX"
    )


def check(uri: str) -> list[str]:
    """Check the text of a uri without connecting.

    Args:
        uri: Address of a destination.

    Returns:
        One sentence per problem.

    Raises:
        MissingExtra: The destination's client library is not installed.
    """
    try:
        open_destination(uri)
    except BadUsage as error:
        return [str(error)]
    return []
