"""Numbers and keys that depend on the user alone: the sticky draw, the holdback, and the keyed hash of a user id.

Two routers with the same bandits file give a user the same numbers. Each is a BLAKE2b hash with 8 bytes, read
big-endian, cut to its upper 53 bits and divided by 2^53. It covers the parts' UTF-8 with a NUL between them:

    sticky draw    salt, policy_epoch, user_key
    holdback       salt, user_key                 (with the personalization `holdback`)

A user stays in the holdback when the policy epoch changes. The two numbers are independent of each other, so the users
outside the holdback are spread evenly over the arms.
"""

from __future__ import annotations

import hashlib
import hmac

from serving_client.contracts.bandits import Bandit
from serving_client.contracts.ids import id_fault
from serving_client.router.faults import Faults

__all__ = ["UserKeys", "keyed_hash", "sticky_draw", "sticky_holdback"]

_LEAST_SECRET_BYTES = 16  # who guesses a short secret can tell every user from the hash


def sticky_draw(bandit: Bandit, user_key: str) -> float:
    """Return the user's draw in [0, 1). It changes with the salt and the policy epoch."""
    return _fraction(f"{bandit.salt}\0{bandit.policy_epoch}\0{user_key}", b"")


def sticky_holdback(bandit: Bandit, user_key: str) -> float:
    """Return a number in [0, 1). The user belongs to the holdback if it is below the holdback's share."""
    return _fraction(f"{bandit.salt}\0{user_key}", b"holdback")


def keyed_hash(secret: bytes, user_id: str) -> str:
    """Return the first 32 hex digits of HMAC-SHA256(secret, user_id), to log instead of a user id.

    Args:
        secret: Secret key, at least 16 bytes.
        user_id: The platform's id of the user.
    """
    return hmac.digest(secret, user_id.encode(), "sha256")[:16].hex()


class UserKeys:
    """The user keys that a router uses and logs.

    Args:
        secret: Secret key. None uses keys as they are.
        faults: Counts keys that cannot be logged.

    Raises:
        ValueError: The secret has fewer than 16 bytes.
    """

    def __init__(self, secret: bytes | None, faults: Faults) -> None:
        if secret is not None and len(secret) < _LEAST_SECRET_BYTES:
            raise ValueError(f"user_key_secret has {len(secret)} bytes; use at least {_LEAST_SECRET_BYTES}")
        self._secret, self._faults = secret, faults

    def key(self, bandit_id: str, user_key: str) -> str | None:
        """Return the key to use and log for a user, or None if a log line cannot hold it."""
        fault = id_fault(user_key) if isinstance(user_key, str) else f"is of type {type(user_key).__name__}"
        if fault:
            self._faults.report(bandit_id, "user_key", f"user_key {fault}, so the request counts as anonymous")
            return None
        return user_key if self._secret is None else keyed_hash(self._secret, user_key)


def _fraction(text: str, person: bytes) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=person).digest()
    return (int.from_bytes(digest) >> 11) * 2.0**-53
