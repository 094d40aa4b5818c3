"""Bandits of ten arms and their snapshots, as reward_stream publishes them, with invented sums."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import time
from typing import Any

import numpy as np

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandit, Bandits, config_hash, feature_schema, feature_width
from serving_client.contracts.times import format_time, wall_clock_us

__all__ = ["BANDIT_ID", "Publisher", "bandits", "rows", "segments"]

BANDIT_ID = "home_row"
ARMS = 10
HOURS_KEPT = 168


def bandits(kind: str, features: int = 0) -> Bandits:
    """The content of a bandits file with one bandit of ten arms.

    Args:
        kind: Kind of its policy.
        features: Number of its numeric features.
    """
    file: dict[str, Any] = {
        "policy_epoch": 1,
        "default_arm": "arm0",
        "arms": {f"arm{number}": {"generation": 1, "model": f"model{number}"} for number in range(ARMS)},
        "policy": {"kind": kind, "floor": 0.01},
        "attribution": {"window": "30m", "allowed_lateness": "1h", "max_future": "60s", "reward_kinds": ["click"]},
        "segments": ["place"],
        "half_lives": ["1h", "24h"],
        "staleness": {"fresh": "1h", "hard": "24h"},
    }
    if features:
        file["features"] = [
            {"name": f"f{number}", "type": "numeric", "from": "user", "scale": 1.0, "max": 10.0}
            for number in range(features)
        ]
    return parse_bytes(json.dumps({"bandits": {BANDIT_ID: file}}).encode(), "bandits.yaml")


def segments(count: int) -> list[str]:
    """Names of segments."""
    return [f"place{number}" for number in range(count)]


def rows(bandit: Bandit, names: list[str], seed: int = 1) -> list[dict[str, Any]]:
    """A row per arm and segment, `*` included, with all that a row can hold."""
    rng = np.random.default_rng(seed)
    return [_row(bandit, arm_id, segment, rng) for segment in ["*", *names] for arm_id in bandit.arms]


def _row(bandit: Bandit, arm_id: str, segment: str, rng: np.random.Generator) -> dict[str, Any]:
    n = int(rng.integers(2_000, 20_000))
    clicks = int(rng.binomial(n, rng.uniform(0.04, 0.06)))
    hour_us = 3_600_000_000
    last_us = wall_clock_us() // hour_us * hour_us
    row: dict[str, Any] = {
        "segment": segment, "arm_id": arm_id, "arm_generation": 1, "n": n, "sum_r": float(clicks),
        "sum_r2": float(clicks), "pending": 20, "fallbacks": 3, "kinds": {"click": clicks, "impression": n},
        "max_event_ts": format_time(last_us),
        "decayed": {
            name: {"reference_time": format_time(last_us), "w": n / 3, "w_r": clicks / 3, "w_r2": clicks / 3}
            for name in bandit.half_lives
        },
        "hours": [
            {"start": format_time(last_us - ago * hour_us), "n": n // HOURS_KEPT, "sum_r": 5.0, "sum_r2": 5.0}
            for ago in reversed(range(HOURS_KEPT))
        ],
        "ipw": {"n": n, "sum_w": n * 1.1, "sum_w2": n * 1.3, "sum_wr": clicks * 1.1, "sum_w2r2": clicks * 1.3,
                "missing": 0},
    }  # fmt: skip
    if width := (feature_width(bandit) if bandit.features else 0):
        x = rng.normal(size=(500, width))
        xtx, xtr = x.T @ x, x.T @ rng.binomial(1, 0.05, 500)
        row["lin"] = {
            "schema": feature_schema(bandit),
            "d": width,
            "xtx": base64.b64encode(xtx[np.triu_indices(width)].astype("<f8").tobytes()).decode(),
            "xtr": base64.b64encode(xtr.astype("<f8").tobytes()).decode(),
        }
    return row


class Publisher:
    """Publishes snapshots with the same sums under ever higher versions to a folder.

    The rows are encoded once, so that publishing costs the machine next to nothing.

    Args:
        folder: The folder.
        bandit: The bandit.
        names: Its segments.
    """

    def __init__(self, folder: pathlib.Path, bandit: Bandit, names: list[str]) -> None:
        self._folder, self._bandit = folder / bandit.bandit_id, bandit
        self._folder.mkdir(parents=True, exist_ok=True)
        self._arms = json.dumps(rows(bandit, names), sort_keys=True, separators=(",", ":"))
        self.version = 0

    @property
    def bytes(self) -> int:
        """Size of a snapshot, without its head."""
        return len(self._arms)

    def publish(self) -> None:
        """Publish the next version."""
        self.version += 1
        now = format_time(wall_clock_us())
        rest = {
            "bandit_id": self._bandit.bandit_id, "config_hash": config_hash(self._bandit), "counters": {},
            "event_time_lag": 0.0, "final": False, "policy_epoch": 1, "published_at": now, "rolled_back": [],
            "schema_version": 1, "version": self.version, "watermark": now,
        }  # fmt: skip
        document = f'{{"arms":{self._arms},{json.dumps(rest)[1:]}'.encode()
        (self._folder / f"{self.version}.json").write_bytes(document)
        pointer = {"version": self.version, "sha256": hashlib.sha256(document).hexdigest()}
        (self._folder / ".latest").write_text(json.dumps(pointer))
        os.replace(self._folder / ".latest", self._folder / "LATEST")
        (self._folder / f"{self.version - 5}.json").unlink(missing_ok=True)

    def publish_every(self, interval_s: float) -> None:
        """Publish until the process is ended."""
        while True:
            self.publish()
            time.sleep(interval_s)
