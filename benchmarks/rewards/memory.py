"""What does an open decision cost, in the worker and in Prism?

Two logs of different size are delivered of which no decision can be let go (all lie within one window and lateness);
the difference in resident memory over the difference in open decisions is what one costs.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

from benchmarks.rewards.job import Job, command, wait_for
from benchmarks.rewards.restarts import metric
from benchmarks.rewards.worlds import BANDITS, generate

__all__ = ["Cost", "run"]

_SPAN_S = 55  # of event time: less than window and allowed lateness
_OPEN = "recbeam_reward_stream_open_decisions"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Bytes per open decision."""

    name: str
    open_decisions: int
    python_bytes: float
    prism_bytes: float


def run(work: Path, name: str, sizes: tuple[int, int], *flags: str, bandits: str = BANDITS) -> Cost:
    """flags: of the generator, e.g. --rewards_per_decision=2."""
    few, many = (_fill(work, f"memory-{name}-{size}", size, *flags, bandits=bandits) for size in sizes)
    more = many[0] - few[0]
    return Cost(name, many[0], (many[1] - few[1]) / more, (many[2] - few[2]) / more)


def _fill(work: Path, name: str, decisions: int, *flags: str, bandits: str) -> tuple[int, float, float]:
    """Open decisions, and resident bytes of Python and Prism once they are all there."""
    world = work / name
    rewards = next((float(flag.split("=")[1]) for flag in flags if flag.startswith("--rewards_per_decision")), 0.1)
    described = generate(world, decisions, round(decisions * (1 + rewards) / _SPAN_S), *flags, bandits=bandits)
    live = work / "filled"
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir(parents=True)
    for source in ("decisions", "rewards"):
        (live / source).symlink_to(world / source)
    arguments = command(live, world / "bandits.yaml", "--publish_interval=2s", f"--metrics_file={live}/metrics.prom")
    lines = sum(described["lines"].values())
    with Job(arguments, work / "memory.log") as job:
        wait_for(
            "the end of the log", lambda: metric(live, "recbeam_reward_stream_records_read_total") >= lines, 300, job
        )
        time.sleep(8)
        last = job.samples[-1]
        return metric(live, _OPEN), last.python_mib * 2**20, last.prism_mib * 2**20
