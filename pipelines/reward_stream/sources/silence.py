"""Warn in the stream's log while one source is silent and the other delivers.

If both are silent, there may be no traffic, so there is no warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from serving_client.contracts.times import format_duration

__all__ = ["SilenceLog"]

_LOGGER = logging.getLogger(__name__)
_LONG_US = 300_000_000
_SECOND_US = 1_000_000

_IDLE = {
    "rewards": "decisions mature without them; look at the files of --rewards",
    "decisions": "rewards of decisions that do not come become orphans; look at the files of --decisions",
}


class SilenceLog:
    """Log each change once.

    Args:
        idle_us: Silence after which decisions mature without a source, by source, microseconds.
    """

    def __init__(self, idle_us: Mapping[str, int]) -> None:
        self._idle_us = idle_us
        self._warned: dict[str, set[str]] = {source: set() for source in idle_us}
        self._silent_us: dict[str, int] = {}

    def look(self, silent_us: Mapping[str, int]) -> None:
        """Warn about sources that have fallen silent, and log when they deliver again.

        Args:
            silent_us: Time since each source delivered, microseconds. 0 for a source with more to read.
        """
        for source, waited_us in silent_us.items():
            if waited_us < self._threshold_us(source):
                if self._warned[source]:
                    silent = format_duration(max(1, self._silent_us[source] // _SECOND_US) * _SECOND_US)
                    _LOGGER.warning("%s: delivers again after %s", source, silent)
                    self._warned[source].clear()
            elif any(silent_us[other] < self._threshold_us(other) for other in silent_us if other != source):
                self._warn(source, waited_us)
            self._silent_us[source] = waited_us

    def _threshold_us(self, source: str) -> int:
        return min(_LONG_US, self._idle_us[source])

    def _warn(self, source: str, waited_us: int) -> None:
        idle_us = self._idle_us[source]
        if waited_us >= idle_us:
            silent, effect = format_duration(idle_us), _IDLE[source]
        else:
            silent = format_duration(self._threshold_us(source))
            effect = f"decisions wait for them until {format_duration(idle_us)} (--idle_after)"
        if effect not in self._warned[source]:
            self._warned[source].add(effect)
            _LOGGER.warning("%s: silent for %s while the other source delivers; %s", source, silent, effect)
