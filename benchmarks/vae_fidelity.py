"""Compare the validation curve of `--model=multvae` with that of a plain dense Mult-VAE.

vae_train runs as a user runs it. Then benchmarks/vae/reference.py, which shares no code with vae_train, is trained on
the users of the same example files, for the same number of epochs and steps, with the same annealing of the KL term.
The same function validates both on the same users. Random numbers differ, so each runs with two seeds. The difference
between two seeds of one model is the noise against which the two models are compared.

    python benchmarks/vae_fidelity.py --data ml1m/interactions.parquet --reading='--user_column=user --item_column=item'
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import rich.console
import rich.table
import scipy.sparse as sp

from benchmarks.vae.commands import run
from transforms.models.import_tensorflow import import_tensorflow

Curve = list[float]
"""Validation ndcg@100 after each epoch."""


def main() -> int:
    """Print both curves."""
    options = _options()
    console = rich.console.Console(width=120)
    work = Path(options.work or tempfile.mkdtemp(prefix="vae-fidelity-"))
    work.mkdir(parents=True, exist_ok=True)
    curves: dict[str, Curve] = {}
    for seed in options.seeds:
        # --seed decides the split of the users too; the first seed's is used for both.
        output = work / f"ours-{seed}"
        curves[f"vae_train, seed {seed}"] = _ours(options, output, seed, console)
        curves[f"reference, seed {seed}"] = _reference(options, output, seed, console)
    _table(console, options, curves)
    return 0


def _ours(options: Any, output: Path, seed: int, console: rich.console.Console) -> Curve:
    flags = ["--model=multvae", "--linear_items=0", f"--epochs={options.epochs}", f"--patience={options.epochs}"]
    command = [f"--interactions={options.data}", f"--output={output}", f"--seed={seed}", *flags]
    ran = run("pipelines.vae_train", [*command, *shlex.split(options.reading)], output.with_suffix(".ran"))
    console.print(f"vae_train, seed {seed}: {ran.seconds:.0f} s, {ran.peak_bytes / 2**20:,.0f} MiB")
    return [json.loads(line)["ndcg@100"] for line in (output / "training.jsonl").read_text().splitlines()]


def _reference(options: Any, output: Path, seed: int, console: rich.console.Console) -> Curve:
    tf = import_tensorflow()

    from benchmarks.vae.reference import DenseMultVae
    from pipelines.vae_train.config import ModelConfig, TrainingConfig
    from pipelines.vae_train.training.heldout import read_heldout
    from pipelines.vae_train.training.reading import read_users
    from pipelines.vae_train.training.validation import evaluate

    items = json.loads((output / "run.json").read_text())["counters"]["items"]
    users = read_users(str(output), "train").items
    rows = sp.csr_array((np.ones(len(users.items), np.float32), users.items, users.indptr), shape=(len(users), items))
    heldout = read_heldout(str(output), "validation", items)
    model = DenseMultVae(items, seed)
    defaults, batch = ModelConfig(), TrainingConfig().batch_users
    planned = options.epochs * -(-len(users) // batch)
    random = np.random.default_rng(seed)
    curve, step, started = [], 0, time.perf_counter()
    for _ in range(options.epochs):
        order = random.permutation(len(users))
        for start in range(0, len(users), batch):
            beta = min(defaults.beta_cap, defaults.beta_cap * step / (defaults.anneal_fraction * planned))
            x = rows[order[start : start + batch]].toarray()
            model.train_step(tf.constant(x), tf.constant(beta, tf.float32))
            step += 1

        def score(given: Any, sides: Any) -> Any:
            dense = np.zeros((given.nrows().numpy(), items), np.float32)
            dense[given.value_rowids().numpy(), given.flat_values.numpy()] = 1.0
            return model.scores(tf.constant(dense))

        curve.append(evaluate(score, heldout)["ndcg@100"])
    console.print(f"reference, seed {seed}: {time.perf_counter() - started:.0f} s of training and validation")
    return curve


def _table(console: rich.console.Console, options: Any, curves: dict[str, Curve]) -> None:
    table = rich.table.Table(title=f"{options.data}: validation ndcg@100", title_justify="left")
    table.add_column("epoch", justify="right")
    for name in curves:
        table.add_column(name, justify="right")
    shown = sorted({1, 2, 5, *range(10, options.epochs + 1, 10), options.epochs})
    for epoch in shown:
        table.add_row(str(epoch), *(f"{curve[epoch - 1]:.4f}" for curve in curves.values()))
    table.add_row("best", *(f"{max(curve):.4f}" for curve in curves.values()))
    console.print(table)
    ours = np.mean([curve for name, curve in curves.items() if name.startswith("vae_train")], axis=0)
    theirs = np.mean([curve for name, curve in curves.items() if name.startswith("reference")], axis=0)
    late = slice(options.epochs // 2, None)
    console.print(f"second half, mean difference vae_train - reference: {np.mean(ours[late] - theirs[late]):+.4f}")
    for kind in ("vae_train", "reference"):
        pair = [np.array(curve)[late] for name, curve in curves.items() if name.startswith(kind)]
        if len(pair) > 1:
            console.print(
                f"second half, mean difference between two seeds of {kind}: {np.mean(pair[1] - pair[0]):+.4f}"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an interaction log")
    parser.add_argument("--reading", default="", help="flags that say how to read it, such as --user_column=user")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2])
    parser.add_argument("--work", help="folder for what the commands write (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
