"""Read snapshots from a DynamoDB table: dynamodb://TABLE[?region=REGION&endpoint=URL].

The table has the string keys `name` (partition) and `item` (sort):

    name        item                              attributes
    home_row    LATEST                            version, sha256, publisher, heartbeat
    home_row    head/000000000000000012           sha256, attempt, parts, data, created_us
    home_row    chunk/000000000000000012/8f0c/000001  data, created_us
    *           home_row

A version is one zlib stream. It is cut into parts that fit into an item (400 KB). Part 0 is stored in the head, parts
1, 2… are chunks. The head names its writer's attempt, which the key of each chunk contains. The partition `*` lists the
names. All reads are consistent, since other reads could return older versions.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
import zlib
from collections.abc import Iterator
from typing import Any

from serving_client.extras import require
from serving_client.snapshots.deadlines import CONNECT_S, READ_S
from serving_client.snapshots.files import LATEST
from serving_client.snapshots.keys import escape, owner_of
from serving_client.snapshots.published import AddressError, Damaged, Owner, Pointer, Published, StoreError, verified

__all__ = ["DynamoStore", "DynamoTable", "chunk_key", "head_key"]

_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")


class DynamoTable:
    """A table, with the requests that readers and writers need.

    Args:
        uri: dynamodb://TABLE, with an optional region and endpoint.
        connect_timeout_s: Timeout of connecting.
        read_timeout_s: Timeout of an answer.
        retries: boto3's setting of the same name.

    Raises:
        AddressError: The uri names no table or has an unknown setting.
    """

    def __init__(self, uri: str, *, connect_timeout_s: float, read_timeout_s: float, retries: dict[str, Any]) -> None:
        parts = urllib.parse.urlsplit(uri)
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        self.uri, self.name = uri, parts.netloc
        if not _TABLE.fullmatch(self.name) or parts.path.strip("/"):
            raise AddressError(f"{uri}: names no table; write dynamodb://TABLE, 3 to 255 letters, digits, _ . and -")
        for key in query:
            if key not in ("region", "endpoint"):
                raise AddressError(f"{uri}: {key!r} is not known; write dynamodb://TABLE?region=REGION&endpoint=URL")
        self._region = query.get("region", [""])[0] or None
        self._endpoint = query.get("endpoint", [""])[0] or None
        self._config = {
            "connect_timeout": connect_timeout_s,
            "read_timeout": read_timeout_s,
            "retries": retries,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the client, which holds connections and locks. The copy opens its own client."""
        return {name: value for name, value in self.__dict__.items() if name != "client"}

    @functools.cached_property
    def client(self) -> Any:
        """boto3's client.

        Raises:
            AddressError: No region is known.
        """
        config = require("botocore.config", "dynamodb").Config(**self._config)
        try:
            return (
                require("boto3", "dynamodb")
                .session.Session()
                .client("dynamodb", region_name=self._region, endpoint_url=self._endpoint, config=config)
            )
        except require("botocore.exceptions", "dynamodb").NoRegionError as error:
            raise AddressError(
                f"{self.uri}: no region is known; add ?region=REGION or set AWS_DEFAULT_REGION"
            ) from error

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Send a request about the table.

        Raises:
            StoreError: There is no such table.
        """
        client = self.client
        try:
            answer: dict[str, Any] = getattr(client, operation)(**{"TableName": self.name, **arguments})
        except client.exceptions.ResourceNotFoundException as error:
            raise StoreError(
                f"{self.uri}: no such table here; create it with the string keys name (partition) and item (sort)"
            ) from error
        return answer

    def get(self, place: str, item: str) -> dict[str, Any] | None:
        """Return an item, or None if it does not exist."""
        key = {"name": {"S": place}, "item": {"S": item}}
        return self.call("get_item", Key=key, ConsistentRead=True).get("Item")

    def query(self, place: str, prefix: str, wanted: str, **arguments: Any) -> Iterator[dict[str, Any]]:
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
            page = self.call("query", **arguments)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class DynamoStore:
    """Versions in a table.

    Args:
        table: The table.
    """

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    @classmethod
    def open(cls, uri: str) -> DynamoStore:
        """Return the store at an address, with a router's timeouts."""
        require("boto3", "dynamodb")
        retries = {"total_max_attempts": 1}
        return cls(DynamoTable(uri, connect_timeout_s=CONNECT_S, read_timeout_s=READ_S, retries=retries))

    def __repr__(self) -> str:
        return f"DynamoStore({self._table.uri!r})"

    def pointer(self, name: str) -> Pointer | None:
        """Read the pointer."""
        found = self._table.get(escape(name), LATEST)
        if found is None:
            return None
        try:
            return Pointer(int(found["version"]["N"]), found["sha256"]["S"], _owner(found))
        except (KeyError, ValueError) as error:
            where = f"{self._table.uri}: {name} {LATEST}"
            raise Damaged(f"{where}: has no number version or no text sha256; restore it, or remove it") from error

    def document(self, name: str, pointer: Pointer) -> Published:
        """Read the version that a pointer names, and its chunks."""
        place = escape(name)
        where = f"{self._table.uri}: {name} version {pointer.version}"
        head = self._table.get(place, head_key(pointer.version))
        return verified(where, None if head is None else self._unpacked(where, place, pointer.version, head), pointer)

    def forked(self) -> None:
        """Drop the connections without closing them."""
        self._table.__dict__.pop("client", None)

    def _unpacked(self, where: str, place: str, version: int, head: dict[str, Any]) -> bytes:
        try:
            data = [head["data"]["B"]]
            if int(head["parts"]["N"]) > 1:
                chunks = self._table.query(place, chunk_key(version, head["attempt"]["S"]), "#data")
                data += [chunk["data"]["B"] for chunk in chunks]
            return zlib.decompress(b"".join(data))
        except (KeyError, ValueError, zlib.error) as error:
            raise Damaged(f"{where}: cannot be unpacked ({error!r}); restore it, or remove {LATEST}") from error


def head_key(version: int) -> str:
    """Return the sort key of a version's head."""
    return f"head/{version:018d}"


def chunk_key(version: int, attempt: str) -> str:
    """Return the beginning of the sort keys of an attempt's chunks."""
    return f"chunk/{version:018d}/{attempt}/"


def _owner(pointer: dict[str, Any]) -> Owner | None:
    heartbeat = pointer.get("heartbeat", {}).get("N")
    return owner_of(pointer.get("publisher", {}).get("S"), None if heartbeat is None else float(heartbeat))
