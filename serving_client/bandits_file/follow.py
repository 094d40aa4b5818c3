"""Read a bandits file again in the background, and keep the content in use while the new one is invalid."""

from __future__ import annotations

import random
from collections.abc import Callable

from serving_client.background import Background
from serving_client.bandits_file.changes import successor
from serving_client.bandits_file.reading import parse_bytes, read_data
from serving_client.contracts.bandits import Bandits, BanditsError

__all__ = ["BanditsFollower"]


class BanditsFollower:
    """Follows a bandits file on this machine.

    Args:
        path: Path of the file. It is read here for the first time.
        on_new: Called with the new content of the file, in the background thread. If it raises, it is called again.
        report: Called with the path, a reason and a message for every fault: `bandits_file` if the file is missing or
            invalid, `thread` if `on_new` raised. It must not raise.
        poll_interval_s: Seconds between two reads, longer or shorter by up to 20%.
        rng: Draws the jitter. By default it is seeded by the operating system.

    Raises:
        BanditsError: The file cannot be read or is invalid.
    """

    def __init__(
        self,
        path: str,
        *,
        on_new: Callable[[Bandits], None],
        report: Callable[[str, str, str], None],
        poll_interval_s: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        self._path, self._on_new, self._report = path, on_new, report
        self._data = read_data(path)
        self._bandits = parse_bytes(self._data, path)
        self._refused: tuple[bytes, str] | None = None
        self._background = Background(
            "recbeam-bandits-file",
            self.poll,
            failed=self._failed,
            forked=_nothing,
            interval_s=poll_interval_s,
            rng=random.Random() if rng is None else rng,
        )

    @property
    def bandits(self) -> Bandits:
        """The content in use."""
        return self._bandits

    def start(self) -> None:
        """Start the background thread. Idempotent while it runs."""
        self._background.start()

    def close(self) -> None:
        """End the background thread. Idempotent."""
        self._background.close()

    def poll(self) -> None:
        """Read the file once. The background thread does this; without one, call it yourself."""
        try:
            data = read_data(self._path)
            if data == self._data:
                return
            if self._refused is not None and data == self._refused[0]:  # parsing again would find the same
                raise BanditsError(self._refused[1])
            try:
                bandits = successor(self._bandits, data, self._path)
            except BanditsError as error:
                self._refused = data, str(error)
                raise
        except BanditsError as error:
            self._report(self._path, "bandits_file", f"{error}; the content before stays in use")
            return
        self._on_new(bandits)
        self._data, self._bandits, self._refused = data, bandits, None

    def _failed(self, error: Exception) -> None:
        self._report(self._path, "thread", f"the new content cannot be used ({error!r}); report this as a bug")


def _nothing() -> None:
    """Do nothing in a forked child, since a file has no connections."""
