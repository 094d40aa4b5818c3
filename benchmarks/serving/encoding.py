"""Measure the cost of the codec beside the bare protobuf operation and beside TensorFlow's functions.

    python benchmarks/serving/encoding.py [--repeats 101] [--json FILE]

Each case is one tensor. `bare` is the minimum that protobuf and numpy need for the tensor, without checks and without a
choice of dtype. All contenders of a case must give equal outputs before anything is timed. They take turns round by
round, so that a slow phase of the machine affects all. A round runs each contender for about a millisecond.

`serving_client` : `bare` is the cost of checks and generality. `serving_client` : `TensorFlow` is the gain of a client
that replaces tf.make_tensor_proto and tf.make_ndarray.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.serving import report
from serving_client import codec
from serving_client.protocol import messages

__all__ = ["main"]

FLOATS, STRINGS = 10_000, 1_000
BARE, OURS, PEER = "bare", "serving_client", "TensorFlow"
ROUND_S = 0.001


class Case(NamedTuple):
    """The same work by several contenders; `output` makes their results comparable."""

    name: str
    contenders: dict[str, Callable[[], Any]]
    output: Callable[[Any], Any]


def cases() -> list[Case]:
    """All of them; TensorFlow is imported here."""
    from transforms.models.import_tensorflow import import_tensorflow

    tf = import_tensorflow()

    rng = np.random.default_rng(6)
    array = rng.random(FLOATS, dtype=np.float32)
    numbers: list[float] = array.tolist()
    texts = [f"course-{number:06}" for number in rng.integers(0, 10**6, STRINGS)]
    encoded = [text.encode() for text in texts]

    def bare_floats(values: np.ndarray) -> Any:
        proto = messages.TensorProto(dtype=1, tensor_content=values.tobytes())
        proto.tensor_shape.dim.add(size=len(values))
        return proto

    def bare_strings(values: Sequence[bytes]) -> Any:
        proto = messages.TensorProto(dtype=7)
        proto.tensor_shape.dim.add(size=len(values))
        proto.string_val.extend(values)
        return proto

    content = bare_floats(array)
    listed = messages.TensorProto(dtype=1, float_val=numbers, tensor_shape=content.tensor_shape)
    strings = bare_strings(encoded)
    # TensorFlow's own class of each, which its functions want.
    of_tensorflow = [
        tf.make_tensor_proto(0.0).__class__.FromString(proto.SerializeToString())
        for proto in (content, listed, strings)
    ]

    def tensorflow_content() -> Any:
        return tf.make_ndarray(of_tensorflow[0])

    def tensorflow_listed() -> Any:
        return tf.make_ndarray(of_tensorflow[1])

    def tensorflow_strings() -> Any:
        return tf.make_ndarray(of_tensorflow[2])

    return [
        Case(
            f"encode ndarray, {FLOATS:,} float32",
            {
                BARE: lambda: bare_floats(array),
                OURS: lambda: codec.to_tensor(array),
                PEER: lambda: tf.make_tensor_proto(array),
            },
            serialized,
        ),
        Case(
            f"encode list, {FLOATS:,} floats",
            {
                BARE: lambda: bare_floats(np.asarray(numbers, np.float32)),
                OURS: lambda: codec.to_tensor(numbers),
                PEER: lambda: tf.make_tensor_proto(numbers),
            },
            serialized,
        ),
        Case(
            f"encode list, {STRINGS:,} bytes",
            {
                BARE: lambda: bare_strings(encoded),
                OURS: lambda: codec.to_tensor(encoded),
                PEER: lambda: tf.make_tensor_proto(encoded),
            },
            serialized,
        ),
        Case(
            f"encode list, {STRINGS:,} str",
            {
                BARE: lambda: bare_strings([text.encode() for text in texts]),
                OURS: lambda: codec.to_tensor(texts),
                PEER: lambda: tf.make_tensor_proto(texts),
            },
            serialized,
        ),
        Case(
            f"decode content, {FLOATS:,} float32",
            {
                BARE: lambda: np.frombuffer(content.tensor_content, np.float32),
                OURS: lambda: codec.to_array(content),
                PEER: tensorflow_content,
            },
            listed_values,
        ),
        Case(
            f"decode float_val, {FLOATS:,} float32",
            {
                BARE: lambda: np.array(list(listed.float_val), np.float32),
                OURS: lambda: codec.to_array(listed),
                PEER: tensorflow_listed,
            },
            listed_values,
        ),
        Case(
            f"decode string_val, {STRINGS:,} to bytes",
            {
                BARE: lambda: np.array(list(strings.string_val), dtype=object),
                OURS: lambda: codec.to_array(strings),
                PEER: tensorflow_strings,
            },
            listed_values,
        ),
        Case(
            f"decode string_val, {STRINGS:,} to str",
            {
                BARE: lambda: [value.decode() for value in strings.string_val],
                OURS: lambda: codec.strings(strings),
                PEER: lambda: [value.decode() for value in tensorflow_strings()],
            },
            list,
        ),
    ]


def serialized(proto: Any) -> bytes:
    """The bytes that go over the wire."""
    found: bytes = proto.SerializeToString(deterministic=True)
    return found


def listed_values(array: np.ndarray) -> tuple[Any, ...]:
    """Type, shape and values."""
    return array.dtype, array.shape, array.tolist()


def time_case(case: Case, repeats: int) -> dict[str, list[float]]:
    """Microseconds of one operation, of each contender in each round."""
    times: dict[str, list[float]] = {name: [] for name in case.contenders}
    often = {}
    for name, operation in case.contenders.items():
        operation()
        begin = time.perf_counter()
        operation()
        often[name] = max(1, round(ROUND_S / (time.perf_counter() - begin)))
    for _ in range(repeats):
        for name, operation in case.contenders.items():
            begin = time.perf_counter()
            for _ in range(often[name]):
                operation()
            times[name].append((time.perf_counter() - begin) / often[name] * 1e6)
    return times


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 where contenders give different outputs."""
    parser = argparse.ArgumentParser(description="Time the codec beside bare protobuf and TensorFlow.")
    parser.add_argument("--repeats", type=int, default=101, help="rounds, one time of each contender a round")
    parser.add_argument("--json", type=Path, help="also write all times there, in microseconds")
    options = parser.parse_args(argv)
    print(report.head(["numpy", "protobuf", "tensorflow"]), end="\n\n")
    measured = {}
    rows = []
    for case in cases():
        outputs = {name: case.output(operation()) for name, operation in case.contenders.items()}
        unequal = [name for name, output in outputs.items() if output != outputs[BARE]]
        if unequal:
            print(f"{case.name}: {', '.join(unequal)} gives another output than {BARE}", file=sys.stderr)
            return 1
        times = measured[case.name] = time_case(case, options.repeats)
        base = statistics.median(times[BARE])
        for name, values in times.items():
            median = statistics.median(values)
            label = case.name if name == BARE else ""
            rows.append([label, name, f"{median:,.1f}", f"{min(values):,.1f}", f"{median / base:.2f}"])
    print("All outputs of a case are equal. Times in microseconds.\n")
    print(report.table(["case", "by", "median", "min", "x bare"], rows, names=2))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
