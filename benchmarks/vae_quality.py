"""Measure NDCG@100 of the vae_train models beside popularity, co-occurrence, RP3beta and EASE in one run.

Every seed divides the users differently (`evaluate split --by=user`, which shows four fifths of a held-out user's
items). Every variant is trained with that seed on the train part. `evaluate` then ranks all variants and its baselines
for the same held-out users. EASE and RP3beta are tuned on users held out of the train part. A variant is NAME=FLAGS of
vae-train, for example `recvae=--model=recvae --refit`. Every command runs in its own process, as a user runs it. Its
time and its largest resident set are printed.

    python benchmarks/vae_quality.py --data ml1m/interactions.parquet --user_column=user --item_column=item
    python benchmarks/vae_quality.py --data ml100k/u.data --reading='--csv_delimiter=tab --csv_header=user_id,…'
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rich.console
import rich.table

from benchmarks.vae.commands import Ran, run

DEFAULT_VARIANTS = (
    "multvae, no linear term=--model=multvae --linear_items=0",
    "recvae, no linear term=--model=recvae --linear_items=0",
    "default=",
    "default, refit=--refit",
)
METRICS = ("ndcg@100", "recall@20", "recall@50")


def main() -> int:
    """Print the table; 1 if a command failed."""
    options = _options()
    console = rich.console.Console(width=140)
    work = Path(options.work or tempfile.mkdtemp(prefix="vae-quality-"))
    work.mkdir(parents=True, exist_ok=True)
    variants = dict(text.split("=", 1) for text in (options.variant or DEFAULT_VARIANTS))
    results: dict[int, dict[str, dict[str, float]]] = {}
    costs: dict[str, list[Ran]] = {name: [] for name in variants}
    chosen: list[str] = []
    for seed in options.seeds:
        results[seed] = _one_seed(options, work / f"seed-{seed}", seed, variants, costs, chosen, console)
        _table(console, f"seed {seed}", {seed: results[seed]}, costs)
    _table(console, f"{options.data}: mean over seeds {options.seeds}, ± largest less smallest", results, costs)
    for line in chosen:
        console.print(line)
    if options.json:
        Path(options.json).write_text(json.dumps({"data": options.data, "results": results}, indent=1))
    return 0


def _one_seed(
    options: Any,
    work: Path,
    seed: int,
    variants: dict[str, str],
    costs: dict[str, list[Ran]],
    chosen: list[str],
    console: rich.console.Console,
) -> dict[str, dict[str, float]]:
    work.mkdir(exist_ok=True)
    reading = shlex.split(options.reading)
    split = ["split", f"--interactions={options.data}", f"--output={work}/split", "--by=user", f"--seed={seed}"]
    run("pipelines.evaluate", [*split, f"--holdout={options.holdout}", "--fold_in=0.8", *reading], work / "split.ran")
    models = []
    for number, (name, flags) in enumerate(variants.items()):
        output = work / f"variant-{number}"
        train = [f"--interactions={work}/split/train", f"--output={output}", f"--seed={seed}"]
        ran = run("pipelines.vae_train", [*train, *shlex.split(flags)], work / f"variant-{number}.ran")
        costs[name].append(ran)
        card = json.loads((output / "model/assets.extra/model_card.json").read_text())
        chosen.append(f"seed {seed}, {name}: {json.dumps(card.get('training', {}))} {json.dumps(card.get('linear'))}")
        console.print(f"seed {seed}, {name}: {ran.seconds:.0f} s, {ran.peak_bytes / 2**20:,.0f} MiB")
        models.append(f"--model=variant{number}={output}")
    against = [f"--interactions={work}/split/train", f"--holdout={work}/split/holdout", "--tune_baselines"]
    judge = ["evaluate", *models, *against, f"--output={work}/evaluation", "--k=20,50,100"]
    run("pipelines.evaluate", judge, work / "evaluate.ran")
    metrics = json.loads((work / "evaluation/metrics.json").read_text())["models"]
    shown = {f"variant{number}": name for number, name in enumerate(variants)}
    return {
        shown.get(name, name): {metric: float(values["metrics"][metric]["mean"]) for metric in METRICS}
        for name, values in metrics.items()
    }


def _table(
    console: rich.console.Console,
    title: str,
    results: dict[int, dict[str, dict[str, float]]],
    costs: dict[str, list[Ran]],
) -> None:
    table = rich.table.Table(title=title, title_justify="left")
    for heading in ("model", *METRICS, "ndcg@100 / EASE's", "seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    names = {name for each in results.values() for name in each}
    means = {
        name: {metric: statistics.mean(each[name][metric] for each in results.values()) for metric in METRICS}
        for name in names
    }
    for name in sorted(names, key=lambda each: -means[each]["ndcg@100"]):
        cells = []
        for metric in METRICS:
            values = [each[name][metric] for each in results.values()]
            spread = f" ±{max(values) - min(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{means[name][metric]:.4f}{spread}")
        ratios = [each[name]["ndcg@100"] / each["ease"]["ndcg@100"] for each in results.values()]
        ran = costs.get(name, [])
        cells.append(f"{statistics.mean(ratios):.4f} (least {min(ratios):.4f})")
        cells.append(f"{statistics.mean(each.seconds for each in ran):.0f}" if ran else "")
        cells.append(f"{max(each.peak_bytes for each in ran) / 2**20:,.0f}" if ran else "")
        table.add_row(name, *cells)
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an interaction log that evaluate split reads")
    parser.add_argument("--reading", default="", help="flags that say how to read it, such as --user_column=user")
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--holdout", type=float, default=0.084, help="share of users held out (default: 0.084)")
    parser.add_argument("--variant", action="append", help="NAME=FLAGS of vae-train; may be repeated")
    parser.add_argument("--work", help="folder for what the commands write (default: a temporary one)")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
