"""Decide which bandits' snapshots are due and may be published, and publish them.

A changed snapshot is due when the publish interval is over. An unchanged one is due at each heartbeat. At a stop or at
the end every snapshot is due. The first snapshot of a run waits until the run has caught up with the last snapshot of
the run before (see `catch_up`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.reward_stream.destinations.interface import Destination, VersionExists, publish
from pipelines.reward_stream.publishing.catch_up import Former, former_of, may_end, missing
from pipelines.reward_stream.publishing.ownership import refuse_another
from pipelines.reward_stream.publishing.snapshot import Content, bandit_content, document, stream_content
from pipelines.reward_stream.totals.counters import STREAM
from pipelines.reward_stream.totals.totals import Totals
from serving_client.snapshots.published import Owner
from transforms.errors import Refused

__all__ = ["Moment", "Pace", "Versions", "Written"]

# Removing old versions lists a whole folder; there is no hurry.
_PRUNE_INTERVAL_US = 600_000_000

_OVERTAKEN = "{bandit_id}: another run publishes to the same --snapshots; stop one of the two, or give it another place"


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """Hold how often things are written, in microseconds. `keep_us` is the age at which a snapshot is removed."""

    publish_interval_us: int = 10_000_000
    heartbeat_us: int = 30_000_000
    keep_us: int = 7 * 86_400_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Hold a time and a position of the input, in microseconds.

    Args:
        now_us: The clock.
        watermark_us: The watermark.
        newest_us: The largest event time read.
        final: Whether the input has ended.
        stop: Whether the run stops.
        heard_us: Clock per source when it last delivered.
    """

    now_us: int
    watermark_us: int
    newest_us: int
    final: bool
    stop: bool
    heard_us: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """Hold a published version. `at_us` is its published_at, microseconds since 1970."""

    version: int
    at_us: int
    content: Content


