"""When is what published: ticks to snapshots and checkpoints, in the order of the input.

Everything comes in as steps of shards and reports of the source. A whole tick is folded into the totals; then dead
letters, snapshots and a checkpoint are written as far as they are due, in this order: a checkpoint must not cover a
dead letter that nobody wrote. Whatever refuses is tried again at the next tick; nothing is lost meanwhile, since
snapshots hold totals, not increments.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from pipelines.reward_stream.destinations.interface import Destination
from pipelines.reward_stream.publishing.checkpoint import Checkpoint, CheckpointStore
from pipelines.reward_stream.publishing.state import PublisherState
from pipelines.reward_stream.publishing.tick_assembly import Ticks
from pipelines.reward_stream.publishing.versions import Moment, Versions, Written
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.totals.totals import Totals, outcomes_of
from serving_client.contracts.bandits import Bandits
from serving_client.contracts.times import AFTER_ALL_US, BEFORE_ALL_US
from transforms.attribution.joining.delta import FoldResult
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput

__all__ = ["Pace", "Publisher", "PublisherProgress"]


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How often things are written, microseconds. keep: the age at which a snapshot is removed."""

    publish_interval_us: int = 10_000_000
    heartbeat_us: int = 30_000_000
    keep_us: int = 7 * 86_400_000_000


@dataclasses.dataclass(slots=True)
class PublisherProgress:
    """What a call did. failures: sentences about what was refused and will be tried again.

    versions: published. held: bandits whose snapshot waits until the run has caught up with the last one. outcomes: net
    changes over all bandits. records_read, lines_bad: of the source. watermark_us, lag_us (clock minus watermark): None
    before there is one. pending, open_decisions, open_rewards, late_files, files_unreadable: as of the last tick,
    None if there was none.
    ended: no tick comes after this one.
    """

    ticks: int = 0
    versions: list[Written] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    held: list[str] = dataclasses.field(default_factory=list)
    checkpoints: int = 0
    dead_letters: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    records_read: int = 0
    lines_bad: int = 0
    watermark_us: int | None = None
    lag_us: int | None = None
    pending: int | None = None
    open_decisions: int | None = None
    open_rewards: int | None = None
    late_files: int | None = None
    files_unreadable: int | None = None
    ended: bool = False


