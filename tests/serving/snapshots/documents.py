"""Snapshots to publish, as a stream writes them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from serving_client.contracts.canonical import canonical_json
from serving_client.contracts.schemas import load
from serving_client.contracts.times import format_time

NOW_US = 1_780_000_000_000_000
HOUR_US = 3_600_000_000


def packed(values: Any) -> str:
    return base64.b64encode(np.asarray(values, "<f8").tobytes()).decode()


def row(arm_id: str = "cf", segment: str = "*", *, hour_count: int = 2, **changes: Any) -> dict[str, Any]:
    start_us = NOW_US // HOUR_US * HOUR_US
    return {
        "segment": segment,
        "arm_id": arm_id,
        "arm_generation": 1,
        "n": 10,
        "sum_r": 3.0,
        "sum_r2": 2.5,
        "pending": 4,
        "fallbacks": 1,
        "kinds": {"click": 3},
        "max_event_ts": format_time(NOW_US),
        "decayed": {"1h": {"reference_time": format_time(start_us), "w": 5.5, "w_r": 1.25, "w_r2": 1.0}},
        "hours": [
            {
                "start": format_time(start_us + (at - hour_count) * HOUR_US),
                "n": at + 1,
                "sum_r": 0.5 * at,
                "sum_r2": 0.25,
            }
            for at in range(hour_count)
        ],
        "ipw": {"n": 10, "sum_w": 20.0, "sum_w2": 40.0, "sum_wr": 6.0, "sum_w2r2": 12.0, "missing": 0},
    } | changes


def snapshot(version: int = 1, *, published_at_us: int = NOW_US, arms: Any = None, **changes: Any) -> dict[str, Any]:
    outcomes = load("snapshot")["properties"]["counters"]["required"]
    return {
        "schema_version": 1,
        "bandit_id": "home_row",
        "version": version,
        "policy_epoch": 1,
        "config_hash": "0" * 64,
        "published_at": format_time(published_at_us),
        "watermark": format_time(NOW_US - 5_000_000),
        "event_time_lag": 5.0,
        "final": False,
        "counters": dict.fromkeys(outcomes, 0),
        "arms": [row("cf"), row("vae")] if arms is None else arms,
        "rolled_back": [],
    } | changes


def published(version: int = 1, **changes: Any) -> bytes:
    return canonical_json(snapshot(version, **changes))
