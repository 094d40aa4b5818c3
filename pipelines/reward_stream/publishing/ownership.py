"""Keep a stream from publishing where another stream is publishing.

LATEST names the stream that wrote it by a random id, and the stream's heartbeat. A stream that starts is refused if
LATEST names another stream that was alive less than three heartbeats ago. The id is kept in --state, or in the engine's
state, so a stream that restarts is never refused.
"""

from __future__ import annotations

import json

from serving_client.contracts.times import parse_time
from serving_client.snapshots.published import Published
from transforms.errors import Refused
from transforms.files import storage

__all__ = ["kept_publisher", "refuse_another"]

_FILE = "publisher.json"
_ALIVE_HEARTBEATS = 3


def kept_publisher(state: str, new: str) -> str:
    """Return the id of the stream that a folder of checkpoints belongs to.

    Args:
        state: Folder of the checkpoints.
        new: Id to keep if the folder has none.

    Returns:
        The id.
    """
    place = storage.join(state, _FILE)
    kept = storage.read_json(place)
    if isinstance(kept, dict) and isinstance(kept.get("publisher"), str):
        return str(kept["publisher"])
    storage.write_json(place, {"publisher": new})
    return new


def refuse_another(bandit_id: str, published: Published | None, publisher: str, now_us: int) -> None:
    """Refuse to publish if another stream is publishing.

    Args:
        bandit_id: The bandit, or STREAM.
        published: The version that LATEST names.
        publisher: Id of this stream.
        now_us: The clock, microseconds.

    Raises:
        Refused: Another stream published less than three heartbeats ago.
    """
    if published is None or published.owner is None or published.owner.publisher == publisher:
        return
    age_s = (now_us - parse_time(json.loads(published.data)["published_at"])) / 1e6
    if age_s < _ALIVE_HEARTBEATS * published.owner.heartbeat_s:
        raise Refused(
            f"{bandit_id}: the stream {published.owner.publisher} published version {published.version} to the same "
            f"--snapshots {age_s:.0f} s ago; stop one of the two, or pass --take_over if that stream is gone"
        )
