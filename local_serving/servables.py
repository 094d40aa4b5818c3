"""Hold all versions of all models with their states, and replace versions.

`aspire` sets which versions of a model are wanted. Threads load new versions and unload versions that are no longer
wanted. They follow TF Serving's availability-preserving policy: while any version is wanted, an old one is unloaded
only when a wanted one is AVAILABLE. A version is closed when the last request that uses it has ended.

The states are those of GetModelStatus: START, LOADING, AVAILABLE, UNLOADING, END. A failed load is END with an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import grpc

from local_serving.errors import Status, of_number
from local_serving.servable import LoadedModel

__all__ = ["Handle", "Servables", "State", "VersionState"]

_log = logging.getLogger(__name__)


class State(enum.IntEnum):
    """States of a version, with the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionState(NamedTuple):
    """The state of a version. `error` is why it is END, or None if it was unloaded as planned."""

    state: State
    error: Status | None = None


class Handle(NamedTuple):
    """A version in use. It is not closed before its context ends."""

    name: str
    version: int
    model: LoadedModel


@dataclasses.dataclass(eq=False)
class _Version:
    path: Path
    state: State = State.START
    error: Status | None = None
    model: LoadedModel | None = None
    in_use: int = 0
    dropped: bool = False
    """Not wanted since it ended. If it is wanted again, it becomes a new version."""


@dataclasses.dataclass(eq=False)
class _Model:
    wanted: Mapping[int, Path] = dataclasses.field(default_factory=dict)
    versions: dict[int, _Version] = dataclasses.field(default_factory=dict)


