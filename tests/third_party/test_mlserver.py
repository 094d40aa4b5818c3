"""A client of the Open Inference Protocol against MLServer, with scikit-learn's models and with the contract's own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving_client import Client, OpenInference, aio
from serving_client.errors import DeadlineExceeded, NotFound, ServerFault
from tests.serving import models

CANDIDATES = [f"c{number:02d}" for number in range(20)]
HISTORY = ["c03", "c07"]
TIMEOUT_S = 20.0


def features(history, candidates):
    numbers = [int(item[1:]) for item in candidates]
    return {"x": np.array([[number, len(history), number % 2 == 0] for number in numbers], np.float32)}


@pytest.fixture(params=[True, False], ids=["raw", "typed"])
def raw(request) -> bool:
    return request.param


def test_a_scorer_trained_by_scikit_learn_scores_and_ranks_as_it_does_itself(mlserver, expected, raw):
    """The twin: the same rows given to the model in its own process; histories of two, as `expected` has them."""
    truth = np.array(expected["ranker"])
    with Client(mlserver, model="ranker", protocol=OpenInference(features, raw=raw), timeout_s=TIMEOUT_S) as client:
        np.testing.assert_allclose(client.score_items(HISTORY, CANDIDATES), truth, rtol=1e-6)
        found = client.recommend(HISTORY, exclude=["c00"], candidates=CANDIDATES, k=5)
    left = [place for place in range(20) if CANDIDATES[place] not in {*HISTORY, "c00"}]
    best = sorted(left, key=lambda place: (-np.float32(truth[place]), CANDIDATES[place]))[:5]
    assert found.items == [CANDIDATES[place] for place in best]
    np.testing.assert_allclose(found.scores, truth[best], rtol=1e-6)
    assert (found.model, found.version, found.target) == ("ranker", 3, mlserver)


def test_the_probability_of_a_class_ranks_where_its_column_is_named(mlserver, expected):
    protocol = OpenInference(features, "predict_proba", scores_column=1, catalogue=CANDIDATES)
    with Client(mlserver, model="clicks", protocol=protocol, timeout_s=TIMEOUT_S) as client:
        np.testing.assert_allclose(client.score_items(HISTORY, CANDIDATES), expected["clicks"], rtol=1e-6)
        scores = client.recommend(HISTORY).scores
    assert len(scores) == 18
    assert (np.diff(scores) <= 0).all()


def test_a_model_of_the_contract_works_as_it_is(mlserver, raw):
    with Client(mlserver, model="contract", protocol=OpenInference(raw=raw), timeout_s=TIMEOUT_S) as client:
        assert client.recommend(HISTORY, k=10).items == models.recommend(HISTORY)[:10]
        assert client.recommend(HISTORY, exclude=["c01"]).items == models.recommend(HISTORY, ["c01"])
        owned = models.ITEMS[:35]  # 15 are left, fewer than the model's 20
        found = client.recommend(owned)
        assert found.items == models.recommend(owned)
        assert found.scores.tolist() == [models.score(owned, item) for item in found.items]
        scores = client.score_items(HISTORY, [*models.ITEMS, "unknown"] * 6)  # 306: more than one row
        assert scores.tolist() == [models.score(HISTORY, item) for item in [*models.ITEMS, "unknown"] * 6]


def test_the_asyncio_client_gets_the_same(mlserver):
    async def recommended():
        settings = {"model": "contract", "protocol": OpenInference(), "timeout_s": TIMEOUT_S}
        async with aio.Client(mlserver, **settings) as client:
            await client.wait_until_ready(20.0)
            return await client.recommend(HISTORY)

    assert asyncio.run(recommended()).items == models.recommend(HISTORY)


def test_every_datatype_comes_back_as_it_was_sent(mlserver, raw):
    arrays = {
        code: np.array([[0, 1], [2, 100]]).astype(code)
        for code in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
    }
    if raw:
        arrays["f2"] = np.array([[0.5, -1]], np.float16)
    arrays["text"] = np.array([["é", "a b"], [b"\0\xff", ""]], dtype=object)
    with Client(mlserver, model="echo", protocol=OpenInference(raw=raw), timeout_s=TIMEOUT_S) as client:
        found = client.predict(arrays).outputs
    assert found.pop("text").tolist() == [["é".encode(), b"a b"], [b"\0\xff", b""]]
    del arrays["text"]
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }


def test_its_errors_are_typed(mlserver):
    with Client(mlserver, model="ranker", protocol=OpenInference(), timeout_s=TIMEOUT_S) as client:
        with pytest.raises(NotFound, match="Model nope"):
            client.predict({"x": [[1.0]]}, model="nope")
        with pytest.raises(NotFound, match="version 9"):
            client.predict({"x": [[1.0]]}, version=9)
        with pytest.raises(ServerFault, match="expecting 3 features"):
            client.predict({"x": np.zeros((1, 2), np.float32)})


def test_readiness_is_the_models_own(mlserver):
    with Client(mlserver, protocol=OpenInference(), timeout_s=TIMEOUT_S) as client:
        assert client.ready(model="ranker") is True
        with pytest.raises(DeadlineExceeded, match="nope"):
            client.wait_until_ready(0.2, model="nope")
