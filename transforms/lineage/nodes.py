"""Make the nodes of the graph of lineage from run records, versions and snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transforms.files import storage
from transforms.lineage.finding import RunFile, VersionFolder
from transforms.lineage.graph import Node

__all__ = [
    "data_node",
    "lost_key",
    "lost_node",
    "part_key",
    "part_node",
    "run_key",
    "run_node",
    "snapshot_key",
    "snapshot_node",
    "version_key",
    "version_node",
]


def run_key(run_id: str) -> str:
    """Return the key of a run's node."""
    return f"run:{run_id}"


def lost_key(run_id: str) -> str:
    """Return the key of the node of a run whose run.json was not found."""
    return f"lost:{run_id}"


def part_key(run: RunFile, name: str) -> str:
    """Return the key of the part of a run's output that holds a file: the first part of its name."""
    return f"part:{run.run_id}:{name.partition('/')[0]}"


_NAMED_FILES = 3  # so many files are named one by one


def version_key(folder: str) -> str:
    """Return the key of a published version's node."""
    return f"version:{folder}"


def snapshot_key(place: str) -> str:
    """Return the key of a snapshot's node."""
    return f"snapshot:{place}"


def run_node(run: RunFile) -> Node:
    """Return the node of a run."""
    parts = dict.fromkeys(name.partition("/")[0] for name in run.outputs)
    counts = [f"{name} {value:,}" for name, value in run.counters.items() if isinstance(value, int | float)]
    facts = {
        "run id": run.run_id,
        "started": run.started_at,
        "code": run.code_version,
        "status": run.status,
        "writes": ", ".join(parts),
        "counters": ", ".join(counts),
    }
    files = frozenset(f"{run.folder}/{name}" for name in (*run.outputs, "run.json"))
    return Node(
        run_key(run.run_id), "run", run.folder, run.run_id, run.folder, files, facts,
        at=run.started_at, pipeline=run.pipeline,
    )  # fmt: skip


def lost_node(run_id: str, pipeline: str = "") -> Node:
    """Return the node of a run whose run.json was not found."""
    return Node(lost_key(run_id), "lost run", run_id, facts={"run id": run_id}, pipeline=pipeline)


def part_node(run: RunFile, part: str) -> Node:
    """Return the node of a part of a run's output."""
    names = [name for name in run.outputs if name.partition("/")[0] == part]
    size = sum(run.outputs[name].bytes for name in names)
    facts = {"files": f"{len(names):,}", "bytes": f"{size:,}", "written by": f"{run.pipeline} {run.run_id}"}
    return Node(
        part_key(run, part),
        "model" if part == "model" else "data",
        f"{run.folder}/{part}",
        _amount(len(names), size) if names else "",
        f"{run.folder}/{part}",
        frozenset(f"{run.folder}/{name}" for name in names),
        facts,
        at=run.started_at,
    )


def data_node(key: str, sizes: Mapping[str, int]) -> Node:
    """Return the node of files that no known run wrote.

    Args:
        key: Key of the node.
        sizes: Bytes per file, all in one folder.
    """
    first = next(iter(sizes))
    place = first if len(sizes) == 1 else storage.parent(first)
    total = sum(sizes.values())
    names = ", ".join(each.rpartition("/")[2] for each in sizes)
    facts = {"files": names if len(sizes) <= _NAMED_FILES else f"{len(sizes):,}", "bytes": f"{total:,}"}
    detail = f"{names}, {_size(total)}" if 1 < len(sizes) <= _NAMED_FILES else _amount(len(sizes), total)
    return Node(key, "data", place, detail, place, frozenset(sizes), facts)


def version_node(version: VersionFolder, earlier: Sequence[VersionFolder], newest: VersionFolder) -> Node:
    """Return the node of a published version.

    Args:
        version: The version.
        earlier: The versions of the same model before it. If the version has the files of one of them, and others
            were published in between, it was rolled back.
        newest: The newest version of the model.
    """
    detail = "newest" if newest == version else "older"
    same = [other for other in earlier if version.files and other.files == version.files]
    if same:
        detail += f", {'same as' if earlier[-1].files == version.files else 'back to'} {same[0].number}"
    trained_at = str(version.card.get("trained_at", ""))
    facts = {
        "model": version.base,
        "version": str(version.number),
        "run id": str(version.card.get("run_id", "not in its model card")),
        "trained": trained_at or "not in its model card",
    }
    files = frozenset(f"{version.folder}/{name}" for name in version.files)
    key, folder = version_key(version.folder), version.folder
    return Node(key, "version", folder, detail, folder, files, facts, at=trained_at)


def snapshot_node(place: str, newest: int | None) -> Node:
    """Return the node of a snapshot in a file BANDIT/VERSION.json."""
    content: Any = storage.read_json(place)
    found = content if isinstance(content, dict) else {}
    title = place.removesuffix(".json")
    version = title.rpartition("/")[2]
    facts = {"bandit": storage.parent(place).rpartition("/")[2], "version": version}
    facts |= {
        name: str(found[name]) for name in ("config_hash", "policy_epoch", "published_at", "watermark") if name in found
    }
    detail = "newest" if version == str(newest) else "older"
    return Node(snapshot_key(place), "snapshot", title, detail, place, frozenset(), facts)


def _amount(files: int, size: int) -> str:
    """Return a number of files and their size for a person, for example `3 files, 24 kB`."""
    return f"{files:,} file{'s' if files != 1 else ''}, {_size(size)}"


def _size(size: int) -> str:
    units = ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size = round(size / 1000)
        units.pop(0)
    return f"{size:,} {units[0]}"
