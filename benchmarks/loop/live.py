"""The whole loop: a router decides and logs, reward_stream counts, and the router reads what was published.

The clock of the router is event time. The stream is the command in a process of its own. After each round the driver
waits until every bandit's snapshot counts all decisions whose window is over. Beside the loop runs the policy in memory
with the same random numbers. Every snapshot must hold its statistics, and every decision must be its decision.
"""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.loop.memory import Memory, arms_by_weights
from benchmarks.loop.world import ARMS, DISORDER, Draws, Float64s, Ints, World
from benchmarks.rewards.job import Job, command, wait_for
from serving_client.bandits_file import read
from serving_client.contracts.times import BEFORE_ALL_US, parse_duration
from serving_client.router import Router
from serving_client.snapshots.follow import SnapshotFollower
from serving_client.snapshots.snapshot import Snapshot
from serving_client.snapshots.stores import open_store

__all__ = ["Live", "run_live"]

_WAIT_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What happened.

    Args:
        regret: Regret of each bandit, float64 [bandits].
        matured: By round, how many moments the snapshots after it count.
        decisions: Logged decisions.
        rewards: Logged rewards.
        lost: Lines that the logs lost.
        defaults: Decisions without a fresh snapshot.
        snapshots: Snapshots that the router took.
        other_arms: Decisions with another arm than in memory.
        other_statistics: Statistics of a bandit after a round that are others than in memory.
        waited_s: By round, seconds from the last decision to the last snapshot.
        took_s: Seconds of all rounds.
    """

    regret: Float64s
    matured: list[int]
    decisions: int
    rewards: int
    lost: int
    defaults: int
    snapshots: int
    other_arms: int
    other_statistics: int
    waited_s: list[float]
    took_s: float


def run_live(world: World, work: Path, seed: int, tell: Callable[[str], None]) -> Live:
    """Run the loop in a folder, which keeps bandits file, logs, and snapshots."""
    bandits_file = work / "bandits.yaml"
    bandits_file.write_text(world.bandits_file())
    flags = (f"--max_disorder={DISORDER}", "--publish_interval=1s", "--heartbeat=10s")
    logs = {kind: f"logs/{kind}-*.jsonl" for kind in ("decisions", "rewards")}
    with Job(command(work, bandits_file, *flags, **logs), work / "stream.log") as job:
        loop = _Loop(world, work, bandits_file, seed, job)
        try:
            for number in range(world.rounds):
                loop.play_round(number)
                tell(f"round {number + 1} of {world.rounds}: {loop.waited_s[-1]:.1f} s for the snapshots")
        finally:
            loop.router.close()
        code = job.stop()
        if code:
            raise RuntimeError(f"the stream ended with exit code {code}; see {work / 'stream.log'}")
    return loop.result()


class _Loop:
    def __init__(self, world: World, work: Path, bandits_file: Path, seed: int, job: Job) -> None:
        self._world, self._job = world, job
        self._names, self._times_us = world.names, world.times_us()
        self._rng = np.random.default_rng(seed)
        self._memory = Memory(world)
        self._now_us = int(self._times_us[0])
        self._newest_us = {"decisions": BEFORE_ALL_US, "rewards": BEFORE_ALL_US}
        self._due: list[tuple[int, str, str]] = []  # time of the click, decision id, bandit
        self._uniform: Iterator[float] = iter(())
        self._followed, self._snapshots = read(str(bandits_file)), 0
        self._follower = SnapshotFollower(
            open_store(str(work / "snapshots")), self._followed, report=_ignore, on_new=self._take, pause=_no_pause
        )
        self.router = Router(
            self._followed,
            snapshots=self._follower,
            log=work / "logs",
            clock_us=lambda: self._now_us,
            uniform=lambda: next(self._uniform),
        )
        self._matured: list[int] = []
        self._decisions = self._rewards = self._other_arms = self._other_statistics = 0
        self.waited_s: list[float] = []
        self._began_s = wait_for("the first snapshots", lambda: self._counted() is not None, _WAIT_S, job)

    def play_round(self, number: int) -> None:
        """Decide and click for a minute of event time, and wait for the snapshots of its end."""
        world = self._world
        draws = world.draws(self._rng)
        expected = arms_by_weights(self._memory.statistics(), draws)
        first = number * world.moments
        arm = self._decide(self._times_us[first : first + world.moments], draws)
        self._other_arms += int((arm != expected).sum())
        self._memory.add(arm, draws)
        watermark_us = min(self._newest_us.values()) - parse_duration(DISORDER)
        matured = world.matured(watermark_us)
        self._matured.append(matured)
        self._memory.mature(matured)
        before_s = time.time()
        found = np.zeros((2, world.bandits, len(ARMS)))

        def arrived() -> bool:
            found[:] = self._counted()
            return bool((found[0].sum(axis=1) >= matured).all())

        wait_for(f"the snapshots of round {number + 1}", arrived, _WAIT_S, self._job)
        self.waited_s.append(time.time() - before_s)
        same = (found[0] == self._memory.n) & (found[1] == self._memory.sum_r)
        self._other_statistics += int((~same).any(axis=1).sum())

    def result(self) -> Live:
        """Return what happened."""
        counts = self.router.counts()
        return Live(
            regret=self._memory.regret,
            matured=self._matured,
            decisions=self._decisions,
            rewards=self._rewards,
            lost=sum(counts.lost.values()),
            defaults=sum(count for (_, _, rung), count in counts.decisions.items() if rung != "fresh"),
            snapshots=self._snapshots,
            other_arms=self._other_arms,
            other_statistics=self._other_statistics,
            waited_s=self.waited_s,
            took_s=time.time() - self._began_s,
        )

    def _decide(self, times_us: Ints, draws: Draws) -> Ints:
        arm = np.zeros(draws.arm.shape, np.int64)
        self._uniform = iter(draws.arm.ravel().tolist())
        for at, time_us in enumerate(times_us.tolist()):
            self._click_until(time_us)
            self._now_us = time_us
            ids = []
            for place, name in enumerate(self._names):
                decision = self.router.route(name)
                self.router.log(decision)
                arm[at, place] = decision.index
                ids.append(decision.decision_id)
            for place in np.flatnonzero(self._memory.clicks(arm[at], draws.click[at])).tolist():
                heapq.heappush(self._due, (time_us + int(draws.delay_us[at, place]), ids[place], self._names[place]))
        self._decisions += arm.size
        self._newest_us["decisions"] = self._now_us
        return arm

    def _click_until(self, time_us: int) -> None:
        while self._due and self._due[0][0] <= time_us:
            self._now_us, decision_id, name = heapq.heappop(self._due)
            self.router.record(decision_id, "click", bandit_id=name)
            self._newest_us["rewards"] = self._now_us
            self._rewards += 1

    def _counted(self) -> Float64s | None:
        """Return n and sum_r of the newest snapshots, float64 [2, bandits, arms], or None if one is missing."""
        self._follower.poll()
        held = [self._follower.held(name).snapshot for name in self._names]
        return None if None in held else np.array([_sums(each) for each in held if each is not None]).swapaxes(0, 1)

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshots += 1
        self.router.prepare(snapshot)


def _sums(snapshot: Snapshot) -> tuple[list[float], list[float]]:
    """Return n and sum_r of the arms."""
    rows = [snapshot.rows.get(("*", arm_id, 1)) for arm_id in ARMS]
    return [0.0 if row is None else row.n for row in rows], [0.0 if row is None else row.sum_r for row in rows]


def _ignore(bandit_id: str, reason: str, message: str) -> None:
    """Ignore a fault. At the start nothing is published yet, and later the driver waits in vain."""


def _no_pause() -> None:
    """Do not sleep, because no requests are to be answered meanwhile."""
