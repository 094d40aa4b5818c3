"""Publish snapshots to a DynamoDB table. `serving_client.snapshots.dynamodb` describes its items.

The key of a chunk contains its writer's attempt, so that two writers of one version do not mix their chunks. A writer
writes the head after its chunks and only if no head exists. The head that exists decides which chunks count.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
import zlib
from collections.abc import Callable
from typing import Any

from pipelines.reward_stream.destinations.interface import VersionExists
from serving_client.contracts.times import wall_clock_us
from serving_client.snapshots.dynamodb import DynamoStore, DynamoTable, chunk_key, head_key
from serving_client.snapshots.files import LATEST
from serving_client.snapshots.keys import escape, unescape
from serving_client.snapshots.published import AddressError, Owner, Published, StoreError, read_latest
from transforms.errors import BadUsage, RecbeamError
from transforms.extras import require

__all__ = ["DynamoDestination"]

# An item may take 400 KB with its keys (up to 3 KB) and attribute names.
PART_BYTES = 340_000

_NAMES = "*"

# BatchWriteItem takes at most so many.
_DELETED_AT_ONCE = 25

# The publisher waits for the answer and has other things to do; it tries again by itself.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 15


class _Table(DynamoTable):
    """A table whose errors a command shows as a sentence."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return super().call(operation, **arguments)
        except AddressError as error:
            raise BadUsage(str(error)) from error
        except StoreError as error:
            raise RecbeamError(str(error)) from error


class DynamoDestination:
    """Publish to a DynamoDB table.

    Args:
        uri: dynamodb://TABLE, with an optional region and endpoint.
        clock: Returns microseconds since 1970, for the age of versions.

    Raises:
        BadUsage: The uri names no table or has an unknown setting.
    """

    def __init__(self, uri: str, clock: Callable[[], int] = wall_clock_us) -> None:
        try:
            self._table = _Table(
                uri,
                connect_timeout_s=_CONNECT_TIMEOUT_S,
                read_timeout_s=_READ_TIMEOUT_S,
                retries={"mode": "standard"},
            )
        except AddressError as error:
            raise BadUsage(str(error)) from error
        self._uri = uri
        self._clock = clock
        self._listed: set[str] = set()
        require("boto3", "dynamodb")

    def __repr__(self) -> str:
        return f"DynamoDestination({self._uri!r})"

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names."""
        return read_latest(DynamoStore(self._table), name)

    def highest(self, name: str) -> int:
        """Return the highest version present."""
        newest = self._table.query(escape(name), "head/", "#item", ScanIndexForward=False, Limit=1)
        pointer = self._table.get(escape(name), LATEST)
        return max(_version(next(newest, None)), int(pointer["version"]["N"]) if pointer else 0)

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet, its chunks first."""
        place, attempt = escape(name), uuid.uuid4().hex[:12]
        packed = zlib.compress(data)
        parts = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
        common: dict[str, Any] = {"name": {"S": place}, "created_us": {"N": str(self._clock())}}
        chunks = [
            {**common, "item": {"S": f"{chunk_key(version, attempt)}{number:06d}"}, "data": {"B": part}}
            for number, part in enumerate(parts[1:], 1)
        ]
        for chunk in chunks:
            self._table.call("put_item", Item=chunk)
        head: dict[str, Any] = {
            **common,
            "item": {"S": head_key(version)},
            "sha256": {"S": hashlib.sha256(data).hexdigest()},
            "attempt": {"S": attempt},
            "parts": {"N": str(len(parts))},
            "data": {"B": parts[0]},
        }
        if self._put(head, "attribute_not_exists(#item)", {"#item": "item"}):
            return
        # The client repeats a request whose answer was lost, so the head may be ours.
        there = self._table.get(place, head_key(version))
        if there is None or there["attempt"]["S"] != attempt:
            with contextlib.suppress(Exception):  # prune finds them, too
                self._delete(place, [chunk["item"]["S"] for chunk in chunks])
            raise VersionExists(f"{self._uri}: {name} version {version}: another writer was faster")

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, unless it names a higher one."""
        place = escape(name)
        if place not in self._listed:
            self._table.call("put_item", Item={"name": {"S": _NAMES}, "item": {"S": place}})
            self._listed.add(place)
        item = {
            "name": {"S": place},
            "item": {"S": LATEST},
            "version": {"N": str(version)},
            "sha256": {"S": sha256},
        }
        if owner is not None:
            item |= {"publisher": {"S": owner.publisher}, "heartbeat": {"N": repr(owner.heartbeat_s)}}
        condition = "attribute_not_exists(#version) OR #version < :version"
        self._put(item, condition, {"#version": "version"}, {":version": {"N": str(version)}})

    def prune(self, name: str, before_us: int) -> int:
        """Remove old versions and their chunks."""
        place = escape(name)
        pointer = self._table.get(place, LATEST)
        if pointer is None:
            return 0
        pointed = int(pointer["version"]["N"])
        heads = self._older(place, "head/", pointed, before_us)
        self._delete(place, heads)
        self._delete(place, self._older(place, "chunk/", pointed, before_us))
        return len(heads)

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(unescape(item["item"]["S"]) for item in self._table.query(_NAMES, "", "#item"))

    def _put(
        self, item: dict[str, Any], condition: str, names: dict[str, str], values: dict[str, Any] | None = None
    ) -> bool:
        """Write an item and return whether the condition held."""
        arguments = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._table.call(
                "put_item", Item=item, ConditionExpression=condition, ExpressionAttributeNames=names, **arguments
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _older(self, place: str, prefix: str, pointed: int, before_us: int) -> list[str]:
        """Return sort keys of old items before the pointed version, up to the first version with a young item.

        Later versions are younger. The chunks of one version are sorted by attempt, not by time.
        """
        older, end = [], pointed
        for found in self._table.query(place, prefix, "#created_us"):
            if _version(found) >= end:
                break
            if int(found["created_us"]["N"]) < before_us:
                older.append(found["item"]["S"])
            else:
                end = _version(found) + 1
        return older

    def _delete(self, place: str, items: list[str]) -> None:
        requests = [{"DeleteRequest": {"Key": {"name": {"S": place}, "item": {"S": item}}}} for item in items]
        while requests:
            some, requests = requests[:_DELETED_AT_ONCE], requests[_DELETED_AT_ONCE:]
            answer = self._table.client.batch_write_item(RequestItems={self._table.name: some})
            left = answer.get("UnprocessedItems", {}).get(self._table.name, [])
            if len(left) == len(some):
                raise RecbeamError(f"{self._uri}: the table takes no more requests now; the next prune goes on")
            requests += left


def _version(item: dict[str, Any] | None) -> int:
    return int(item["item"]["S"].split("/")[1]) if item else 0
