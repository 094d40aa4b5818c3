"""REST, numbered as in docs/reference/conformance.md."""

from __future__ import annotations

import base64
import math

import pytest

from tests.serving import models


def test_50_rows_go_in_as_instances_and_come_out_as_predictions(rest):
    assert rest.predict("half_plus_two", {"instances": [1.0, 2, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert rest.predict("half_plus_two", {"instances": [{"x": [1.0, 2]}, {"x": [3, 4]}]}) == (
        200,
        {"predictions": [[2.5, 3.0], [3.5, 4.0]]},
    )


def test_51_columns_go_in_as_inputs_and_come_out_as_outputs(rest):
    assert rest.predict("half_plus_two", {"inputs": [1.0, 2.0]}) == (200, {"outputs": [2.5, 3.0]})
    body = {"signature_name": "add", "inputs": {"a": [[1.0]], "b": [[2.5]]}}
    assert rest.predict("half_plus_two", body) == (200, {"outputs": [[3.5]]})


def test_52_several_outputs_are_an_object_per_row_or_of_columns(rest):
    history = ["c03", "c07"]
    items, expected = models.recommend(history), [models.score(history, item) for item in models.recommend(history)]
    code, rows = rest.predict("contract", {"instances": [{"history": history}]})
    assert (code, rows) == (200, {"predictions": [{"items": items, "scores": expected}]})
    code, columns = rest.predict("contract", {"inputs": {"history": [history]}})
    assert (code, columns) == (200, {"outputs": {"items": [items], "scores": [expected]}})


def test_53_bytes_are_base64_in_any_string_and_out_where_the_name_ends_in_bytes(rest):
    raw = base64.b64encode(b"\xff\0").decode()
    row = {"f": 0.2, "i": 1, "l": 2**53, "s": {"b64": raw}, "scale": 1.0}
    body = {"inputs": {name: [value] if name != "scale" else value for name, value in row.items()}}
    body["inputs"]["s"] = [{"b64": base64.b64encode("é".encode()).decode()}]
    code, answer = rest.predict("typed", body)
    assert code == 200
    outputs = answer["outputs"]
    assert (outputs["f"], outputs["i"], outputs["l"], outputs["s"]) == ([0.2], [2], [2**53 + 1], ["é!"])
    assert outputs["text_bytes"] == [{"b64": base64.b64encode("é".encode()).decode()}]


def test_54_versions_and_labels_are_parts_of_the_path(rest):
    body = {"instances": [1.0]}
    for which in ("/versions/1", "/labels/canary"):
        assert rest.predict("half_plus_two", body, which) == (200, {"predictions": [2.5]})
    assert rest.predict("half_plus_two", body, "/versions/77") == (
        404,
        {"error": "Servable not found for request: Specific(half_plus_two, 77)"},
    )
    assert rest.predict("half_plus_two", body, "/labels/nobody") == (
        400,
        {"error": "Unrecognized servable version label: nobody"},
    )
    assert rest.predict("nobody", body) == (404, {"error": "Servable not found for request: Latest(nobody)"})


def test_55_values_that_are_not_numbers_pass(rest):
    code, answer = rest.predict("half_plus_two", b'{"instances": [NaN, Infinity, -Infinity]}')
    assert code == 200
    assert math.isnan(answer["predictions"][0])
    assert answer["predictions"][1:] == [math.inf, -math.inf]
    code, answer = rest.predict("contract", {"instances": [{"history": models.ITEMS}]})
    assert (code, answer["predictions"][0]["scores"]) == (200, [-math.inf] * models.TOP_K)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: "),
        ([1.0], "Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1.0], "inputs": [1.0]}, "expecting only one of 'inputs' or 'instances' keys to exist"),
        ({"instances": 1.0}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [[1.0], [1.0, 2.0]]}, "Expecting tensor size: 1 but got: 2"),
        ({"instances": [[1.0, 2.0], [[1.0], [2.0]]]}, "Expecting shape [2] but got: [2,1]"),
        ({"instances": [[[1.0], [1.0, 2.0]]]}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ({"instances": [[1.0, [2.0]]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"instances": [[[1.0], 2.0]]}, "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ({"instances": ["a"]}, 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"instances": [True]}, "JSON Value: true Type: True is not of expected type: float"),
        ({"instances": [None]}, "JSON Value: null Type: Null is not of expected type: float"),
        ({"instances": [2**24]}, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ({"instances": [{"y": 1.0}]}, "JSON object: does not have named input: y"),
        ({"instances": [{"x": 1.0}, 1.0]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1.0, {"x": 1.0}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"inputs": {"y": 1.0}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": [1.0], "signature_name": 1}, "'signature_name' key must be a string value."),
        ({"inputs": [1.0], "signature_name": "z"}, 'Serving signature name: "z" not found in signature def'),
        ({"inputs": [1.0], "signature_name": "add"}, "inputs is a plain value/list, but expecting an object"),
        ({"instances": [1.0], "signature_name": "add"}, "instances is a plain list, but expecting list of objects"),
        ({"instances": [{"a": 1.0}], "signature_name": "add"}, "keys must be equal to: a,b"),
    ],
)
def test_56_a_body_that_cannot_be_meant_is_a_400_that_says_why(body, says, rest):
    code, answer = rest.predict("half_plus_two", body)
    assert code == 400
    assert list(answer) == ["error"]
    assert says in answer["error"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("i", 2**31, "is not of expected type: int32"),
        ("i", 1.0, "is not of expected type: int32"),
        ("l", 2**63, "is not of expected type: int64"),
        ("s", 1, "is not of expected type: string"),
        ("s", {"b64": "*"}, "Unable to base64 decode"),
        ("s", {"b65": "AA=="}, "not formatted correctly for base64 data"),
        ("f", {"b64": "AA=="}, "is not of expected type: float"),
        ("f", 1e39, "to float without loss of precision."),
    ],
)
def test_57_values_that_their_type_cannot_hold_are_refused(name, value, says, rest):
    inputs = {"f": [1.0], "i": [1], "l": [1], "s": ["a"], "scale": 1.0, name: [value]}
    code, answer = rest.predict("typed", {"inputs": inputs})
    assert (code, says in answer["error"]) == (400, True), answer


def test_58_status_is_a_list_of_versions(rest):
    row = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    rows = [{"version": "2", **row}, {"version": "1", **row}]
    assert rest.ask("GET", "/v1/models/half_plus_two") == (200, {"model_version_status": rows})
    assert rest.ask("GET", "/v1/models/half_plus_two/versions/1") == (200, {"model_version_status": rows[1:]})
    assert rest.ask("GET", "/v1/models/nobody") == (
        404,
        {"error": "Could not find any versions of model nobody"},
    )
    assert rest.ask("GET", "/v1/models") == (400, {"error": "Missing model name in request."})


def test_59_metadata_names_signatures_and_their_tensors(rest):
    code, answer = rest.ask("GET", "/v1/models/half_plus_two/labels/stable/metadata")
    assert code == 200
    assert answer["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["add"]["inputs"]["a"]["dtype"] == "DT_FLOAT"
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/half_plus_two:predict"),
        ("POST", "/v1/models/half_plus_two"),
        ("POST", "/v1/models/half_plus_two:guess"),
        ("PUT", "/v1/models/half_plus_two:predict"),
        ("POST", "/v1/models/half_plus_two/versions/x:predict"),
    ],
)
def test_60_a_path_that_means_nothing_is_malformed(method, path, rest):
    assert rest.ask(method, path, b"{}") == (400, {"error": f"Malformed request: {method} {path}"})


def test_61_a_kernels_error_is_a_400_as_well(rest):
    body = {"signature_name": "add", "inputs": {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}}
    code, answer = rest.predict("half_plus_two", body)
    assert (code, list(answer)) == (400, ["error"])
