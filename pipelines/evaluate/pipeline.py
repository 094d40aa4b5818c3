"""The three graphs of evaluate, wiring only: split the log; read train and holdout; fit, rank and sum.

Reading and scoring are apart because the main process looks at the file reports between them: no model is fitted on
an input that is about to be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToList
from apache_beam.utils.shared import Shared

from pipelines.evaluate import workspace
from pipelines.evaluate.dataset import build, compact
from pipelines.evaluate.holdout import read_given
from pipelines.evaluate.models import ModelSource
from pipelines.evaluate.scoring import Arena, Fitted, fit, load_arena, score_block
from pipelines.evaluate.split_files import divide_block, write_shard
from pipelines.evaluate.splitting import SplitRule, merge_times, time_counts
from pipelines.evaluate.sums import Sums, merge
from transforms.dead_letters import WriteDeadLetters
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import FileReport, Read, ReadInteractions

__all__ = [
    "ReadGiven",
    "ScoreBlocksFn",
    "StoreList",
    "build_read",
    "build_score",
    "build_split",
    "tagged_given",
    "times_of",
]


def build_split(
    root: beam.Pipeline, files: Sequence[InputFile], format: InteractionFormat, rule: SplitRule, output: str, work: str
) -> None:
    """Interactions to train and holdout files under `output`; counts and reports go to `work`."""
    read = root | "ReadInteractions" >> ReadInteractions(files, format)
    _ = read.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters")
    _ = read.reports | "StoreReports" >> StoreList(work, "reports")
    counted = read.blocks | "CountTimes" >> beam.FlatMap(times_of)
    times = beam.pvalue.AsSingleton(counted | "MergeTimes" >> beam.CombineGlobally(merge_times))
    pieces = read.blocks | "DivideRows" >> beam.FlatMap(divide_block, rule, times)
    shards = pieces | "GroupByShard" >> beam.GroupByKey()
    counts = shards | "WriteShards" >> beam.Map(write_shard, rule, times, output)
    _ = counts | "StoreCounts" >> StoreList(work, "counts")


def build_read(
    root: beam.Pipeline,
    train: Sequence[InputFile],
    holdout: Sequence[InputFile],
    given: bool,
    format: InteractionFormat,
    protocol: str | None,
    output: str,
    work: str,
) -> None:
    """Train and holdout files to the stored dataset. given: the holdout has that column."""
    rows = root | "ReadTrain" >> ReadInteractions(train, format)
    asked = root | "ReadHoldout" >> (ReadGiven(holdout, format) if given else ReadInteractions(holdout, format))
    _ = rows.rejected | "WriteTrainDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters/train")
    _ = rows.reports | "StoreTrainReports" >> StoreList(work, "train-reports")
    _ = asked.rejected | "WriteHoldoutDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters/holdout")
    _ = asked.reports | "StoreHoldoutReports" >> StoreList(work, "holdout-reports")
    train_blocks = rows.blocks | "CompactTrain" >> beam.Map(compact, holdout=False)
    holdout_blocks = asked.blocks | "CompactHoldout" >> beam.Map(compact, holdout=True)
    blocks = (train_blocks, holdout_blocks) | "AllRows" >> beam.Flatten() | "GatherRows" >> ToList()
    dataset = blocks | "BuildDataset" >> beam.Map(build, protocol)
    _ = dataset | "StoreDataset" >> beam.Map(workspace.put, work, "dataset")


def build_score(
    root: beam.Pipeline,
    blocks: Sequence[tuple[int, int]],
    names: Sequence[str],
    sources: Sequence[ModelSource],
    baselines: Sequence[str],
    ks: Sequence[int],
    ease_lambda: float,
    tune: bool,
    work: str,
) -> None:
    """The stored dataset to the stored sums of all models. baselines: kinds to fit first, as `scoring.fit`."""
    kinds = root | "Baselines" >> beam.Create(list(baselines), reshuffle=False)
    fitted = kinds | "FitBaselines" >> beam.Map(fit, work, ease_lambda, tune)
    _ = fitted | "StoreFitted" >> StoreList(work, "fitted")
    users = root | "UserBlocks" >> beam.Create(list(blocks))
    scorer = ScoreBlocksFn(work, tuple(names), tuple(sources), tuple(ks))
    scored = users | "ScoreBlocks" >> beam.ParDo(scorer, beam.pvalue.AsList(fitted))
    sums = scored | "SumBlocks" >> beam.CombineGlobally(merge).without_defaults()
    _ = sums | "StoreSums" >> beam.Map(workspace.put, work, "sums")


class ScoreBlocksFn(beam.DoFn):
    """A block of users to its Sums. The models are loaded once per process, after the baselines are fitted."""

    def __init__(
        self, work: str, names: tuple[str, ...], sources: tuple[ModelSource, ...], ks: tuple[int, ...]
    ) -> None:
        self._work, self._names, self._sources, self._ks = work, names, sources, ks
        self._shared = Shared()

    def process(self, block: tuple[int, int], fitted: list[Fitted]) -> Iterator[Sums]:
        """One Sums. `fitted` is not read: it is what makes this wait."""
        arena = self._shared.acquire(self._load, tag=self._work)
        yield score_block(arena, *block, self._ks)

    def _load(self) -> Arena:
        return load_arena(self._work, self._names, self._sources)


class StoreList(beam.PTransform[PCollection[Any], PCollection[str]]):
    """All elements as one stored list."""

    def __init__(self, work: str, name: str) -> None:
        super().__init__()
        self._work, self._name = work, name

    def expand(self, values: PCollection[Any]) -> PCollection[str]:
        gathered = values | "Gather" >> ToList()
        stored: PCollection[str] = gathered | "Store" >> beam.Map(workspace.put, self._work, self._name)
        return stored


class ReadGiven(beam.PTransform[beam.Pipeline, Read]):
    """Holdout files with the column given; the same outputs as ReadInteractions, without dead letters."""

    def __init__(self, files: Sequence[InputFile], format: InteractionFormat) -> None:
        super().__init__()
        self._files, self._format = files, format

    def expand(self, root: beam.Pipeline) -> Read:
        files = root | "Files" >> beam.Create(list(self._files))
        outputs = files | "ReadFiles" >> beam.FlatMap(tagged_given, self._format).with_outputs("reports", main="blocks")
        rejected = outputs.blocks | "NoneRejected" >> beam.FlatMap(_none)
        return Read(outputs.blocks, rejected, outputs.reports)


def tagged_given(file: InputFile, format: InteractionFormat) -> Iterable[Any]:
    """Blocks to the main output, the report to its own."""
    for part in read_given(file, format):
        yield beam.pvalue.TaggedOutput("reports", part) if isinstance(part, FileReport) else part


def times_of(block: pa.RecordBatch) -> Iterator[object]:
    """The block's times, if it has them."""
    if "timestamp" in block.schema.names:
        yield time_counts(block)


def _none(_: object) -> tuple[()]:
    return ()
