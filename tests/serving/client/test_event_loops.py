"""One aio.Client on one event loop after the other, as asyncio.run makes them: it lets go of what the last one left."""

from __future__ import annotations

import asyncio
import os

import pytest

from serving_client import aio
from tests.serving.client.stub_server import MODEL, StubServer


@pytest.fixture
def server():
    one = StubServer()
    yield one
    one.stop()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_hundred_loops_in_turn_hold_no_more_descriptors_than_two(server):
    client = aio.Client(server.target, model=MODEL)

    async def ask() -> None:
        assert (await client.recommend(["a"])).items

    asyncio.run(ask())
    asyncio.run(ask())
    before = descriptors()
    for _ in range(100):
        asyncio.run(ask())
    assert descriptors() <= before + 4  # two descriptors a connection; a server's end may close a little later


def test_connections_that_close_left_to_another_loop_are_let_go_when_theirs_is_over(server):
    async def ask(client: aio.Client) -> None:
        assert (await client.recommend(["a"])).items

    before = None
    for number in range(100):
        client = aio.Client(server.target, model=MODEL)
        asyncio.run(ask(client))
        asyncio.run(client.close())
        if number == 1:
            before = descriptors()
    assert before is not None and descriptors() <= before + 4


def test_a_loop_that_goes_on_keeps_its_connection_until_it_ends(server):
    client = aio.Client(server.target, model=MODEL)
    first = asyncio.new_event_loop()
    first.run_until_complete(client.recommend(["a"]))
    connected = client._connected
    assert connected is not None
    asyncio.run(client.close())
    assert connected in aio._left_behind
    first.close()
    other = aio.Client(server.target, model=MODEL)
    for _ in range(2):  # the second lets go of the first, and then of all whose loops are over
        asyncio.run(other.status())
    assert connected not in aio._left_behind
    assert connected.channels[0]._channel.closed()  # else its destructor would try, on a loop that is over
