"""GetModelMetadata: the SignatureDefs of the version as they lie in the SavedModel."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any

from serving_client.contracts.signatures import SIGNATURES
from serving_client.protocol import messages, methods
from tests.serving import models
from tests.serving.server.wire import refused


def signatures(answer):
    packed = Any.FromString(answer.metadata["signature_def"].SerializeToString())
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    return messages.SignatureDefMap.FromString(packed.value).signature_def


def test_the_contract_is_told_by_names_dtypes_and_shapes(wire):
    answer = wire.metadata("contract")
    assert list(answer.metadata) == ["signature_def"]
    told = signatures(answer)
    assert set(told) == {*SIGNATURES, "__saved_model_init_op"}
    for name, signature in SIGNATURES.items():
        assert set(told[name].inputs) == set(signature.inputs)
        assert set(told[name].outputs) == set(signature.outputs)
        for info in told[name].inputs.values():
            assert (info.dtype, [dim.size for dim in info.tensor_shape.dim]) == (7, [-1, -1])
    assert told["serving_default"].method_name == "tensorflow/serving/predict"


def test_defaults_are_part_of_the_signature(wire):
    told = signatures(wire.metadata("typed"))["serving_default"]
    assert list(told.defaults) == ["scale"]
    assert list(told.defaults["scale"].float_val) == [2.0]


def test_the_model_spec_has_name_and_version_only(base, serve):
    wire = serve(base)
    wire.reload(models.config_text({"m": base}, m="version_labels { key: 'stable' value: 1 }"))
    for answer in (wire.metadata("m"), wire.metadata("m", version=1), wire.metadata("m", label="stable")):
        assert answer.model_spec == messages.ModelSpec(name="m", version={"value": 1})


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ((), "GetModelMetadataRequest must specify at least one metadata_field"),
        (("graph",), "Metadata field graph is not supported"),
        (("signature_def", "card"), "Metadata field card is not supported"),
    ],
)
def test_only_signature_def_can_be_asked_for(wire, fields, details):
    assert refused(wire.metadata, "contract", fields) == ("INVALID_ARGUMENT", details)


def test_a_request_names_a_model_that_is_served(wire):
    message = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    answer = refused(wire.call, methods.GET_MODEL_METADATA, message, messages.GetModelMetadataResponse)
    assert answer == ("INVALID_ARGUMENT", "Missing ModelSpec")
    answer = refused(wire.metadata, "contract", version=9)
    assert answer == ("NOT_FOUND", "Servable not found for request: Specific(contract, 9)")
    answer = refused(wire.metadata, "contract", label="no")
    assert answer == ("INVALID_ARGUMENT", "Unrecognized servable version label: no")