class Versions:
    """Publish the versions of all bandits' snapshots at one destination.

    Args:
        destination: Where to publish.
        totals: The totals to publish.
        pace: How often snapshots are written.
        publisher: Id of the stream. None in a bounded run.
        take_over: Whether to publish even if another stream is publishing.
    """

    def __init__(
        self,
        destination: Destination,
        totals: Totals,
        pace: Pace,
        publisher: str | None = None,
        *,
        take_over: bool = False,
    ) -> None:
        self._destination = destination
        self._totals = totals
        self._pace = pace
        self._publisher = publisher
        self._take_over = take_over
        self._changed: set[str] = set()
        self._written_us: dict[str, int] = {}
        self._former: dict[str, Former | None] = {}
        # Per bandit the fewest decisions that were missing of the last snapshot, and since when.
        self._missing: dict[str, tuple[int, int]] = {}
        self._rolled_back: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._ended: set[str] = set()
        # Where the last attempt succeeded: after a failed one the version may be there or not.
        self._next: dict[str, int] = {}
        self._pruned_us: int | None = None

    def meet(self, now_us: int) -> list[str]:
        """Read the last snapshots that have not been read yet. Nothing is published before.

        Args:
            now_us: The clock, microseconds.

        Returns:
            One sentence per snapshot that could not be read.

        Raises:
            Refused: Another stream publishes to the same place.
        """
        failures = []
        for bandit_id in self._bandit_ids():
            if bandit_id in self._former:
                continue
            try:
                former = self._read_former(bandit_id, now_us)
            except Refused:
                raise
            except Exception as error:  # a destination may raise what it likes, and be better next time
                failures.append(f"{bandit_id}: the last snapshot cannot be read, nothing is published before: {error}")
                continue
            self._former[bandit_id] = former
            if former is not None:
                self._rolled_back[bandit_id] = former.rolled_back
                self._totals.admit(bandit_id, former.policy_epoch, sorted({key[0] for key in former.counts}))
        return failures

    def change(self, bandit_ids: set[str]) -> None:
        """Note that totals changed."""
        self._changed |= bandit_ids

    def publish(self, moment: Moment) -> tuple[list[Written], list[str], list[str]]:
        """Publish what is due. `meet` comes first.

        Args:
            moment: The time and position of the input.

        Returns:
            Published versions, one sentence per failure, and the bandits that are held.

        Raises:
            Refused: Another writer publishes to the same place.
        """
        written: list[Written] = []
        failures: list[str] = []
        held: list[str] = []
        for bandit_id in self._bandit_ids():
            if bandit_id not in self._former or not self._is_due(bandit_id, moment):
                continue
            try:
                content = self._content(bandit_id, moment)
            except Exception as error:  # one bandit's odd numbers must not keep the others from their routers
                failures.append(f"{bandit_id}: the snapshot could not be made: {type(error).__name__}: {error}")
                continue
            if content is None:
                held.append(bandit_id)
                continue
            make_document = functools.partial(_make_document, content, moment.now_us, self._next.pop(bandit_id, None))
            try:
                if bandit_id not in self._written_us:  # another stream may have begun since `meet`
                    self._read_former(bandit_id, moment.now_us)
                version = publish(self._destination, bandit_id, make_document, self._owner(moment))
            except VersionExists as error:
                raise Refused(_OVERTAKEN.format(bandit_id=bandit_id)) from error
            except Refused:
                raise
            except Exception as error:  # as above; totals stay, and the next tick publishes them
                failures.append(f"{bandit_id}: the snapshot was not published, trying again: {error}")
                continue
            self._note(content, version, moment)
            written.append(Written(version, moment.now_us, content))
        return written, failures, held

    def prune(self, now_us: int) -> list[str]:
        """Remove old versions, at most once per 10 minutes.

        Args:
            now_us: The clock, microseconds.

        Returns:
            One sentence per failure.
        """
        if self._pruned_us is not None and 0 <= now_us - self._pruned_us < _PRUNE_INTERVAL_US:
            return []
        self._pruned_us = now_us
        failures = []
        for bandit_id in self._bandit_ids():
            try:
                self._destination.prune(bandit_id, now_us - self._pace.keep_us)
            except Exception as error:  # as above; the next prune removes them
                failures.append(f"{bandit_id}: old snapshots were not removed, trying again: {error}")
        return failures

    def _bandit_ids(self) -> Iterator[str]:
        yield from self._totals.bandits.bandits
        yield STREAM

    def _read_former(self, bandit_id: str, now_us: int) -> Former | None:
        published = self._destination.latest(bandit_id)
        if self._publisher is not None and not self._take_over:
            refuse_another(bandit_id, published, self._publisher, now_us)
        return former_of(published)

    def _owner(self, moment: Moment) -> Owner | None:
        if self._publisher is None:
            return None
        return Owner(self._publisher, 0 if moment.final or moment.stop else self._pace.heartbeat_us / 1e6)

    def _is_due(self, bandit_id: str, moment: Moment) -> bool:
        if moment.final or moment.stop:
            return bandit_id not in self._ended
        if bandit_id not in self._written_us:
            return True
        waited_us = moment.now_us - self._written_us[bandit_id]
        if waited_us < 0:  # the clock was set back
            return True
        changed = bandit_id in self._changed
        return waited_us >= (
            min(self._pace.publish_interval_us, self._pace.heartbeat_us) if changed else self._pace.heartbeat_us
        )

    def _content(self, bandit_id: str, moment: Moment) -> Content | None:
        """Return what to publish, None while it would fall behind what the run before published."""
        former = None if bandit_id in self._written_us else self._former[bandit_id]
        if former is not None and not moment.final and moment.watermark_us < former.watermark_us:
            return None
        totals = self._totals
        if bandit_id == STREAM:
            content = stream_content(
                totals.bandits, totals.live, moment.watermark_us, final=moment.final, heard_us=moment.heard_us
            )
        else:
            content = bandit_content(
                totals.bandits.bandits[bandit_id],
                totals.live,
                moment.watermark_us,
                final=moment.final,
                rolled_back=self._rolled_back.get(bandit_id, ()),
            )
        if former is None:
            return content
        if moment.final:
            return content if may_end(former, content, moment.newest_us) else None
        return None if self._waits_for_decisions(former, content, moment.now_us) else content

    def _waits_for_decisions(self, former: Former, content: Content, now_us: int) -> bool:
        """Return whether decisions of the last snapshot are missing and may still be read.

        The wait ends after a heartbeat in which none of them was read.
        """
        short = missing(former, content)
        if not short:
            return False
        least, since_us = self._missing.get(content.bandit_id, (short + 1, now_us))
        if short < least or now_us < since_us:
            since_us = now_us
        self._missing[content.bandit_id] = min(short, least), since_us
        return now_us - since_us < self._pace.heartbeat_us

    def _in_step(self, bandit_id: str, now_us: int) -> int:
        """Return when this version was due. Ticks come a little later, which must not add up to a longer interval."""
        before_us, interval_us = self._written_us.get(bandit_id), self._pace.publish_interval_us
        if before_us is None or not 0 <= now_us - before_us < 2 * interval_us:
            return now_us
        return before_us + (now_us - before_us) // interval_us * interval_us

    def _note(self, content: Content, version: int, moment: Moment) -> None:
        bandit_id = content.bandit_id
        self._next[bandit_id] = version + 1
        self._written_us[bandit_id] = self._in_step(bandit_id, moment.now_us)
        self._changed.discard(bandit_id)
        self._rolled_back[bandit_id] = content.rolled_back
        if moment.final or moment.stop:
            self._ended.add(bandit_id)


def _make_document(content: Content, now_us: int, expected: int | None, version: int) -> bytes:
    """Encode a version.

    Raise Refused if another writer has published since this one did, so that only the newer run goes on.
    """
    if expected is not None and version != expected:
        raise Refused(_OVERTAKEN.format(bandit_id=content.bandit_id))
    return document(content, version, now_us)
