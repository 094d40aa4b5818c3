"""The server's two services over a bare channel: messages out, messages or (code, details) back."""

from __future__ import annotations

import threading
import time

import grpc
import numpy as np

from serving_client.protocol import messages, methods

CASES = {
    np.dtype(np.float32): (1, "float_val"),
    np.dtype(np.int32): (3, "int_val"),
    np.dtype(np.int64): (9, "int64_val"),
}


def tensor(values, dtype=None):
    """A TensorProto with `*_val`; strings where no dtype is given and the values are str."""
    array = np.array(values, dtype) if dtype else np.array(values)
    proto = messages.TensorProto()
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "US":
        proto.dtype = 7
        proto.string_val.extend(str(one).encode() for one in array.ravel())
    else:
        proto.dtype, field = CASES[array.dtype]
        getattr(proto, field).extend(array.ravel().tolist())
    return proto


def floats(values):
    return tensor(values, np.float32)


def strings(proto):
    return [one.decode() for one in proto.string_val]


def request(model, inputs=None, signature="", version=None, label=None, outputs=()):
    message = messages.PredictRequest(output_filter=outputs)
    message.model_spec.CopyFrom(spec(model, version, label))
    message.model_spec.signature_name = signature
    for name, proto in (inputs or {}).items():
        message.inputs[name].CopyFrom(proto)
    return message


def spec(model, version=None, label=None):
    message = messages.ModelSpec(name=model)
    if version is not None:
        message.version.value = version
    if label is not None:
        message.version_label = label
    return message


class Wire:
    def __init__(self, port, target="", **options):
        """target: in place of the port; options: of the channel, without their `grpc.`."""
        more = [(f"grpc.{name}", value) for name, value in options.items()]
        self.port = port
        self.channel = grpc.insecure_channel(
            target or f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), *more]
        )

    def call(self, path, message, answer, timeout=60):
        method = self.channel.unary_unary(
            path, request_serializer=type(message).SerializeToString, response_deserializer=answer.FromString
        )
        return method(message, timeout=timeout)

    def send(self, message, timeout=60):
        return self.call(methods.PREDICT, message, messages.PredictResponse, timeout)

    def predict(self, model, inputs=None, timeout=60, **more):
        return self.send(request(model, inputs, **more), timeout)

    def metadata(self, model, fields=("signature_def",), **more):
        message = messages.GetModelMetadataRequest(model_spec=spec(model, **more), metadata_field=fields)
        return self.call(methods.GET_MODEL_METADATA, message, messages.GetModelMetadataResponse)

    def status(self, model, **more):
        message = messages.GetModelStatusRequest(model_spec=spec(model, **more))
        return self.call(methods.GET_MODEL_STATUS, message, messages.GetModelStatusResponse)

    def states(self, model):
        """Version to the name of its state, in the order of the answer; {} where none is tracked."""
        try:
            rows = self.status(model).model_version_status
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return {}
        return {row.version: messages.ModelVersionStatus.State.Name(row.state) for row in rows}

    def error(self, model, version):
        return self.status(model, version=version).model_version_status[0].status

    def reload(self, config, timeout=60):
        from google.protobuf import text_format

        message = messages.ReloadConfigRequest()
        text_format.Parse(config, message.config)
        return self.call(methods.RELOAD_CONFIG, message, messages.ReloadConfigResponse, timeout)

    def version(self, model):
        """The version that answers a request without one."""
        return self.predict(model, {"x": floats([1])}).model_spec.version.value


def refused(call, *arguments, **more):
    """(name of the code, details) with which the call ends."""
    try:
        answer = call(*arguments, **more)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError(f"answered {answer}")


def until(condition, timeout_s=30.0):
    """Waits for the condition; its last value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not so after {timeout_s} s"
        threading.Event().wait(0.01)
    return value
