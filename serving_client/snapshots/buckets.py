"""Read files from S3, Google Cloud Storage and web servers. A tag spares the body of a file that has not changed."""

from __future__ import annotations

import functools
import time
import urllib.parse
from typing import Any

from serving_client.extras import require
from serving_client.snapshots.deadlines import CONNECT_S, READ_S, joined
from serving_client.snapshots.files import Found, NotModified
from serving_client.snapshots.published import AddressError, StoreError

__all__ = ["GcsFiles", "HttpFiles", "S3Files"]

_CHUNK_BYTES = 1 << 16


class _Bucket:
    """Hold the bucket and the prefix of every name."""

    def __init__(self, uri: str) -> None:
        scheme, _, rest = uri.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        if not self._bucket:
            raise AddressError(f"{uri}: the bucket name is missing; write {scheme}://BUCKET/PREFIX")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._uri = uri.rstrip("/")

    def forked(self) -> None:
        """Drop the connections without closing them."""
        self.__dict__.pop("_client", None)


class S3Files(_Bucket):
    """The objects below a prefix. boto3 finds credentials, region and endpoint as it always does.

    Args:
        uri: s3://BUCKET/PREFIX.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        require("boto3", "s3")

    @functools.cached_property
    def _client(self) -> Any:
        config = require("botocore.config", "s3").Config(
            connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1}
        )
        return require("boto3", "s3").session.Session().client("s3", config=config)

    def read(self, name: str, tag: str | None = None) -> Found | None:
        """Return an object and its ETag, or None if it does not exist."""
        condition = {} if tag is None else {"IfNoneMatch": tag}
        client = self._client
        started_s = time.monotonic()
        try:
            answer = client.get_object(Bucket=self._bucket, Key=self._prefix + name, **condition)
        except require("botocore.exceptions", "s3").ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 304:
                raise NotModified from error
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        body = joined(f"{self._uri}/{name}", started_s, answer["Body"].iter_chunks(_CHUNK_BYTES))
        return Found(body, answer["ETag"])


class GcsFiles(_Bucket):
    """The objects below a prefix. The tag of an object is its generation.

    Args:
        uri: gs://BUCKET/PREFIX.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        require("google.cloud.storage", "gcs")

    @functools.cached_property
    def _client(self) -> Any:
        return require("google.cloud.storage", "gcs").Client().bucket(self._bucket)

    def read(self, name: str, tag: str | None = None) -> Found | None:
        """Return an object and its generation, or None if it does not exist."""
        errors = require("google.api_core.exceptions", "gcs")
        blob = self._client.blob(self._prefix + name)
        try:
            data = blob.download_as_bytes(
                if_generation_not_match=None if tag is None else int(tag), timeout=(CONNECT_S, READ_S), retry=None
            )
        except errors.NotModified as error:
            raise NotModified from error
        except errors.NotFound:
            return None
        return Found(data, str(blob.generation))


class HttpFiles:
    """The files below an address of a web server. The tag of a file is its ETag.

    Args:
        uri: http:// or https:// address. It may have a user and a password.
    """

    def __init__(self, uri: str) -> None:
        parts = urllib.parse.urlsplit(uri)
        self.uri = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"  # without a password
        if not parts.hostname or parts.query or parts.fragment:  # httpx logs the query, which may hold a secret
            raise AddressError(f"{self.uri}: is not the address of a folder; write {parts.scheme}://HOST/PATH")
        self._auth = tuple(urllib.parse.unquote(each or "") for each in (parts.username, parts.password))
        require("httpx", "http")

    @functools.cached_property
    def _client(self) -> Any:
        httpx = require("httpx", "http")
        auth = self._auth if any(self._auth) else None
        return httpx.Client(auth=auth, timeout=httpx.Timeout(READ_S, connect=CONNECT_S))

    def read(self, name: str, tag: str | None = None) -> Found | None:
        """Return a file and its ETag, or None if it does not exist."""
        headers = {} if tag is None else {"If-None-Match": tag}
        client = self._client
        started_s = time.monotonic()
        with client.stream("GET", f"{self.uri}/{urllib.parse.quote(name)}", headers=headers) as answer:
            if answer.status_code == 304:
                raise NotModified
            if answer.status_code == 404:
                return None
            if answer.status_code != 200:
                raise StoreError(f"{self.uri}/{name}: the server answers {answer.status_code}; check the address")
            body = joined(f"{self.uri}/{name}", started_s, answer.iter_bytes())
            return Found(body, answer.headers.get("ETag"))

    def forked(self) -> None:
        """Drop the connections without closing them."""
        self.__dict__.pop("_client", None)