class Servables:
    """Loads and unloads versions. Thread-safe.

    Args:
        load: (model, version, path) -> LoadedModel, warmed up. Any exception is a failed load.
        retries: How often a failed load is retried.
        retry_delay_s: Seconds between two tries.
        load_threads: How many versions load at once, the highest version first.
    """

    def __init__(
        self,
        load: Callable[[str, int, Path], LoadedModel],
        retries: int = 5,
        retry_delay_s: float = 60.0,
        load_threads: int = 1,
    ) -> None:
        self._load, self._retries, self._retry_delay_s = load, retries, max(0.0, retry_delay_s)
        self._changed = threading.Condition()  # guards the fields below; notified at every change of state or use
        self._models: dict[str, _Model] = {}
        self._free_loads = max(1, load_threads)
        self._waiting: list[int] = []
        self._threads: list[threading.Thread] = []

    def aspire(self, name: str, versions: Mapping[int, Path]) -> None:
        """Set the versions of the model that are wanted. All others are unloaded."""
        with self._changed:
            model = self._models.setdefault(name, _Model())
            model.wanted = dict(versions)
            self._reconcile(name, model)
            self._changed.notify_all()  # loads that wait for a retry check whether they are still wanted

    @contextlib.contextmanager
    def handle(self, name: str, version: int | None = None) -> Iterator[Handle]:
        """Give the AVAILABLE version asked for, or the highest, and keep it in use until the context ends.

        Raises:
            Status: NOT_FOUND if there is no such version.
        """
        with self._changed:
            number, entry, loaded = self._available(name, version)
            entry.in_use += 1
        try:
            yield Handle(name, number, loaded)
        finally:
            with self._changed:
                entry.in_use -= 1
                if not entry.in_use and entry.state is not State.AVAILABLE:
                    self._changed.notify_all()

    def states(self, name: str) -> dict[int, VersionState]:
        """Return the state of every version that was ever wanted, highest first. {} for an unknown model."""
        with self._changed:
            model = self._models.get(name, _Model())
            return {
                version: VersionState(entry.state, entry.error)
                for version, entry in sorted(model.versions.items(), reverse=True)
            }

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` is true, checked at each change of state. Return False after timeout_s seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def newest(self, name: str) -> tuple[int, VersionState] | None:
        """Return the highest wanted version and its state. None if none is wanted."""
        with self._changed:
            model = self._models.get(name)
            if not model or not model.wanted:
                return None
            version = max(model.wanted)
            entry = model.versions.get(version)
            if entry is None or entry.dropped or entry.state is State.UNLOADING:  # it will be loaded again
                return version, VersionState(State.START)
            return version, VersionState(entry.state, entry.error)

    def close(self, timeout_s: float) -> bool:
        """Unload everything. Return False if something was in use or loading after timeout_s seconds."""
        end = time.monotonic() + timeout_s
        with self._changed:
            for name in self._models:
                self.aspire(name, {})
            done = self._changed.wait_for(
                lambda: all(
                    entry.state is State.END for model in self._models.values() for entry in model.versions.values()
                ),
                timeout_s,
            )
            threads = list(self._threads)
        # If a thread frees native memory while the interpreter ends, the process dies with SIGABRT.
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return done

    def _available(self, name: str, version: int | None) -> tuple[int, _Version, LoadedModel]:
        model = self._models.get(name, _Model())
        numbers = [version] if version is not None else sorted(model.versions, reverse=True)
        for number in numbers:
            entry = model.versions.get(number)
            if entry and entry.state is State.AVAILABLE and entry.model:
                return number, entry, entry.model
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise Status(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")

    def _reconcile(self, name: str, model: _Model) -> None:
        """Start the loads and unloads that the wanted versions need. The caller holds the lock."""
        serving = any(
            entry.state is State.AVAILABLE and version in model.wanted for version, entry in model.versions.items()
        )
        for version, entry in model.versions.items():
            if version in model.wanted:
                continue
            if entry.state is State.END:
                entry.dropped = True
            elif entry.state is State.AVAILABLE and (serving or not model.wanted):
                entry.state = State.UNLOADING
                self._start(self._unload_version, name, version, entry)
        for version in sorted(model.wanted, reverse=True):
            there = model.versions.get(version)
            if there is None or (there.state is State.END and there.dropped):
                entry = model.versions[version] = _Version(model.wanted[version])
                self._waiting.append(version)
                self._start(self._load_version, name, version, entry)

    def _start(self, run: Callable[[str, int, _Version], None], name: str, version: int, entry: _Version) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=run, args=(name, version, entry), name=f"{name}-{version}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _load_version(self, name: str, version: int, entry: _Version) -> None:
        loaded, error = None, None
        with self._changed:
            self._changed.wait_for(lambda: self._free_loads and version == max(self._waiting))
            self._waiting.remove(version)
            self._free_loads -= 1
            entry.state = State.LOADING
            self._changed.notify_all()
        for attempt in range(self._retries + 1):
            if attempt:
                with self._changed:
                    gone = self._changed.wait_for(lambda: not self._wants(name, version), self._retry_delay_s)
                    if gone:
                        break
                    self._changed.wait_for(lambda: self._free_loads)
                    self._free_loads -= 1
            loaded, error = self._try(name, version, entry.path)
            with self._changed:
                self._free_loads += 1
                self._changed.notify_all()
            if loaded:
                break
            _log.error("Loading servable: {name: %s version: %d} failed: %s", name, version, error)
        with self._changed:
            entry.model, entry.error = loaded, error
            entry.state = State.AVAILABLE if loaded else State.END
            if loaded:
                _log.info("Successfully loaded servable version {name: %s version: %d}", name, version)
            self._reconcile(name, self._models[name])
            self._changed.notify_all()

    def _try(self, name: str, version: int, path: Path) -> tuple[LoadedModel | None, Status | None]:
        try:
            return self._load(name, version, path), None
        except Status as error:
            return None, error
        except Exception as error:  # TensorFlow raises various errors for a broken file; the server continues
            code = of_number(getattr(error, "error_code", grpc.StatusCode.UNKNOWN.value[0]))
            message = str(error) or type(error).__name__
            return None, Status(code, message if str(path) in message else f"{path}: {message}")

    def _wants(self, name: str, version: int) -> bool:
        return version in self._models[name].wanted

    def _unload_version(self, name: str, version: int, entry: _Version) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not entry.in_use)
            loaded, entry.model = entry.model, None
        if loaded:
            loaded.close()
        del loaded  # when the state is END, the memory is free
        with self._changed:
            entry.state, entry.dropped = State.END, True
            _log.info("Unloaded servable version {name: %s version: %d}", name, version)
            self._reconcile(name, self._models[name])
            self._changed.notify_all()
