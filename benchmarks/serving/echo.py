"""Run a server that answers every Predict with the same message, so that the time of a call is the client's.

    python -m benchmarks.serving.echo --port=0 [--items=100] [--content] [--median_ms=0] [--sigma=0] [--seed=6]

The server handles bytes on one asyncio loop and does not parse requests. With --median_ms, the time of an answer is
drawn from a log-normal distribution, as that of a model. The server prints `listening: grpc 127.0.0.1:PORT` on stderr,
as local_serving does. SIGTERM lets the requests in flight finish. A call of DELAY with a number as text delays all
later answers by that many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
import numpy as np

from serving_client import codec
from serving_client.protocol import messages, methods

__all__ = ["DELAY", "answer", "main"]

DELAY = "/recbeam.benchmarks.Echo/Delay"
GRACE_S = 5.0
MODEL, VERSION = "echo", 1


def answer(items: int, content: bool) -> messages.PredictResponse:
    """The canned answer: ids and falling scores, both [1, items]; content: scores as tensor_content, not float_val."""
    response = messages.PredictResponse(
        model_spec={"name": MODEL, "version": {"value": VERSION}, "signature_name": "serving_default"}
    )
    codec.write_tensor(response.outputs["items"], [[f"course-{number:06}" for number in range(items)]])
    scores = np.linspace(9.0, 1.0, items, dtype=np.float32)[None, :]
    codec.write_tensor(response.outputs["scores"], scores)
    if not content:
        response.outputs["scores"].ClearField("tensor_content")
        response.outputs["scores"].float_val.extend(scores[0].tolist())
    return response


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    reply = answer(options.items, options.content).SerializeToString()
    rng = random.Random(options.seed)
    location = math.log(options.median_ms / 1000.0) if options.median_ms > 0.0 else -math.inf
    extra_s = 0.0

    async def predict(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        pause_s = extra_s + (rng.lognormvariate(location, options.sigma) if location > -math.inf else 0.0)
        if pause_s > 0.0:
            await asyncio.sleep(pause_s)
        return reply

    async def delay(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        nonlocal extra_s
        extra_s = float(request)
        return b""

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for path, function in ((methods.PREDICT, predict), (DELAY, delay)):
        service, _, name = path[1:].partition("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(function)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    stopped = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stopped.set)
    print(f"listening: grpc 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await stopped.wait()
    await server.stop(GRACE_S)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 after a signal."""
    parser = argparse.ArgumentParser(description="Answer every Predict with the same message.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes any free one")
    parser.add_argument("--items", type=int, default=100, help="items in the answer")
    parser.add_argument("--content", action="store_true", help="scores as tensor_content instead of float_val")
    parser.add_argument("--median_ms", type=float, default=0.0, help="median time of an answer; 0: none")
    parser.add_argument("--sigma", type=float, default=0.0, help="of its logarithm")
    parser.add_argument("--seed", type=int, default=6, help="of these times")
    asyncio.run(serve(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
