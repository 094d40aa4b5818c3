"""Parse gates and decide from the sums whether a candidate may be published.

`--gate=CANDIDATE>=BASELINE:ndcg@100[:MARGIN]` passes if mean(candidate) >= mean(baseline) - MARGIN, same users.
MARGIN is in the metric's own unit, 0 by default. The difference is paired by user. Its 95% interval is reported beside
the verdict, so that a reader can see a pass by chance.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluate.models import newest_version
from pipelines.evaluate.sums import Sums, paired
from transforms.errors import BadUsage, Refused
from transforms.ranking.metrics import METRICS

__all__ = ["SERVING", "Z95", "Gate", "Verdict", "as_json", "decide", "parse", "refuse", "with_serving"]

SERVING = "serving"
"""As a baseline: the newest version in the folder that --publish names; popularity where there is none."""
Z95 = 1.959963984540054
LOWER_IS_BETTER = ("list_shortfall",)
PATTERN = re.compile(r"(?P<candidate>[^>=:]+)>=(?P<baseline>[^>=:]+):(?P<metric>[a-z_]+)@(?P<k>\d+)(:(?P<margin>.+))?")


@dataclasses.dataclass(frozen=True)
class Gate:
    """A condition for publishing. margin is at least 0."""

    candidate: str
    baseline: str
    metric: str
    k: int
    margin: float = 0.0

    def __str__(self) -> str:
        margin = f":{self.margin:g}" if self.margin else ""
        return f"{self.candidate}>={self.baseline}:{self.metric}@{self.k}{margin}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a gate.

    difference is the mean over users of candidate - baseline. low..high is its 95% interval.
    """

    gate: Gate
    passed: bool
    candidate_mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float

    def sentence(self) -> str:
        """Return the verdict as a sentence for the user."""
        sure = "significant" if self.low > 0 or self.high < 0 else "not significant"
        return (
            f"{self.gate.candidate} {self.candidate_mean:.4f}, {self.gate.baseline} {self.baseline_mean:.4f} on "
            f"{self.gate.metric}@{self.gate.k}: difference {self.difference:+.4f} "
            f"(95% interval {self.low:+.4f} to {self.high:+.4f}, {sure}; margin {self.gate.margin:g})"
        )


def parse(text: str) -> Gate:
    """Parse the text of a gate.

    Raises:
        BadUsage: The text is malformed.
    """
    found = PATTERN.fullmatch(text)
    if found is None:
        raise BadUsage(
            f"--gate={text} is not CANDIDATE>=BASELINE:METRIC@K[:MARGIN]; write it like 'cf>=cosine:ndcg@100'"
        )
    try:
        margin = float(found["margin"] or 0)
    except ValueError:
        margin = -1.0
    if not 0 <= margin < float("inf"):
        raise BadUsage(
            f"--gate={text}: the margin {found['margin']} must be a number of at least 0, in the unit of the metric"
        )
    if found["metric"] not in METRICS or found["metric"] in LOWER_IS_BETTER:
        known = ", ".join(metric for metric in METRICS if metric not in LOWER_IS_BETTER)
        raise BadUsage(f"--gate={text}: the metric {found['metric']} cannot be a gate; use one of {known}")
    return Gate(found["candidate"], found["baseline"], found["metric"], int(found["k"]), margin)


def decide(gate: Gate, sums: Sums, models: Sequence[str], names: Sequence[str]) -> Verdict:
    """Decide a gate.

    Args:
        gate: The condition.
        sums: The sums of all models.
        models: Names of the models, in the order of the sums.
        names: Names of the metric columns.

    Returns:
        The verdict.
    """
    a, b = models.index(gate.candidate), models.index(gate.baseline)
    column = names.index(f"{gate.metric}@{gate.k}")
    difference = paired(sums, a, b, column)
    users = sums.total_users()
    means = [int(sums.values[one, :, column].sum()) / (2**40 * users) for one in (a, b)]
    spread = Z95 * difference.standard_error
    return Verdict(
        gate=gate,
        passed=difference.mean >= -gate.margin,
        candidate_mean=means[0],
        baseline_mean=means[1],
        difference=difference.mean,
        low=difference.mean - spread,
        high=difference.mean + spread,
    )


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as metrics.json has it."""
    return {
        "gate": str(verdict.gate),
        "passed": verdict.passed,
        "candidate": verdict.candidate_mean,
        "baseline": verdict.baseline_mean,
        "difference": verdict.difference,
        "interval_95": [verdict.low, verdict.high],
        "margin": verdict.gate.margin,
        "sentence": verdict.sentence(),
    }


def refuse(verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Check that every gate passed.

    Args:
        verdicts: The verdicts as `as_json` returns them.

    Raises:
        Refused: A gate did not pass.
    """
    for verdict in verdicts:
        if not verdict["passed"]:
            raise Refused(f"gate {verdict['gate']} refused, nothing was published: {verdict['sentence']}")


def with_serving(gates: Sequence[Gate], publishing: tuple[str, str] | None) -> tuple[list[Gate], str | None]:
    """Resolve the baseline `serving` to the newest published version, or to popularity if there is none.

    Args:
        gates: The conditions for publishing.
        publishing: Name of the model to publish and the folder of its versions.

    Returns:
        The gates, and the folder of the newest version if a gate compares with it.
    """
    if publishing is None or not any(gate.baseline == SERVING for gate in gates):
        return list(gates), None
    version = newest_version(publishing[1])
    if version:
        return list(gates), version
    print(f"{publishing[1]} holds no version, so the gate compares with popularity", file=sys.stderr)
    replaced = [
        dataclasses.replace(gate, baseline="popularity") if gate.baseline == SERVING else gate for gate in gates
    ]
    return replaced, None
