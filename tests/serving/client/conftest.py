"""Servers and clients of the client's tests.

stub: a StubServer on loopback. driver: both clients in turn behind one blocking surface (`drivers`). client: one for
`stub`, with model cf.
"""

from __future__ import annotations

import pytest

from tests.serving.client.drivers import AioDriver, SyncDriver
from tests.serving.client.stub_server import MODEL, StubServer


@pytest.fixture
def stub():
    server = StubServer()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=[SyncDriver, AioDriver], ids=["sync", "aio"])
def driver(request):
    made = request.param()
    yield made
    made.end()


@pytest.fixture
def client(driver, stub):
    with driver.client(stub.target, model=MODEL) as made:
        yield made
