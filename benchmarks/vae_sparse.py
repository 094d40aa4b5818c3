"""Measure vae-train with defaults beside batch-cf with defaults on a large sparse log: alone, the linear term, blended.

Each command runs in its own process, as a user runs it, on the whole train part. From the model that vae-train wrote,
the benchmark also exports the autoencoder alone and the linear term alone. `evaluate --protocol=per_user` then ranks
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rich.console
import rich.table

from benchmarks.vae.commands import Ran, run

METRICS = ("recall_plain@20", "ndcg@20")


def main(argv: Sequence[str] | None = None) -> int:
    """Train both, export the parts of the blend, read test, print the table."""
    options = _options(argv)
    console = rich.console.Console(width=140)
    work = Path(options.work or tempfile.mkdtemp(prefix="vae-sparse-"))
    work.mkdir(parents=True, exist_ok=True)
    reading = shlex.split(options.reading)
    costs: dict[str, Ran] = {}
    models = {"batch-cf": work / "batch_cf", "vae-train": Path(options.model or work / "vae_train")}
    flags = {"batch-cf": [], "vae-train": shlex.split(options.flags)}
    for name, output in models.items():
        if not (output / "run.json").exists():
            module = f"pipelines.{name.replace('-', '_')}"
            arguments = [f"--interactions={options.train}", f"--output={output}", *reading, *flags[name]]
            costs[name] = run(module, arguments, work / f"{name}.ran")
            console.print(f"{name}: {costs[name].seconds:.0f} s, {costs[name].peak_bytes / 2**20:,.0f} MiB")
    models |= export_parts(models["vae-train"], work)
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


def export_parts(output: Path, work: Path) -> dict[str, Path]:
    """Export the two parts of a blend as models of their own.

    Args:
        output: A complete output folder of vae-train.
        work: Folder for the models.

    Returns:
        Folders of models by name. Without a linear term in the blend, there are none.
    """
    import tensorflow as tf

    from pipelines.vae_train.defaults import configs
    from pipelines.vae_train.export.saved_model import export_model
    from pipelines.vae_train.model.factory import make_model
    from pipelines.vae_train.model.linear import LinearTerm, NeighborTerm

    counters = json.loads((output / "run.json").read_text())["counters"]
    card = json.loads((output / "model/assets.extra/model_card.json").read_text())
    if card["linear"] is None or card["linear"]["term"] is None:
        return {}
    loaded = tf.saved_model.load(str(output / "model"))
    weights: Mapping[str, Any] = {variable.name: variable for variable in loaded.weights}
    config, _ = configs({"kind": card["model"]}, {}, counters["items"], counters["interactions"])
    model = make_model(counters["items"], config, {}, seed=1)
    for variable in model.variables:
        if variable.name in weights:  # the served model lacks what only training reads
            variable.assign(weights[variable.name])
    dense = "neighbors/neighbors:0" not in weights
    linear = (
        LinearTerm(weights["linear/weights:0"])
        if dense
        else NeighborTerm(weights["neighbors/neighbors:0"], weights["neighbors/weights:0"])
    )
    parts = {"autoencoder alone": (None, 1.0), "linear term alone": (linear, 0.0)}
    found = {}
    for name, (term, share) in parts.items():
        found[name] = work / name.replace(" ", "_")
        if not found[name].exists():
            export_model(model, term, share, output, found[name], model_card=card)
    return found


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
    add("--model", metavar="DIR", help="complete output of vae-train on --train (default: train one)")
    add("--work", metavar="DIR", help="folder for what the commands write (default: a temporary one)")
    add("--json", metavar="FILE", help="write the record there (default: none)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
