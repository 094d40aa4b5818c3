"""Snapshots of experiments whose truth is known: decisions drawn hour by hour, added up as the stream does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandit
from serving_client.contracts.times import format_time
from serving_client.snapshots.snapshot import Hour, Row, Snapshot

HOUR_US = 3_600_000_000
MONDAY_US = 1_795_996_800_000_000
"""2026-11-30T00:00:00Z."""


def bandit_text(arms: Sequence[str] = ("cf", "vae"), holdback: float = 0.0) -> str:
    """A bandits file whose default arm, and holdback arm, is the first."""
    named = "\n".join(f"      {arm}: {{generation: 1, model: {arm}}}" for arm in arms)
    held = f"    holdback: {{share: {holdback}, arm: {arms[0]}}}\n" if holdback else ""
    return f"""
bandits:
  home_row:
    policy_epoch: 1
    default_arm: {arms[0]}
    arms:
{named}
    policy: {{kind: thompson_beta, floor: 0.02}}
    attribution: {{window: 30m, allowed_lateness: 1h}}
{held}"""


def bandit(arms: Sequence[str] = ("cf", "vae"), holdback: float = 0.0, **changes: Any) -> Bandit:
    """The bandit of `bandit_text`."""
    return dataclasses.replace(parse_bytes(bandit_text(arms, holdback).encode(), "test").bandits["home_row"], **changes)


def row(
    hours: Sequence[Sequence[float]], propensities: Sequence[float] | None = None, first_us: int = MONDAY_US
) -> Row:
    """A row of binary rewards.

    Args:
        hours: Decisions and rewarded ones by hour.
        propensities: Of the arm by hour. None is 1.
        first_us: When the first hour begins.
    """
    p = [1.0] * len(hours) if propensities is None else propensities
    n, r = (float(sum(column)) for column in zip(*hours, strict=True))
    ipw = {
        "n": n,
        "sum_w": sum(each[0] / q for each, q in zip(hours, p, strict=True) if q),
        "sum_w2": sum(each[0] / q**2 for each, q in zip(hours, p, strict=True) if q),
        "sum_wr": sum(each[1] / q for each, q in zip(hours, p, strict=True) if q),
        "sum_w2r2": sum(each[1] / q**2 for each, q in zip(hours, p, strict=True) if q),
        "missing": 0,
    }
    kept = tuple(Hour(first_us + at * HOUR_US, each[0], each[1], each[1]) for at, each in enumerate(hours) if each[0])
    return Row(n=n, sum_r=r, sum_r2=r, hours=kept, ipw=ipw)


def snapshot(rows: Mapping[tuple[str, str, int], Row], watermark_us: int = MONDAY_US) -> Snapshot:
    """A snapshot of these rows."""
    return Snapshot("home_row", 7, 1, watermark_us, watermark_us, "0" * 64, rows)


def drawn(
    rng: np.random.Generator,
    rates: Mapping[str, Sequence[float]],
    shares: Mapping[str, Sequence[float]],
    per_hour: int = 1_000,
    holdback: int = 0,
) -> Snapshot:
    """Draw the decisions of as many hours as there are rates.

    Args:
        rng: Draws arms and rewards.
        rates: Mean reward by arm and hour.
        shares: Propensity by arm and hour.
        per_hour: Decisions of an hour.
        holdback: Decisions of an hour that the first arm gets beside them.
    """
    arms, rows = list(rates), {}
    table = np.array([shares[arm] for arm in arms])
    counts = np.array([rng.multinomial(per_hour, table[:, hour]) for hour in range(table.shape[1])])
    for at, arm in enumerate(arms):
        rewards = rng.binomial(counts[:, at], rates[arm])
        rows["*", arm, 1] = row(list(zip(counts[:, at].tolist(), rewards.tolist(), strict=True)), shares[arm])
    if holdback:
        rewards = rng.binomial(holdback, rates[arms[0]])
        rows["*holdback", arms[0], 1] = row([(holdback, each) for each in rewards.tolist()])
    return snapshot(rows, MONDAY_US + table.shape[1] * HOUR_US)


def publish(made: Snapshot, folder: pathlib.Path) -> None:
    """Write a snapshot as a stream publishes it to a directory."""
    document = {
        "schema_version": 1,
        "bandit_id": made.bandit_id,
        "policy_epoch": made.policy_epoch,
        "version": made.version,
        "published_at": format_time(made.published_at_us),
        "watermark": None if made.watermark_us is None else format_time(made.watermark_us),
        "event_time_lag": 1.0,
        "final": False,
        "config_hash": made.config_hash,
        "arms": [_row_document(key, each) for key, each in sorted(made.rows.items())],
        "rolled_back": [],
        "counters": {},
    }
    data = json.dumps(document).encode()
    (folder / made.bandit_id).mkdir(parents=True, exist_ok=True)
    (folder / made.bandit_id / f"{made.version}.json").write_bytes(data)
    pointer = {"version": made.version, "sha256": hashlib.sha256(data).hexdigest()}
    (folder / made.bandit_id / "LATEST").write_text(json.dumps(pointer))


def _row_document(key: tuple[str, str, int], each: Row) -> dict[str, Any]:
    segment, arm_id, generation = key
    hours = [
        {"start": format_time(hour.start_us), "n": round(hour.n), "sum_r": hour.sum_r, "sum_r2": hour.sum_r2}
        for hour in each.hours
    ]
    return {
        "segment": segment, "arm_id": arm_id, "arm_generation": generation, "n": round(each.n), "sum_r": each.sum_r,
        "sum_r2": each.sum_r2, "pending": 0, "fallbacks": 0, "kinds": {}, "max_event_ts": None, "decayed": {},
        "hours": hours, "ipw": dict(each.ipw),
    }  # fmt: skip
