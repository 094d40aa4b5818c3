"""Hold the server without its ports: config, labels, and the thread that looks for versions.

`handle` resolves a ModelSpec to a loaded version, and `reload` applies a new config. gRPC and REST both use this class.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc

from local_serving import config, discovery
from local_serving.errors import StartError, Status
from local_serving.flags import Flags
from local_serving.labels import Labels, assigned, version_of
from local_serving.servable import LoadedModel, Runner
from local_serving.servables import Handle, Servables, State, VersionState
from local_serving.tensorflow import import_tensorflow

__all__ = ["Core"]

_log = logging.getLogger(__name__)
LOOK_S = 0.05
"""How often a wait for models checks whether its caller still waits, in seconds."""
RELOAD_WAIT_S = 10.0
"""How long a new config waits for the one before it. Meanwhile its caller blocks a thread that answers requests."""


class Core:
    """The models of a server. Thread-safe.

    Args:
        flags: The server's flags.
        make_runner: See LoadedModel.
    """

    def __init__(self, flags: Flags, make_runner: Callable[[Callable[..., Any]], Runner] | None = None) -> None:
        self.flags = flags
        self._make_runner = make_runner
        self._servables = Servables(
            self._load, flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6, flags.num_load_threads
        )
        self._reloading = threading.Lock()
        self._polling = threading.Lock()
        self._stopped = threading.Event()
        self._models: tuple[config.Model, ...] = ()
        self._labels: Labels = {}
        self._last_fault = ""
        self._empty: set[str] = set()
        self._started = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Load the models of the flags, and return when the newest version of every model is AVAILABLE.

        Like the real server, this waits for as long as a base path or its versions do not exist.

        Raises:
            StartError: A model could not be loaded, or `stop` was called.
        """
        try:
            self.reload(self._read_config())
        except Status as error:
            raise StartError(f"Failed to start server. Error: {error}") from error
        self._started = True
        if self.flags.file_system_poll_wait_seconds > 0:
            self._every(self.flags.file_system_poll_wait_seconds, self.poll, "versions")
        if self.flags.model_config_file and self.flags.model_config_file_poll_wait_seconds > 0:
            self._every(self.flags.model_config_file_poll_wait_seconds, self._reread, "config")

    def stop(self, timeout_s: float) -> bool:
        """End the threads, and unload every model once it is no longer in use.

        Returns:
            False if something was still in use after timeout_s seconds.
        """
        end = time.monotonic() + timeout_s

        def left_s() -> float:
            return max(0.0, end - time.monotonic())

        self._stopped.set()
        for thread in self._threads:
            thread.join(left_s())
        if not self._polling.acquire(timeout=left_s()):
            _log.warning("base paths were still being read after %.1f s", timeout_s)
            return False
        try:
            done = self._servables.close(left_s())
        finally:
            self._polling.release()
        if not done:
            _log.warning("models were still in use after %.1f s", timeout_s)
        return done

    def handle(self, model_spec: Any) -> AbstractContextManager[Handle]:
        """Return a context that gives the version of a ModelSpec and keeps it loaded.

        Raises:
            Status: The spec has no name or an unknown label. On entering the context: the version is not served.
        """
        name = model_spec.name
        if not name:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        if choice == "version":
            return self._servables.handle(name, model_spec.version.value)
        if choice == "version_label":
            return self._servables.handle(name, version_of(self._labels, name, model_spec.version_label))
        return self._servables.handle(name)

    def states(self, name: str) -> dict[int, VersionState]:
        """Return the state of every version of the model that was ever tracked, highest first."""
        return self._servables.states(name)

    def reload(self, new: Any, wanted: Callable[[], bool] = lambda: True) -> None:
        """Replace the config, and wait until its new models serve.

        Models that the new config lacks are unloaded. New versions of models that were served before are not waited
        for.

        Args:
            new: A ModelServerConfig.
            wanted: Returns False if the caller no longer waits. This ends the waiting.

        Raises:
            Status: The config is not valid, or a model could not be loaded. UNAVAILABLE if the previous config still
                loads after RELOAD_WAIT_S. If the config is not valid, or the caller left before it was applied, nothing
                has changed.
        """
        with self._alone(wanted):
            models = config.models_of(new, self._models)
            labels = assigned(
                models, self.states, self._labels, self.flags.allow_version_labels_for_unavailable_models
            )  # fmt: skip
            known = {model.name for model in self._models}
            with self._polling:
                self._models, self._labels = models, labels
                for gone in known - {model.name for model in models}:
                    self._servables.aspire(gone, {})
            if self.flags.file_system_poll_wait_seconds >= 0:
                self.poll()
            self._wait({model.name for model in models} - known, wanted)

    def poll(self) -> None:
        """Look for versions of all models once. If a base path cannot be read, all models stay as they are."""
        with self._polling:
            if self._stopped.is_set():
                return
            try:
                found = {model.name: discovery.found(model.name, model.base_path) for model in self._models}
            except Status as error:
                # Log the fault once and not every second.
                if error.message != self._last_fault:
                    _log.error("a filesystem access error; waiting for it to pass: %s", error.message)
                self._last_fault = error.message
                return
            self._last_fault = ""
            if any(found.values()):
                import_tensorflow()  # before any load starts, and after a wrong base path was reported
            for model in self._models:
                chosen = discovery.chosen(model.name, found[model.name], model.policy)
                if chosen:
                    self._empty.discard(model.name)
                elif model.name not in self._empty:
                    self._empty.add(model.name)  # logged once and not every second
                    _log.warning(
                        "No versions of servable %s found under base path %s. Did you forget to name your leaf"
                        " directory as a number (eg. '/1/')?", model.name, model.base_path,
                    )  # fmt: skip
                self._servables.aspire(model.name, chosen)

    @contextlib.contextmanager
    def _alone(self, wanted: Callable[[], bool]) -> Iterator[None]:
        """Apply one config at a time, and only if its caller still waits."""
        end = time.monotonic() + RELOAD_WAIT_S
        taken = False
        try:
            while not taken:
                taken = self._reloading.acquire(timeout=LOOK_S)
                if self._stopped.is_set() or not wanted():
                    raise Status(grpc.StatusCode.CANCELLED, "the caller, or the server, ended before the config's turn")
                if not taken and time.monotonic() > end:
                    raise Status(
                        grpc.StatusCode.UNAVAILABLE, "the models of another new config are waited for; try again later"
                    )
            yield
        finally:
            if taken:
                self._reloading.release()

    def _wait(self, names: set[str], wanted: Callable[[], bool]) -> None:
        """Wait until the newest version of each model is AVAILABLE or has failed. Raise Status if one failed."""
        while not self._servables.wait(lambda: all(self._settled(name) for name in names), LOOK_S):
            if self._stopped.is_set():
                raise Status(grpc.StatusCode.CANCELLED, "the server was stopped before its models were available")
            if not wanted():
                raise Status(grpc.StatusCode.CANCELLED, "the caller does not wait any more; the models go on loading")
            self._poll_while_waiting()
        failed = []
        for name in sorted(names):
            newest = self._servables.newest(name)
            if newest and newest[1].state is State.END and newest[1].error:
                failed.append(f"{{{{name: {name} version: {newest[0]}}} due to error: {newest[1].error}}}, ")
        if failed:
            noun = "model(s)" if self._started else "servable(s)"  # the real server uses both words
            message = f"{len(failed)} {noun} did not become available: {{{''.join(failed)}}}"
            raise Status(grpc.StatusCode.UNKNOWN, message)

    def _poll_while_waiting(self) -> None:
        """Look for versions, because no thread does so before `start` has returned."""
        if not self._started and self.flags.file_system_poll_wait_seconds > 0:
            self._stopped.wait(max(0.0, self.flags.file_system_poll_wait_seconds - LOOK_S))
            self.poll()

    def _settled(self, name: str) -> bool:
        newest = self._servables.newest(name)
        return newest is not None and newest[1].state in (State.AVAILABLE, State.END)

    def _read_config(self) -> Any:
        if self.flags.model_config_file:
            return config.read_config(self.flags.model_config_file)
        return config.one_model(self.flags.model_name, self.flags.model_base_path)

    def _reread(self) -> None:
        try:
            self.reload(self._read_config())
        except (Status, StartError) as error:
            _log.error("the config is not put in force: %s", error)

    def _every(self, seconds: float, do: Callable[[], None], name: str) -> None:
        def run() -> None:
            while not self._stopped.wait(min(seconds, threading.TIMEOUT_MAX)):
                try:
                    do()
                except Exception:
                    _log.exception("looking for %s failed; the next look is in %s s", name, seconds)

        self._threads.append(threading.Thread(target=run, name=f"look-for-{name}", daemon=True))
        self._threads[-1].start()

    def _load(self, name: str, version: int, path: Path) -> LoadedModel:
        # warmup reads requests with predict, which stands on this module.
        from local_serving.warmup import warm_up

        _log.info("Loading servable version {name: %s version: %d} from %s", name, version, path)
        model = LoadedModel(name, version, path, self.flags, self._make_runner)
        if self.flags.enable_model_warmup:
            try:
                warm_up(model, self.flags.num_request_iterations_for_warmup)
            except BaseException:
                model.close()
                raise
        return model
