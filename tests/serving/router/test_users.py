"""The numbers of a user: fixed values, spread evenly, independent of each other."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest

from serving_client.contracts.bandits import Arm, Attribution, Bandit
from serving_client.router.users import keyed_hash, sticky_draw, sticky_holdback


def bandit(salt="home_row", policy_epoch=1):
    return Bandit(
        bandit_id="home_row",
        policy_epoch=policy_epoch,
        default_arm="cf",
        arms={"cf": Arm("cf", 1, "cf")},
        policy={"kind": "thompson_beta", "floor": 0.0},
        attribution=Attribution(1, 1),
        salt=salt,
    )


@pytest.mark.parametrize("user", ["u1", "日本", "a b"])
def test_the_draw_is_the_hash_that_the_rules_name(user):
    digest = hashlib.blake2b(f"home_row\x003\x00{user}".encode(), digest_size=8).digest()
    expected = int.from_bytes(digest, "big") / 2**64
    assert sticky_draw(bandit(policy_epoch=3), user) == pytest.approx(expected, abs=2**-53)


def test_no_draw_is_1():
    """The hash 2^64 - 1, divided by 2^64, would round to 1. The upper 53 bits do not."""
    assert ((2**64 - 1) >> 11) * 2.0**-53 < 1.0
    assert all(0.0 <= sticky_draw(bandit(), f"u{number}") < 1.0 for number in range(1_000))


def test_salt_and_epoch_change_the_draw_and_the_epoch_leaves_the_holdback_alone():
    draws = {sticky_draw(bandit(salt, epoch), "u1") for salt in ("a", "b") for epoch in (1, 2)}
    assert len(draws) == 4
    assert len({sticky_holdback(bandit(salt, epoch), "u1") for salt in ("a", "b") for epoch in (1, 2)}) == 2


def test_users_spread_evenly_and_the_two_numbers_are_independent():
    users = [f"u{number}" for number in range(20_000)]
    draws = np.array([sticky_draw(bandit(), user) for user in users])
    holdback = np.array([sticky_holdback(bandit(), user) for user in users])
    counts, _, _ = np.histogram2d(draws, holdback, bins=10, range=[[0, 1], [0, 1]])
    assert ((counts - 200) ** 2 / 200).sum() < 148.2  # chi-square with 99 degrees: above it 1 in 1,000


def test_a_keyed_hash_needs_the_secret():
    secret = b"0123456789abcdef"
    assert keyed_hash(secret, "u1") == hmac.new(secret, b"u1", hashlib.sha256).hexdigest()[:32]
    assert keyed_hash(secret, "u1") != keyed_hash(b"another secret..", "u1")
