"""Make the graph of lineage from run records, published versions and snapshots.

A run's inputs are grouped into nodes: the files of one part of another run's output, of one model version, of one
snapshot, or of one folder that the same runs read.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from serving_client.contracts.bandits import config_hash
from transforms.attribution import bandits_file
from transforms.errors import RecbeamError
from transforms.files import storage
from transforms.lineage import nodes
from transforms.lineage.comparing import Comparer
from transforms.lineage.finding import Finder, RunFile, VersionFolder
from transforms.lineage.graph import Edge, Flag, Graph, Node
from transforms.lineage.inputs import Inputs, Use
from transforms.runs.run_record import Artifact

__all__ = ["build"]

_SEVERITY = ("changed", "stale", "missing", "digest")


def build(finder: Finder, check: bool) -> Graph:
    """Return the graph of everything that was found, with the runs that it leads to.

    Args:
        finder: What was found. Runs that wrote an input elsewhere are added to it.
        check: Compare digests of all files, and not only sizes and times.
    """
    builder = _Builder(finder, Comparer(check))
    builder.add_runs()
    builder.add_versions()
    builder.add_snapshots()
    return builder.graph()


class _Builder:
    def __init__(self, finder: Finder, comparer: Comparer) -> None:
        self._finder, self._comparer = finder, comparer
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], bool] = {}
        self._flags: dict[str, dict[Flag, list[str]]] = defaultdict(dict)
        self._inputs = Inputs(finder, comparer)

    def graph(self) -> Graph:
        """Return the graph, nodes sorted by time, then by title."""
        flagged = {}
        for node in sorted(self._nodes.values(), key=_order):
            found = self._flags[node.key].items()
            flags = (dataclasses.replace(flag, readers=tuple(readers)) for flag, readers in found)
            flagged[node.key] = dataclasses.replace(node, flags=tuple(flags))
        return Graph(flagged, tuple(sorted(Edge(*ends, stale) for ends, stale in self._edges.items())))

    def add_runs(self) -> None:
        """Add all runs, their inputs and the parts of their outputs that others read."""
        uses: list[Use] = []
        done: set[str] = set()
        while new := [run for run in self._finder.runs.values() if run.run_id not in done]:
            for run in new:  # looking up who wrote an input may find more runs
                done.add(run.run_id)
                self._nodes[nodes.run_key(run.run_id)] = nodes.run_node(run)
                uses += [self._inputs.use(run, file) for file in run.inputs]
        readers: dict[str, set[str]] = defaultdict(set)
        for use in uses:
            readers[use.place].add(use.run.run_id)
        grouped: dict[str, list[Use]] = defaultdict(list)
        for use in uses:
            by_readers = f"data:{storage.parent(use.place)}:{','.join(sorted(readers[use.place]))}"
            grouped[use.key or by_readers].append(use)
        for key, group in grouped.items():
            self._add_input(key, group)
        for run in self._finder.runs.values():
            self._add_parents(run)
            self._check_outputs(run)

    def add_versions(self) -> None:
        """Add all published versions, with edges from the runs that made and published them."""
        models: dict[str, list[VersionFolder]] = defaultdict(list)
        for version in sorted(self._finder.versions.values(), key=_number):
            models[version.base].append(version)
        for versions in models.values():
            for index, version in enumerate(versions):
                self._nodes[nodes.version_key(version.folder)] = nodes.version_node(
                    version, versions[:index], versions[-1]
                )
                if version != versions[-1]:
                    self._outdate(nodes.version_key(version.folder), versions[-1].number)
                self._add_maker(version)
                self._check_version(version)
        for run in self._finder.runs.values():
            number, publish = run.counters.get("published_version"), run.options.get("publish")
            if number and isinstance(publish, str):
                base = self._finder.resolve(publish.partition(":")[2], run.folder)
                self._connect(nodes.run_key(run.run_id), nodes.version_key(f"{base}/{number}"))
        present = self._nodes.keys()
        self._edges = {ends: stale for ends, stale in self._edges.items() if present >= set(ends)}

    def add_snapshots(self) -> None:
        """Add the newest snapshot of every bandit, connect the bandits files, and mark what read an older one."""
        for folder, version in self._finder.pointers.items():
            place = f"{folder}/{version}.json"
            self._nodes.setdefault(nodes.snapshot_key(place), nodes.snapshot_node(place, version))
        for key, node in self._nodes.items():
            if node.kind == "snapshot" and node.detail == "older":
                self._outdate(key, self._finder.latest(storage.parent(node.place)))
        snapshots = [node for node in self._nodes.values() if node.kind == "snapshot"]
        if snapshots:
            self._add_bandits(snapshots)

    def _add_bandits(self, snapshots: Sequence[Node]) -> None:
        """Connect bandits files, inputs of runs or files named bandits.yaml, to the snapshots that they configure."""
        places = {
            place: key
            for key, node in self._nodes.items()
            for place in node.files
            if node.kind == "data" and place.endswith((".yaml", ".yml"))
        }
        for place in self._finder.bandits_files:
            places.setdefault(place, f"data:{place}")
        for place, key in places.items():
            hashes = _config_hashes(place)
            for snapshot in snapshots:
                if snapshot.facts.get("config_hash") in hashes:
                    self._nodes.setdefault(key, nodes.data_node(key, {place: self._comparer.size(place) or 0}))
                    self._connect(key, snapshot.key)

    def _add_input(self, key: str, group: Sequence[Use]) -> None:
        """Add the node of input files, and the edges to the runs that read them."""
        kind = key.partition(":")[0]
        if kind == "part":
            self._add_part(key)
        elif kind == "snapshot":
            place = group[0].place
            self._nodes[key] = nodes.snapshot_node(place, self._finder.latest(storage.parent(place)))
        elif kind == "data":
            self._nodes[key] = nodes.data_node(key, {use.place: use.file.bytes for use in group})
        by_run: dict[str, list[Use]] = defaultdict(list)
        for use in group:
            by_run[use.run.run_id].append(use)
        for run_id, uses in by_run.items():
            doubts = [
                (use.place.rpartition("/")[2], flag) for use in uses if (flag := self._inputs.doubt(use)) is not None
            ]
            self._connect(key, nodes.run_key(run_id), stale=bool(doubts))
            if doubts:
                name, worst = max(doubts, key=_severity)
                count = f"{len(doubts)} of {len(uses)} files, for example " if len(uses) > 1 else ""
                self._flag(key, Flag(worst.kind, f"{count}{name} {worst.sentence}"), run_id)

    def _add_part(self, key: str) -> None:
        """Add the node of a part of a run's output, with the edge from the run."""
        _, run_id, part = key.split(":", 2)
        self._nodes[key] = nodes.part_node(self._finder.runs[run_id], part)
        self._connect(nodes.run_key(run_id), key)

    def _add_parents(self, run: RunFile) -> None:
        """Connect the parents that no input leads to. Parents without a run.json become lost runs.

        A parent whose output was rebuilt with the same content is none: the run that rebuilt it stands for it.
        """
        key = nodes.run_key(run.run_id)
        writers = {
            source.split(":")[1]: stale
            for (source, target), stale in self._edges.items()
            if target == key and source.startswith("part:")
        }
        rebuilt = [writer for writer, stale in writers.items() if writer not in run.parents and not stale]
        unknown = [parent for parent in run.parents if parent not in self._finder.runs]
        if len(unknown) > len(rebuilt):
            for parent in unknown:
                self._add_lost(parent)
                self._connect(nodes.lost_key(parent), key, stale=True)
        for parent in set(run.parents) - set(writers) - set(unknown) - {run.run_id}:
            self._connect(nodes.run_key(parent), key)

    def _add_lost(self, run_id: str, pipeline: str = "") -> None:
        key = nodes.lost_key(run_id)
        if pipeline or key not in self._nodes:
            self._nodes[key] = nodes.lost_node(run_id, pipeline)
        self._flag(key, Flag("missing", f"the run.json of {run_id} was replaced or lies elsewhere"))

    def _check_outputs(self, run: RunFile) -> None:
        """Flag output files that are missing or differ from run.json."""
        by_part: dict[str, list[tuple[str, Flag]]] = defaultdict(list)
        for name, output in run.outputs.items():
            if flag := self._comparer.compare(output, f"{run.folder}/{name}"):
                by_part[nodes.part_key(run, name)].append((name, flag))
        for part, flags in by_part.items():
            self._flag(part if part in self._nodes else nodes.run_key(run.run_id), _summary(flags, "run.json"))

    def _add_maker(self, version: VersionFolder) -> None:
        """Connect the model that a version is a copy of, or a lost run."""
        key, run_id = nodes.version_key(version.folder), str(version.card.get("run_id", ""))
        if run_id in self._finder.runs:
            part = nodes.part_key(self._finder.runs[run_id], "model")
            if part not in self._nodes:
                self._add_part(part)
            self._connect(part, key)
        elif run_id:
            self._add_lost(run_id, str(version.card.get("pipeline", "")))
            self._connect(nodes.lost_key(run_id), key)

    def _check_version(self, version: VersionFolder) -> None:
        """Flag files that differ from the version's _COMPLETE.json, and a list that differs from the run's model."""
        key = nodes.version_key(version.folder)
        flags = []
        for name, file in version.files.items():
            recorded = Artifact(name, file.size, f"sha256:{file.sha256}")
            if flag := self._comparer.compare(recorded, f"{version.folder}/{name}"):
                flags.append((name, flag))
        if flags:
            self._flag(key, _summary(flags, "_COMPLETE.json"))
        run = self._finder.runs.get(str(version.card.get("run_id")))
        if run and version.files:
            made = {name[6:]: each.digest for name, each in run.outputs.items() if name.startswith("model/")}
            published = {name: f"sha256:{file.sha256}" for name, file in version.files.items()}
            if all(digest.startswith("sha256:") for digest in made.values()) and made != published:
                name = min(name for name, _ in set(made.items()) ^ set(published.items()))
                self._flag(key, Flag("digest", f"{name} differs from the model that run {run.run_id} wrote"))

    def _outdate(self, key: str, newest: int | None) -> None:
        """Mark the runs that read a version which is not the newest."""
        for source, target in list(self._edges):
            if source == key:
                self._connect(key, target, stale=True)
                self._flag(key, Flag("stale", f"version {newest} is newer"), target.partition(":")[2])

    def _connect(self, source: str, target: str, stale: bool = False) -> None:
        self._edges[source, target] = stale or self._edges.get((source, target), False)

    def _flag(self, key: str, flag: Flag, reader: str = "") -> None:
        """Flag a node. Equal flags are one, with the runs that read the node before."""
        readers = self._flags[key].setdefault(flag, [])
        if reader and reader not in readers:
            readers.append(reader)


def _config_hashes(place: str) -> set[str]:
    """Return the hashes of the bandits in a file, none for a file that is no bandits file."""
    try:
        _, bandits = bandits_file.read(place)
    except RecbeamError:
        return set()
    return {config_hash(bandit) for bandit in bandits.bandits.values()}


def _order(node: Node) -> tuple[str, str]:
    return node.at, node.title


def _number(version: VersionFolder) -> int:
    return version.number


def _severity(doubt: tuple[Any, Flag]) -> int:
    return _SEVERITY.index(doubt[1].kind)


def _summary(flags: Sequence[tuple[str, Flag]], record: str) -> Flag:
    name, worst = max(flags, key=_severity)
    more = f"; {len(flags) - 1:,} more files differ" if len(flags) > 1 else ""
    return Flag(worst.kind, f"{name} {worst.sentence}, unlike {record}{more}")
