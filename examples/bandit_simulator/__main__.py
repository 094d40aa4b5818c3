"""Print the regret of the router's policies in known environments, beside published figures.

    python -m examples.bandit_simulator                       # all cases, about 9 minutes on one core
    python -m examples.bandit_simulator piecewise switching   # these cases alone
    python -m examples.bandit_simulator --json=regret.json

The exit code is 1 if a regret differs from its reference by 3 combined standard errors, and by more than the case
accepts. Policies draw from their posteriors. A test compares the draws with the router's probabilities.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import rich.console
import rich.progress

from examples.bandit_simulator.cases import CASES, Case, Run
from examples.bandit_simulator.contextual import RUNS, simulate_contextual
from examples.bandit_simulator.defaults import NEW_ARMS, SETTINGS, simulate_defaults
from examples.bandit_simulator.simulate import simulate
from examples.bandit_simulator.tables import Result, case_table, compare, plain_table
from recbeam.arguments import Parser

__all__ = ["main"]

Float64s = npt.NDArray[np.float64]

_CONTEXTUAL_STEPS, _CONTEXTUAL_REPETITIONS = 10_000, 100
_DEFAULTS_STEPS, _DEFAULTS_REPETITIONS = 20_000, 40
_ALL = (*CASES, "contextual", "defaults")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases and print their tables.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 if every regret agrees with its reference, otherwise 1.
    """
    options = _options(argv)
    console = rich.console.Console(width=140)
    report: dict[str, Any] = {}
    agree = True
    for name in options.cases or _ALL:
        with rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True) as bar:
            if name == "contextual":
                console.print(_contextual(bar, options.repetitions or _CONTEXTUAL_REPETITIONS, options.seed, report))
            elif name == "defaults":
                console.print(_defaults(bar, options.repetitions or _DEFAULTS_REPETITIONS, options.seed, report))
            else:
                case = CASES[name]
                repetitions = options.repetitions or case.repetitions
                results = [(run, _result(bar, case, run, repetitions, options.seed)) for run in case.runs]
                console.print(case_table(case, repetitions, results))
                report[name] = {run.name: result._asdict() for run, result in results}
                agree &= all(result.agrees is not False for _, result in results)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 0 if agree else 1


def _result(bar: rich.progress.Progress, case: Case, run: Run, repetitions: int, seed: int) -> Result:
    steps = case.steps if run.at is None else run.at
    (regret,) = simulate(
        case.environment,
        run.policy,
        steps,
        repetitions,
        seed,
        half_life=run.half_life,
        hours=run.hours,
        delay=run.delay,
        batch=run.batch,
        tell=_teller(bar, run.name, steps),
    )
    return compare(regret, run, case.within)


def _contextual(bar: rich.progress.Progress, repetitions: int, seed: int, report: dict[str, Any]) -> Any:
    steps = _CONTEXTUAL_STEPS
    rows = [
        (run.name, [simulate_contextual(run, steps, repetitions, seed, _teller(bar, run.name, steps))]) for run in RUNS
    ]
    report["contextual"] = {name: float(regrets[0].mean()) for name, regrets in rows}
    title = f"Contextual: four kinds of users, three arms, {steps:,} steps; {repetitions} repetitions"
    return plain_table(title, ("regret",), rows)


def _defaults(bar: rich.progress.Progress, repetitions: int, seed: int, report: dict[str, Any]) -> Any:
    rows = []
    for setting in SETTINGS:
        told = _teller(bar, setting.name, repetitions * len(NEW_ARMS))
        regrets = [
            simulate_defaults(setting, new, _DEFAULTS_STEPS, repetitions, seed, told) for new in NEW_ARMS.values()
        ]
        rows.append((setting.name, regrets))
    report["defaults"] = {
        name: dict(zip(NEW_ARMS, (float(each.mean()) for each in regrets), strict=True)) for name, regrets in rows
    }
    title = (
        f"Defaults: a new arm beside two arms of .05 that are known; regret over {_DEFAULTS_STEPS:,} decisions, "
        f"{repetitions} repetitions"
    )
    return plain_table(title, NEW_ARMS, rows)


def _teller(bar: rich.progress.Progress, name: str, total: int) -> Callable[[int], None]:
    task = bar.add_task(name, total=total)

    def tell(done: int) -> None:
        bar.advance(task, done)

    return tell


def _options(argv: Sequence[str] | None) -> Any:
    parser = Parser(
        prog="python -m examples.bandit_simulator",
        description=__doc__,
        epilog="exit code: 0 every regret agrees with its reference; 1 one does not; 2 bad usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"cases to run: {', '.join(_ALL)} (default: all)")
    parser.add_argument("--repetitions", type=int, help="repetitions of every case (default: the case's own)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default: 1)")
    parser.add_argument("--json", help="file that the figures are written to")
    options = parser.parse_args(argv)
    for name in options.cases:
        if name not in _ALL:
            parser.error(f"{name} is not a case; choose from {', '.join(_ALL)}")
    if options.repetitions is not None and options.repetitions < 2:
        parser.error("--repetitions is below 2; a standard error needs at least 2")
    return options


if __name__ == "__main__":
    sys.exit(main())
