"""Turn ticks into snapshots and checkpoints, in the order of the input.

The input consists of results of shards and reports of the source. A whole tick is folded into the totals. Then dead
letters, snapshots and a checkpoint are written if they are due, in this order, because a checkpoint must not cover an
unwritten dead letter. A write that fails is tried again at the next tick. Nothing is lost meanwhile, since snapshots
hold totals and not increments.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pipelines.reward_stream.destinations.interface import Destination
from pipelines.reward_stream.publishing.checkpoint import Checkpoint, CheckpointStore
from pipelines.reward_stream.publishing.state import PublisherState
from pipelines.reward_stream.publishing.tick_assembly import Ticks
from pipelines.reward_stream.publishing.versions import Moment, Pace, Versions, Written
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.totals.totals import Totals, outcomes_of
from serving_client.contracts.bandits import Bandits
from serving_client.contracts.times import AFTER_ALL_US, BEFORE_ALL_US
from transforms.attribution.joining.delta import FoldResult
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput

__all__ = ["Publisher", "PublisherProgress"]


@dataclasses.dataclass(slots=True)
class PublisherProgress:
    """Hold what a call did.

    Args:
        ticks: Number of whole ticks that were folded.
        versions: Published versions.
        failures: Sentences about writes that failed and will be tried again.
        held: Bandits whose snapshot waits until the run has caught up with the last one.
        checkpoints: Number of saved checkpoints.
        dead_letters: Number of dead letters written.
        outcomes: Net changes of outcomes over all bandits.
        records_read: Records that the source read.
        lines_bad: Malformed lines that the source read.
        watermark_us: The watermark, microseconds. None before there is one.
        lag_us: The clock minus the watermark, microseconds. None before there is a watermark.
        pending: Pending decisions as of the last tick. None without a tick.
        open_decisions: Decisions held by the shards as of the last tick. None without a tick.
        open_rewards: Rewards held by the shards as of the last tick. None without a tick.
        late_files: Files whose records were all late as of the last tick. None without a tick.
        files_unreadable: Files set aside as of the last tick. None without a tick.
        files_reread: How often a file was read again as new, as of the last tick. None without a tick.
        heard_us: Clock per source when it last delivered, microseconds. None without a tick.
        ended: Whether no tick comes after this one.
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
    files_reread: int | None = None
    heard_us: Mapping[str, int] | None = None
    ended: bool = False


