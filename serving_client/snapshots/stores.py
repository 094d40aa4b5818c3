"""Open the store of snapshots at an address."""

from __future__ import annotations

from pathlib import Path

from serving_client.snapshots.buckets import GcsFiles, HttpFiles, S3Files
from serving_client.snapshots.dynamodb import DynamoStore
from serving_client.snapshots.files import FileStore, LocalFiles
from serving_client.snapshots.published import AddressError, Store
from serving_client.snapshots.redis import RedisStore

__all__ = ["open_store"]


def open_store(uri: str) -> Store:
    """Return the store at an address. It connects at its first call.

    Args:
        uri: Directory, or s3://, gs://, http://, https://, dynamodb:// or redis:// address.

    Returns:
        The store.

    Raises:
        AddressError: The address is invalid, or its scheme is not supported.
        MissingExtra: The store's client library is not installed.
    """
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if uri and not scheme:
        return FileStore(uri, LocalFiles(Path(uri)))
    if scheme == "s3":
        return FileStore(uri, S3Files(uri))
    if scheme == "gs":
        return FileStore(uri, GcsFiles(uri))
    if scheme in ("http", "https"):
        files = HttpFiles(uri)
        return FileStore(files.uri, files)
    if scheme == "dynamodb":
        return DynamoStore.open(uri)
    if scheme in ("redis", "rediss"):
        return RedisStore.open(uri)
    raise AddressError(
        f"{uri!r} is not an address of snapshots; use a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
        "https://HOST/PATH, dynamodb://TABLE or redis://HOST:PORT/PREFIX"
    )
