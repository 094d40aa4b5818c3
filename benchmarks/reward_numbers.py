"""Compare our statistics with published numbers, and with plain counting on real logs.

    python benchmarks/reward_numbers.py                          # Simpson's case and biased counting, 2 min
    python benchmarks/reward_numbers.py --data DATA/open_bandit --globo DATA/globo [--stream]

There are four parts. Each prints the published figure beside ours:

- Simpson's case, from the `hours` of rows.
- Counting at once against counting matured rewards, through the join.
- The estimates of Open Bandit, from the `ipw` of rows, and by the functions of `recbeam off-policy`.
- The clicks of Globo against plain counting.

The last two run the whole command as a bounded run. With --stream they also run a stream on Prism, which reads the same
files in order and ends when idle. The exit code is 1 if a figure differs. The benchmark sets no threshold for times.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import rich.box
import rich.console
import rich.table

from benchmarks.rewards import delayed, globo, open_bandit, simpson
from benchmarks.serving.report import head
from pipelines.off_policy.__main__ import main as off_policy_command
from pipelines.off_policy.verdict import refusals
from pipelines.reward_stream.__main__ import main as reward_stream
from serving_client.snapshots.published import read_latest
from serving_client.snapshots.stores import open_store

SEED = 1
DRAWS = 300_000

Line = tuple[str, str, str, bool]
"""What, published, ours, whether they agree."""


def main() -> int:
    """Run the parts that there is data for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="folder of Open Bandit's small sample")
    parser.add_argument("--globo", type=pathlib.Path, help="folder of Globo's hourly files")
    parser.add_argument("--stream", action="store_true", help="real logs through a stream on Prism, too")
    parser.add_argument("--long", action="store_true", help="biased counting up to T = 100,000 as well (10 min)")
    parser.add_argument("--json", type=pathlib.Path, help="write the lines here, too")
    options = parser.parse_args()
    modes = ["batch", *["stream"] * options.stream]
    parts: list[Callable[[], list[Line]]] = [simpsons_case, lambda: biased_counting(options.long)]
    if options.data:
        parts += [lambda: estimators(options.data)]
        parts += [lambda mode=mode: off_policy(options.data, mode) for mode in modes]  # type: ignore[misc]
    if options.globo:
        parts += [lambda mode=mode: news_clicks(options.globo, mode) for mode in modes]  # type: ignore[misc]
    console = rich.console.Console(width=max(rich.console.Console().width, 110))
    console.print(head(["apache-beam", "numpy", "numba", "pyarrow"]), markup=False, highlight=False)
    lines = []
    for part in parts:
        started = time.monotonic()
        found = part()
        lines += found
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for name in ("", "published", "ours", "agree"):
            table.add_column(name, justify="left" if not name else "right")
        for what, published, ours, agree in found:
            table.add_row(what, published, ours, "yes" if agree else "[red]no[/red]")
        console.print(table)
        console.print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))
    return 0 if all(agree for *_, agree in lines) else 1


def simpsons_case() -> list[Line]:
    """Exact."""
    rows = simpson.rows()
    found = [(simpson.pooled(row), simpson.reweighted(rows, row["arm_id"])) for row in rows]
    published = [(0.0626, 0.0645), (0.0667, 0.0545)]
    return [
        (f"Simpson's case, arm {row['arm_id']}, {what}", f"{theirs:.4f}", f"{ours:.4f}", round(ours, 4) == theirs)
        for row, ours_of, theirs_of in zip(rows, found, published, strict=True)
        for what, ours, theirs in zip(("pooled", "hours by traffic"), ours_of, theirs_of, strict=True)
    ]


def biased_counting(long: bool) -> list[Line]:
    """The best arm's share of the decisions; the published figures have no error, ours is taken for both."""
    lines = []
    for steps, published in ((20_000, (0.107, 0.70)), *(((100_000, (0.66, 0.94)),) * long)):
        scenario = delayed.Scenario(steps=steps)
        for name, run, theirs in zip(
            ("at once", "matured"), (delayed.at_once, delayed.matured), published, strict=True
        ):
            shares = run(scenario, np.random.default_rng(SEED))
            ours, error = float(shares.mean()), float(shares.std(ddof=1) / math.sqrt(len(shares)))
            what = f"best arm's share at T = {steps:,}, counted {name}"
            agree = abs(ours - theirs) < 3 * math.sqrt(2) * error + 0.005
            lines.append((what, f"{theirs:.1%}", f"{ours:.1%} (se {error:.1%})", agree))
    return lines


