"""Is all as if nothing had happened? Final statistics against the oracle's, letters, and what the watcher saw."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.rewards.chaos.killer import Run
from benchmarks.rewards.chaos.watcher import FAULTS
from tests.oracles.oracle import comparable, statistics_of

__all__ = ["Check", "check_findings", "check_letters", "check_runs", "check_statistics", "differences", "snapshots_of"]

_BESIDE = ("conflicting_duplicates", "segments_over_limit")
_TO_LETTERS = (
    "malformed", "future", "late", "orphan", "unknown_bandit", "unknown_epoch", "unknown_arm", "unknown_generation",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One promise. found: figures where it holds, what is wrong where it does not."""

    name: str
    holds: bool
    found: str


def snapshots_of(dest: pathlib.Path) -> dict[str, Any]:
    """The snapshots that the pointers name, by name."""
    found = {}
    for path in sorted(dest.glob("*/LATEST")):
        version = json.loads(path.read_text())["version"]
        found[path.parent.name] = json.loads((path.parent / f"{version}.json").read_text())
    return found


def check_statistics(delivered: pathlib.Path, snapshots: Mapping[str, Any]) -> Iterator[Check]:
    """Final snapshots against the oracle's of the delivered files, and outcomes against their lines."""
    truth = statistics_of(delivered)
    wrong = [
        f"{name}{difference}"
        for name in sorted({*truth, *snapshots})
        for difference in differences(comparable(snapshots.get(name, {})), truth.get(name, {}))
    ]
    rows = sum(len(each.get("arms", ())) for each in truth.values())
    yield Check("final statistics equal the oracle's", not wrong, "; ".join(wrong[:6]) or f"{rows} rows")
    outcomes = sum(
        count for each in snapshots.values() for name, count in each["counters"].items() if name not in _BESIDE
    )
    lines = sum(bool(line.strip()) for path in delivered.glob("*/*.jsonl") for line in path.read_bytes().split(b"\n"))
    yield Check("outcomes add up to the lines delivered", outcomes == lines, f"{outcomes:,} of {lines:,}")


def check_letters(folder: pathlib.Path, delivered: pathlib.Path, snapshots: Mapping[str, Any]) -> Iterator[Check]:
    """Every rejected record is there at least once and as it was read; nothing else is."""
    letters: dict[tuple[str, int], tuple[str, str]] = {}
    written = 0
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            letter = json.loads(line)
            written += 1
            reason = letter["reason"].partition(":")[0]
            letters[letter["source"], letter["position"]] = reason, letter.get("original", "")
    expected: Counter[str] = Counter()
    for snapshot in snapshots.values():
        expected += Counter({name: snapshot["counters"][name] for name in _TO_LETTERS})
    found = Counter(_identities(letters).values())
    wrong = [f"{name}: {found[name]}, not {expected[name]}" for name in _TO_LETTERS if found[name] != expected[name]]
    wrong += [f"reason {name}" for name in found if name not in _TO_LETTERS]
    shown = f"{len(letters):,} in {written:,} lines"
    yield Check("every dead letter is there, and no other", not wrong, "; ".join(wrong) or shown)
    strangers = list(_strangers(letters))
    yield Check("dead letters have the bytes that were read", not strangers, "; ".join(strangers[:3]) or shown)


def check_findings(findings: Sequence[Mapping[str, Any]], kills: int) -> Iterator[Check]:
    """What the watcher saw, from its first line to its last."""
    names = {
        "half": "no reader saw half a snapshot", "invalid": "every snapshot fits its schema",
        "version fell": "no version went backwards", "watermark fell": "no watermark went backwards",
        "n fell": "n of no row fell between versions", "vanished": "nothing published vanished",
    }  # fmt: skip
    ended = [each for each in findings if each["kind"] == "ended"]
    polls = ended[0]["polls"] if ended else {}
    seen = sum(each["kind"] == "version" for each in findings)
    yield Check("the watcher lived", bool(ended) and seen > kills, f"{sum(polls.values()):,} polls, {seen} versions")
    for fault in FAULTS:
        faults = [f"{each['name']}: {each['what']}" for each in findings if each["kind"] == fault]
        yield Check(names[fault], not faults, "; ".join(faults[:3]) or f"{seen} versions")


def check_runs(runs: Sequence[Run]) -> Iterator[Check]:
    """Killed runs were running, left nothing behind, and the last ended well."""
    killed, last = [run for run in runs if run.mode], runs[-1]
    by_themselves = [
        f"run {at}: exit code {run.exit_code}" for at, run in enumerate(killed) if run.exit_code is not None
    ]
    yield Check("no run ended before its kill", not by_themselves, "; ".join(by_themselves) or f"{len(killed)} kills")
    left = sum(run.left for run in runs)
    yield Check("no process outlived its run", not left, f"{left} left")
    yield Check("the last run ended by itself", last.exit_code == 0, f"exit code {last.exit_code}")


def differences(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Where two documents differ, as paths with both values."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in sorted({*ours, *theirs}):
            yield from differences(ours.get(name), theirs.get(name), f"{at}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(mine, other, f"{at}[{number}]")
    elif ours != theirs:
        yield f"{at}: {str(ours)[:80]}, not {str(theirs)[:80]}"


def _identities(letters: Mapping[tuple[str, int], tuple[str, str]]) -> dict[Any, str]:
    """Of copies of a reward one has the outcome, and which one depends on arrival; all else counts line by line."""
    found: dict[Any, str] = {}
    for place, letter in letters.items():
        record = {} if letter[0] in ("malformed", "future", "late") else json.loads(letter[1])
        identity = (record["decision_id"], record["event_id"]) if "event_id" in record else place
        found[identity] = letter[0]
    return found


def _strangers(letters: Mapping[tuple[str, int], tuple[str, str]]) -> Iterator[str]:
    contents: dict[str, bytes] = {}
    for (source, position), (_, original) in letters.items():
        if source not in contents:
            contents[source] = pathlib.Path(source).read_bytes()
        if contents[source][position:].partition(b"\n")[0] != original.encode():
            yield f"{source}:{position}"
