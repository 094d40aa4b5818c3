"""Server-side batching, numbered as in the conformance page; the parameters are tests.conformance.models.BATCHING."""

from __future__ import annotations

import concurrent.futures
import random
import time

import grpc
import numpy as np

from serving_client import codec
from serving_client.client import Client
from tests.conformance.wire import TIMEOUT_S, floats, refused, strings, together
from tests.serving import models


def test_40_an_input_of_rank_0_cannot_be_batched(batched):
    assert refused(batched.predict, "half_plus_two", {"x": floats(1.0)}) == (
        "INVALID_ARGUMENT",
        "Batching Run() input tensors must have at least one dimension",
    )


def test_41_inputs_must_agree_in_their_0th_dimension(batched):
    inputs = {"a": floats([1.0, 2.0]), "b": floats([1.0])}
    assert refused(batched.predict, "half_plus_two", inputs, "add") == (
        "INVALID_ARGUMENT",
        "Batching Run() input tensors must have equal 0th-dimension size",
    )


def test_42_a_request_larger_than_a_batch_is_refused(batched):
    assert len(batched.predict("half_plus_two", {"x": floats([1.0] * 32)}).outputs["y"].float_val) == 32
    assert refused(batched.predict, "half_plus_two", {"x": floats([1.0] * 33)}) == (
        "INVALID_ARGUMENT",
        "Task size 33 is larger than maximum input batch size 32",
    )


def test_43_requests_of_one_width_are_answered_each_with_its_own_rows(batched):
    requests = [[float(number)] * (number % 5 + 1) for number in range(40)]
    answers = together(lambda values: batched.predict("half_plus_two", {"x": floats(values)}), requests)
    for values, answer in zip(requests, answers, strict=True):
        expected = [value / 2 + 2 for value in values]
        assert codec.to_array(answer.outputs["y"]).tolist() == expected


def test_44_what_fills_a_batch_up_to_an_allowed_size_is_not_in_the_answer(batched):
    for rows in (1, 3, 5):
        answer = batched.predict("half_plus_two", {"x": floats([[1.0, 2.0]] * rows)})
        assert codec.to_array(answer.outputs["y"]).tolist() == [[2.5, 3.0]] * rows


def test_45_requests_of_different_widths_fail_when_they_meet(batched):
    """They meet within the batch's 20 ms; tried until they do. Those that do not meet are answered."""
    widths = [2, 3, 4, 5, 6, 7, 8, 9]
    deadline = time.monotonic() + TIMEOUT_S
    failed: list[grpc.RpcError] = []
    while not failed and time.monotonic() < deadline:
        rows = [[["c01"] * width] for width in widths]
        answers = together(lambda row: batched.predict("contract", {"history": strings(row)}), rows)
        failed = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert failed
    for error in failed:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert " have different shapes and padding is turned off.Set pad_variable_length_inputs" in error.details()


def test_46_outputs_that_are_filtered_are_batched_apart(batched):
    def ask(outputs):
        return batched.predict("contract", {"history": strings([["c02", "c09"]])}, outputs=outputs)

    answers = together(ask, [["items"], ["scores"], []] * 8)
    assert [sorted(answer.outputs) for answer in answers] == [["items"], ["scores"], ["items", "scores"]] * 8


def test_47_mixed_histories_of_many_clients_are_answered_as_if_each_were_alone(batched):
    """serving_client pads every history to one width, so requests may be joined; ids beyond it are excluded."""
    draw = random.Random(1)
    histories = [draw.choices([*models.ITEMS, "unknown"], k=draw.choice([0, 1, 2, 5, 17, 60, 200])) for _ in range(200)]
    candidates = ["c00", "c49", "nobody", "c20"]
    with (
        Client(batched.address, model="contract", timeout_s=TIMEOUT_S) as client,
        concurrent.futures.ThreadPoolExecutor(32) as pool,
    ):
        answers = list(pool.map(client.recommend, histories))
        scores = list(pool.map(lambda history: client.score_items(history, candidates), histories))
    for history, answer, scored in zip(histories, answers, scores, strict=True):
        newest = history[-128:]
        assert answer.items == models.recommend(newest, history[:-128])
        assert answer.scores.tolist() == [models.score(newest, item) for item in answer.items]
        np.testing.assert_array_equal(scored, [models.score(newest, item) for item in candidates])
