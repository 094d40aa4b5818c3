"""Convert names to parts of a path or key and back, and encode pointers."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, unquote

from serving_client.contracts.canonical import canonical_json
from serving_client.snapshots.published import Damaged, Owner, Pointer

__all__ = ["escape", "owner_of", "pointer", "read_pointer", "unescape"]

# Separators, wildcards, what Redis and shells read, and a dot in front, which hides a file or leaves the folder. Few
# of these may be in a bandit's id (see bandits.json), so its folder bears the plain id, letters beyond ASCII included.
_UNSAFE = re.compile(r'[\x00-\x20\x7f/\\|*?\[\]{}%"<>]|^\.')


def escape(name: str) -> str:
    """Percent-encode characters that are special in a path, a key or a pattern.

    Args:
        name: The name.

    Returns:
        The escaped name.

    Raises:
        ValueError: The name is empty.
    """
    if not name:
        raise ValueError("an empty name cannot be published under")
    return _UNSAFE.sub(lambda found: "%2E" if found[0] == "." else quote(found[0], safe=""), name)


def unescape(text: str) -> str:
    """Return the name that was escaped."""
    return unquote(text)


def pointer(version: int, sha256: str, owner: Owner | None = None) -> bytes:
    """Encode the content of LATEST."""
    content: dict[str, Any] = {"version": version, "sha256": sha256}
    if owner is not None:
        content |= {"publisher": owner.publisher, "heartbeat": owner.heartbeat_s}
    return canonical_json(content)


def owner_of(publisher: Any, heartbeat: Any) -> Owner | None:
    """Return the owner that a pointer names. Fields that are absent or damaged name none."""
    if not isinstance(publisher, str) or type(heartbeat) not in (int, float):
        return None
    return Owner(publisher, heartbeat)


def read_pointer(where: str, data: bytes) -> Pointer:
    """Decode the content of LATEST.

    Args:
        where: Place of the pointer, for the error.
        data: The content.

    Returns:
        The content.

    Raises:
        Damaged: The content is not a pointer.
    """
    try:
        content = json.loads(data)
        version, sha256 = content["version"], content["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(_damaged(where)) from error
    if type(version) is not int or not isinstance(sha256, str):
        raise Damaged(_damaged(where))
    return Pointer(version, sha256, owner_of(content.get("publisher"), content.get("heartbeat")))


def _damaged(where: str) -> str:
    return f'{where}: is not {{"version": …, "sha256": …}}; restore it, or remove it, and the next snapshot rewrites it'
