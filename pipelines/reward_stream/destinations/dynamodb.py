"""Publish snapshots to a DynamoDB table: dynamodb://TABLE[?region=REGION&endpoint=URL].

The table has the string keys `name` (partition) and `item` (sort):

    name        item                              attributes
    home_row    LATEST                            version, sha256, publisher, heartbeat
    home_row    head/000000000000000012           sha256, attempt, parts, data, created_us
    home_row    chunk/000000000000000012/8f0c/000001  data, created_us
    *           home_row

A version is one zlib stream. It is cut into parts that fit into an item (400 KB). Part 0 is stored in the head, parts
1, 2… are chunks. The key of a chunk contains its writer's attempt, so that two writers of one version do not mix their
chunks. A writer writes the head after its chunks and only if no head exists. The head that exists decides which chunks
count. The partition `*` lists the names. All reads are consistent, since other reads could return older versions.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import urllib.parse
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.reward_stream.destinations.interface import Owner, Published, VersionExists, VersionMissing, verified
from pipelines.reward_stream.destinations.keys import escape, owner_of, unescape
from serving_client.contracts.times import wall_clock_us
from transforms.errors import BadUsage, RecbeamError
from transforms.extras import require

__all__ = ["DynamoDestination"]

# An item may take 400 KB with its keys (up to 3 KB) and attribute names.
PART_BYTES = 340_000

_LATEST = "LATEST"
_NAMES = "*"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")

# BatchWriteItem takes at most so many.
_DELETED_AT_ONCE = 25

# The publisher waits for the answer and has other things to do; it tries again by itself.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 15


class DynamoDestination:
    """Publish to a DynamoDB table.

    Args:
        uri: dynamodb://TABLE, with an optional region and endpoint.
        clock: Returns microseconds since 1970, for the age of versions.

    Raises:
        BadUsage: The uri names no table or has an unknown setting.
    """

    def __init__(self, uri: str, clock: Callable[[], int] = wall_clock_us) -> None:
        parts = urllib.parse.urlsplit(uri)
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        self._uri, self._table = uri, parts.netloc
        if not _TABLE.fullmatch(self._table) or parts.path.strip("/"):
            raise BadUsage(f"{uri}: names no table; write dynamodb://TABLE, 3 to 255 letters, digits, _ . and -")
        for key in query:
            if key not in ("region", "endpoint"):
                raise BadUsage(f"{uri}: {key!r} is not known; write dynamodb://TABLE?region=REGION&endpoint=URL")
        self._region = query.get("region", [""])[0] or None
        self._endpoint = query.get("endpoint", [""])[0] or None
        self._clock = clock
        self._listed: set[str] = set()
        require("boto3", "dynamodb")

    def __repr__(self) -> str:
        return f"DynamoDestination({self._uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_dynamodb"}

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names."""
        place = escape(name)
        pointer = self._get(place, _LATEST)
        if pointer is None:
            return None
        version, sha256 = int(pointer["version"]["N"]), pointer["sha256"]["S"]
        head = self._get(place, _head(version))
        where = f"{self._uri}: {name} version {version}"
        if head is None:
            raise VersionMissing(f"{where}: is not there, and {_LATEST} names it; read again, or restore it")
        data = [head["data"]["B"]]
        if int(head["parts"]["N"]) > 1:
            chunks = self._query(place, _chunk(version, head["attempt"]["S"]), "#data")
            data += [chunk["data"]["B"] for chunk in chunks]
        try:
            document = zlib.decompress(b"".join(data))
        except zlib.error as error:
            raise ValueError(f"{where}: cannot be unpacked ({error}); restore it, or remove {_LATEST}") from error
        return verified(where, version, document, sha256, _owner(pointer))

    def highest(self, name: str) -> int:
        """Return the highest version present."""
        newest = self._query(escape(name), "head/", "#item", ScanIndexForward=False, Limit=1)
        pointer = self._get(escape(name), _LATEST)
        return max(_version(next(newest, None)), int(pointer["version"]["N"]) if pointer else 0)

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet, its chunks first."""
        place, attempt = escape(name), uuid.uuid4().hex[:12]
        packed = zlib.compress(data)
        parts = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
        common: dict[str, Any] = {"name": {"S": place}, "created_us": {"N": str(self._clock())}}
        chunks = [
            {**common, "item": {"S": f"{_chunk(version, attempt)}{number:06d}"}, "data": {"B": part}}
            for number, part in enumerate(parts[1:], 1)
        ]
        for chunk in chunks:
            self._call("put_item", Item=chunk)
        head: dict[str, Any] = {
            **common,
            "item": {"S": _head(version)},
            "sha256": {"S": hashlib.sha256(data).hexdigest()},
            "attempt": {"S": attempt},
            "parts": {"N": str(len(parts))},
            "data": {"B": parts[0]},
        }
        if self._put(head, "attribute_not_exists(#item)", {"#item": "item"}):
            return
        # The client repeats a request whose answer was lost, so the head may be ours.
        there = self._get(place, _head(version))
        if there is None or there["attempt"]["S"] != attempt:
            with contextlib.suppress(Exception):  # prune finds them, too
                self._delete(place, [chunk["item"]["S"] for chunk in chunks])
            raise VersionExists(f"{self._uri}: {name} version {version}: another writer was faster")

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, unless it names a higher one."""
        place = escape(name)
        if place not in self._listed:
            self._call("put_item", Item={"name": {"S": _NAMES}, "item": {"S": place}})
            self._listed.add(place)
        item = {
            "name": {"S": place},
            "item": {"S": _LATEST},
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
        pointer = self._get(place, _LATEST)
        if pointer is None:
            return 0
        pointed = int(pointer["version"]["N"])
        heads = self._older(place, "head/", pointed, before_us)
        self._delete(place, heads)
        self._delete(place, self._older(place, "chunk/", pointed, before_us))
        return len(heads)

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(unescape(item["item"]["S"]) for item in self._query(_NAMES, "", "#item"))

    @functools.cached_property
    def _dynamodb(self) -> Any:
        boto3 = require("boto3", "dynamodb")
        config = require("botocore.config", "dynamodb").Config(
            connect_timeout=_CONNECT_TIMEOUT_S, read_timeout=_READ_TIMEOUT_S, retries={"mode": "standard"}
        )
        try:
            return boto3.session.Session().client(
                "dynamodb", region_name=self._region, endpoint_url=self._endpoint, config=config
            )
        except require("botocore.exceptions", "dynamodb").NoRegionError as error:
            raise BadUsage(f"{self._uri}: no region is known; add ?region=REGION or set AWS_DEFAULT_REGION") from error

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        client = self._dynamodb
        try:
            answer: dict[str, Any] = getattr(client, operation)(**{"TableName": self._table, **arguments})
        except client.exceptions.ResourceNotFoundException as error:
            raise RecbeamError(
                f"{self._uri}: no such table here; create it with the string keys name (partition) and item (sort)"
            ) from error
        return answer

    def _get(self, place: str, item: str) -> dict[str, Any] | None:
        key = {"name": {"S": place}, "item": {"S": item}}
        return self._call("get_item", Key=key, ConsistentRead=True).get("Item")

    def _put(
        self, item: dict[str, Any], condition: str, names: dict[str, str], values: dict[str, Any] | None = None
    ) -> bool:
        """Write an item and return whether the condition held."""
        arguments = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._call(
                "put_item", Item=item, ConditionExpression=condition, ExpressionAttributeNames=names, **arguments
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _query(self, place: str, prefix: str, wanted: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a name in the order of their sort key. Pages are fetched as needed."""
        arguments |= {
            "KeyConditionExpression": "#name = :name" + (" AND begins_with(#item, :prefix)" if prefix else ""),
            "ExpressionAttributeNames": {"#name": "name", "#item": "item"},
            "ExpressionAttributeValues": {":name": {"S": place}} | ({":prefix": {"S": prefix}} if prefix else {}),
            "ProjectionExpression": "#item" if wanted == "#item" else f"#item, {wanted}",
            "ConsistentRead": True,
        }
        if wanted != "#item":
            arguments["ExpressionAttributeNames"] |= {wanted: wanted.removeprefix("#")}
        while True:
            page = self._call("query", **arguments)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _older(self, place: str, prefix: str, pointed: int, before_us: int) -> list[str]:
        """Return sort keys of old items before the pointed version, up to the first version with a young item.

        Later versions are younger. The chunks of one version are sorted by attempt, not by time.
        """
        older, end = [], pointed
        for found in self._query(place, prefix, "#created_us"):
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
            answer = self._dynamodb.batch_write_item(RequestItems={self._table: some})
            left = answer.get("UnprocessedItems", {}).get(self._table, [])
            if len(left) == len(some):
                raise RecbeamError(f"{self._uri}: the table takes no more requests now; the next prune goes on")
            requests += left


def _head(version: int) -> str:
    return f"head/{version:018d}"


def _chunk(version: int, attempt: str) -> str:
    return f"chunk/{version:018d}/{attempt}/"


def _version(item: dict[str, Any] | None) -> int:
    return int(item["item"]["S"].split("/")[1]) if item else 0


def _owner(pointer: dict[str, Any]) -> Owner | None:
    heartbeat = pointer.get("heartbeat", {}).get("N")
    return owner_of(pointer.get("publisher", {}).get("S"), None if heartbeat is None else float(heartbeat))
