"""Publish snapshots to Redis. `serving_client.snapshots.redis` describes the keys.

Changes that must be atomic are scripts, since Redis runs one script at a time. A server that loses acknowledged writes
(no append-only file, a fail-over) may return to lower versions.
"""

from __future__ import annotations

from collections.abc import Callable

from pipelines.reward_stream.destinations.interface import VersionExists
from serving_client.contracts.times import wall_clock_us
from serving_client.snapshots.files import LATEST
from serving_client.snapshots.keys import escape, pointer, read_pointer, unescape
from serving_client.snapshots.published import AddressError, Owner, Published, read_latest
from serving_client.snapshots.redis import RedisPrefix, RedisStore
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
        try:
            self._prefix = RedisPrefix(uri, connect_timeout_s=_TIMEOUT_S, read_timeout_s=_TIMEOUT_S)
        except AddressError as error:
            raise BadUsage(str(error)) from error
        self._uri = self._prefix.uri
        self._clock = clock
        require("redis", "redis")

    def __repr__(self) -> str:
        return f"RedisDestination({self._uri!r})"

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names."""
        return read_latest(RedisStore(self._prefix), name)

    def highest(self, name: str) -> int:
        """Return the highest version present."""
        newest = self._prefix.client.zrange(self._prefix.key(name, "versions"), -1, -1)
        return max(int(newest[0]) if newest else 0, self._pointed(name))

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet."""
        keys = [self._prefix.key(name, part) for part in (str(version), "versions", "written")]
        if not self._prefix.client.eval(_CREATE, len(keys), *keys, data, version, self._clock()):
            raise VersionExists(f"{self._uri}: {keys[0]}: another writer was faster")

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, unless it names a higher one."""
        self._prefix.client.sadd(f"{self._prefix.prefix}/names", escape(name))
        self._prefix.client.eval(_POINT, 1, self._prefix.key(name, LATEST), version, pointer(version, sha256, owner))

    def prune(self, name: str, before_us: int) -> int:
        """Remove old versions."""
        pointed = self._pointed(name)
        versions, written = self._prefix.key(name, "versions"), self._prefix.key(name, "written")
        old = [int(version) for version in self._prefix.client.zrangebyscore(written, "-inf", f"({before_us}")]
        pruned = [version for version in old if version < pointed]
        for start in range(0, len(pruned), _PRUNED_AT_ONCE):
            some = pruned[start : start + _PRUNED_AT_ONCE]
            pipe = (
                self._prefix.client.pipeline()
            )  # one transaction: a version is there with its places in the sets, or not
            pipe.unlink(*(self._prefix.key(name, str(version)) for version in some))
            pipe.zrem(versions, *some)
            pipe.zrem(written, *some)
            pipe.execute()
        return len(pruned)

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(
            unescape(member.decode()) for member in self._prefix.client.smembers(f"{self._prefix.prefix}/names")
        )

    def _pointed(self, name: str) -> int:
        found = self._prefix.client.get(self._prefix.key(name, LATEST))
        return 0 if found is None else read_pointer(f"{self._uri}: {self._prefix.key(name, 'LATEST')}", found).version
