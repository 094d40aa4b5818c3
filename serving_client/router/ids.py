"""Decision ids: make new ones, sign them, and recognise forged ones.

A new id is `base64url(16 random bytes)`, 22 characters. A signed id is

    id.key_id.base64url(HMAC-SHA256(key, bandit_id NUL id)[:12])

The signed text is the decision_id everywhere: in the decision log, in the answer to the browser, and in the rewards
that come back. So a public endpoint can reject rewards for decisions that were never made. A key can be replaced
without losing rewards: sign with the new key, and keep the old key for verification until the last windows are over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Any

from serving_client.contracts.ids import id_fault

__all__ = ["KEYS_VARIABLE", "DecisionKeys", "Forged", "new_id"]

KEYS_VARIABLE = "RECBEAM_DECISION_KEYS"
"""Environment variable with the keys, `KEY_ID:BASE64,KEY_ID:BASE64…`. The first key signs. All keys verify."""

_LEAST_KEY_BYTES = 16
_ID_BYTES = 16
_ID_CHARACTERS = 22
_MAC_BYTES = 12  # 16 characters of base64 without padding
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_BLOCK_BYTES = 64  # of SHA-256
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

# One system call for many ids: os.urandom(16) alone takes 1 microsecond.
_RANDOM_AT_ONCE = 32
_random: list[bytes] = []
os.register_at_fork(after_in_child=_random.clear)  # a child must not use the parent's bytes again


class Forged(ValueError):
    """A decision id has no signature, or a signature that is wrong for its bandit. The message says which."""


def new_id() -> str:
    """Return `base64url(16 random bytes)` without padding."""
    try:
        data = _random.pop()
    except IndexError:
        data = _more_random()
    return _base64url(data)[:_ID_CHARACTERS]


class DecisionKeys:
    """The keys that sign and verify decision ids. The representation holds the key ids alone.

    Args:
        keys: Keys by key id. The first signs. All verify.

    Raises:
        ValueError: There is no key, a key id is invalid, or a key has fewer than 16 bytes.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("decision keys are empty; give at least one")
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"key id {key_id!r} is not 1 to 32 of A-Z, a-z, 0-9, _ and -; rename it")
            if len(key) < _LEAST_KEY_BYTES:
                raise ValueError(f"key {key_id} has {len(key)} bytes; use at least {_LEAST_KEY_BYTES} random bytes")
        self._signers = {key_id: _Signer(key) for key_id, key in keys.items()}
        self._first_id, self._first = next(iter(self._signers.items()))

    def __repr__(self) -> str:
        return f"DecisionKeys({', '.join(self._signers)})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> DecisionKeys | None:
        """Return the keys that RECBEAM_DECISION_KEYS names, or None if it is not set or empty.

        Args:
            environ: Environment variables, usually os.environ.

        Raises:
            ValueError: The variable has another form. The message holds no key.
        """
        text = environ.get(KEYS_VARIABLE, "").strip()
        return cls.parse(text) if text else None

    @classmethod
    def parse(cls, text: str) -> DecisionKeys:
        """Parse `KEY_ID:BASE64,KEY_ID:BASE64…`. Standard and URL-safe base64 are accepted, with or without padding.

        Raises:
            ValueError: The text has another form. The message holds no key.
        """
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.split(","), 1):
            place = f"{KEYS_VARIABLE}: entry {number}"
            key_id, colon, secret = entry.strip().partition(":")
            if not colon:
                raise ValueError(f"{place} is not KEY_ID:BASE64; write it like k1:$(openssl rand -base64 32)")
            if key_id in keys:
                raise ValueError(f"{place} repeats the key id {key_id!r}; give each key its own id")
            try:
                data = secret.encode().translate(_URL_SAFE).rstrip(b"=")
                keys[key_id] = base64.b64decode(data + b"=" * (-len(data) % 4), b"-_", validate=True)
            except ValueError:
                raise ValueError(f"{place} has a key that is not base64; use openssl rand -base64 32") from None
        return cls(keys)

    def sign(self, bandit_id: str, decision_id: str) -> str:
        """Return the signed form of an id.

        Args:
            bandit_id: Bandit that decides. The signature is wrong for any other bandit.
            decision_id: Id from `new_id`.
        """
        return f"{decision_id}.{self._first_id}.{self._first.mac(bandit_id, decision_id)}"

    def verify(self, bandit_id: str, decision_id: str) -> None:
        """Check a signed id.

        Args:
            bandit_id: Bandit that decided.
            decision_id: Signed id.

        Raises:
            Forged: The id is not signed, the key is unknown, or the signature is wrong.
        """
        parts = [] if id_fault(decision_id) else decision_id.rsplit(".", 2)
        if len(parts) != 3:
            raise Forged("the decision id is not signed; send back the id as the router returned it")
        plain, key_id, mac = parts
        signer = self._signers.get(key_id)
        if signer is None:
            raise Forged(f"the decision id is signed with the unknown key {key_id[:32]!r}; add the key to the verifier")
        if not hmac.compare_digest(mac.encode(), signer.mac(bandit_id, plain).encode()):
            raise Forged(f"the signature of the decision id is wrong for bandit {bandit_id!r}; reject the request")


def _more_random() -> bytes:
    data = os.urandom(_ID_BYTES * _RANDOM_AT_ONCE)
    _random.extend([data[at : at + _ID_BYTES] for at in range(_ID_BYTES, len(data), _ID_BYTES)])
    return data[:_ID_BYTES]


def _base64url(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE).decode("ascii")


class _Signer:
    """Computes HMAC-SHA256 with one key.

    The two hashes over the padded key are computed once. A call takes a third of the time of `hmac.digest`.

    Source: Krawczyk, Bellare and Canetti, HMAC, RFC 2104, 1997.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner: Any = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer: Any = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def mac(self, bandit_id: str, decision_id: str) -> str:
        """Return the last part of a signed id."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{bandit_id}\0{decision_id}".encode())
        outer.update(inner.digest())
        return _base64url(outer.digest()[:_MAC_BYTES])
