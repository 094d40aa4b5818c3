"""The router: which arm a request gets, by the bandit's policy and the newest statistics.

    with Router("bandits.yaml", snapshots="s3://bucket/snapshots", log="/var/log/recbeam") as router:
        decision = router.route("home_row", {"plan": "free"}, user_key="u42")
        …  # show what the model decision.arm.model recommends
        router.log(decision, items=["c07", "c12"])
        router.record(decision.decision_id, "click", item_id="c07", position=0)

`route` does no I/O. Background threads read the bandits file and the snapshots, and write the logs.
"""

from __future__ import annotations

import collections
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

from serving_client.contracts.bandits import Bandit, Bandits
from serving_client.contracts.times import wall_clock_us
from serving_client.router.bandit_set import BanditSet
from serving_client.router.counts import RouterCounts
from serving_client.router.decision import Decision
from serving_client.router.decision_log import DecisionLog
from serving_client.router.faults import Faults
from serving_client.router.ids import DecisionKeys, new_id
from serving_client.router.log_files import LogFiles
from serving_client.router.log_series import LogKeep
from serving_client.router.logs import KINDS, lost_of, open_log
from serving_client.router.rewards import RewardRecorder
from serving_client.router.sources import Snapshots, Sources
from serving_client.router.users import UserKeys
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["Router"]


