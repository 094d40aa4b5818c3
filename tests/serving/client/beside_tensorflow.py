"""What the tests of protocol and codec want to know from a process that has TensorFlow in it; prints one JSON object.

python tests/serving/client/beside_tensorflow.py ours_first        # then TensorFlow and tensorflow_serving
python tests/serving/client/beside_tensorflow.py tensorflow_first
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys

import numpy as np
from google.protobuf import descriptor_pb2

REQUEST = {"model_spec": {"name": "cf", "version_label": "stable"}, "output_filter": ["items"]}


def ours() -> bytes:
    from serving_client import codec
    from serving_client.protocol import messages

    request = messages.PredictRequest(**REQUEST)
    codec.write_tensor(request.inputs["history"], [["a", "é"]])
    return request.SerializeToString()


def theirs() -> bytes:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(**REQUEST)
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a", "é"]]))
    return request.SerializeToString()


def differing_messages() -> list[str]:
    """Messages of serving.binpb whose descriptors are not, field for field, those of tensorflow_serving."""
    from google.protobuf import symbol_database

    from serving_client.protocol import messages

    generate = importlib.import_module("tools.generate_protocol")
    for module in generate.MODULES:
        importlib.import_module(module)
    found = []
    for name in messages.FILES["serving.binpb"]:
        mine, other = descriptor_pb2.DescriptorProto(), descriptor_pb2.DescriptorProto()
        getattr(messages, name.rpartition(".")[2]).DESCRIPTOR.CopyToProto(mine)
        symbol_database.Default().pool.FindMessageTypeByName(name).CopyToProto(other)
        if mine != other:
            found.append(name)
    return found


def check() -> tuple[int, str]:
    generate = importlib.import_module("tools.generate_protocol")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = generate.main(["--check"])
    return code, said.getvalue()


def disagreements() -> list[str]:
    """Tensors that the codec and TensorFlow's own C++ code read or write differently."""
    import tensorflow as tf

    from serving_client import codec
    from serving_client.protocol import messages

    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 100, size=(3, 4))
    arrays = [
        numbers.astype(dtype) for dtype in "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split()
    ]  # fmt: skip
    arrays += [array[:0] for array in arrays] + [array[0, 0] for array in arrays]
    texts = [[b"", b"a", b"x" * 300], ["é".encode(), b"\0", b"b" * 128]]
    arrays += [np.array(texts, dtype=object), np.array([], dtype=object), np.array(b"one", dtype=object)]
    arrays += [np.full((5, 2), array.reshape(-1)[0], array.dtype) for array in arrays if array.size]
    found = []
    for array in arrays:
        tensor = tf.constant(array, tf.string if array.dtype == object else None)
        wire = {
            "make_tensor_proto": tf.make_tensor_proto(tensor).SerializeToString(),
            "as content": tf.io.serialize_tensor(tensor).numpy(),
            "lists": tf.compat.v1.make_tensor_proto(array.tolist(), tensor.dtype, array.shape).SerializeToString(),
        }
        for how, serialized in wire.items():
            decoded = codec.to_array(messages.TensorProto.FromString(serialized))
            if decoded.shape != array.shape or decoded.dtype != array.dtype or decoded.tolist() != array.tolist():
                found.append(f"read {how} {array.dtype} {array.shape}: {decoded}")
        parsed = tf.io.parse_tensor(codec.to_tensor(array).SerializeToString(), tensor.dtype).numpy()
        if np.asarray(parsed).tolist() != array.tolist():
            found.append(f"written {array.dtype} {array.shape}: {parsed}")
    half = tf.constant([1.5, -2.0, float("inf")], tf.bfloat16)
    for serialized in (tf.make_tensor_proto(half).SerializeToString(), tf.io.serialize_tensor(half).numpy()):
        decoded = codec.to_array(messages.TensorProto.FromString(serialized))
        if decoded.dtype != np.float32 or decoded.tolist() != [1.5, -2.0, float("inf")]:
            found.append(f"read bfloat16: {decoded}")
    if tf.io.parse_tensor(codec.to_tensor(half.numpy()).SerializeToString(), tf.bfloat16).numpy().tolist() != [
        1.5,
        -2.0,
        float("inf"),
    ]:
        found.append("written bfloat16")
    short = messages.TensorProto(dtype=1, float_val=[1, 2], tensor_shape={"dim": [{"size": 4}]})
    none = messages.TensorProto(dtype=9, tensor_shape={"dim": [{"size": 2}]})
    for proto, dtype in ((short, tf.float32), (none, tf.int64)):
        if codec.to_array(proto).tolist() != tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy().tolist():
            found.append(f"cut short: {codec.to_array(proto)}")
    return found


def main(order: str) -> None:
    if order == "ours_first":
        first, light = ours(), "tensorflow" not in sys.modules
        found = {"equal": first == theirs(), "light": light, "check": check(), "differing": differing_messages()}
    else:
        first, light = theirs(), "serving_client" not in sys.modules
        found = {"equal": first == ours(), "light": light, "disagreements": disagreements()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
