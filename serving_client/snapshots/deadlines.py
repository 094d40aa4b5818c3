"""How long a router waits for a store: 2 s for a connection, 3 s for each answer, and 5 s for all of a body.

Bodies from S3 and web servers are checked between two reads. So a server that sends a byte now and then holds the
background thread for 8 s at most. The clients of the other stores limit each read, but not all reads together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["CONNECT_S", "READ_S", "TOTAL_S", "joined"]

CONNECT_S = 2.0
READ_S = 3.0
TOTAL_S = 5.0


def joined(where: str, started_s: float, chunks: Iterable[bytes]) -> bytes:
    """Return a body.

    Args:
        where: Place of the body, for the error.
        started_s: `time.monotonic()` when the request began.
        chunks: The parts of the body, as they arrive.

    Raises:
        TimeoutError: The request has taken more than TOTAL_S.
    """
    parts = []
    for chunk in chunks:
        parts.append(chunk)
        if time.monotonic() - started_s > TOTAL_S:
            raise TimeoutError(f"{where}: is not read after {TOTAL_S:g} s")
    return b"".join(parts)
