"""Make the graph of lineage from run records, published versions and snapshots.

A run's inputs are grouped into nodes: the files of one part of another run's output, of one model version, of one
snapshot, or of one folder that the same runs read.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from transforms.files import storage
from transforms.lineage.comparing import Comparer
from transforms.lineage.finding import Finder, RunFile, VersionFolder
from transforms.lineage.graph import Edge, Flag, Graph, Kind, Node
from transforms.runs.run_record import Artifact

__all__ = ["build"]


@dataclasses.dataclass(frozen=True)
class _Use:
    """A file that a run read. `place` is where it lies now or would lie, `key` the node that it belongs to."""

    run: RunFile
    file: Artifact
    place: str
    key: str = ""


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
        self._flags: dict[str, list[Flag]] = defaultdict(list)

    def graph(self) -> Graph:
        """Return the graph, nodes sorted by time, then by title."""
        nodes = sorted(self._nodes.values(), key=_order)
        flagged = (dataclasses.replace(node, flags=tuple(self._flags[node.key])) for node in nodes)
        edges = sorted(Edge(*ends, stale) for ends, stale in self._edges.items())
        return Graph({node.key: node for node in flagged}, tuple(edges))

    def add_runs(self) -> None:
        """Add all runs, their inputs and the parts of their outputs that others read."""
        uses: list[_Use] = []
        done: set[str] = set()
        while new := [run for run in self._finder.runs.values() if run.run_id not in done]:
            for run in new:  # looking up who wrote an input may find more runs
                done.add(run.run_id)
                self._add_run(run)
                uses += [self._use(run, file) for file in run.inputs]
        readers: dict[str, set[str]] = defaultdict(set)
        for use in uses:
            readers[use.place].add(use.run.run_id)
        grouped: dict[str, list[_Use]] = defaultdict(list)
        for use in uses:
            key = use.key or f"data:{storage.parent(use.place)}:{','.join(sorted(readers[use.place]))}"
            grouped[key].append(dataclasses.replace(use, key=key))
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
                self._add_version(version, versions[:index], versions[-1])
        for run in self._finder.runs.values():
            number, publish = run.counters.get("published_version"), run.options.get("publish")
            if number and isinstance(publish, str):
                base = self._finder.resolve(publish.partition(":")[2], run.folder)
                self._connect(f"run:{run.run_id}", f"version:{base}/{number}")

    def add_snapshots(self) -> None:
        """Add the newest snapshot of every bandit."""
        for folder, version in self._finder.pointers.items():
            self._add_snapshot(f"{folder}/{version}.json", version)

    def _add_run(self, run: RunFile) -> None:
        parts = dict.fromkeys(name.partition("/")[0] for name in run.outputs)
        facts = {"run id": run.run_id, "started": run.started_at, "code": run.code_version, "status": run.status}
        key = f"run:{run.run_id}"
        files = frozenset(f"{run.folder}/{name}" for name in (*run.outputs, "run.json"))
        counts = [f"{name} {value:,}" for name, value in run.counters.items() if isinstance(value, int | float)]
        facts |= {"writes": ", ".join(parts), "counters": ", ".join(counts)}
        self._nodes[key] = Node(
            key, "run", run.folder, run.run_id, run.folder, files, facts, at=run.started_at, pipeline=run.pipeline
        )

    def _use(self, run: RunFile, file: Artifact) -> _Use:
        place = self._finder.resolve(file.uri, run.folder)
        if version := self._finder.version_of(place):
            return _Use(run, file, place, f"version:{version.folder}")
        if (folder := storage.parent(place)) and self._finder.latest(folder) is not None:
            place = place if place.endswith(".json") else f"{place}.json"
            return _Use(run, file, place, f"snapshot:{place}")
        if (written := self._finder.writer_of(place)) is None:
            written, place = self._moved(run, file, place)
        if written is None:
            return _Use(run, file, place)
        writer, name = written
        return _Use(run, file, place, _part_key(writer, name))

    def _moved(self, run: RunFile, file: Artifact, place: str) -> tuple[tuple[RunFile, str] | None, str]:
        """Find an input whose folder was moved: an output of a parent with the same digest."""
        for parent in run.parents:
            writer = self._finder.runs.get(parent)
            for name, output in (writer.outputs if writer else {}).items():
                if writer and output.digest == file.digest and output.bytes == file.bytes:
                    return (writer, name), f"{writer.folder}/{name}"
        return None, place

    def _add_input(self, key: str, group: list[_Use]) -> None:
        """Add the node of input files, and the edges to the runs that read them."""
        kind = key.partition(":")[0]
        if kind == "part":
            self._add_part(key)
        elif kind == "snapshot":
            self._add_snapshot(group[0].place, self._finder.latest(storage.parent(group[0].place)) or 0)
        elif kind == "data":
            self._nodes[key] = _data_node(key, group)
        by_run: dict[str, list[_Use]] = defaultdict(list)
        for use in group:
            by_run[use.run.run_id].append(use)
        for run_id, uses in by_run.items():
            flags = [(use, self._doubt(use)) for use in uses]
            doubts = [(use, flag) for use, flag in flags if flag is not None]
            self._connect(key, f"run:{run_id}", stale=bool(doubts))
            if doubts:
                use, worst = max(doubts, key=_severity)
                count = f"{len(doubts)} of {len(uses)} files, for example " if len(uses) > 1 else ""
                name = use.place.rpartition("/")[2]
                reader = f"{use.run.pipeline} {use.run.run_id} read it before"
                self._flags[key].append(Flag(worst.kind, f"{count}{name} {worst.sentence}; {reader}"))

    def _doubt(self, use: _Use) -> Flag | None:
        """Return what is wrong with an input file."""
        if use.key.startswith("part:"):
            writer = self._finder.runs[use.key.split(":")[1]]
            output = writer.outputs.get(use.place[len(writer.folder) + 1 :])
            if output is not None and output.digest != use.file.digest:
                return Flag("stale", f"was rebuilt by run {writer.run_id}")
            if output is not None:  # _check_outputs compares the file
                return None
        return self._comparer.compare(use.file, use.place, use.run.started_at)

    def _add_part(self, key: str) -> None:
        """Add the node of a part of a run's output, with the edge from the run."""
        _, run_id, part = key.split(":", 2)
        run = self._finder.runs[run_id]
        names = [name for name in run.outputs if name.partition("/")[0] == part]
        files = frozenset(f"{run.folder}/{name}" for name in names)
        place = f"{run.folder}/{part}"
        size = sum(run.outputs[name].bytes for name in names)
        facts = {"files": f"{len(names):,}", "bytes": f"{size:,}", "written by": f"{run.pipeline} {run_id}"}
        detail = _amount(len(names), size) if names else ""
        kind: Kind = "model" if part == "model" else "data"
        self._nodes[key] = Node(key, kind, place, detail, place, files, facts, at=run.started_at)
        self._connect(f"run:{run_id}", key)

    def _add_parents(self, run: RunFile) -> None:
        """Connect the parents that no input leads to. Parents without a run.json become lost runs.

        A parent whose output was rebuilt with the same content is none: the run that rebuilt it stands for it.
        """
        key = f"run:{run.run_id}"
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
                self._connect(f"lost:{parent}", key, stale=True)
        for parent in set(run.parents) - set(writers) - set(unknown) - {run.run_id}:
            self._connect(f"run:{parent}", key)

    def _add_lost(self, run_id: str, pipeline: str = "") -> None:
        key = f"lost:{run_id}"
        self._nodes[key] = Node(key, "lost run", run_id, facts={"run id": run_id}, pipeline=pipeline)
        sentence = f"the run.json of {run_id} was replaced or lies elsewhere; name its folder, too"
        self._flags[key] = [Flag("missing", sentence)]

    def _check_outputs(self, run: RunFile) -> None:
        """Flag output files that are missing or differ from run.json."""
        by_part: dict[str, list[tuple[str, Flag]]] = defaultdict(list)
        for name, output in run.outputs.items():
            if flag := self._comparer.compare(output, f"{run.folder}/{name}"):
                by_part[_part_key(run, name)].append((name, flag))
        for part, flags in by_part.items():
            key = part if part in self._nodes else f"run:{run.run_id}"
            self._flags[key].append(_summary(flags, "as the run wrote it"))

    def _add_version(self, version: VersionFolder, earlier: list[VersionFolder], newest: VersionFolder) -> None:
        key = f"version:{version.folder}"
        newer = newest.number != version.number
        detail = "older" if newer else "newest"
        same = [other for other in earlier if version.files and other.files == version.files]
        if same:
            back = "back to" if earlier[-1].files != version.files else "same as"
            detail += f", {back} {same[0].number}"
        run_id = str(version.card.get("run_id", ""))
        facts = {"model": version.base, "version": str(version.number), "run id": run_id or "not in its model card"}
        facts |= {"trained": str(version.card["trained_at"])} if version.card.get("trained_at") else {}
        files = frozenset(f"{version.folder}/{name}" for name in version.files)
        at = str(version.card.get("trained_at", ""))
        self._nodes[key] = Node(key, "version", version.folder, detail, version.folder, files, facts, at=at)
        for reader in [target for source, target in self._edges if source == key and newer]:
            self._connect(key, reader, stale=True)
            run = self._nodes[reader]
            self._flags[key].append(
                Flag("stale", f"{run.pipeline} {run.detail} read it, and version {newest.number} is newer")
            )
        if run_id in self._finder.runs:
            part = f"part:{run_id}:model"
            if part not in self._nodes:
                self._add_part(part)
            self._connect(part, key)
        elif run_id:
            self._add_lost(run_id, str(version.card.get("pipeline", "")))
            self._connect(f"lost:{run_id}", key)
        self._check_version(version, key, self._finder.runs.get(run_id))

    def _check_version(self, version: VersionFolder, key: str, run: RunFile | None) -> None:
        """Flag files that differ from the version's _COMPLETE.json, and a list that differs from the run's model."""
        flags = []
        for name, file in version.files.items():
            recorded = Artifact(name, file.size, f"sha256:{file.sha256}")
            if flag := self._comparer.compare(recorded, f"{version.folder}/{name}"):
                flags.append((name, flag))
        if flags:
            self._flags[key].append(_summary(flags, "as _COMPLETE.json lists it"))
        if run and version.files:
            made = {name[6:]: each.digest for name, each in run.outputs.items() if name.startswith("model/")}
            published = {name: f"sha256:{file.sha256}" for name, file in version.files.items()}
            if all(digest.startswith("sha256:") for digest in made.values()) and made != published:
                name = min(name for name, _ in set(made.items()) ^ set(published.items()))
                text = f"{name} differs from the model that run {run.run_id} wrote"
                self._flags[key].append(Flag("digest", text))

    def _add_snapshot(self, place: str, newest: int) -> None:
        key = f"snapshot:{place}"
        if key in self._nodes:
            return
        snapshot = storage.read_json(place)
        content: Mapping[str, Any] = snapshot if isinstance(snapshot, dict) else {}
        number = place.rpartition("/")[2].removesuffix(".json")
        bandit = storage.parent(place).rpartition("/")[2]
        older = number != str(newest)
        facts = {"bandit": bandit, "version": number}
        facts |= {name: str(content[name]) for name in ("policy_epoch", "published_at", "watermark") if name in content}
        detail = "older" if older else "newest"
        self._nodes[key] = Node(key, "snapshot", f"{storage.parent(place)}/{number}", detail, place, frozenset(), facts)
        if older:
            text = f"version {newest} of {bandit} is newer"
            self._flags[key].append(Flag("stale", text))

    def _connect(self, source: str, target: str, stale: bool = False) -> None:
        self._edges[source, target] = stale or self._edges.get((source, target), False)


