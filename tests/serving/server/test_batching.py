"""Batching without TensorFlow: `run` is a function that notes what it was given and doubles it."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_serving.batch_queue import BatchQueue, Task
from local_serving.batch_tensors import common_rows, cut, join
from local_serving.batch_threads import BatchThreads
from local_serving.batching import Batcher
from local_serving.batching_parameters import BatchingParameters, parse, read
from local_serving.errors import StartError, Status

HOUR_MICROS = 3_600_000_000
DEADLINE_S = 30


class Model:
    """Doubles `x`; `gate` keeps a run from ending, `sizes` are the rows of each run."""

    def __init__(self):
        self.sizes, self.timeouts, self.signatures = [], [], []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def __call__(self, signature, inputs, outputs, timeout_s):
        self.sizes.append(len(inputs["x"]))
        self.timeouts.append(timeout_s)
        self.signatures.append(signature)
        self.started.release()
        assert self.gate.wait(DEADLINE_S)
        if signature == "broken":
            raise Status(grpc.StatusCode.INTERNAL, "the kernel's own")
        if signature == "scalar":
            return {"y": np.float32(1)}
        if signature == "short":
            return {"y": inputs["x"][1:]}
        return dict.fromkeys(outputs, inputs["x"] * 2)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    """Makes a Batcher; closed at the end, with the gate open."""
    made = []

    def make(**parameters):
        made.append(Batcher(BatchingParameters(**{"num_batch_threads": 1, **parameters}), model))
        return made[-1]

    yield make
    model.gate.set()
    for one in made:
        one.close()


def ask(batcher, values, signature="double", timeout_s=None):
    return batcher.run(signature, {"x": np.asarray(values, np.float32)}, ["y"], timeout_s)["y"].tolist()


def at_once(batcher, requests, **arguments):
    """Futures of requests that run in threads of their own."""
    pool = concurrent.futures.ThreadPoolExecutor(len(requests))
    futures = [pool.submit(ask, batcher, values, **arguments) for values in requests]
    pool.shutdown(wait=False)
    return futures


def refused(call, *arguments, **named):
    with pytest.raises(Status) as caught:
        call(*arguments, **named)
    return caught.value.code.name, caught.value.message


def until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting(batcher):
    return [len(batch.tasks) for queue in batcher._queues.values() for batch in queue._batches]


def test_requests_that_fill_a_batch_run_as_one_and_each_gets_its_own_rows(batcher, model):
    futures = at_once(batcher(max_batch_size=6, batch_timeout_micros=HOUR_MICROS), [[1], [2, 3], [4, 5, 6]])
    assert [future.result(DEADLINE_S) for future in futures] == [[2], [4, 6], [8, 10, 12]]
    assert model.sizes == [6]


def test_a_batch_that_does_not_fill_runs_when_its_time_is_over(batcher, model):
    begun = time.monotonic()
    assert ask(batcher(max_batch_size=6, batch_timeout_micros=50_000), [1, 2]) == [2, 4]
    assert time.monotonic() - begun >= 0.05
    assert model.sizes == [2]


def test_signatures_and_output_filters_are_never_joined(batcher, model):
    batch = batcher(max_batch_size=2, batch_timeout_micros=1000)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [("a", ["y"]), ("a", ["y", "z"]), ("b", ["y"]), ("b", ["z"])]
        futures = [pool.submit(batch.run, name, {"x": np.ones(1)}, outputs, None) for name, outputs in asked]
    assert [sorted(future.result()) for future in futures] == [sorted(outputs) for _, outputs in asked]
    assert sorted(model.signatures) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"x": np.ones(2), "k": np.ones(1)},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_inputs_without_a_common_0th_dimension_are_refused_before_they_wait(inputs, message, batcher):
    batch = batcher(batch_timeout_micros=HOUR_MICROS)
    inputs = {name: np.asarray(value) for name, value in inputs.items()}
    assert refused(batch.run, "double", inputs, ["y"], None) == ("INVALID_ARGUMENT", message)


def test_a_request_larger_than_a_batch_is_refused(batcher):
    message = "Task size 5 is larger than maximum input batch size 4"
    assert refused(ask, batcher(max_batch_size=4), [1] * 5) == ("INVALID_ARGUMENT", message)


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(batcher, model):
    """One thread, held by the first request; the open batch takes two rows, the third has nowhere to go."""
    batch = batcher(max_batch_size=2, max_enqueued_batches=1)
    model.gate.clear()
    running = at_once(batch, [[1, 1]])
    assert model.started.acquire(timeout=DEADLINE_S)
    queued = at_once(batch, [[2], [3]])
    until(lambda: waiting(batch) == [2])
    assert refused(ask, batch, [4]) == (
        "UNAVAILABLE",
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
        "max_enqueued_batches is 1",
    )
    model.gate.set()
    assert [future.result(DEADLINE_S) for future in running + queued] == [[2, 2], [4], [6]]
    assert ask(batch, [4]) == [8]


def test_time_that_is_over_for_all_of_a_batch_is_resource_exhausted_and_the_model_is_not_run(batcher, model):
    batch = batcher(max_batch_size=2)
    model.gate.clear()
    running = at_once(batch, [[1, 1]])
    assert model.started.acquire(timeout=DEADLINE_S)
    queued = at_once(batch, [[2], [3]], timeout_s=0.01)
    until(lambda: waiting(batch) == [2])
    deadline = time.monotonic() + 0.01
    until(lambda: time.monotonic() > deadline)
    model.gate.set()
    message = "Run() timeout exceeded while waiting in batching queue"
    assert [refused(future.result) for future in queued] == [("RESOURCE_EXHAUSTED", message)] * 2
    assert running[0].result() == [2, 2]
    assert model.sizes == [2]


def test_a_batch_runs_for_the_longest_time_left_among_its_requests(batcher, model):
    batch = batcher(max_batch_size=2, batch_timeout_micros=HOUR_MICROS)
    futures = at_once(batch, [[1]], timeout_s=0.001) + at_once(batch, [[2]], timeout_s=50)
    assert [future.result(DEADLINE_S) for future in futures] == [[2], [4]]
    assert 20 < model.timeouts[0] <= 50
    for future in at_once(batch, [[1]], timeout_s=50) + at_once(batch, [[2]], timeout_s=None):
        future.result(DEADLINE_S)
    assert model.timeouts[1] is None


def test_a_batch_is_filled_up_to_an_allowed_size_and_the_filling_is_dropped(batcher, model):
    batch = batcher(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    assert [ask(batch, [1] * size) for size in (1, 2, 3, 5, 8)] == [[2] * size for size in (1, 2, 3, 5, 8)]
    assert model.sizes == [2, 2, 4, 8, 8]


@pytest.mark.parametrize(
    ("signature", "code", "message"),
    [
        ("broken", "INTERNAL", "the kernel's own"),
        ("scalar", "FAILED_PRECONDITION", "Batched output tensor has 0 dimensions"),
        (
            "short",
            "FAILED_PRECONDITION",
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        ),
    ],
)
def test_a_batch_that_fails_fails_for_each_of_its_requests(signature, code, message, batcher):
    futures = at_once(batcher(max_batch_size=2, batch_timeout_micros=HOUR_MICROS), [[1], [2]], signature=signature)
    assert [refused(future.result, DEADLINE_S) for future in futures] == [(code, message)] * 2


def test_shapes_that_differ_fail_the_batch_with_tensorflow_servings_sentence():
    message = (
        "Tensors with name 'history' from different tasks have different shapes and padding is turned off."
        "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
        "have equal dimensions starting with the first dim."
    )
    requests = [{"history": np.ones((1, 2))}, {"history": np.ones((1, 3))}]
    assert refused(join, requests, 2, False) == ("FAILED_PRECONDITION", message)


def test_types_that_differ_fail_the_batch():
    requests = [{"x": np.ones(1, np.float32)}, {"x": np.asarray([b"a"], object)}]
    code, message = refused(join, requests, 2, False)
    assert code == "INTERNAL"
    assert message.startswith("Tensor concat operation failed: ")
    assert message.endswith("different data types. Got float and string.")


def test_padding_fills_with_the_tensors_first_element_not_with_nothing():
    """serving#1279: the reason why pad_variable_length_inputs stays off for histories."""
    requests = [{"h": np.asarray([[b"a", b"b", b"c"]], object)}, {"h": np.asarray([[b"d", b"e"]], object)}]
    assert join(requests, 2, True)["h"].tolist() == [[b"a", b"b", b"c"], [b"d", b"e", b"d"]]


