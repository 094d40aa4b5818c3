"""How fast does one core read decision lines, and where does the time go?

    python benchmarks/rewards/reading.py --work=DIR

Compare "all of read_decisions" with "json, untyped" and "orjson, untyped", which only parse and make no columns. The
parts below it add up to less than the whole, because each is measured alone. All figures are CPU time of one thread;
the last two lines are wall time with one and two threads, which shows how much of the reading holds the interpreter
lock. Before anything is timed, the ids, times and ranks of the first lines are compared with Python's json and with
the oracle.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import msgspec
import orjson

from benchmarks.rewards.worlds import generate
from benchmarks.serving.report import head, table
from serving_client.contracts.times import parse_time
from tests.oracles.ranks import rank_of
from transforms.attribution.parsing import records as reading
from transforms.attribution.parsing.keys import decision_keys
from transforms.attribution.parsing.records import read_decisions
from transforms.attribution.parsing.schema import Decision
from transforms.attribution.parsing.times import times_us

_NEVER_US = 2**61
_CHUNK_BYTES = 2 << 20  # as much as the reader of the stream takes at once
_CHECKED = 2_000


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a record is read otherwise than json and the oracle read it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="Folder of the log. Kept for the next run.")
    parser.add_argument("--decisions", type=int, default=100_000, help="Number of decisions in the log (100000).")
    parser.add_argument("--repeats", type=int, default=5, help="Runs per figure. The best one is printed (5).")
    options = parser.parse_args(argv)
    world = options.work.resolve() / f"reading_{options.decisions}"
    generate(world, options.decisions, 20_000)
    data = b"".join(path.read_bytes() for path in sorted((world / "decisions").glob("*.jsonl")))
    chunks = _chunks(data)
    lines = data.count(b"\n")
    print(head(["msgspec", "orjson", "numpy", "numba", "pyarrow"]))
    print(f"{lines:,} lines of {len(data) / lines:.0f} bytes in chunks of {_CHUNK_BYTES >> 20} MiB")
    if wrong := _differences(chunks[0]):
        print(f"WRONG: {wrong}", file=sys.stderr)
        return 1
    rows = []
    for name, run in _PARTS.items():
        least_s = min(_cpu_s(run, chunks) for _ in range(options.repeats))
        rows.append([name, f"{least_s / lines * 1e6:.2f}", f"{lines / least_s:,.0f}"])
    for threads in (1, 2):
        least_s = min(_wall_s(chunks, threads) for _ in range(options.repeats))
        rows.append([f"read_decisions, {threads} threads, wall time", f"{least_s / lines * 1e6:.2f}",
                     f"{lines / least_s:,.0f}"])  # fmt: skip
    print(table(["", "us/line", "lines/s"], rows))
    return 0


def _chunks(data: bytes) -> list[bytes]:
    chunks, at = [], 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + _CHUNK_BYTES) + 1
        chunks.append(data[at:end])
        at = end
    return chunks


def _differences(chunk: bytes) -> str:
    texts = chunk.splitlines()[:_CHECKED]
    columns, rejected, _ = read_decisions(b"\n".join(texts), 0, _NEVER_US, 0)
    records = [json.loads(text) for text in texts]
    if rejected or records != [orjson.loads(text) for text in texts]:
        return f"{len(rejected)} lines are rejected"
    if columns.hi.tolist() != decision_keys([record["decision_id"] for record in records])[0].tolist():
        return "decision ids differ"
    if columns.at_us.tolist() != [parse_time(record["decided_at"]) for record in records]:
        return "times differ"
    return "" if columns.rank.tolist() == [rank_of(record) for record in records] else "ranks differ"


def _fields(chunk: bytes) -> reading._DecisionFields:
    fields = reading._DecisionFields()
    for records in reading.Reading(chunk, 0, Decision).batches():
        fields.add(records)
    return fields


def _each(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return lambda chunk: collections.deque(map(parse, chunk.splitlines()), maxlen=0)


def _times(chunk: bytes) -> None:
    fields = _fields(chunk)
    times_us(fields.texts("decided_at"))
    times_us(fields.texts("received_at"))


_PARTS: dict[str, Callable[[bytes], object]] = {
    "json, untyped": _each(json.loads),
    "orjson, untyped": _each(orjson.loads),
    "msgspec, untyped": _each(msgspec.json.Decoder().decode),
    "msgspec to Decision": lambda chunk: sum(map(len, reading.Reading(chunk, 0, Decision).batches())),
    "the same, fields and labels": _fields,
    "the same, times": _times,
    "the same, keys": lambda chunk: decision_keys(_fields(chunk).texts("decision_id")),
    "the same, nested fields encoded": lambda chunk: reading._nested(_fields(chunk)),
    "all of read_decisions": lambda chunk: read_decisions(chunk, 0, _NEVER_US, 0),
}


def _cpu_s(run: Callable[[bytes], object], chunks: Sequence[bytes]) -> float:
    started = time.process_time()
    for chunk in chunks:
        run(chunk)
    return time.process_time() - started


def _wall_s(chunks: Sequence[bytes], threads: int) -> float:
    workers = [threading.Thread(target=_cpu_s, args=(_PARTS["all of read_decisions"], chunks[k::threads]))
               for k in range(threads)]  # fmt: skip
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
