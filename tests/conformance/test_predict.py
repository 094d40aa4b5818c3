"""Predict, numbered as in docs/reference/conformance.md."""

from __future__ import annotations

import time

import pytest

from serving_client import codec
from serving_client.protocol import messages, methods
from tests.conformance.wire import FLOAT, INT32, INT64, STRING, Wire, floats, refused, strings, tensor
from tests.serving import models

MIB = 2**20


def half(wire, values=(1.0, 2.0, 5.0), **named):
    return wire.predict("half_plus_two", {"x": floats(values)}, **named)


def test_01_a_request_without_a_model_is_invalid(wire):
    empty = messages.PredictRequest()
    assert refused(wire.call, methods.PREDICT, empty, messages.PredictResponse) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )
    assert refused(wire.predict, "", {}) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_02_a_model_or_version_that_is_not_served_is_not_found(wire):
    x = {"x": floats([1.0])}
    assert refused(wire.predict, "no_such_model", x) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(no_such_model)",
    )
    assert refused(wire.predict, "half_plus_two", x, version=77) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 77)",
    )


def test_03_labels_mean_their_version_and_an_unknown_one_is_invalid(wire):
    assert [half(wire, label=label).model_spec.version.value for label in ("stable", "canary")] == [1, 2]
    assert refused(half, wire, label="nobody") == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nobody",
    )


def test_04_an_unknown_signature_is_a_failed_precondition_and_none_means_serving_default(wire):
    assert half(wire).model_spec.signature_name == "serving_default"
    assert refused(half, wire, signature="nobody") == (
        "FAILED_PRECONDITION",
        'Serving signature key "nobody" not found.',
    )


def test_05_a_wrong_number_of_inputs_is_named(wire):
    code, message = refused(wire.predict, "half_plus_two", {"a": floats([1.0])}, "add")
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."
    )
    code, message = refused(wire.predict, "half_plus_two", {"x": floats([1.0]), "q": floats([1.0])})
    assert (code, "Sent extra: {q}. Missing but required: {}." in message) == ("INVALID_ARGUMENT", True)


def test_06_an_input_that_is_missing_or_cannot_be_parsed_is_named(wire):
    a = floats([1.0])
    code, message = refused(wire.predict, "half_plus_two", {"a": a, "c": a}, "add")
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Signature input alias: b(feed name: ")
    assert ") not found in request and no default value provided" in message
    broken = messages.TensorProto(dtype=FLOAT, tensor_content=b"\0\0\0")
    broken.tensor_shape.dim.add(size=2)
    assert refused(wire.predict, "half_plus_two", {"x": broken}) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def typed(wire, **more):
    given = {"f": floats([1.5]), "i": tensor(INT32, [1]), "l": tensor(INT64, [2**40]), "s": tensor(STRING, [b"\xff"])}
    return wire.predict("typed", {**given, **more})


def test_07_an_input_with_a_default_may_be_left_out(wire):
    def scaled(**more):
        return codec.to_array(typed(wire, **more).outputs["f"]).tolist()

    assert scaled() == [3.0]
    assert scaled(scale=floats(4.0)) == [6.0]


def test_08_types_are_checked_and_never_converted(wire):
    code, message = refused(wire.predict, "half_plus_two", {"x": tensor(STRING, [b"1"])})
    assert (code, message.partition("Expects arg[0]")[2]) == ("INVALID_ARGUMENT", " to be float but string is provided")
    code, message = refused(typed, wire, i=tensor(INT64, [1]))
    assert (code, "to be int32 but int64 is provided" in message) == ("INVALID_ARGUMENT", True)


def test_09_shapes_are_the_kernels_own_business(wire):
    assert codec.to_array(half(wire, [[1.0], [2.0]]).outputs["y"]).tolist() == [[2.5], [3.0]]
    inputs = {"a": floats([1.0, 2.0]), "b": floats([1.0, 2.0, 3.0])}
    code, message = refused(wire.predict, "half_plus_two", inputs, "add")
    assert code == "INVALID_ARGUMENT"
    assert "Incompatible shapes" in message or "required broadcastable shapes" in message


def test_10_outputs_are_filtered_and_names_checked(wire):
    history = {"history": strings([["c01"]])}
    answer = wire.predict("contract", history, outputs=["items"])
    assert list(answer.outputs) == ["items"]
    assert sorted(wire.predict("contract", history).outputs) == ["items", "scores"]
    assert refused(half, wire, outputs=["z"]) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    )
    assert refused(half, wire, outputs=["y", "y"]) == ("INVALID_ARGUMENT", "duplicate output tensor alias: y")


