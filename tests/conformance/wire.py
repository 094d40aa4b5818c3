"""Bare gRPC and bare HTTP: what a server answers, with no client of this project in between."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable

import grpc
import numpy as np

from serving_client.protocol import messages, methods

TIMEOUT_S = 30.0
FLOAT, INT32, STRING, INT64 = 1, 3, 7, 9
FIELDS = {FLOAT: "float_val", INT32: "int_val", STRING: "string_val", INT64: "int64_val"}


class Wire:
    """A channel to HOST:PORT."""

    def __init__(self, address: str, receive_bytes: int = -1) -> None:
        self.address = address
        options = [("grpc.max_receive_message_length", receive_bytes), ("grpc.enable_http_proxy", 0)]
        options += [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address, options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def call(self, method, request, answer, timeout_s=TIMEOUT_S):
        stub = self.channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        return stub(request, timeout=timeout_s, wait_for_ready=True)

    def predict(self, model, inputs, signature="", outputs=(), version=None, label=None, timeout_s=TIMEOUT_S):
        request = messages.PredictRequest(model_spec=spec(model, signature, version, label), output_filter=outputs)
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(value)
        return self.call(methods.PREDICT, request, messages.PredictResponse, timeout_s)

    def metadata(self, model, fields=("signature_def",), version=None, label=None):
        request = messages.GetModelMetadataRequest(model_spec=spec(model, "", version, label), metadata_field=fields)
        return self.call(methods.GET_MODEL_METADATA, request, messages.GetModelMetadataResponse)

    def status(self, model, version=None, label=None, timeout_s=TIMEOUT_S):
        request = messages.GetModelStatusRequest(model_spec=spec(model, "", version, label))
        return self.call(methods.GET_MODEL_STATUS, request, messages.GetModelStatusResponse, timeout_s)


def spec(model, signature="", version=None, label=None):
    made = messages.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        made.version.value = version
    if label is not None:
        made.version_label = label
    return made


def tensor(dtype, values, shape=None):
    """A TensorProto in `*_val`; the shape is that of the values unless given."""
    array = np.asarray(values, object)
    proto = messages.TensorProto(dtype=dtype)
    proto.tensor_shape.SetInParent()
    for size in array.shape if shape is None else shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, FIELDS[dtype]).extend(array.ravel().tolist())
    return proto


def floats(values, shape=None):
    return tensor(FLOAT, values, shape)


def strings(values):
    """Rows of str; b"" pads shorter rows."""
    width = max(map(len, values))
    return tensor(STRING, [[item.encode() for item in row] + [b""] * (width - len(row)) for row in values])


def refused(call, *arguments, **named):
    """The code's name and the message that a call ends with; AssertionError if it succeeds."""
    try:
        call(*arguments, **named)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the server answered")


def together(call: Callable, arguments: list) -> list:
    """Results, or RpcErrors, of calls in a thread each, which set out at the same moment."""
    barrier, results = threading.Barrier(len(arguments)), [None] * len(arguments)

    def run(number, argument):
        barrier.wait(TIMEOUT_S)
        try:
            results[number] = call(argument)
        except grpc.RpcError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(arguments)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    return results


class Rest:
    """HTTP to HOST:PORT, one connection per call."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method, path, body=None):
        """HTTP status, and the body from JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path, data)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.getheader("Content-Type").startswith("application/json")
            return answer.status, json.loads(text)

    def predict(self, model, body, which=""):
        return self.ask("POST", f"/v1/models/{model}{which}:predict", body)
