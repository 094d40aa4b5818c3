"""Measure the cost of `from serving_client import Client`, and the time to the first answer.

    python benchmarks/serving/importing.py [--repeats 9] [--json FILE]

Every time is that of a fresh process with its files in the system's cache, since each kind runs once before anything
counts. Kinds take turns. Time starts at the first line of the program, and memory is the resident set after it.

- `serving_client` : `grpc, protobuf, numpy` is what the client adds to the libraries that it needs.
- `serving_client` : `tensorflow_serving.apis.predict_pb2` is the gain of a client that replaces TensorFlow's messages.
- `then the first Predict` starts after the import. It includes the channel, the connection, the descriptors and one
  round trip to a server in the benchmark's process. Its memory is only what the call adds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc

from benchmarks.serving import report
from serving_client.protocol import messages, methods

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
BASE, OURS, PEER = "grpc, protobuf, numpy", "serving_client", "tensorflow_serving.apis.predict_pb2"
FIRST = "then the first Predict"
PROGRAMS = {
    BASE: "import grpc, google.protobuf, numpy",
    OURS: "from serving_client import Client",  # names are imported when asked for: the bare package costs nothing
    PEER: "from tensorflow_serving.apis import predict_pb2",
}
CALL = """
client = Client(sys.argv[1], model="any")
assert client.predict({"x": [1.0]}, timeout_s=10).outputs["y"].tolist() == [2.0]
"""
MEASURED = """
import json, sys, time
def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
def mark():
    marks.append((time.perf_counter(), time.process_time(), resident_mb()))
marks = []
mark()
"""
MARK = "\nmark()\n"
REPORT = "print(json.dumps([(b[0] - a[0], b[1] - a[1], b[2]) for a, b in zip(marks, marks[1:])]))\n"
WALL, CPU, MEMORY = range(3)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """HOST:PORT of a server that answers every Predict with y = [2.0]."""
    answer = messages.PredictResponse(model_spec={"name": "any", "version": {"value": 1}})
    answer.outputs["y"].CopyFrom(
        messages.TensorProto(dtype=1, float_val=[2.0], tensor_shape={"dim": [{"size": 1}]})
    )  # fmt: skip
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: answer,
        request_deserializer=messages.PredictRequest.FromString,
        response_serializer=messages.PredictResponse.SerializeToString,
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = grpc.server(pool)
        running.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(methods.PREDICTION_SERVICE, {"Predict": handler})]
        )
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            running.stop(None).wait()


def run(kind: str, target: str) -> list[tuple[float, float, float]]:
    """Seconds and CPU seconds of each part of the program of this kind, and MB after it."""
    code = MEASURED + PROGRAMS[kind] + MARK + (CALL + MARK if kind == OURS else "") + REPORT
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, target]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [tuple(part) for part in json.loads(done.stdout.splitlines()[-1])]


def rows(measured: dict[str, list[tuple[float, float, float]]]) -> list[list[str]]:
    """One line per kind; what it takes more than BASE, and the call more than the import before it."""

    def median(kind: str, column: int) -> float:
        return statistics.median(part[column] for part in measured[kind])

    found = []
    for kind, parts in measured.items():
        wall, cpu, memory = (median(kind, column) for column in (WALL, CPU, MEMORY))
        more = [wall - median(BASE, WALL), cpu - median(BASE, CPU), memory - median(BASE, MEMORY)]
        if kind == FIRST:
            more = [wall, cpu, memory - median(OURS, MEMORY)]
        cells = ["", "", ""] if kind == BASE else [f"{more[0]:+.3f}", f"{more[1]:+.3f}", f"{more[2]:+.1f}"]
        least = min(part[WALL] for part in parts)
        found.append([kind, f"{wall:.3f}", f"{least:.3f}", f"{cpu:.3f}", f"{memory:.1f}", *cells])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Always exit code 0."""
    parser = argparse.ArgumentParser(description="Time the import of the client in fresh processes.")
    parser.add_argument("--repeats", type=int, default=9, help="processes of each kind")
    parser.add_argument("--json", type=Path, help="also write all figures there, in seconds and MB")
    options = parser.parse_args(argv)
    print(report.head(["grpcio", "protobuf", "numpy", "tensorflow", "tensorflow-serving-api"]), end="\n\n", flush=True)
    measured: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in (BASE, OURS, FIRST, PEER)}
    with server() as target:
        for repeat in range(options.repeats + 1):
            for kind in PROGRAMS:
                parts = run(kind, target)
                if repeat > 0:
                    for name, part in zip((kind, FIRST), parts, strict=False):
                        measured[name].append(part)
    print(f"Medians of {options.repeats} fresh processes. `more` is more than {BASE};")
    print("of the first Predict, more than the import before it. CPU time suffers less from other loads.\n")
    header = ["import", "s", "min s", "CPU s", "RSS MB", "s more", "CPU s more", "MB more"]
    print(report.table(header, rows(measured)))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