def test_11_the_answer_names_version_and_signature_but_no_label(wire):
    spec = half(wire, label="stable").model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_two", 1, "serving_default")
    assert spec.WhichOneof("version_choice") == "version"
    assert half(wire).model_spec.version.value == 2


def test_12_values_come_in_their_own_fields_unless_a_flag_says_otherwise(wire):
    output = half(wire).outputs["y"]
    assert (list(output.float_val), output.tensor_content) == ([2.5, 3.0, 4.5], b"")
    answer = typed(wire).outputs
    assert (list(answer["i"].int_val), list(answer["l"].int64_val)) == ([2], [2**40 + 1])
    assert list(answer["text_bytes"].string_val) == [b"\xff"]


@pytest.mark.parametrize("form", ["content", "last value repeats"])
def test_12_inputs_may_come_packed_or_cut_short(form, wire):
    proto = messages.TensorProto(dtype=FLOAT)
    proto.tensor_shape.dim.add(size=3)
    if form == "content":
        proto.tensor_content = b"\0\0\x80\x3f" * 3
    else:
        proto.float_val.append(1.0)
    answer = wire.predict("half_plus_two", {"x": proto})
    assert codec.to_array(answer.outputs["y"]).tolist() == [2.5] * 3


def test_13_a_long_message_is_cut(wire):
    code, message = refused(half, wire, signature="s" * 3000)
    assert code == "FAILED_PRECONDITION"
    assert message.startswith('Serving signature key "sss')
    assert message.endswith("s...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


def test_14_the_deadline_of_the_call_ends_the_run(wire):
    """The work would take many minutes; two calls with a deadline are over, and so is their work."""
    for _ in range(2):
        code, _ = refused(wire.predict, "slow", {"rounds": tensor(INT64, [10**10])}, timeout_s=0.3)
        assert code == "DEADLINE_EXCEEDED"
    begun = time.monotonic()
    assert wire.predict("slow", {"rounds": tensor(INT64, [7])}).outputs["rounds"].int64_val == [7]
    assert time.monotonic() - begun < 10


def test_15_only_the_clients_own_limit_is_4_mib(wire):
    packed = messages.TensorProto(dtype=FLOAT, tensor_content=bytes(5 * MIB))
    packed.tensor_shape.dim.add(size=5 * MIB // 4)
    answer = wire.predict("half_plus_two", {"x": packed}, "identity")
    assert codec.to_array(answer.outputs["y"]).shape == (5 * MIB // 4,)
    with Wire(wire.address, 4 * MIB) as limited:
        code, message = refused(limited.predict, "half_plus_two", {"x": packed}, "identity")
    assert code == "RESOURCE_EXHAUSTED"
    assert "eceived message larger than max (" in message and "vs. 4194304)" in message


@pytest.mark.parametrize("history", [["c03"], ["c03", "c07", "unknown"], [], ["c00", "c49", "c20", "c20"]])
def test_16_a_servable_of_the_contract_answers_as_its_formula(history, wire):
    inputs = {"history": strings([[*history, ""]])}
    answer = wire.predict("contract", inputs)
    items = [item.decode() for item in answer.outputs["items"].string_val]
    assert items == models.recommend(history)
    assert codec.to_array(answer.outputs["scores"])[0].tolist() == [models.score(history, item) for item in items]