def _order(node: Node) -> tuple[str, str]:
    return node.at, node.title


def _number(version: VersionFolder) -> int:
    return version.number


def _part_key(run: RunFile, name: str) -> str:
    return f"part:{run.run_id}:{name.partition('/')[0]}"


def _severity(doubt: tuple[Any, Flag]) -> int:
    return ["changed", "stale", "missing", "digest"].index(doubt[1].kind)


def _summary(flags: list[tuple[str, Flag]], expected: str) -> Flag:
    name, worst = max(flags, key=_severity)
    more = f" and {len(flags) - 1:,} more files differ" if len(flags) > 1 else ""
    return Flag(worst.kind, f"{name} {worst.sentence}, not {expected}{more}")


def _data_node(key: str, group: Iterable[_Use]) -> Node:
    """Return the node of files that no known run wrote."""
    sizes = {use.place: use.file.bytes for use in group}
    folder = storage.parent(next(iter(sizes)))
    place = next(iter(sizes)) if len(sizes) == 1 else folder
    facts = {"files": f"{len(sizes):,}", "bytes": f"{sum(sizes.values()):,}"}
    detail = _amount(len(sizes), sum(sizes.values()))
    return Node(key, "data", place, detail, place, frozenset(sizes), facts)


def _amount(files: int, size: int) -> str:
    """Return a number of files and their size for a person, for example `3 files, 24 kB`."""
    for unit in ("B", "kB", "MB", "GB"):  # noqa: B007
        if size < 1000:
            break
        size = round(size / 1000)
    return f"{files:,} file{'s' if files != 1 else ''}, {size:,} {unit}"
