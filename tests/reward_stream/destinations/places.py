"""The stores that a destination can be, each with a way to start it, and to damage what it holds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import redis
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.conftest import CI, program
from tests.third_party import environments, processes

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nobody",
    "AWS_DEFAULT_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A store with room for snapshots. damage: changes the stored bytes of a version of a name without escapes."""

    kind: str
    uri: str
    damage: Callable[[str, int], None]

    @property
    def is_slow(self) -> bool:
        """Whether its stand-in takes milliseconds a request: fewer repetitions do there."""
        return self.kind in ("s3", "gcs", "dynamodb")


@contextlib.contextmanager
def moto_running(port: int = 0) -> Iterator[str]:
    """Moto over HTTP, one request at a time: its own check and write are two steps, those of S3 and DynamoDB one."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request takes time and hides what fails
    app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_by_one(environ: Any, start_response: Any) -> Any:
        with lock:
            return app(environ, start_response)

    server = make_server("127.0.0.1", port, one_by_one, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redis_server() -> str | None:
    """The path of a redis-server, or None."""
    if environments.is_whole("redis"):
        return str(environments.PEERS / "redis" / "bin" / "redis-server")
    return program("redis-server")


@contextlib.contextmanager
def redis_running(folder: Path, port: int) -> Iterator[str]:
    """A redis-server that keeps nothing on disk; HOST:PORT."""
    path = redis_server()
    assert path is not None, f"no redis-server; run {environments.INSTALL} (CI={CI})"
    command = [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with processes.running(command, folder / "redis.log", lambda: processes.accepts(port), cwd=folder):
        yield f"127.0.0.1:{port}"


def create_table(client: Any, name: str) -> None:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}, {"AttributeName": "item", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("name", "item")],
        BillingMode="PAY_PER_REQUEST",
    )


@functools.cache
def _session() -> boto3.session.Session:
    """One for all: each reads the services' descriptions anew, which takes longer than the requests."""
    return boto3.session.Session()


@contextlib.contextmanager
def opened_client(service: str, endpoint: str) -> Iterator[Any]:
    client = _session().client(service, endpoint_url=endpoint)
    try:
        yield client
    finally:
        client.close()


def directory(base: Path) -> Place:
    def damage(name: str, version: int) -> None:
        path = base / name / f"{version}.json"
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))

    return Place("directory", str(base), damage)


def s3(endpoint: str, bucket: str) -> Place:
    def damage(name: str, version: int) -> None:
        with opened_client("s3", endpoint) as client:
            client.put_object(Bucket=bucket, Key=f"live/{name}/{version}.json", Body=b"{}")

    with opened_client("s3", endpoint) as client:
        client.create_bucket(Bucket=bucket)
    return Place("s3", f"s3://{bucket}/live", damage)


def gcs(objects: dict[str, Any], prefix: str) -> Place:
    def damage(name: str, version: int) -> None:
        key = f"{prefix}/{name}/{version}.json"
        objects[key] = (objects[key][0], b"{}")

    return Place("gcs", f"gs://snapshots/{prefix}", damage)


def dynamodb(endpoint: str, table: str) -> Place:
    def damage(name: str, version: int) -> None:
        with opened_client("dynamodb", endpoint) as client:
            client.update_item(
                TableName=table,
                Key={"name": {"S": name}, "item": {"S": f"head/{version:018d}"}},
                UpdateExpression="SET #data = :data",
                ExpressionAttributeNames={"#data": "data"},
                ExpressionAttributeValues={":data": {"B": b"not zlib"}},
            )

    with opened_client("dynamodb", endpoint) as client:
        create_table(client, table)
    return Place("dynamodb", f"dynamodb://{table}", damage)


def redis_prefix(address: str, prefix: str) -> Place:
    def damage(name: str, version: int) -> None:
        host, _, port = address.partition(":")
        with redis.Redis(host, int(port)) as client:
            client.set(f"{prefix}/{{{name}}}/{version}", b"{}")

    return Place("redis", f"redis://{address}/{prefix}", damage)