def estimators(data: pathlib.Path) -> list[Line]:
    """What the BTS policy would have earned, by the functions of `recbeam off-policy`, and what its limits say."""
    items, target = bts_policy(data)
    bandits = open_bandit.bandits_yaml(items)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        open_bandit.write_log(open_bandit.read_log(data / "random" / "men" / "men.csv"), folder)
        found = open_bandit.by_off_policy(folder, bandits, target, SEED)
        (folder / "bandits.yaml").write_text(bandits)
        names = ("bandits.yaml", "decisions.jsonl", "rewards.jsonl")
        flags = [f"--{file.partition('.')[0]}={folder / file}" for file in names]
        codes = [
            off_policy_command([*flags, "--policy=arm:0", f"--output={folder / limit}", f"--min_ess={limit}"])
            for limit in ("200", "500")
        ]
    ips, snips, dr, switch = found.estimates
    refused = [len(refusals(found.ess, limit, 0.0, [])) for limit in (200, 3_000)]
    title = "Open Bandit, off-policy"
    return [
        (f"{title}: IPS", ".00455", f"{ips.value:.5f}", abs(ips.value - 0.00455) <= 0.00003),
        (
            f"{title}: standard error of IPS",
            ".0012",
            f"{ips.standard_error:.4f}",
            abs(ips.standard_error - 0.0012) < 1e-4,
        ),
        (f"{title}: SNIPS", ".00462", f"{snips.value:.5f}", abs(snips.value - 0.00462) <= 0.00003),
        (f"{title}: ESS", "2,476", f"{found.ess:,.0f}", abs(found.ess - 2_476) <= 20),
        *(
            (f"{title}: {each.name} and its 95% interval", "", f"{each.value:.5f} ({low:.5f} to {high:.5f})", low > 0)
            for each in (ips, snips, dr, switch)
            for low, high in [each.interval]
        ),
        (f"{title}: refused at --min_ess=200, 3,000", "no, yes", f"{refused[0]}, {refused[1]}", refused == [0, 1]),
        (f"{title}: exit code for always item 0 at 200, 500", "0, 4", f"{codes[0]}, {codes[1]}", codes == [0, 4]),
    ]


def bts_policy(data: pathlib.Path) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The items, and the target policy's p(position, item)."""
    with (data / "prior_bts_men.csv").open(newline="") as file:
        prior = sorted(csv.DictReader(file), key=lambda row: int(row["item"]))
    alpha, beta = (np.array([float(row[name]) for row in prior]) for name in ("alpha", "beta"))
    return [row["item"] for row in prior], open_bandit.target_policy(alpha, beta, DRAWS, np.random.default_rng(SEED))


def off_policy(data: pathlib.Path, mode: str) -> list[Line]:
    """What the BTS policy would have earned on the log of the random one, from the snapshot's `ipw`."""
    items, target = bts_policy(data)
    log = list(open_bandit.read_log(data / "random" / "men" / "men.csv"))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        open_bandit.write_log(log, folder)
        document = count(open_bandit.bandits_yaml(items), folder, "open_bandit", mode)
    ours, plain = open_bandit.evaluate(document["arms"], target), open_bandit.plain(log, target)
    same = all(
        math.isclose(getattr(ours, name), getattr(plain, name), rel_tol=1e-9)
        for name in ("ips", "standard_error", "snips", "ess")
    )
    title = f"Open Bandit, {mode}"
    return [
        (f"{title}: decisions, clicks", "10,000, 46", f"{ours.decisions:,}, {ours.clicks}", ours.clicks == 46),
        (f"{title}: IPS", ".00455", f"{ours.ips:.5f}", abs(ours.ips - 0.00455) <= 0.00003),
        (
            f"{title}: standard error of IPS",
            ".0012",
            f"{ours.standard_error:.4f}",
            round(ours.standard_error, 4) == 0.0012,
        ),
        (f"{title}: SNIPS", ".00462", f"{ours.snips:.5f}", abs(ours.snips - 0.00462) <= 0.00003),
        (f"{title}: ESS", "2,476", f"{ours.ess:,.0f}", abs(ours.ess - 2_476) <= 20),
        (f"{title}: the same decision by decision", "", "to 1e-9" if same else "different", same),
    ]


def news_clicks(data: pathlib.Path, mode: str) -> list[Line]:
    """Every n, sum and outcome against plain counting."""
    files = sorted(data.glob("clicks_hour_*.csv.gz"))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        counts = globo.write_logs(files, folder)
        started = time.monotonic()
        document = count(globo.BANDITS, folder, "globo", mode)
        seconds = time.monotonic() - started
    expected = globo.truth(click for path in files for click in globo.read_clicks(path))
    wrong = globo.differences(document, expected)
    for line in wrong[:5]:
        print(line, file=sys.stderr)
    records = counts["decisions"] + counts["rewards"]
    about = f"Globo, {mode}: {records:,} records in {len(files)} files, {seconds:.0f} s with start and stop"
    rows = f"{len(expected.rows)} rows, {sum(expected.outcomes.values()):,} outcomes"
    return [(about, rows, "the same" if not wrong else f"{len(wrong)} differ", not wrong)]


def count(bandits: str, folder: pathlib.Path, bandit_id: str, mode: str) -> dict[str, Any]:
    """The final snapshot of the logs in a folder, by the whole command."""
    (folder / "bandits.yaml").write_text(bandits)
    out = folder / mode
    arguments = [
        f"--bandits={folder}/bandits.yaml",
        f"--decisions={folder}/decisions*.jsonl",
        f"--rewards={folder}/rewards*.jsonl",
        f"--snapshots={out}/snapshots",
        f"--dead_letters={out}/dead_letters",
    ]
    if mode == "stream":
        arguments += ["--streaming", "--stop_when_idle=5s", f"--state={out}/state"]
        # Delivery order is the order of names: the stream takes files of one time by name.
        for number, path in enumerate(sorted(folder.glob("*.jsonl"))):
            os.utime(path, (number, number))
    code = reward_stream(arguments)
    if code:
        raise SystemExit(code)
    published = read_latest(open_store(f"{out}/snapshots"), bandit_id)
    if published is None:
        raise SystemExit(f"{out}: nothing was published for {bandit_id}")
    document: dict[str, Any] = json.loads(published.data)
    return document


if __name__ == "__main__":
    sys.exit(main())