class Publisher:
    """Takes steps and reports, each sender's in its order; publishes and saves what is due.

    clock: microseconds since 1970. store: where checkpoints go, None without --state. checkpoint: what was found
    there. state: what an engine kept, with `bandits` what its rules say; either, not both. write_dead_letters: gets the
    number of the tick, -1 in a bounded run, and letters; called before a checkpoint covers them, and maybe again with
    the same letters.
    """

    def __init__(
        self,
        destination: Destination,
        bandits: Bandits,
        clock: Callable[[], int],
        pace: Pace,
        shards: int,
        write_dead_letters: Callable[[int, Sequence[DeadLetter]], None],
        store: CheckpointStore | None = None,
        checkpoint: Checkpoint | None = None,
        state: PublisherState | None = None,
    ) -> None:
        if checkpoint is not None and state is not None:
            raise ValueError("a publisher goes on from a checkpoint or from an engine's state, not from both")
        self._clock = clock
        self._store = store
        self._write_dead_letters = write_dead_letters
        self._totals = (
            Totals.resumed(bandits, checkpoint) if checkpoint else Totals(bandits, state.totals if state else None)
        )
        self._versions = Versions(destination, self._totals, pace.publish_interval_us, pace.heartbeat_us, pace.keep_us)
        self._ticks = Ticks(shards, state.seq if state else -1)
        self._letters: list[DeadLetter] = list(state.letters) if state else []
        for message in state.waiting if state else ():
            self._ticks.add(message)
        self._rules = state.rules if state else None
        self._report: SourceReport | None = None
        self._moment: Moment | None = None
        self._saved_seq: int | None = None

    def offer(self, step: FoldResult) -> PublisherProgress:
        """Take a shard's step. Raises Refused if another writer publishes to the same place."""
        self._ticks.add(step)
        return self._take_ticks()

    def offer_report(self, report: SourceReport) -> PublisherProgress:
        """Take the source's report. Raises Refused if another writer publishes to the same place."""
        self._ticks.add(report)
        return self._take_ticks()

    def recall(self, message: FoldResult | SourceReport) -> None:
        """Take a message that was offered before, to an instance that is gone; the next offer goes on from it."""
        self._ticks.add(message)

    def finish(
        self, steps: Sequence[FoldResult], reports: Sequence[SourceReport], max_bad_fraction: float = 1.0
    ) -> PublisherProgress:
        """The end of bounded input, which has no ticks: everything at once, then a final snapshot.

        It is published whatever was there: a bounded run counts anew on purpose. Raises Refused as `offer` does, and
        BadInput if more than that fraction of the lines is malformed; then only dead letters are written.
        """
        progress = PublisherProgress()
        self._add(reports, steps, progress)
        if progress.lines_bad > max_bad_fraction * progress.records_read:
            self._bury(progress)
            raise BadInput(
                f"{progress.lines_bad} of {progress.records_read} lines are malformed, more than --max_bad_fraction="
                f"{max_bad_fraction}; nothing was published, see --dead_letters for which and why"
            )
        watermark_us = max((report.maturing_us for report in reports), default=BEFORE_ALL_US)
        self._moment = Moment(self._clock(), watermark_us, newest_us=AFTER_ALL_US, final=True, stop=True)
        self._settle(progress)
        return progress

    def flush(self) -> PublisherProgress:
        """Try again what a final tick, a stop or `finish` could not write, since no tick comes after it.

        There is nothing more to do once the progress has no failures.
        """
        progress = PublisherProgress()
        if self._moment is not None:
            self._moment = dataclasses.replace(self._moment, now_us=self._clock())
        self._settle(progress)
        return progress

    def state(self) -> PublisherState:
        """What an engine must keep; `Publisher(state=…)` goes on from it."""
        return PublisherState(
            self._totals.to_state(),
            self._rules,
            self._ticks.handed_out,
            tuple(self._ticks.waiting()),
            tuple(self._letters),
        )

    def _take_ticks(self) -> PublisherProgress:
        """Fold every tick that is whole; write once, at the last of them."""
        progress = PublisherProgress()
        for report, steps in self._ticks.whole():
            self._add([report], steps, progress)
            self._report = report
            self._moment = Moment(self._clock(), report.maturing_us, report.newest_us, report.final, report.stop)
            progress.ticks += 1
            if report.state is not None:  # closed totals are those of this tick now, and not after the next
                self._settle(progress)
        if progress.ticks:
            self._settle(progress)
        return progress

    def _add(self, reports: Sequence[SourceReport], steps: Sequence[FoldResult], progress: PublisherProgress) -> None:
        self._versions.change(self._totals.add(reports, steps))
        for report in reports:
            self._rules = report.rules or self._rules
        for letters in (*(report.dead_letters for report in reports), *(step.dead_letters for step in steps)):
            self._letters += letters
        progress.outcomes.update(outcomes_of(reports, steps))
        progress.records_read += sum(report.records_read for report in reports)
        progress.lines_bad += sum(report.lines_bad for report in reports)
        progress.late_files = max((report.late_files for report in reports), default=progress.late_files)
        progress.files_unreadable = max((report.files_unreadable for report in reports), default=None)
        progress.pending = self._totals.live.standings.pending()
        latest = {step.shard: step for step in steps}.values()
        progress.open_decisions = sum(step.open_decisions for step in latest)
        progress.open_rewards = sum(step.open_rewards for step in latest)

    def _settle(self, progress: PublisherProgress) -> None:
        """Write what is due at this moment."""
        moment = self._moment
        if moment is None:
            return
        progress.ended = moment.final or moment.stop
        if moment.watermark_us > BEFORE_ALL_US // 2:
            progress.watermark_us, progress.lag_us = moment.watermark_us, moment.now_us - moment.watermark_us
        self._bury(progress)
        if self._letters and moment.final and self._report is None:  # a bounded run: all of it, or it failed
            return
        written, failures, progress.held = self._versions.publish(moment)
        progress.versions += written
        progress.failures += failures
        if written:
            self._totals.prune()
        self._save(progress)
        if not moment.final and not moment.stop:
            progress.failures += self._versions.prune(moment.now_us)

    def _bury(self, progress: PublisherProgress) -> None:
        """Write the dead letters; while that fails they wait, and checkpoints with them."""
        if not self._letters:
            return
        try:
            self._write_dead_letters(self._ticks.handed_out, self._letters)
        except Exception as error:  # a store may raise what it likes, and be better next time
            progress.failures.append(f"{len(self._letters)} dead letters were not written, trying again: {error}")
        else:
            progress.dead_letters += len(self._letters)
            self._letters = []

    def _save(self, progress: PublisherProgress) -> None:
        """A checkpoint, if one is due and the dead letters that it covers are written."""
        report = self._report
        if self._store is None or self._letters or report is None or report.state is None:
            return
        if self._saved_seq == report.seq:
            return
        try:
            self._store.save(self._totals.checkpoint(report.cut_us, report.state))
        except Exception as error:  # as above
            progress.failures.append(f"the checkpoint was not saved, trying again: {error}")
        else:
            self._saved_seq = report.seq
            progress.checkpoints += 1
