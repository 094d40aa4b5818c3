"""Read snapshots from Redis: redis://HOST:PORT/PREFIX, or rediss:// with TLS.

The password comes from the address or from REDIS_PASSWORD.

    PREFIX/{home_row}/LATEST     {"version", "sha256", …}, as in a directory
    PREFIX/{home_row}/12         the document of version 12
    PREFIX/{home_row}/versions   sorted set of versions by number
    PREFIX/{home_row}/written    sorted set of versions by time of writing, microseconds
    PREFIX/names                 set of names, escaped

The braces keep a name's keys on one node of a cluster.
"""

from __future__ import annotations

import functools
import os
import urllib.parse
from typing import Any

from serving_client.extras import require
from serving_client.snapshots.deadlines import CONNECT_S, READ_S
from serving_client.snapshots.files import LATEST
from serving_client.snapshots.keys import escape, read_pointer
from serving_client.snapshots.published import AddressError, Pointer, Published, verified

__all__ = ["RedisPrefix", "RedisStore"]


class RedisPrefix:
    """A prefix of the keys of a server.

    Args:
        uri: redis://HOST:PORT/PREFIX, or rediss:// with TLS.
        connect_timeout_s: Timeout of connecting.
        read_timeout_s: Timeout of an answer.

    Raises:
        AddressError: The uri names no server or no prefix.
    """

    def __init__(self, uri: str, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        parts = urllib.parse.urlsplit(uri)
        self._host, self._user, self._password = parts.hostname or "", parts.username, parts.password
        self.uri = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # for messages: no password
        self.prefix = parts.path.strip("/")
        self._tls = parts.scheme == "rediss"
        self._timeouts_s = connect_timeout_s, read_timeout_s
        try:
            self._port = parts.port or 6379
        except ValueError:
            self._port = 0
        if not self._host or not self._port or not self.prefix:
            raise AddressError(f"{self.uri}: names no server or no prefix; write redis://HOST:PORT/PREFIX")
        if set("{}") & set(self.prefix) or parts.query or parts.fragment:
            raise AddressError(
                f"{self.uri}: a prefix is plain text, without braces, ? and #; write redis://HOST:PORT/PREFIX"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the client, which holds connections and locks. The copy opens its own client."""
        return {name: value for name, value in self.__dict__.items() if name != "client"}

    @functools.cached_property
    def client(self) -> Any:
        """The client. It sends each request once, because a repeated create would meet what the first try wrote."""
        connect_timeout_s, read_timeout_s = self._timeouts_s
        return require("redis", "redis").Redis(
            self._host,
            self._port,
            username=self._user,
            password=self._password or os.environ.get("REDIS_PASSWORD"),
            ssl=self._tls,
            socket_timeout=read_timeout_s,
            socket_connect_timeout=connect_timeout_s,
            retry=require("redis.retry", "redis").Retry(require("redis.backoff", "redis").NoBackoff(), 0),
        )

    def key(self, name: str, part: str) -> str:
        """Return a key of a name."""
        return f"{self.prefix}/{{{escape(name)}}}/{part}"


class RedisStore:
    """Versions below a prefix.

    Args:
        prefix: The prefix.
    """

    def __init__(self, prefix: RedisPrefix) -> None:
        self._prefix = prefix

    @classmethod
    def open(cls, uri: str) -> RedisStore:
        """Return the store at an address, with a router's timeouts."""
        require("redis", "redis")
        return cls(RedisPrefix(uri, connect_timeout_s=CONNECT_S, read_timeout_s=READ_S))

    def __repr__(self) -> str:
        return f"RedisStore({self._prefix.uri!r})"

    def pointer(self, name: str) -> Pointer | None:
        """Read the pointer."""
        key = self._prefix.key(name, LATEST)
        found = self._prefix.client.get(key)
        return None if found is None else read_pointer(f"{self._prefix.uri}: {key}", found)

    def document(self, name: str, pointer: Pointer) -> Published:
        """Read the version that a pointer names."""
        key = self._prefix.key(name, str(pointer.version))
        return verified(f"{self._prefix.uri}: {key}", self._prefix.client.get(key), pointer)

    def forked(self) -> None:
        """Drop the connections without closing them."""
        self._prefix.__dict__.pop("client", None)
