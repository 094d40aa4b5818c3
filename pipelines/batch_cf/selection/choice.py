"""Choose among validated candidates, record the choice, and read the choice of an earlier run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.candidates import Candidate
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters
from transforms.errors import BadUsage
from transforms.files import storage

__all__ = ["Chosen", "choose", "explicit", "flags_of", "read_choice"]

DECIMALS = 4
"""Scores are rounded to these decimals before they are compared: floating-point sums differ by far less."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The measure of a run, and how it came about.

    Args:
        candidate: The measure, and whether weights are used.
        origin: `validation`, `flags`, or the run whose choice was taken.
        table: Every candidate's flags with its rounded score, in the order of the list. Empty without a validation.
        facts: Numbers about the sample.
    """

    candidate: Candidate
    origin: str
    table: tuple[tuple[str, float], ...] = ()
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the choice as run.json and the model card record it."""
        rows = [{"flags": flags, "validation_ndcg@20": score} for flags, score in self.table]
        found = {"origin": self.origin, **_values(self.candidate), "flags": flags_of(self.candidate)}
        return {**found, "sample": dict(self.facts), "candidates": rows} if rows else found


def choose(candidates: Sequence[Candidate], scores: Sequence[float], facts: Mapping[str, float]) -> Chosen:
    """Choose the candidate with the highest rounded score. The earlier one wins a tie.

    Args:
        candidates: At least one candidate.
        scores: Mean validation NDCG@20 of each.
        facts: Numbers about the sample.
    """
    rounded = [round(score, DECIMALS) for score in scores]
    best = rounded.index(max(rounded))
    table = tuple((flags_of(candidate), score) for candidate, score in zip(candidates, rounded, strict=True))
    return Chosen(candidates[best], "validation", table, facts)


def explicit(measure: Measure, weighted: bool) -> Chosen:
    """Return the choice that the flags made."""
    return Chosen(Candidate(measure, weighted), "flags")


def flags_of(candidate: Candidate) -> str:
    """Return the flags that repeat a candidate."""
    values = {name: value for name, value in _values(candidate).items() if value is not None}
    if values["weights"] == "use" or SIMILARITIES[candidate.measure.name].binary:
        del values["weights"]  # the default
    return " ".join(f"--{name}={value}" for name, value in values.items())


def read_choice(output: str, flag: str) -> Chosen:
    """Read the choice of an earlier run.

    Args:
        output: Output folder of a run of batch_cf.
        flag: The flag that names the folder, for errors.

    Raises:
        BadUsage: The folder has no run.json of batch_cf with a choice.
    """
    record = storage.read_json(storage.join(output, "run.json"))
    if not isinstance(record, dict) or record.get("pipeline") != "batch_cf":
        raise BadUsage(f"{flag}={output}: is not a complete output of batch_cf; name the --output of a finished run")
    found = record.get("details", {}).get("choice")
    if found is None:
        raise BadUsage(f"{flag}={output}: records no choice of a similarity; name --similarity and its parameters")
    try:
        taken = {name: found[name] for name in SIMILARITIES[found["similarity"]].parameters if found[name] is not None}
        measure = Measure(found["similarity"], Parameters(**taken), int(found["top_k"]))
        return Chosen(Candidate(measure, found["weights"] == "use"), f"{flag}={output}")
    except (KeyError, TypeError, ValueError) as error:
        raise BadUsage(
            f"{flag}={output}: records a choice that this version cannot use ({error!r}); pass --similarity"
        ) from error


def _values(candidate: Candidate) -> dict[str, Any]:
    """Return the values of the flags of a candidate by name."""
    measure = candidate.measure
    parameters = {name: getattr(measure.parameters, name) for name in measure.similarity.parameters}
    use = "use" if candidate.weighted else "ignore"
    return {"similarity": measure.name, **parameters, "top_k": measure.top_k, "weights": use}
