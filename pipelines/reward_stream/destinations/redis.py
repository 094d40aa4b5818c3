"""Publish snapshots to Redis: redis://HOST:PORT/PREFIX, or rediss:// with TLS.

The password comes from the address or from REDIS_PASSWORD.

    PREFIX/{home_row}/LATEST     {"version", "sha256", …}, as in a directory
    PREFIX/{home_row}/12         the document of version 12
    PREFIX/{home_row}/versions   sorted set of versions by number
    PREFIX/{home_row}/written    sorted set of versions by time of writing, microseconds
    PREFIX/names                 set of names, escaped

The braces keep a name's keys on one node of a cluster. Changes that must be atomic are scripts, since Redis runs one
script at a time. A server that loses acknowledged writes (no append-only file, a fail-over) may return to lower
versions.
"""

from __future__ import annotations

import functools
import os
import urllib.parse
from collections.abc import Callable
from typing import Any

from pipelines.reward_stream.destinations.interface import Owner, Published, VersionExists, VersionMissing, verified
from pipelines.reward_stream.destinations.keys import escape, pointer, read_pointer, unescape
from serving_client.contracts.times import wall_clock_us
from transforms.errors import BadUsage
from transforms.extras import require

__all__ = ["RedisDestination"]

# KEYS: document, versions, written; ARGV: data, version, time. 1 if created, 0 if the version was there.
_CREATE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
return 1
"""

# KEYS: LATEST; ARGV: version, pointer. A damaged pointer is an error here.
_POINT = """
local there = redis.call('GET', KEYS[1])
if there and cjson.decode(there).version >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_PRUNED_AT_ONCE = 500

# The publisher waits for the answer and has other things to do; it tries again by itself.
_TIMEOUT_S = 10


class RedisDestination:
    """Publish to a prefix of a Redis server.

    Args:
        uri: redis://HOST:PORT/PREFIX, or rediss:// with TLS.
        clock: Returns microseconds since 1970.

    Raises:
        BadUsage: The uri names no server or no prefix.
    """

    def __init__(self, uri: str, clock: Callable[[], int] = wall_clock_us) -> None:
        parts = urllib.parse.urlsplit(uri)
        self._host, self._user, self._password = parts.hostname or "", parts.username, parts.password
        self._uri = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # for messages: no password
        self._prefix = parts.path.strip("/")
        self._tls = parts.scheme == "rediss"
        self._clock = clock
        try:
            self._port = parts.port or 6379
        except ValueError:
            self._port = 0
        if not self._host or not self._port or not self._prefix:
            raise BadUsage(f"{self._uri}: names no server or no prefix; write redis://HOST:PORT/PREFIX")
        if set("{}") & set(self._prefix) or parts.query or parts.fragment:
            raise BadUsage(
                f"{self._uri}: a prefix is plain text, without braces, ? and #; write redis://HOST:PORT/PREFIX"
            )
        require("redis", "redis")

    def __repr__(self) -> str:
        return f"RedisDestination({self._uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_redis"}

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names."""
        found = self._redis.get(self._key(name, "LATEST"))
        if found is None:
            return None
        version, sha256, owner = read_pointer(f"{self._uri}: {self._key(name, 'LATEST')}", found)
        data = self._redis.get(self._key(name, str(version)))
        where = f"{self._uri}: {self._key(name, str(version))}"
        if data is None:
            raise VersionMissing(f"{where}: is not there, and LATEST names it; read again, or restore it")
        return verified(where, version, data, sha256, owner)

    def highest(self, name: str) -> int:
        """Return the highest version present."""
        newest = self._redis.zrange(self._key(name, "versions"), -1, -1)
        return max(int(newest[0]) if newest else 0, self._pointed(name))

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet."""
        keys = [self._key(name, part) for part in (str(version), "versions", "written")]
        if not self._redis.eval(_CREATE, len(keys), *keys, data, version, self._clock()):
            raise VersionExists(f"{self._uri}: {keys[0]}: another writer was faster")

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, unless it names a higher one."""
        self._redis.sadd(f"{self._prefix}/names", escape(name))
        self._redis.eval(_POINT, 1, self._key(name, "LATEST"), version, pointer(version, sha256, owner))

    def prune(self, name: str, before_us: int) -> int:
        """Remove old versions."""
        pointed = self._pointed(name)
        versions, written = self._key(name, "versions"), self._key(name, "written")
        old = [int(version) for version in self._redis.zrangebyscore(written, "-inf", f"({before_us}")]
        pruned = [version for version in old if version < pointed]
        for start in range(0, len(pruned), _PRUNED_AT_ONCE):
            some = pruned[start : start + _PRUNED_AT_ONCE]
            pipe = self._redis.pipeline()  # one transaction: a version is there with its places in the sets, or not
            pipe.unlink(*(self._key(name, str(version)) for version in some))
            pipe.zrem(versions, *some)
            pipe.zrem(written, *some)
            pipe.execute()
        return len(pruned)

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(unescape(member.decode()) for member in self._redis.smembers(f"{self._prefix}/names"))

    @functools.cached_property
    def _redis(self) -> Any:
        redis = require("redis", "redis")
        retry = require("redis.retry", "redis").Retry(require("redis.backoff", "redis").NoBackoff(), 0)
        return redis.Redis(
            self._host,
            self._port,
            username=self._user,
            password=self._password or os.environ.get("REDIS_PASSWORD"),
            ssl=self._tls,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # A repeated create would meet what the first try wrote; the publisher takes the next version instead.
            retry=retry,
        )

    def _key(self, name: str, part: str) -> str:
        return f"{self._prefix}/{{{escape(name)}}}/{part}"

    def _pointed(self, name: str) -> int:
        found = self._redis.get(self._key(name, "LATEST"))
        return 0 if found is None else read_pointer(f"{self._uri}: {self._key(name, 'LATEST')}", found).version
