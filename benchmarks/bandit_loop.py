"""Measure what the way through log files, stream and snapshots costs a bandit in regret, if users click late.

    python benchmarks/bandit_loop.py                      # 200 bandits, 600,000 decisions, about 8 min
    python benchmarks/bandit_loop.py --rounds=20          # shorter, so with a wider interval

Many independent bandits with two arms decide side by side with Thompson sampling, through one router and one stream. In
every round of event time each bandit decides so many times, and users click after an exponential delay. The same
policy runs in memory, with statistics of the same decisions after each round, and with random numbers of its own. The
line `ratio` says how much regret the way through the loop adds. 1 is none.

Beside the loop runs the policy in memory with the same random numbers. Then every decision and every statistic must be
equal. If one is not, if a line is lost, or if the last snapshots differ from a recount of the log files, the exit code
is 1 and the folder is kept.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.loop.live import Live, run_live
from benchmarks.loop.memory import regret_in_memory
from benchmarks.loop.recount import differences, recount
from benchmarks.loop.regret import Ratio, ratio_of
from benchmarks.loop.world import Float64s, World
from benchmarks.serving.report import head, table


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and print."""
    options = _parser().parse_args(argv)
    world = World(options.bandits, options.rounds, options.moments)
    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="bandit-loop-"))
    work.mkdir(parents=True, exist_ok=True)
    print(head(["apache-beam", "numpy", "scipy", "orjson"]), flush=True)
    live = run_live(world, work, options.seed, lambda text: print(text, file=sys.stderr, flush=True))
    wrong = faults(world, live, work)
    memory = regret_in_memory(world, live.matured, options.copies, np.random.default_rng([options.seed, 1]))
    ratio = ratio_of(live.regret, memory)
    print(_report(world, live, memory, ratio))
    if options.json:
        record = {"ratio": ratio._asdict(), "loop": live.regret.tolist(), "memory": memory.tolist(), "wrong": wrong}
        options.json.write_text(json.dumps(record, indent=1))
    print("\n" + ("all statistics equal those of the log files" if not wrong else "WRONG: " + "; ".join(wrong)))
    if wrong:
        print(f"see {work}", file=sys.stderr)
    elif options.work is None:
        shutil.rmtree(work)
    return bool(wrong)


def faults(world: World, live: Live, work: pathlib.Path) -> list[str]:
    """Return what contradicts the promises of the loop."""
    counted = recount(world, work / "logs")
    checks = {
        f"{live.lost} log lines were lost": live.lost,
        f"{len(counted.decisions)} of {live.decisions} decisions are in the log files": (
            len(counted.decisions) != live.decisions
        ),
        f"{counted.rewards} of {live.rewards} rewards are in the log files": counted.rewards != live.rewards,
        f"{live.defaults} decisions had no fresh snapshot": live.defaults,
        f"{live.other_arms} decisions differ from those in memory": live.other_arms,
        f"{live.other_statistics} statistics differ from those in memory": live.other_statistics,
    }
    return [text for text, is_wrong in checks.items() if is_wrong] + differences(world, counted, work / "snapshots")


def _report(world: World, live: Live, memory: Float64s, ratio: Ratio) -> str:
    rows = [
        [name, f"{len(regret):,}", f"{regret.mean():.2f}", f"{regret.std(ddof=1) / len(regret) ** 0.5:.2f}"]
        for name, regret in (("through the loop", live.regret), ("in memory", memory))
    ]
    waits = live.waited_s
    return "\n".join([
        f"{world.rounds} rounds of {world.moments} decisions per bandit; {live.decisions:,} decisions and "
        f"{live.rewards:,} clicks; click rates {world.better} and {world.worse}",
        table(["regret in clicks", "bandits", "mean", "se"], rows),
        f"ratio {ratio.ratio:.3f}, 95% interval [{ratio.lower:.3f}, {ratio.upper:.3f}]",
        f"lost lines {live.lost}; decisions with the same random numbers that differ from memory {live.other_arms}; "
        f"snapshots read {live.snapshots:,}",
        f"{live.took_s:.0f} s in all; from a round's last decision to its last snapshot {np.median(waits):.1f} s "
        f"(median), {max(waits):.1f} s (worst)",
    ])  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--bandits", type=int, default=200, help="number of bandits (200)")
    add("--rounds", type=int, default=60, help="number of rounds, each with new snapshots (60)")
    add("--moments", type=int, default=50, help="decisions of a bandit in a round (50)")
    add("--copies", type=int, default=20, help="copies of the bandits in memory, for an exact mean (20)")
    add("--seed", type=int, default=1, help="of all randomness but the decision ids (1)")
    add("--work", type=pathlib.Path, help="an empty folder that keeps everything (a temporary one)")
    add("--json", type=pathlib.Path, help="write the regrets here, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
