"""Sort dead letters into those that can count now and those that stay, each with the reason.

Source and position identify a dead letter. Letters are written at least once, so repetitions count as one. The current
bandits file decides whether an arm, a generation, an epoch or a bandit is known by now. If the stream's watermark is
given, letters that the stream would call late again stay. A letter from a file that an earlier replay wrote stays, too,
because it was replayed before.
"""

from __future__ import annotations

import collections
import dataclasses
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from pipelines.reward_stream.sources.logs import lines_of, record_of
from serving_client.contracts.times import parse_time
from transforms.attribution.rules import Label, Rules
from transforms.dead_letters import DeadLetter, from_json_line
from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["REPLAY_PREFIX", "Moment", "Sorted", "read_letters", "sort_letters"]

REPLAY_PREFIX = "replay-"
"""The names of files that a replay writes begin so."""

_REASONS = (
    "orphan", "late", "future", "unknown_bandit", "unknown_epoch", "unknown_arm", "unknown_generation",
)  # fmt: skip

# What happens to a letter, in the words of the table.
_DECISIONS, _REWARDS = "to decisions", "to rewards"


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Hold the clock and the stream's watermark. The watermark is None if nothing is late (a bounded run)."""

    now_us: int
    watermark_us: int | None = None


@dataclasses.dataclass(slots=True)
class Sorted:
    """Hold the letters to replay, by (source, position), and the number of letters per (reason, fate)."""

    decisions: list[DeadLetter] = dataclasses.field(default_factory=list)
    rewards: list[DeadLetter] = dataclasses.field(default_factory=list)
    fates: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)


def read_letters(folder: str) -> Iterator[DeadLetter]:
    """Read all dead letters below a folder, repetitions included.

    Args:
        folder: Folder of the dead letters.

    Returns:
        The dead letters.

    Raises:
        BadInput: A line is not a dead letter, or there is no file.
    """
    files = storage.list_files(folder)
    if not files:
        raise BadInput(f"--dead_letters={folder}: no files here; a stream that rejects nothing writes none")
    for path in files:
        if not path.endswith(".jsonl") or posixpath.basename(path).startswith("."):
            continue
        for number, line in enumerate(lines_of(path), 1):
            try:
                yield from_json_line(line.decode("utf-8", "surrogateescape"))
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(
                    f"{path}:{number}: no dead letter ({error!r}); pass the folder of --dead_letters"
                ) from error


def sort_letters(
    letters: Iterable[DeadLetter], rules: Rules, moment: Moment, in_logs: Set[str] = frozenset()
) -> Sorted:
    """Sort dead letters into those to replay and those that stay.

    Args:
        letters: The dead letters.
        rules: The rules of the current bandits file.
        moment: The clock and the stream's watermark.
        in_logs: Sources that the replay reads anyway. Their letters need not be written.

    Returns:
        The letters to replay and the counts.
    """
    found = Sorted()
    rewards: list[tuple[str, DeadLetter, Mapping[str, Any]]] = []
    refused: set[str] = set()
    for letter in sorted({(each.source, each.position): each for each in letters}.values()):
        reason, record = _reason(letter), record_of(letter.original)
        if reason == "malformed" or record is None:
            found.fates["malformed", "stays: correct it and log it as a new record"] += 1
        elif letter.source in in_logs:
            found.fates[reason, "is in the logs"] += 1
        elif posixpath.basename(letter.source).startswith(REPLAY_PREFIX):
            found.fates[reason, "stays: came back from an earlier replay"] += 1
        elif "event_id" in record:
            rewards.append((reason, letter, record))
        else:
            stays = _decision_stays(reason, record, rules, moment)
            found.fates[reason, stays or _DECISIONS] += 1
            if stays:
                refused.add(record["decision_id"])
            else:
                found.decisions.append(letter)
    for reason, letter, reward in rewards:
        stays = _reward_stays(reason, reward, refused, rules, moment)
        found.fates[reason, stays or _REWARDS] += 1
        if not stays:
            found.rewards.append(letter)
    return found


def _reason(letter: DeadLetter) -> str:
    """Return the outcome that a reason begins with. Any other text means that the line could not be read."""
    word = letter.reason.partition(":")[0].strip()
    return word if word in _REASONS else "malformed"


def _decision_stays(reason: str, record: Mapping[str, Any], rules: Rules, moment: Moment) -> str:
    """Return why a decision stays. Empty if it can count."""
    label = Label(*(record[name] for name in ("bandit_id", "policy_epoch", "segment", "arm_id", "arm_generation")))
    place = rules.place(label)
    if place:
        return f"stays: {place}"
    at_us = parse_time(record["decided_at"])
    if reason == "future" and (ahead := _ahead(record, at_us, rules, moment)):
        return ahead
    bandit = rules.bandit_of(label)
    attribution = bandit.attribution if bandit is not None else None
    open_us = attribution.window_us + attribution.allowed_lateness_us if attribution is not None else 0
    return _late(at_us + open_us, moment)


def _reward_stays(reason: str, record: Mapping[str, Any], refused: Set[str], rules: Rules, moment: Moment) -> str:
    """Return why a reward stays. Empty if it can count, or can at worst become an orphan."""
    if record["decision_id"] in refused:
        return "stays: its decision does"
    at_us = parse_time(record["occurred_at"])
    if reason == "future" and (ahead := _ahead(record, at_us, rules, moment)):
        return ahead
    return _late(at_us + rules.allowed_lateness_us, moment)


def _ahead(record: Mapping[str, Any], at_us: int, rules: Rules, moment: Moment) -> str:
    received_at = record.get("received_at")
    if received_at is not None:  # stamped once: no time passes that could help
        return "stays: ahead of its own received_at"
    return "stays: still in the future" if at_us > moment.now_us + rules.max_future_us else ""


def _late(last_us: int, moment: Moment) -> str:
    if moment.watermark_us is None or moment.watermark_us <= last_us:
        return ""
    return "stays: the stream would call it late; see --snapshots"