@pytest.mark.parametrize(
    ("shapes", "pad", "code"),
    [
        ([(1, 2), (0, 2)], False, "INVALID_ARGUMENT"),  # no row to fill up with
        ([(1, 2), (1, 0)], True, "INVALID_ARGUMENT"),  # no element to pad with
        ([(1, 2), (1,)], True, "INTERNAL"),
    ],
)
def test_what_has_nothing_to_be_filled_with_is_refused(shapes, pad, code):
    assert refused(join, [{"x": np.ones(shape)} for shape in shapes], 3, pad)[0] == code


@given(rows=st.lists(st.integers(0, 4), min_size=1, max_size=6), width=st.integers(0, 3), extra=st.integers(0, 3))
def test_joining_and_cutting_gives_every_request_back(rows, width, extra):
    requests = [{"x": np.random.default_rng(seed).random((count, width))} for seed, count in enumerate(rows)]
    size = sum(rows) + (extra if rows[-1] else 0)
    joined = join(requests, size, False)
    assert joined["x"].shape == (size, width)
    assert common_rows(joined) == size
    for request, part in zip(requests, cut(joined, rows, size), strict=True):
        np.testing.assert_array_equal(part["x"], request["x"])


def test_large_requests_are_split_where_that_is_on_and_come_back_in_order(batcher, model):
    batch = batcher(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
    assert ask(batch, list(range(10))) == [2 * number for number in range(10)]
    assert model.sizes == [4, 4, 2]
    message = "Task size 11 is larger than maximum input batch size 10"
    assert refused(ask, batch, [1] * 11) == ("INVALID_ARGUMENT", message)


def task(rows, at=0.0):
    return Task(rows, at, None, lambda one, parts: [task(count) for count in parts], None)


def test_a_split_request_fills_the_open_batch_or_is_refused_whole():
    parameters = BatchingParameters(
        max_batch_size=12, max_execution_batch_size=4, enable_large_batch_splitting=True, max_enqueued_batches=2
    )
    queue = BatchQueue(parameters)
    queue.put(task(3))
    code, message = refused(queue.put, task(6))
    assert (code, "capacity is only 5" in message) == ("UNAVAILABLE", True)
    queue.put(task(5))
    assert [[one.rows for one in queue.take(0).tasks] for _ in range(2)] == [[3, 1], [4]]
    assert queue.empty


@given(
    rows=st.lists(st.integers(1, 5), max_size=20),
    size=st.integers(5, 9),
    most=st.integers(1, 30),
    timeout=st.integers(0, 1000),
)
def test_a_queue_loses_nothing_keeps_the_order_and_never_exceeds_a_batch(rows, size, most, timeout):
    queue = BatchQueue(BatchingParameters(size, timeout, most))
    taken, given_in = [], []
    for now, count in enumerate(rows):
        one = task(count, float(now))
        try:
            queue.put(one)
        except Status as error:
            assert error.code is grpc.StatusCode.UNAVAILABLE
        else:
            given_in.append(one)
    assert len(given_in) == len(rows) or len(queue._batches) == most
    queue.close()
    while batch := queue.take(0.0):
        assert batch.rows == sum(one.rows for one in batch.tasks) <= size
        taken += batch.tasks
    assert list(map(id, taken)) == list(map(id, given_in))
    assert queue.due_at is None


def test_an_open_batch_is_due_when_the_first_of_its_requests_has_waited():
    queue = BatchQueue(BatchingParameters(max_batch_size=4, batch_timeout_micros=500_000))
    assert queue.due_at is None
    queue.put(task(1, at=10.0))
    queue.put(task(1, at=10.4))
    assert queue.due_at == 10.5
    assert queue.take(10.4) is None
    assert queue.take(10.5).rows == 2


def test_threads_are_shared_by_models_and_serve_their_queues_in_turn():
    """While the one thread is busy, two models queue two batches each; they run alternately."""
    parameters = BatchingParameters(max_batch_size=1, num_batch_threads=1)
    threads, order, models = BatchThreads(parameters), [], {}
    first = Model()
    first.gate.clear()
    blocker = Batcher(parameters, first, threads)
    futures = at_once(blocker, [[0]])
    assert first.started.acquire(timeout=DEADLINE_S)
    for name in "ab":

        def run(signature, inputs, outputs, timeout_s, name=name):
            order.append(name)
            return {"y": inputs["x"]}

        models[name] = Batcher(parameters, run, threads)
        futures += at_once(models[name], [[1], [2]])
        until(lambda name=name: sum(waiting(models[name])) == 2)
    first.gate.set()
    for future in futures:
        future.result(DEADLINE_S)
    assert order in (list("abab"), list("baba"))
    for one in (blocker, *models.values()):
        one.close()
    until(lambda: not threads._alive)


def test_close_answers_what_waits_and_refuses_what_comes(model):
    batch = Batcher(BatchingParameters(batch_timeout_micros=HOUR_MICROS), model)
    futures = at_once(batch, [[1], [2]])
    until(lambda: sum(waiting(batch)) == 2)
    batch.close()
    assert [future.result(DEADLINE_S) for future in futures] == [[2], [4]]
    assert refused(ask, batch, [3])[0] == "UNAVAILABLE"


def test_parameters_are_read_as_tensorflow_model_server_writes_them(tmp_path):
    text = """
    max_batch_size { value: 128 }   # a comment
    batch_timeout_micros { value: 0 }
    max_enqueued_batches { value: 1000000 }
    num_batch_threads { value: 8 }
    allowed_batch_sizes: 16
    allowed_batch_sizes: 128
    pad_variable_length_inputs: true
    thread_pool_name { value: "batch" }
    """
    (tmp_path / "batching.config").write_text(text)
    expected = BatchingParameters(128, 0, 1_000_000, 8, "batch", (16, 128), True)
    assert read(tmp_path / "batching.config") == expected
    assert parse("") == BatchingParameters()
    assert (parse("").max_batch_size, parse("").max_enqueued_batches) == (1000, 10)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch_size: 8", r"1:17 : .*Expected"),
        ("max_size { value: 8 }", "no field named"),
        ("max_batch_size { value: 0 }", "max_batch_size is 0; it must be 1 or more"),
        ("num_batch_threads { value: -1 }", "num_batch_threads is -1; it must be 1 or more"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]", "must be monotonically increasing"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 9 }",
            "max_execution_batch_size is 9; it must be between 1 and max_batch_size, 8",
        ),
    ],
)
def test_parameters_that_cannot_be_used_are_named_with_their_file(text, says, tmp_path):
    (tmp_path / "batching.config").write_text(text)
    with pytest.raises(StartError, match=rf"^{tmp_path}/batching\.config: .*{says}"):
        read(tmp_path / "batching.config")


def test_a_parameters_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StartError, match=r"none\.config: cannot be read \(No such file or directory\); check --batch"):
        read(tmp_path / "none.config")
