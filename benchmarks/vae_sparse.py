"""Measure vae-train with defaults beside batch-cf with defaults on a large sparse log: alone, the linear term, blended.

Each command runs in its own process, as a user runs it, on the whole train part. The process of vae-train also exports
the autoencoder alone and the linear term alone. `evaluate --protocol=per_user` then ranks
for all users of test, which no command read before. Figures follow the LightGCN convention: recall divides by the
number of held-out items, and train items are never ranked. The lines that answer are "vae-train" beside "batch-cf"
(is the blend worth its training?) and "autoencoder alone" beside the published Mult-VAE.

    python benchmarks/vae_sparse.py --train DATA/gowalla/train.parquet --test DATA/gowalla/test.parquet
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rich.console
import rich.table

from benchmarks.vae.commands import Ran, run
from benchmarks.vae.parts.__main__ import PARTS

METRICS = ("recall_plain@20", "ndcg@20")


def main(argv: Sequence[str] | None = None) -> int:
    """Train both, export the parts of the blend, read test, print the table."""
    options = _options(argv)
    console = rich.console.Console(width=140)
    work = Path(options.work or tempfile.mkdtemp(prefix="vae-sparse-"))
    work.mkdir(parents=True, exist_ok=True)
    reading = shlex.split(options.reading)
    models = {"batch-cf": work / "batch_cf", "vae-train": work / "vae_train"}
    modules = {"batch-cf": ("pipelines.batch_cf", ""), "vae-train": ("benchmarks.vae.parts", options.flags)}
    costs: dict[str, Ran] = {}
    for name, (module, flags) in modules.items():
        arguments = [f"--interactions={options.train}", f"--output={models[name]}", *reading, *shlex.split(flags)]
        costs[name] = run(module, arguments, work / f"{name}.ran")
        console.print(f"{name}: {costs[name].seconds:.0f} s, {costs[name].peak_bytes / 2**20:,.0f} MiB")
    for part in PARTS:
        if (work / f"vae_train-{part}").exists():
            models[f"{part.replace('_', ' ')} alone"] = work / f"vae_train-{part}"
    named = [f"--model={name.replace(' ', '_')}={folder}" for name, folder in models.items()]
    against = [f"--interactions={options.train}", f"--holdout={options.test}", "--protocol=per_user", "--k=20"]
    run(
        "pipelines.evaluate",
        ["evaluate", *named, *against, *reading, f"--output={work}/evaluation"],
        work / "judge.ran",
    )
    found = json.loads((work / "evaluation/metrics.json").read_text())["models"]
    card = json.loads((models["vae-train"] / "model/assets.extra/model_card.json").read_text())
    lines = {
        name: {metric: float(found[name.replace(" ", "_")]["metrics"][metric]["mean"]) for metric in METRICS}
        for name in models
    }
    _print(console, lines, costs)
    console.print(f"blend: {json.dumps(card['linear'])}", soft_wrap=True)
    console.print(f"training: {json.dumps(card['training'])}", soft_wrap=True)
    if options.json:
        record = {"train": options.train, "test": options.test, "lines": lines, "training": card["training"],
                  "linear": card["linear"], "seconds": {name: ran.seconds for name, ran in costs.items()}}  # fmt: skip
        Path(options.json).write_text(json.dumps(record, indent=2) + "\n")
    return 0


def _print(console: rich.console.Console, lines: Mapping[str, Mapping[str, float]], costs: Mapping[str, Ran]) -> None:
    table = rich.table.Table(title="all users of test", title_justify="left")
    for heading in ("model", "R@20", "N@20", "seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, values in sorted(lines.items(), key=lambda line: -line[1]["ndcg@20"]):
        ran = costs.get(name)
        spent = ["", ""] if ran is None else [f"{ran.seconds:.0f}", f"{ran.peak_bytes / 2**20:,.0f}"]
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in METRICS), *spent)
    console.print(table)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", required=True, metavar="FILE", help="interactions to train on; required")
    add("--test", required=True, metavar="FILE", help="interactions of the same users to rank for; required")
    add("--reading", default="--user_column=user --item_column=item", help="flags that say how to read both files")
    add("--flags", default="", help="flags of vae-train (default: none)")
    add("--work", metavar="DIR", help="folder for what the commands write (default: a temporary one)")
    add("--json", metavar="FILE", help="write the record there (default: none)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
