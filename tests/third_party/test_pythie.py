"""Our client against pythie-serving: a server of TF Serving's Predict that shares no code with ours."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving_client import aio
from serving_client.client import Client
from serving_client.errors import NotSupported, ServerFault

INPUTS = {
    "category": [["math"], ["math"], ["music"], ["art"]],
    "level": np.array([[1], [2], [1], [9]], np.int64),
}
PRICES = [100, 250, 80, 7]


def test_the_client_reads_what_it_predicts(pythie):
    """Replies are int32 in tensor_content, which TF Serving itself sends only when it is told to."""
    with Client(pythie, model="prices", timeout_s=20.0) as client:
        found = client.predict(INPUTS)
    assert found.outputs["predictions"].tolist() == PRICES
    assert found.outputs["predictions"].dtype == np.int32
    assert (found.model, found.version, found.target, found.attempts) == ("prices", None, pythie, 1)


def test_the_asyncio_client_reads_the_same(pythie):
    async def predicted():
        async with aio.Client(pythie, model="prices", timeout_s=20.0) as client:
            answers = await asyncio.gather(*(client.predict(INPUTS) for _ in range(8)))
            return [answer.outputs["predictions"].tolist() for answer in answers]

    assert asyncio.run(predicted()) == [PRICES] * 8


def test_an_error_that_it_does_not_name_is_a_fault_of_the_server_and_not_repeated(pythie):
    """What TF Serving would call NOT_FOUND and INVALID_ARGUMENT is UNKNOWN here."""
    with Client(pythie, model="prices", timeout_s=20.0) as client:
        with pytest.raises(ServerFault, match="Unknown model: nope") as caught:
            client.predict(INPUTS, model="nope")
        assert (caught.value.model, caught.value.target, caught.value.attempts) == ("nope", pythie, 1)
        with pytest.raises(ServerFault, match="Missing features"):
            client.predict({"category": [["math"]]})


def test_a_method_that_it_lacks_is_not_supported(pythie):
    with Client(pythie, model="prices", timeout_s=20.0) as client:
        with pytest.raises(NotSupported):
            client.status()
        with pytest.raises(NotSupported):
            client.metadata()
