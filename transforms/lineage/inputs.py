"""Find where the inputs of runs lie now, which run or publisher wrote them, and whether they are what was read."""

from __future__ import annotations

import dataclasses

from transforms.files import storage
from transforms.lineage import nodes
from transforms.lineage.comparing import Comparer
from transforms.lineage.finding import Finder, RunFile
from transforms.lineage.graph import Flag
from transforms.runs.run_record import Artifact

__all__ = ["Inputs", "Use"]


@dataclasses.dataclass(frozen=True)
class Use:
    """A file that a run read. `place` is where it lies or would lie, `key` its node, empty for a file of no run."""

    run: RunFile
    file: Artifact
    place: str
    key: str = ""


class Inputs:
    """Looks up the inputs of runs.

    Args:
        finder: The runs, versions and snapshots. Runs that wrote an input elsewhere are added to it.
        comparer: Compares files with their records.
    """

    def __init__(self, finder: Finder, comparer: Comparer) -> None:
        self._finder, self._comparer = finder, comparer
        self._by_digest: dict[str, dict[str, str]] = {}

    def use(self, run: RunFile, file: Artifact) -> Use:
        """Return where an input lies, and the node that it belongs to."""
        place = self._finder.resolve(file.uri, run.folder)
        if version := self._finder.version_of(place):
            return Use(run, file, place, nodes.version_key(version.folder))
        if (folder := storage.parent(place)) and self._finder.latest(folder) is not None:
            place = place if place.endswith(".json") else f"{place}.json"
            return Use(run, file, place, nodes.snapshot_key(place))
        written = self._finder.writer_of(place) or self._moved(run, file, place)
        if written is None:
            return Use(run, file, place)
        writer, name = written
        return Use(run, file, f"{writer.folder}/{name}", nodes.part_key(writer, name))

    def doubt(self, use: Use) -> Flag | None:
        """Return what is wrong with an input file, None if nothing is."""
        if use.key.startswith("part:"):
            writer = self._finder.runs[use.key.split(":")[1]]
            output = writer.outputs.get(use.place[len(writer.folder) + 1 :])
            if output is not None and output.digest != use.file.digest:
                return Flag("stale", f"was rebuilt by run {writer.run_id}")
            if output is not None:  # _check_outputs compares the file
                return None
        return self._comparer.compare(use.file, use.place, use.run.started_at)

    def _moved(self, run: RunFile, file: Artifact, place: str) -> tuple[RunFile, str] | None:
        """Find a missing input whose folder was moved: an output of a parent with the same digest."""
        if not run.parents or self._comparer.size(place) is not None:
            return None
        for parent in run.parents:
            if parent in self._finder.runs and parent not in self._by_digest:
                outputs = self._finder.runs[parent].outputs
                self._by_digest[parent] = {output.digest: name for name, output in outputs.items()}
            if name := self._by_digest.get(parent, {}).get(file.digest):
                return self._finder.runs[parent], name
        return None
