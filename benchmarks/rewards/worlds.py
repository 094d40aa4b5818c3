"""The generated logs that the stream's benchmarks read, and whether what was published is what they imply."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rewards.job import ROOT

__all__ = ["BANDITS", "CONTEXTUAL", "differences", "generate", "latest"]

BANDITS = (ROOT / "examples/reward_stream/one_bandit.yaml").read_text()
"""One bandit, four arms, the times of the issue."""

CONTEXTUAL = (
    BANDITS.replace("{kind: thompson_beta, floor: 0.02}", "{kind: lints}")
    + """\
    features:
      - {name: age, type: numeric, scale: 10, max: 4}
      - {name: returning, type: bool}
      - {name: topic, type: categorical, buckets: 5, from: item}
      - {name: score, type: numeric, max: 8, from: model}
"""
)
"""The same with a vector of 8."""

# What a run decides and a truth cannot know.
_OF_THE_RUN = {"version", "published_at", "watermark", "event_time_lag", "config_hash", "final"}


def generate(folder: Path, decisions: int, rate: int, *flags: str, bandits: str = BANDITS) -> dict[str, Any]:
    """A world of so many decisions, made once; returns what its generated.json says."""
    done = folder / "generated.json"
    if not done.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.parent / f"{folder.name}.yaml"
        file.write_text(bandits)
        subprocess.run(
            [sys.executable, "-m", "examples.reward_stream.generate", f"--output={folder}", f"--decisions={decisions}",
             f"--rate={rate}", "--clean", f"--bandits={file}", *flags],
            cwd=ROOT, check=True,
        )  # fmt: skip
    described: dict[str, Any] = json.loads(done.read_bytes())
    return described


def latest(snapshots: Path, bandit: str) -> dict[str, Any]:
    """The snapshot that is pointed at."""
    version = json.loads((snapshots / bandit / "LATEST").read_bytes())["version"]
    document: dict[str, Any] = json.loads((snapshots / bandit / f"{version}.json").read_bytes())
    return document


def differences(world: Path, snapshots: Path) -> list[str]:
    """In what the last snapshots differ from the world's truth; empty where they are equal."""
    found = []
    for bandit, truth in json.loads((world / "truth.json").read_bytes()).items():
        said = latest(snapshots, bandit)
        found += [f"{bandit}.{key}" for key in {*truth, *said} - _OF_THE_RUN if truth.get(key) != said.get(key)]
    return sorted(found)
