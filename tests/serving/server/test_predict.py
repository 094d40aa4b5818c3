"""Predict, behaviour by behaviour as /work/shared/reference/tf_serving.md numbers them, message for message.

The expected numbers are the models' own: half_plus_two is x / 2 + 2, typed adds 1 and multiplies by 2.0.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from local_serving.errors import truncated
from serving_client.protocol import messages
from tests.serving import models
from tests.serving.server.wire import Wire, floats, refused, spec, strings, tensor

TYPED = {"f": floats([1.5]), "i": tensor([3], np.int32), "l": tensor([2**40], np.int64), "s": tensor(["é"])}


def test_1_a_request_names_its_model(wire):
    assert refused(wire.send, messages.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert refused(wire.predict, "") == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_2_what_is_not_served_is_not_found_by_the_words_of_the_request(wire):
    assert refused(wire.predict, "nobody") == ("NOT_FOUND", "Servable not found for request: Latest(nobody)")
    details = "Servable not found for request: Specific(half_plus_two, 7)"
    assert refused(wire.predict, "half_plus_two", version=7) == ("NOT_FOUND", details)
    assert refused(wire.predict, "nobody", version=0) == (
        "NOT_FOUND", "Servable not found for request: Specific(nobody, 0)"
    )  # fmt: skip


def test_3_a_label_that_nobody_assigned(wire):
    answer = refused(wire.predict, "half_plus_two", label="stable")
    assert answer == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_4_the_signature_is_serving_default_where_none_is_named(wire):
    answer = wire.predict("half_plus_two", {"x": floats([1, 2])})
    assert answer.model_spec.signature_name == "serving_default"
    assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
    answer = refused(wire.predict, "half_plus_two", {"x": floats([1])}, signature="no")
    assert answer == ("FAILED_PRECONDITION", 'Serving signature key "no" not found.')


@pytest.mark.parametrize(
    ("sent", "details"),
    [
        ("a", "1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."),
        ("", "0!=2 len({}) != len({a,b}). Sent extra: {}. Missing but required: {a,b}."),
        ("a b c", "3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. Missing but required: {}."),
        ("d", "1!=2 len({d}) != len({a,b}). Sent extra: {d}. Missing but required: {a,b}."),
    ],
)
def test_5_a_wrong_number_of_inputs(wire, sent, details):
    answer = refused(wire.predict, "half_plus_two", {one: floats([1]) for one in sent.split()}, signature="add")
    assert answer == ("INVALID_ARGUMENT", f"input size does not match signature: {details}")


def test_6_the_right_number_of_inputs_under_a_wrong_name(wire):
    answer = refused(wire.predict, "half_plus_two", {"a": floats([1]), "c": floats([1])}, signature="add")
    assert answer == (
        "INVALID_ARGUMENT",
        "Signature input alias: b(feed name: add_b:0) not found in request and no default value provided. Inputs"
        " expected to be in the request {a,c}, or default input alias set: ",
    )


def test_6_a_wrong_name_in_the_place_of_an_input_with_a_default(wire):
    answer = refused(wire.predict, "typed", {**TYPED, "zoom": floats(1)})
    assert answer == (
        "INVALID_ARGUMENT",
        "Inputs contains invalid name. Used request inputs: f,i,l,s, request input: f,i,l,s,zoom",
    )


@pytest.mark.parametrize("fault", ["content", "dtype", "negative"])
def test_6_a_tensor_that_is_none(wire, fault):
    bad = floats([1])
    if fault == "content":
        bad = messages.TensorProto(dtype=1, tensor_content=b"abc", tensor_shape=bad.tensor_shape)
    elif fault == "dtype":
        bad.dtype = 0
    else:
        bad.tensor_shape.dim[0].size = -1
    assert refused(wire.predict, "half_plus_two", {"x": bad}) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_7_an_input_left_out_takes_its_default(wire):
    assert list(wire.predict("typed", TYPED).outputs["f"].float_val) == [3.0]
    assert list(wire.predict("typed", {**TYPED, "scale": floats(10)}).outputs["f"].float_val) == [15.0]


def test_8_a_wrong_dtype_is_not_coerced(wire):
    answer = refused(wire.predict, "half_plus_two", {"x": tensor(["1"])})
    assert answer == ("INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided")
    answer = refused(wire.predict, "half_plus_two", {"x": tensor([1], np.int32)})
    assert answer == ("INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided")
    code, details = refused(wire.predict, "typed", {**TYPED, "i": tensor([1], np.int64)})
    assert (code, details) == ("INVALID_ARGUMENT", "Expects arg[1] to be int32 but int64 is provided")


def test_9_shapes_are_the_kernels_business(wire):
    answer = wire.predict("typed", {**TYPED, "f": floats([[1], [2]])})  # [n] in the signature, [2, 1] sent
    assert [dim.size for dim in answer.outputs["f"].tensor_shape.dim] == [2, 1]
    code, details = refused(wire.predict, "half_plus_two", {"a": floats([1, 2]), "b": floats([1] * 3)}, signature="add")
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("Incompatible shapes: [2] vs. [3]\n\t [[{{")


def test_10_outputs_are_filtered_by_name(wire):
    assert set(wire.predict("typed", TYPED).outputs) == {"f", "i", "l", "s", "text_bytes"}
    assert set(wire.predict("typed", TYPED, outputs=["s", "f"]).outputs) == {"f", "s"}
    answer = refused(wire.predict, "typed", TYPED, outputs=["f", "x"])
    assert answer == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: x Outputs expected to be in the set {f,i,l,s,text_bytes}.",
    )
    answer = refused(wire.predict, "typed", TYPED, outputs=["f", "f"])
    assert answer == ("INVALID_ARGUMENT", "duplicate output tensor alias: f")


def test_11_the_answer_names_the_version_and_not_the_label(base, serve):
    wire = serve(base)
    wire.reload(models.config_text({"m": base}, m="version_labels { key: 'stable' value: 1 }"))
    answer = wire.predict("m", {"x": floats([1])}, label="stable")
    assert (
        answer.model_spec
        == messages.PredictResponse(
            model_spec={"name": "m", "version": {"value": 1}, "signature_name": "serving_default"}
        ).model_spec
    )
    assert answer.model_spec.WhichOneof("version_choice") == "version"


def test_12_numbers_come_as_values_or_on_demand_as_content(wire, served_models, serve):
    outputs = wire.predict("typed", TYPED).outputs
    assert not any(output.tensor_content for output in outputs.values())
    assert list(outputs["i"].int_val) == [4]
    assert list(outputs["l"].int64_val) == [2**40 + 1]
    assert strings(outputs["s"]) == ["é!"]
    other = serve(served_models["typed"], "--enable_serialization_as_tensor_content")
    outputs = other.predict("m", TYPED).outputs
    assert outputs["f"].tensor_content == np.float32(3).tobytes()
    assert outputs["l"].tensor_content == np.int64(2**40 + 1).tobytes()
    assert not outputs["f"].float_val
    assert outputs["s"].tensor_content == b"\x03\xc3\xa9!"  # the length in bytes, then the bytes


def test_13_a_long_message_is_truncated(wire):
    long = "é" * 2000
    code, details = refused(wire.predict, "half_plus_two", {"x": floats([1])}, signature=long)
    assert code == "FAILED_PRECONDITION"
    assert details == 'Serving signature key "' + "é" * 500 + "...TRUNCATED"
    assert truncated("a" * 1024) == "a" * 1024
    assert truncated("a" * 1025) == "a" * 1024 + "...TRUNCATED"


def test_14_the_deadline_stops_the_run_and_frees_the_thread(served_models, serve):
    """Four requests of an hour each, a deadline of 0.2 s, a server with two threads; then a short request answers."""
    wire = serve(served_models["slow"], "--grpc_max_threads=2")
    began = time.monotonic()
    rounds = tensor([60 * 60 * models.SLOW_ROUNDS_PER_S], np.int64)
    for _ in range(4):
        code, _ = refused(wire.predict, "m", {"rounds": rounds}, timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
    assert list(wire.predict("m", {"rounds": tensor([1], np.int64)}).outputs["rounds"].int64_val) == [1]
    assert time.monotonic() - began < 20


def test_the_contract_answers_as_its_oracle_says(wire):
    history, exclude, candidates = ["c03", "c41", "", "zz"], ["c00", ""], ["c07", "c03", "zz", ""]
    answer = wire.predict("contract", {"history": tensor([history])}).outputs
    assert strings(answer["items"]) == models.recommend(history)
    assert list(answer["scores"].float_val) == [models.score(history, item) for item in models.recommend(history)]
    sent = {"history": tensor([history]), "exclude": tensor([exclude])}
    answer = wire.predict("contract", sent, signature="filtered").outputs
    assert strings(answer["items"]) == models.recommend(history, exclude)
    sent = {"history": tensor([history]), "candidates": tensor([candidates])}
    answer = wire.predict("contract", sent, signature="score_items").outputs["scores"]
    assert list(answer.float_val) == [models.score(history, item) for item in candidates]
    answer = wire.predict("contract", sent, signature="explain").outputs["contributions"]
    assert [dim.size for dim in answer.tensor_shape.dim] == [1, 4, 4]
    assert list(answer.float_val)[:4] == [models.affinity(3, 7), models.affinity(41, 7), 0, 0]


def test_a_message_of_8_mib_goes_both_ways(wire):
    values = np.arange(2**21, dtype=np.float32)
    sent = messages.TensorProto(dtype=1, tensor_content=values.tobytes())
    sent.tensor_shape.dim.add(size=len(values))
    code, details = refused(wire.predict, "half_plus_two", {"x": sent}, signature="identity")
    assert code == "RESOURCE_EXHAUSTED"  # the channel's own limit of 4 MiB, not the server's
    assert "larger than max" in details
    wide = Wire(wire.port, max_receive_message_length=-1)
    answer = wide.predict("half_plus_two", {"x": sent}, signature="identity").outputs["y"].float_val
    wide.channel.close()
    assert (len(answer), answer[-1]) == (len(values), values[-1])


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_other_methods_are_named_as_not_carried_out(wire, method):
    message = messages.PredictRequest(model_spec=spec("half_plus_two"))
    path = f"/tensorflow.serving.PredictionService/{method}"
    code, details = refused(wire.call, path, message, messages.PredictResponse)
    assert code == "UNIMPLEMENTED"
    assert details == f"local_serving has no {method}; use Predict, or tensorflow_model_server"
