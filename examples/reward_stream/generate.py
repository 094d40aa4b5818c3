"""Decisions and rewards of a made-up site as files, and the exact statistics that they imply.

    python -m examples.reward_stream.generate --output=DIR --decisions=N [--rewards_per_decision=0.1] [--seed=1]

writes DIR/bandits.yaml, DIR/decisions/part-*.jsonl, DIR/rewards/part-*.jsonl (a file holds what arrived in one second),
DIR/late.json where there are late records (ids that came too late), DIR/truth.json (see `oracle`: what the final
snapshots must say) and, last, DIR/generated.json (counts), which marks the folder as complete. Equal arguments and
library versions give equal bytes. With --live the files appear as wall time passes, at --rate, under their names once
they are whole. No record is late unless --late says so: records arrive within --max_disorder of their event, copies of
them within a quarter of the allowed lateness. --clean leaves out what is outside the promise that stream equals batch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from examples.reward_stream.config import duration_us
from examples.reward_stream.draw import draw_decisions, draw_rewards
from examples.reward_stream.files import LiveClock, Log
from examples.reward_stream.lines import decision_lines, reward_lines
from examples.reward_stream.oddities import LogChunk, add_oddities
from examples.reward_stream.records import time_us
from examples.reward_stream.templates import Templates
from examples.reward_stream.world import BANDITS, VALUES, Knobs, stages
from tests.oracles.fast import Plain, add_plain
from tests.oracles.tally import Tally

__all__ = ["main", "write"]

_CHUNK = 50_000  # decisions: enough for numpy, little enough for memory


def write(
    output: pathlib.Path,
    decisions: int,
    *,
    knobs: Knobs | None = None,
    bandits: str = BANDITS,
    rewards_per_decision: float = 0.1,
    seed: int = 1,
    rate: float = 1_000.0,
    start: str = "2026-01-05T00:00:00Z",
    files_every_us: int = 1_000_000,
    max_disorder_us: int = 1_500_000,
    live: bool = False,
) -> dict[str, Any]:
    """Write the folder; rate: events per second of event time. Returns what generated.json says."""
    knobs, rng = knobs or Knobs(), np.random.default_rng(seed)
    document = yaml.safe_load(bandits)
    world, tally = stages(document, rng), Tally(document)
    templates = Templates(world)
    output.mkdir(parents=True, exist_ok=True)
    (output / "bandits.yaml").write_text(bandits)
    began_us = time_us(start)
    logs = [Log(output / name, began_us, files_every_us) for name in ("decisions", "rewards")]
    clock = LiveClock(began_us, live)
    spacing_us = 1e6 * (1 + rewards_per_decision) / rate
    rewards = 0
    late: list[str] = []
    for first in range(0, decisions, _CHUNK):
        n = min(_CHUNK, decisions - first)
        at_us = began_us + ((first + np.arange(n) + rng.random(n)) * spacing_us).astype(np.int64)
        drawn = draw_decisions(rng, knobs, world, templates, first, at_us, max_disorder_us, seed)
        follow = draw_rewards(rng, knobs, world, drawn, rewards_per_decision, max_disorder_us)
        chunk = LogChunk(
            drawn, follow, decision_lines(drawn, templates.made, world), reward_lines(drawn, follow), [], [], []
        )
        odd = add_oddities(rng, knobs, world, chunk, tally, began_us)
        add_plain(tally, _plain(chunk, ~odd, templates, [stage.config.bandit_id for stage in world]))
        logs[0].add(*_with_extra(drawn.arrival_us, chunk.decision_lines, chunk.extra_decisions))
        logs[1].add(*_with_extra(follow.arrival_us, chunk.reward_lines, chunk.extra_rewards))
        next_us = began_us + int((first + n) * spacing_us)  # nothing of a later chunk arrives before
        clock.write([file for log in logs for file in log.files_before(next_us)])
        rewards, late = rewards + len(chunk.reward_lines), late + chunk.late
    clock.write([file for log in logs for file in log.files_before(None)])
    if late:
        (output / "late.json").write_text(json.dumps(late))
    (output / "truth.json").write_text(json.dumps(tally.documents(), sort_keys=True))
    generated = {
        "decisions": decisions,
        "rewards": rewards,
        "lines": {"decisions": logs[0].lines_written, "rewards": logs[1].lines_written},
        "seed": seed,
        "knobs": dataclasses.asdict(knobs),
    }
    (output / "generated.json").write_text(json.dumps(generated, indent=1) + "\n")
    return generated


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(argv)
    if options.output.exists() and any(options.output.iterdir()):
        print(f"{options.output} is not empty; name a new folder", file=sys.stderr)
        return 2
    knobs = Knobs(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Knobs)})
    began = time.monotonic()
    generated = write(
        options.output,
        options.decisions,
        knobs=knobs.clean() if options.clean else knobs,
        bandits=options.bandits.read_text() if options.bandits else BANDITS,
        rewards_per_decision=options.rewards_per_decision,
        seed=options.seed,
        rate=options.rate,
        start=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if options.start == "now" else options.start,
        files_every_us=duration_us(options.files_every),
        max_disorder_us=duration_us(options.max_disorder),
        live=options.live,
    )
    lines, took_s = sum(generated["lines"].values()), time.monotonic() - began
    print(f"{options.output}: {lines:,} lines in {took_s:.1f} s, {lines / took_s:,.0f} lines/s", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.reward_stream.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=pathlib.Path, required=True, help="a new folder")
    add("--decisions", type=int, required=True, help="distinct decisions")
    add("--rewards_per_decision", type=float, default=0.1, help="on average (0.1)")
    add("--seed", type=int, default=1, help="of all randomness (1)")
    add("--rate", type=float, default=1_000.0, help="events per second of event time, and of wall time if live (1000)")
    add("--start", default="2026-01-05T00:00:00Z", help="first decision's event time, or now (2026-01-05T00:00:00Z)")
    add("--files_every", default="1s", help="event time that one file covers (1s)")
    add("--max_disorder", default="1.5s", help="longest time from an event to its place in the log (1.5s)")
    add("--live", action="store_true", help="write each file when its time has come")
    add("--bandits", type=pathlib.Path, help="a bandits file of your own (this module's)")
    add("--clean", action="store_true", help="no late, future, malformed or conflicting records")
    for field in dataclasses.fields(Knobs):
        meaning = f"fraction of {field.name.replace('_', ' ')} ({field.default})"
        add(f"--{field.name}", type=float, default=field.default, help=meaning)
    return parser


def _plain(
    chunk: LogChunk, plain: np.ndarray[Any, np.dtype[np.bool_]], templates: Templates, names: list[str]
) -> Plain:
    """Return the decisions with nothing odd about them, and their rewards."""
    drawn, follow = chunk.decisions, chunk.rewards
    row = np.cumsum(plain) - 1
    kept = plain[follow.decision]
    vectors: dict[str, tuple[Any, Any]] = {}
    for bandit, values in drawn.vectors.items():
        rows = np.flatnonzero(drawn.bandit == bandit)
        vectors[names[bandit]] = (row[rows[plain[rows]]], values[plain[rows]])
    return Plain(
        templates.made,
        drawn.template[plain],
        drawn.at_us[plain],
        follow.kinds,
        row[follow.decision[kept]],
        follow.kind[kept],
        np.array([micro for _, micro, _ in VALUES])[follow.value[kept]],
        follow.at_us[kept],
        vectors,
    )


def _with_extra(arrivals_us: Any, lines: list[str], extra: Sequence[tuple[int, str]]) -> tuple[Any, list[str]]:
    more = np.array([arrival_us for arrival_us, _ in extra], np.int64)
    return np.concatenate([arrivals_us, more]), lines + [line for _, line in extra]


if __name__ == "__main__":
    sys.exit(main())
