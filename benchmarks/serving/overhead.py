"""Measure the cost of recommend beyond a hand-written stub that does the same work.

    python benchmarks/serving/overhead.py [--pairs 10000] [--json FILE]

Both send one history of 40 ids, padded to 128, over loopback. A server in another process answers with a fixed message
of 100 items. Both convert the answer to a list of str and a float32 array. The stub has message classes and a deadline.
It has no checks, no retries and no own errors. Their answers are compared first. Then the two take turns, in a random
order per pair. There are two kinds of answers: scores in float_val, as the real server sends, and scores in
tensor_content, as it sends with --enable_serialization_as_tensor_content.

`median of differences` is the added cost of a call, pair by pair. `p99 ratio` shows whether the tail grows. Its bound
is the 95% point of a bootstrap over blocks of 50 consecutive pairs, because slow phases of the machine last longer than
a pair.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
import numpy as np

from benchmarks.serving import report
from benchmarks.serving.processes import echo_server
from serving_client import Client
from serving_client.protocol import messages, methods

__all__ = ["main"]

HISTORY = [f"course-{number:06}" for number in range(900_000, 900_040)]
WIDTH = 128
TIMEOUT_S = 1.0
WARM_UP = 500
BLOCK = 50
RESAMPLES = 2_000

Recommend = Callable[[], tuple[list[str], Any]]


def bare(channel: grpc.Channel, content: bool) -> Recommend:
    """The stub by hand."""
    stub = channel.unary_unary(
        methods.PREDICT,
        request_serializer=messages.PredictRequest.SerializeToString,
        response_deserializer=messages.PredictResponse.FromString,
    )

    def recommend() -> tuple[list[str], Any]:
        request = messages.PredictRequest()
        request.model_spec.name = "echo"
        tensor = request.inputs["history"]
        tensor.dtype = 7
        tensor.tensor_shape.dim.add().size = 1
        tensor.tensor_shape.dim.add().size = WIDTH
        row = [item.encode() for item in HISTORY]
        tensor.string_val.extend(row + [b""] * (WIDTH - len(row)))
        outputs = stub(request, timeout=TIMEOUT_S).outputs
        items = [item.decode() for item in outputs["items"].string_val]
        scores = outputs["scores"]
        if content:
            return items, np.frombuffer(scores.tensor_content, np.float32)
        return items, np.array(scores.float_val, np.float32)

    return recommend


def ours(client: Client) -> Recommend:
    """The client with its defaults."""

    def recommend() -> tuple[list[str], Any]:
        found = client.recommend(HISTORY)
        return found.items, found.scores

    return recommend


def measure(contenders: Sequence[Recommend], pairs: int, rng: random.Random) -> np.ndarray:
    """Microseconds of each contender, float64 [pairs, contenders]."""
    times = np.empty((pairs, len(contenders)))
    order = list(range(len(contenders)))
    for pair in range(-WARM_UP, pairs):
        rng.shuffle(order)
        for column in order:
            begin = time.perf_counter()
            contenders[column]()
            elapsed_s = time.perf_counter() - begin
            if pair >= 0:
                times[pair, column] = elapsed_s * 1e6
    return times


def upper_bound(times: np.ndarray, rng: np.random.Generator) -> float:
    """The 95% point of p99(second column) / p99(first), over resampled blocks of pairs."""
    blocks = times[: len(times) // BLOCK * BLOCK].reshape(-1, BLOCK, 2)
    ratios = []
    for _ in range(RESAMPLES):
        p99 = np.percentile(blocks[rng.integers(0, len(blocks), len(blocks))].reshape(-1, 2), 99, axis=0)
        ratios.append(p99[1] / p99[0])
    return float(np.percentile(ratios, 95))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 where the two give different answers."""
    parser = argparse.ArgumentParser(description="Time recommend beside a stub written by hand.")
    parser.add_argument("--pairs", type=int, default=10_000, help="calls of each, for each kind of answer")
    parser.add_argument("--json", type=Path, help="also write all times there, in microseconds")
    options = parser.parse_args(argv)
    if options.pairs < BLOCK:
        parser.error(f"--pairs is {options.pairs}; the bootstrap takes at least {BLOCK}")
    print(report.head(["grpcio", "protobuf", "numpy"]), end="\n\n", flush=True)
    rows, measured = [], {}
    for kind in ("float_val", "tensor_content"):
        content = kind == "tensor_content"
        with (
            echo_server(*(["--content"] if content else [])) as server,
            grpc.insecure_channel(server.target) as channel,
            Client(server.target, model="echo", timeout_s=TIMEOUT_S) as client,
        ):
            contenders = bare(channel, content), ours(client)
            (items, scores), (our_items, our_scores) = (recommend() for recommend in contenders)
            if items != our_items or not np.array_equal(scores, our_scores) or scores.dtype != our_scores.dtype:
                print(f"{kind}: recommend gives another answer than the bare stub", file=sys.stderr)
                return 1
            times = measure(contenders, options.pairs, random.Random(6))
        measured[kind] = {"bare": times[:, 0].tolist(), "recommend": times[:, 1].tolist()}
        low, high = np.percentile(times, (50, 99), axis=0)
        difference = np.median(times[:, 1] - times[:, 0])
        bound = upper_bound(times, np.random.default_rng(6))
        rows.append([kind, "bare stub", f"{low[0]:,.0f}", f"{high[0]:,.0f}", "", "", ""])
        ratio = f"{high[1] / high[0]:.2f}"
        rows.append(["", "recommend", f"{low[1]:,.0f}", f"{high[1]:,.0f}", f"{difference:+.0f}", ratio, f"{bound:.2f}"])
    print(f"Equal items and scores. Microseconds, {options.pairs:,} pairs of calls.\n")
    header = ["answer", "by", "p50", "p99", "median of differences", "p99 ratio", "upper 95%"]
    print(report.table(header, rows, names=2))
    if options.json:
        options.json.write_text(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
