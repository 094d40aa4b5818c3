"""Measure requests per second of the asynchronous client beside a hand-written grpc.aio loop.

    python benchmarks/serving/concurrency.py [--rounds 12] [--calls 2000] [--in_flight 100] [--json FILE]

In a round, `in_flight` tasks make sequential calls until the number of calls is reached. An echo server in another
process answers. The hand-written loop uses the same message classes and the same codec, and sets a deadline on every
call. Client and loop take turns round by round, and the first one alternates, so that a slow phase of the machine
affects both. Their answers are compared before anything counts.

`x by hand` is the median over rounds of the ratio within a round. If client and server share few cores, both times
include the server's CPU time. `ms of CPU a call` includes only the client's process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
import numpy as np

from benchmarks.serving import report
from benchmarks.serving.processes import echo_server
from serving_client import aio, codec
from serving_client.protocol import messages, methods

__all__ = ["main"]

HISTORY = [f"course-{number:06}" for number in range(900_000, 900_040)]
WIDTH = 128
TIMEOUT_S = 10.0
HAND, OURS = "grpc.aio by hand", "aio.Client"

Recommend = Callable[[], Awaitable[tuple[list[str], Any]]]


class Round(NamedTuple):
    """One contender's part of a round."""

    rate: float
    cpu_ms: float


def by_hand(channel: grpc.aio.Channel) -> Recommend:
    """The loop's body without a client."""
    stub = channel.unary_unary(
        methods.PREDICT,
        request_serializer=messages.PredictRequest.SerializeToString,
        response_deserializer=messages.PredictResponse.FromString,
    )

    async def recommend() -> tuple[list[str], Any]:
        request = messages.PredictRequest()
        request.model_spec.name = "echo"
        row = [item.encode() for item in HISTORY]
        codec.write_tensor(request.inputs["history"], [row + [b""] * (WIDTH - len(row))])
        outputs = (await stub(request, timeout=TIMEOUT_S)).outputs
        return codec.strings(outputs["items"]), codec.to_array(outputs["scores"])[0]

    return recommend


def ours(client: aio.Client) -> Recommend:
    """The client with its defaults."""

    async def recommend() -> tuple[list[str], Any]:
        found = await client.recommend(HISTORY)
        return found.items, found.scores

    return recommend


async def time_round(recommend: Recommend, calls: int, in_flight: int) -> Round:
    """Requests a second, and milliseconds of this process's CPU a call."""
    left = calls

    async def ask() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await recommend()

    begin, cpu_begin = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return Round(calls / (time.perf_counter() - begin), (time.process_time() - cpu_begin) / calls * 1e3)


async def measure(target: str, options: argparse.Namespace) -> dict[str, list[Round]]:
    """Rounds of each contender; nothing where their answers differ."""
    async with (
        grpc.aio.insecure_channel(target) as channel,
        aio.Client(target, model="echo", timeout_s=TIMEOUT_S) as client,
    ):
        contenders = {HAND: by_hand(channel), OURS: ours(client)}
        (items, scores), (our_items, our_scores) = [await recommend() for recommend in contenders.values()]
        if items != our_items or not np.array_equal(scores, our_scores):
            return {}
        measured: dict[str, list[Round]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            turns = list(contenders.items())
            for name, recommend in turns if number % 2 else turns[::-1]:
                found = await time_round(recommend, options.calls, options.in_flight)
                if number > 0:
                    measured[name].append(found)
    return measured


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 where the two give different answers."""
    parser = argparse.ArgumentParser(description="Time the asynchronous client beside a grpc.aio loop by hand.")
    parser.add_argument("--rounds", type=int, default=12, help="rounds, each contender once a round")
    parser.add_argument("--calls", type=int, default=2_000, help="calls of a contender in a round")
    parser.add_argument("--in_flight", type=int, default=100, help="calls under way at any time")
    parser.add_argument("--json", type=Path, help="also write all rounds there")
    options = parser.parse_args(argv)
    print(report.head(["grpcio", "protobuf", "numpy"]), end="\n\n", flush=True)
    with echo_server() as server:
        measured = asyncio.run(measure(server.target, options))
    if not measured:
        print("aio.Client gives another answer than the loop by hand", file=sys.stderr)
        return 1
    rows = []
    for name, rounds in measured.items():
        rates = [one.rate for one in rounds]
        ratio = statistics.median(one.rate / hand.rate for one, hand in zip(rounds, measured[HAND], strict=True))
        cpu_ms = statistics.median(one.cpu_ms for one in rounds)
        cells = [f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}"]
        rows.append([name, *cells, f"{cpu_ms:.3f}", f"{ratio:.2f}"])
    print(
        f"Equal items and scores. {options.in_flight} in flight, {options.rounds} rounds of {options.calls:,} calls.\n"
    )
    header = ["by", "requests/s", "least", "most", "ms of CPU a call", "x by hand"]
    print(report.table(header, rows))
    if options.json:
        options.json.write_text(
            json.dumps({name: [one._asdict() for one in found] for name, found in measured.items()})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
