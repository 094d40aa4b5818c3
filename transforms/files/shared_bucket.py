"""Implement `SharedFolder` on S3 and Google Cloud Storage with conditional requests.

The clients are opened the way Beam opens them, so Beam's flags (`--s3_endpoint_url`, `--s3_region_name`, `--no_auth`…)
and environment variables apply. An S3-compatible store must support If-None-Match and If-Match on PutObject, as Amazon
S3, MinIO and Ceph do. On a store that ignores these headers, two writers can overwrite each other.

If the answer to a request is lost, the client repeats the request and finds the object that its first try wrote.
Each object therefore carries a token of the attempt that wrote it. A writer that is refused because of its own object
has succeeded.
"""

from __future__ import annotations

import functools
import itertools
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider

from transforms.errors import BadUsage
from transforms.files.shared_interface import Found

__all__ = ["GcsFolder", "S3Folder"]

_ATTEMPT = "attempt"

# S3 deletes at most this many objects with one request.
_DELETED_AT_ONCE = 1000

# S3 answers 409 while another conditional write to the same key is in progress, and asks the client to retry.
_TRIES = 10


class _Bucket:
    """Hold what both stores share: the bucket, and the prefix of every name."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._bucket, _, prefix = uri.partition("://")[2].partition("/")
        if not self._bucket:
            raise BadUsage(f"{uri}: the bucket name is missing; write {uri.partition('://')[0]}://BUCKET/PREFIX")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def _key(self, name: str) -> str:
        return self._prefix + name

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the client, which holds connections and locks. The copy opens its own client."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_s3", "_gcs")}


class S3Folder(_Bucket):
    """A prefix of an S3 bucket.

    Args:
        uri: s3://BUCKET/PREFIX.
    """

    @functools.cached_property
    def _s3(self) -> Any:
        from apache_beam.io.aws.clients.s3.boto3_client import Client

        return Client(_beam_options()).client

    def read(self, name: str) -> Found | None:
        """Return the object's content and ETag, or None if it does not exist."""
        from botocore.exceptions import ClientError

        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key(name))
            return Found(answer["Body"].read(), answer["ETag"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        return self._attempt(name) is not None

    def create(self, name: str, data: bytes) -> None:
        """Write a new object. Raise FileExistsError if it exists."""
        if not self.replace(name, data, None):
            raise FileExistsError(f"{self._uri.rstrip('/')}/{name}: exists already")

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
        """Write the object if its ETag is still `tag`, and return whether it was written."""
        from botocore.exceptions import ClientError

        attempt = uuid.uuid4().hex
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        put = {"Bucket": self._bucket, "Key": self._key(name), "Body": data, "Metadata": {_ATTEMPT: attempt}}
        for rest in reversed(range(_TRIES)):
            try:
                self._s3.put_object(**put, **condition)
                return True
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("PreconditionFailed", "NoSuchKey"):
                    return self._attempt(name) == attempt
                if code != "ConditionalRequestConflict" or not rest:
                    raise
        raise AssertionError("unreachable")

    def names(self, below: str) -> list[str]:
        """Return the names of the objects directly below a folder, relative to it."""
        return list(self.written_us(below))

    def written_us(self, below: str) -> dict[str, int]:
        """Return the names below a folder with their time of writing in microseconds since 1970."""
        start = self._key(below) + "/"
        listed = (found for page in self._pages(start) for found in page.get("Contents", []))
        return {found["Key"][len(start) :]: int(found["LastModified"].timestamp() * 1e6) for found in listed}

    def folders(self) -> list[str]:
        """Return the names of the folders directly below the prefix."""
        listed = (found["Prefix"] for page in self._pages(self._prefix) for found in page.get("CommonPrefixes", []))
        return [prefix[len(self._prefix) :].rstrip("/") for prefix in listed]

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; names that do not exist are ignored."""
        for some in _batches(names, _DELETED_AT_ONCE):
            keys = {"Objects": [{"Key": self._key(name)} for name in some], "Quiet": True}
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete=keys)
            for error in answer.get("Errors", [])[:1]:
                raise OSError(f"s3://{self._bucket}/{error['Key']}: cannot be removed: {error.get('Message')}")

    def _pages(self, start: str) -> Iterator[dict[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start, Delimiter="/")
        yield from pages

    def _attempt(self, name: str) -> str | None:
        """Return the token of the attempt that wrote an object, or None if the object does not exist."""
        from botocore.exceptions import ClientError

        try:
            answer = self._s3.head_object(Bucket=self._bucket, Key=self._key(name))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return str(answer["Metadata"].get(_ATTEMPT, ""))


class GcsFolder(_Bucket):
    """A prefix of a Google Cloud Storage bucket. The tag of an object is its generation.

    Args:
        uri: gs://BUCKET/PREFIX.
    """

    @functools.cached_property
    def _gcs(self) -> Any:
        from apache_beam.io.gcp.gcsio import GcsIO

        return GcsIO(pipeline_options=_beam_options()).client.bucket(self._bucket)

    def read(self, name: str) -> Found | None:
        """Return the object's content and generation, or None if it does not exist."""
        from google.api_core.exceptions import NotFound

        blob = self._gcs.blob(self._key(name))
        try:
            data = blob.download_as_bytes()
        except NotFound:
            return None
        return Found(data, str(blob.generation))

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        return bool(self._gcs.blob(self._key(name)).exists())

    def create(self, name: str, data: bytes) -> None:
        """Write a new object. Raise FileExistsError if it exists."""
        if not self.replace(name, data, None):
            raise FileExistsError(f"{self._uri.rstrip('/')}/{name}: exists already")

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
        """Write the object if its generation is still `tag`, and return whether it was written."""
        from google.api_core.exceptions import PreconditionFailed

        attempt = uuid.uuid4().hex
        blob = self._gcs.blob(self._key(name))
        blob.metadata = {_ATTEMPT: attempt}
        try:
            blob.upload_from_string(data, "application/json", if_generation_match=0 if tag is None else int(tag))
        except PreconditionFailed:
            written = self._gcs.get_blob(self._key(name))
            return written is not None and (written.metadata or {}).get(_ATTEMPT) == attempt
        return True

    def names(self, below: str) -> list[str]:
        """Return the names of the objects directly below a folder, relative to it."""
        return list(self.written_us(below))

    def written_us(self, below: str) -> dict[str, int]:
        """Return the names below a folder with their time of writing in microseconds since 1970."""
        start = self._key(below) + "/"
        listed = self._gcs.list_blobs(prefix=start, delimiter="/")
        return {blob.name[len(start) :]: int(blob.updated.timestamp() * 1e6) for blob in listed}

    def folders(self) -> list[str]:
        """Return the names of the folders directly below the prefix."""
        listed = self._gcs.list_blobs(prefix=self._prefix, delimiter="/")
        prefixes = {prefix for page in listed.pages for prefix in page.prefixes}
        return [prefix[len(self._prefix) :].rstrip("/") for prefix in prefixes]

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; names that do not exist are ignored."""
        self._gcs.delete_blobs([self._key(name) for name in names], on_error=lambda _: None)


def _beam_options() -> Any:
    """Return the pipeline's options where Beam's own filesystems find them, also on a worker."""
    return FileSystems._pipeline_options or RuntimeValueProvider.runtime_options or PipelineOptions([])


def _batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    names = iter(names)
    while some := list(itertools.islice(names, size)):
        yield some
