"""Re-read the bandits file while the stream runs, and apply a new version if it is a valid successor."""

from __future__ import annotations

import logging
from typing import Any

from serving_client.bandits_file import parse_bytes, successor
from serving_client.contracts.bandits import BanditsError
from transforms.attribution.rules import Rules
from transforms.files import storage

__all__ = ["RulesFile"]

_LOGGER = logging.getLogger(__name__)
_SOONEST_US = 1_000_000


class RulesFile:
    """Hold the bandits file in force, as bytes in `data` and parsed in `rules`.

    An invalid new version is ignored, with one warning.

    Args:
        place: Path of the bandits file.
        data: Bytes of the file in force.
        poll_us: Time between two reads, microseconds.
        now_us: The clock, microseconds.
    """

    def __init__(self, place: str, data: bytes, poll_us: int, now_us: int) -> None:
        self.data = data
        self.rules = Rules(parse_bytes(data, place))
        self._place = place
        self._poll_us = poll_us
        self._looked_us = now_us - poll_us  # it may have changed since the run was planned
        self._refused: Any = None

    def poll(self, now_us: int, *, soon: bool = False) -> bytes | None:
        """Read the file again if a read is due.

        Args:
            now_us: The clock, microseconds.
            soon: Whether a record names an unknown bandit, arm or epoch. Then a read is due after at most a second.

        Returns:
            Bytes of a new valid version. None if there is none.
        """
        if 0 <= now_us - self._looked_us < (min(_SOONEST_US, self._poll_us) if soon else self._poll_us):
            return None
        self._looked_us = now_us
        try:
            with storage.open_read(self._place) as file:
                data: bytes = file.read()
        except Exception as error:  # stores raise types of their own
            self._refuse(str(error), f"{self._place}: cannot be read ({error}); the rules before stay in force")
            return None
        if data == self.data:
            self._refused = None
            return None
        try:
            bandits = successor(self.rules.bandits, data, self._place)
        except BanditsError as error:
            self._refuse(data, f"{error}; the rules before stay in force")
            return None
        self._refused = None
        self.data, self.rules = data, Rules(bandits)
        return data

    def _refuse(self, what: Any, sentence: str) -> None:
        if what != self._refused:
            self._refused = what
            _LOGGER.warning(sentence)