class Publisher:
    """Publish and save what is due, given the results and reports of each sender in order.

    Args:
        destination: Where snapshots are published.
        bandits: The bandits file.
        clock: Returns microseconds since 1970.
        pace: How often things are written.
        shards: Number of shards.
        write_dead_letters: Receives the number of the tick (-1 in a bounded run) and the letters. It is called before a
            checkpoint covers the letters, and possibly again with the same letters.
        store: Where checkpoints are saved. None without --state.
        checkpoint: Checkpoint to continue from.
        state: Engine's state to continue from. Then `bandits` must match its rules.
        publisher: Id of the stream. None in a bounded run.
        take_over: Whether to publish even if another stream is publishing.

    Raises:
        ValueError: Both a checkpoint and a state are given.
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
        publisher: str | None = None,
        *,
        take_over: bool = False,
    ) -> None:
        if checkpoint is not None and state is not None:
            raise ValueError("a publisher goes on from a checkpoint or from an engine's state, not from both")
        self._clock = clock
        self._store = store
        self._write_dead_letters = write_dead_letters
        self._totals = (
            Totals.resumed(bandits, checkpoint) if checkpoint else Totals(bandits, state.totals if state else None)
        )
        self._versions = Versions(destination, self._totals, pace, publisher, take_over=take_over)
        self._ticks = Ticks(shards, state.seq if state else -1)
        self._letters: list[DeadLetter] = list(state.letters) if state else []
        for message in state.waiting if state else ():
            self._ticks.add(message)
        self._rules = state.rules if state else None
        self._report: SourceReport | None = None
        self._moment: Moment | None = None
        self._saved_seq: int | None = None

    def offer(self, message: FoldResult | SourceReport) -> PublisherProgress:
        """Take a shard's result of a block, or the source's report.

        Args:
            message: The result or report.

        Returns:
            What was written.

        Raises:
            Refused: Another writer publishes to the same place.
        """
        self._ticks.add(message)
        return self._take_ticks()

    def recall(self, message: FoldResult | SourceReport) -> None:
        """Take a message that an earlier instance received. The next offer continues from it."""
        self._ticks.add(message)

    def finish(
        self, results: Sequence[FoldResult], reports: Sequence[SourceReport], max_bad_fraction: float = 1.0
    ) -> PublisherProgress:
        """Take the whole bounded input, which has no ticks, and publish a final snapshot.

        The snapshot is published even over an existing one, since a bounded run recounts on purpose.

        Args:
            results: Steps of all shards.
            reports: Reports of the source.
            max_bad_fraction: Largest fraction of malformed lines that is accepted.

        Returns:
            What was written.

        Raises:
            Refused: Another writer publishes to the same place.
            BadInput: Too many lines are malformed. Only dead letters were written.
        """
        progress = PublisherProgress()
        self._add(reports, results, progress)
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
        """Retry the writes that failed at a final tick, a stop or `finish`, since no tick comes after it.

        Returns:
            What was written. Nothing is left to do once it has no failures.
        """
        progress = PublisherProgress()
        if self._moment is not None:
            self._moment = dataclasses.replace(self._moment, now_us=self._clock())
        self._settle(progress)
        return progress

    def state(self) -> PublisherState:
        """Return the state that an engine keeps. `Publisher(state=…)` continues from it."""
        return PublisherState(
            self._totals.to_state(),
            self._rules,
            self._ticks.handed_out,
            tuple(self._ticks.waiting()),
            tuple(self._letters),
        )

    def _take_ticks(self) -> PublisherProgress:
        """Fold every whole tick and write once, at the last of them."""
        progress = PublisherProgress()
        for report, results in self._ticks.whole():
            self._add([report], results, progress)
            self._report = report
            self._moment = Moment(
                self._clock(), report.maturing_us, report.newest_us, report.final, report.stop, report.heard_us
            )
            progress.heard_us, progress.files_reread = report.heard_us, report.files_reread
            progress.ticks += 1
            if report.state is not None:  # closed totals are those of this tick now, and not after the next
                self._settle(progress)
        if progress.ticks:
            self._settle(progress)
        return progress

    def _add(self, reports: Sequence[SourceReport], results: Sequence[FoldResult], progress: PublisherProgress) -> None:
        self._versions.change(self._totals.add(reports, results))
        for report in reports:
            self._rules = report.rules or self._rules
        for letters in (*(report.dead_letters for report in reports), *(result.dead_letters for result in results)):
            self._letters += letters
        progress.outcomes.update(outcomes_of(reports, results))
        progress.records_read += sum(report.records_read for report in reports)
        progress.lines_bad += sum(report.lines_bad for report in reports)
        progress.late_files = max((report.late_files for report in reports), default=progress.late_files)
        progress.files_unreadable = max((report.files_unreadable for report in reports), default=None)
        progress.pending = self._totals.live.standings.pending()
        latest = {result.shard: result for result in results}.values()
        progress.open_decisions = sum(result.open_decisions for result in latest)
        progress.open_rewards = sum(result.open_rewards for result in latest)

    def _settle(self, progress: PublisherProgress) -> None:
        """Write what is due now."""
        moment = self._moment
        if moment is None:
            return
        progress.ended = moment.final or moment.stop
        if moment.watermark_us > BEFORE_ALL_US // 2:
            progress.watermark_us, progress.lag_us = moment.watermark_us, moment.now_us - moment.watermark_us
        progress.failures += self._versions.meet(moment.now_us)  # a refused start writes nothing
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
        """Write the dead letters. If that fails, they wait, and so do checkpoints."""
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
        """Save a checkpoint if one is due and the dead letters that it covers are written."""
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
