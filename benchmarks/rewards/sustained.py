"""Does the stream keep up, how late is it, and does it grow? Files delivered as their time comes, for minutes.

Each second of the generated log is one decision and one reward file that appears by rename; after the full seconds come
those of late copies and rewards. Beside them goes a probe:
a decision in a segment of its own, and its reward, delivered after the window and before it would be late.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from pathlib import Path

import numpy as np

from benchmarks.rewards.job import Job, Sample, command, snapshots, wait_for
from benchmarks.rewards.worlds import BANDITS, differences, generate
from serving_client.contracts.times import format_time, parse_time

__all__ = ["Sustained", "run"]

_PROBE = """\
  probe:
    policy_epoch: 1
    default_arm: one
    arms: {one: {generation: 1, model: one}}
    policy: {kind: thompson_gaussian}
    attribution: {window: 20s, allowed_lateness: 40s, max_future: 5s, aggregate: any, reward_kinds: [click]}
    segments: [second]
"""
_LATE_S = 30  # after its decision: the window is over, the reward is not late
_DISORDER_US = 5_000_000
_AT = re.compile(rb'"(?:decided|occurred)_at":"([^"]+)"')


@dataclasses.dataclass(frozen=True)
class Sustained:
    """What was seen. matured_s, corrected_s: latencies;"""

    events: int
    seconds: int
    matured_s: list[float]
    corrected_s: list[float]
    samples: list[Sample]
    started_s: float
    wrong: list[str]


def run(work: Path, rate: int, seconds: int, *flags: str) -> Sustained:
    """Deliver `rate` events/s for so many seconds into a stream; its last snapshot is compared with the truth."""
    world = work / f"world-{rate}-{seconds}"
    described = generate(world, round(rate * seconds / 1.1), rate)
    newest_us = _newest(world, work / f"{world.name}-newest.json")
    live = work / "live"
    os.system(f"rm -rf {live}")
    for name in ("decisions", "rewards"):
        (live / name).mkdir(parents=True)
    bandits = live / "bandits.yaml"
    bandits.write_text(BANDITS + _PROBE)
    with Job(command(live, bandits, "--stop_when_idle=20s", *flags), work / "stream.log") as job:
        wait_for("the first snapshot", (live / "snapshots/probe/LATEST").exists, 120, job)
        began_s = time.time()
        arrived_s, probed_s = _deliver(world, live, newest_us, began_s, seconds)
        code = job.wait(180)
    return Sustained(
        events=sum(described["lines"].values()),
        seconds=seconds,
        matured_s=_matured(live, newest_us, arrived_s[:seconds]),
        corrected_s=_corrected(live, probed_s),
        samples=job.samples,
        started_s=began_s,
        wrong=[f"the stream ended with exit code {code}"] * bool(code)
        + [each for each in differences(world, live / "snapshots") if not each.startswith("_stream")],
    )


def _newest(world: Path, cache: Path) -> dict[str, list[int]]:
    """By source and second, the largest event time up to then."""
    if not cache.exists():
        newest = {
            source: [
                max(map(parse_time, (match.decode() for match in _AT.findall(path.read_bytes()[-2_000_000:]))))
                for path in sorted((world / source).glob("*.jsonl"))
            ]
            for source in ("decisions", "rewards")
        }
        cache.write_text(
            json.dumps({source: np.maximum.accumulate(times).tolist() for source, times in newest.items()})
        )
    known: dict[str, list[int]] = json.loads(cache.read_bytes())
    return known


def _deliver(
    world: Path, live: Path, newest_us: dict[str, list[int]], began_s: float, seconds: int
) -> tuple[list[float], dict[int, float]]:
    """Let each second's files appear when its time has come; returns when they did, and when probes' rewards did."""
    files = {source: sorted((world / source).glob("*.jsonl")) for source in newest_us}
    arrived_s, probed_s = [], {}
    for second in range(max(map(len, files.values()))):
        time.sleep(max(0.0, began_s + second + 1 - time.time()))
        if second < seconds:
            _write(live, "decisions", second, _probe_decision(second, newest_us["decisions"][second] - 500_000))
        if _LATE_S <= second < seconds:
            _write(live, "rewards", second, _probe_reward(second - _LATE_S, newest_us["decisions"]))
            probed_s[second - _LATE_S] = time.time()
        for source, paths in files.items():
            if second >= len(paths):
                continue
            target = live / source / paths[second].name
            os.link(paths[second], target.with_name("." + target.name))
            os.rename(target.with_name("." + target.name), target)
        arrived_s.append(time.time())
    return arrived_s, probed_s


def _write(live: Path, source: str, second: int, line: str) -> None:
    partial = live / source / f".probe-{second:06d}.jsonl"
    partial.write_text(line + "\n")
    partial.rename(partial.with_name(partial.name[1:]))


def _probe_decision(second: int, at_us: int) -> str:
    return json.dumps({
        "decision_id": f"probe-{second}", "bandit_id": "probe", "policy_epoch": 1, "segment": f"s{second}",
        "arm_id": "one", "arm_generation": 1, "propensity": 1.0, "decided_at": format_time(at_us),
    })  # fmt: skip


def _probe_reward(second: int, newest_us: list[int]) -> str:
    return json.dumps({
        "event_id": f"probe-{second}", "decision_id": f"probe-{second}", "kind": "click", "value": 1,
        "occurred_at": format_time(newest_us[second] + 10_000_000),
    })  # fmt: skip


def _matured(live: Path, newest_us: dict[str, list[int]], arrived_s: list[float]) -> list[float]:
    """Per second: from the arrival of what moved the watermark there to the first snapshot that says so."""
    published = [
        (parse_time(each["watermark"]), parse_time(each["published_at"]) / 1e6)
        for each in snapshots(live, "home_row")
        if each["watermark"] is not None and not each["final"]
    ]
    latencies = []
    for second, at_s in enumerate(arrived_s):
        reached_us = min(times[second] for times in newest_us.values()) - _DISORDER_US
        later = [when_s for watermark_us, when_s in published if watermark_us >= reached_us]
        if later:
            latencies.append(later[0] - at_s)
    return latencies


def _corrected(live: Path, probed_s: dict[int, float]) -> list[float]:
    """Per probe: from the arrival of its reward to the first snapshot that has it."""
    seen: dict[int, float] = {}
    for each in snapshots(live, "probe"):
        for row in each["arms"]:
            if row["sum_r"] and row["segment"] != "*":
                seen.setdefault(int(row["segment"][1:]), parse_time(each["published_at"]) / 1e6)
    # The last ones wait for their window in vain: the log has no later decision that would end it.
    return [seen[second] - at_s for second, at_s in list(probed_s.items())[:-_LATE_S] if second in seen]