class Router:
    """Draws arms and logs decisions and rewards. Thread-safe, and usable in a child process after a fork.

    Args:
        bandits: Path of the bandits file, which is read again every `bandits_poll_s`, or its content.
        snapshots: Where reward_stream publishes: a folder, `s3://`, `gs://`, `http(s)://`, `dynamodb://` or `redis://`.
            A `SnapshotFollower` may be passed instead. Without snapshots every decision is the default arm.
        log: Folder for log files of decisions and rewards, or a function that takes the kind and a line. Without it
            nothing is logged.
        log_keep_s: Age in seconds from which log files are removed. None removes nothing.
        disk: Folder for a copy of the last snapshots, which a restarted process uses while the store cannot be read.
        keys: Keys that sign decision ids. None leaves the ids unsigned.
        user_key_secret: Secret key of at least 16 bytes. With it, `user_key` is the platform's id of the user, and only
            its keyed hash is used and logged.
        poll_interval_s: Mean seconds between two looks at the snapshots.
        bandits_poll_s: Mean seconds between two looks at the bandits file.
        clock_us: Wall clock, microseconds since 1970.
        uniform: Random numbers in [0, 1). By default a generator of this router's own.

    Raises:
        BanditsError: The bandits file is invalid.
        ValueError: The secret has fewer than 16 bytes.
        AddressError: The address of the snapshots is invalid.
        MissingExtra: The library that reads the snapshots is not installed.
    """

    def __init__(
        self,
        bandits: Bandits | str | os.PathLike[str],
        *,
        snapshots: str | os.PathLike[str] | Snapshots | None = None,
        log: str | os.PathLike[str] | Callable[[str, bytes], object] | None = None,
        log_keep_s: float | None = None,
        disk: str | os.PathLike[str] | None = None,
        keys: DecisionKeys | None = None,
        user_key_secret: bytes | None = None,
        poll_interval_s: float = 5.0,
        bandits_poll_s: float = 30.0,
        clock_us: Callable[[], int] = wall_clock_us,
        uniform: Callable[[], float] | None = None,
    ) -> None:
        self._keys, self._clock_us = keys, clock_us
        self._random = random.Random()
        self._faults = Faults()
        self._user_keys = UserKeys(user_key_secret, self._faults)
        self._lock = threading.Lock()
        self._decided: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._bandits = BanditSet(self._random.random if uniform is None else uniform, self._faults)
        self._sources = Sources(
            bandits,
            snapshots,
            disk=disk,
            poll_interval_s=poll_interval_s,
            bandits_poll_s=bandits_poll_s,
            clock_us=clock_us,
            faults=self._faults,
            on_bandits=self.take,
            on_snapshot=self.prepare,
        )
        content = self._sources.content
        self._bandits.take(content)
        self._logs = {kind: open_log(log, kind, clock_us) for kind in KINDS}
        self._log_keep_s = log_keep_s
        self._keep_logs(content)
        self._decisions = DecisionLog(self._logs["decisions"], self._faults)
        self._rewards = RewardRecorder(self._logs["rewards"], content, keys=keys, clock_us=clock_us)
        self._sources.start()
        _ROUTERS.add(self)

    def route(
        self,
        bandit: str,
        context: Mapping[str, Any] | None = None,
        *,
        eligible: Collection[str] | None = None,
        user_key: str | None = None,
    ) -> Decision:
        """Draw an arm. This does no I/O and logs nothing.

        Args:
            bandit: Name of the bandit.
            context: Values of the bandit's segment and feature keys. Other keys are ignored.
            eligible: Arms that may be drawn. None allows all of them.
            user_key: Key of the user. None for an anonymous request.

        Raises:
            UnknownBandit: The bandits file does not have the bandit.
        """
        one = self._bandits[bandit]
        held = self._sources.snapshots.held(bandit)
        decision_id = new_id()
        decision = one.decide(
            decision_id if self._keys is None else self._keys.sign(bandit, decision_id),
            self._clock_us(),
            held.rung,
            None if held.rung == "default" else held.snapshot,
            context,
            eligible,
            self._user_keys.key(bandit, user_key) if user_key else None,
        )
        with self._lock:
            self._decided[bandit, decision.arm_id, decision.rung] += 1
        return decision

    def log(
        self,
        decision: Decision,
        *,
        served_by: str | None = None,
        items: Sequence[str] = (),
        model_version: int | str | None = None,
        fallback_reason: str | None = None,
        bot: bool = False,
    ) -> bool:
        """Log a decision, without waiting.

        Args:
            decision: A decision that is not logged yet.
            served_by: Arm whose model filled the page, or `popularity`. By default `decision.served_by`.
            items: Ids of the shown items. A reward's position is an index into them.
            model_version: Version of the model that filled the page.
            fallback_reason: Why the drawn arm did not fill the page.
            bot: Whether the request came from a bot. Bots count in no statistics.

        Returns:
            Whether the line was queued. A line that does not fit is dropped and counted.

        Raises:
            AlreadyLogged: The decision was logged before.
            ValueError: `served_by` is neither an arm nor `popularity`.
        """
        return self._decisions.write(decision, served_by, items, model_version, fallback_reason, bot)

    def record(
        self,
        decision_id: str,
        kind: str,
        value: float = 1,
        item_id: str | None = None,
        position: int | None = None,
        event_id: str | None = None,
        occurred_at: int | str | None = None,
        *,
        bandit_id: str | None = None,
    ) -> bool:
        """Log a reward, without waiting. `RewardRecorder.record` describes the arguments.

        Raises:
            Forged: The id is not signed for this bandit.
            ValueError: An argument is invalid, or `event_id` is missing although a bandit sums this kind.
        """
        return self._rewards.record(
            decision_id, kind, value, item_id, position, event_id, occurred_at, bandit_id=bandit_id
        )

    def bandit(self, bandit: str) -> Bandit:
        """Return a bandit as the bandits file has it now.

        Raises:
            UnknownBandit: The bandits file does not have the bandit.
        """
        return self._bandits[bandit].bandit

    def wait_until_ready(self, timeout_s: float = 5.0) -> bool:
        """Wait until every bandit has a usable snapshot. A service may call this before it takes requests.

        Args:
            timeout_s: Longest wait in seconds.

        Returns:
            Whether every bandit has one. Without it, decisions are the default arm.
        """
        end_s = time.monotonic() + timeout_s
        while not (ready := self._sources.all_held()) and time.monotonic() < end_s:
            time.sleep(0.01)
        return ready

    def take(self, bandits: Bandits) -> None:
        """Use new content of the bandits file. A router that was given a path does this by itself.

        A bandit that is no longer in the content is kept, so that its requests are answered.
        """
        self._bandits.take(bandits)
        content = self._rewards.bandits = self._bandits.content()
        self._sources.follow(content)
        self._keep_logs(content)

    def prepare(self, snapshot: Snapshot) -> None:
        """Compute what requests will need of a snapshot that will be used next.

        The follower of a router that was given an address does this. Pass it as `on_new` to a follower of your own.
        """
        self._bandits.prepare(snapshot)

    def counts(self) -> RouterCounts:
        """Return what this process has counted, for metrics."""
        with self._lock:
            decided = dict(self._decided)
        return RouterCounts(
            decisions=decided,
            fallbacks=self._decisions.fallbacks(),
            computed=self._bandits.computed(),
            faults=self._faults.counts(),
            rejected=dict(self._rewards.rejected),
            lost={(kind, reason): lines for kind, log in self._logs.items() for reason, lines in lost_of(log).items()},
            followed=self._sources.status(),
        )

    def close(self) -> None:
        """End the background threads that this router started, and write what is queued. Idempotent."""
        self._sources.close()
        for log in self._logs.values():
            log.close()

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep_logs(self, content: Bandits) -> None:
        for log in self._logs.values():
            if self._log_keep_s is not None and isinstance(log, LogFiles):
                log.keep = LogKeep(round(self._log_keep_s * 1e6), content)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._random.seed()
        self._faults.forked()
        self._decisions.forked()


_ROUTERS: weakref.WeakSet[Router] = weakref.WeakSet()


def _forked() -> None:
    for router in list(_ROUTERS):
        router._forked()


os.register_at_fork(after_in_child=_forked)
