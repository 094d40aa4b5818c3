"""Run recbeam from a raw log to two compared models and recommendations with reasons.

    python -m examples.course_platform.demo [--output=out/demo] [--interactions=GLOB] [--items=FILE] [FLAG=VALUE ...]

Without --interactions the demo first generates the log of a course platform. Further flags about reading the log
(--user_column=learner, --csv_delimiter=tab ...) are passed to the split. All other flags (--similarity=llr ...) are
passed to batch_cf. --vae_epochs=0 skips the autoencoder. Columns with common names are found as in every
command. A second run skips the steps that are done. Each step calls the `main` of the command in its title.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import rich.console

from examples.course_platform import compare, generate, serve

__all__ = ["main", "split_flags"]

SEED = 1
USERS = 20_000
VAE_EPOCHS = 12  # takes about a minute; the default of vae-train continues while validation improves

# Prefixes of the flags about reading a log.
READING = (
    "--input_format",
    "--csv_",
    "--null_text",
    "--user_column",
    "--item_column",
    "--timestamp_",
    "--weight_column",
    "--min_weight",
    "--since",
    "--until",
    "--as_of",
    "--max_bad_fraction",
)


def split_flags(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split flags into those about reading a log and all others."""
    reading = [flag for flag in flags if flag.startswith(READING)]
    return reading, [flag for flag in flags if not flag.startswith(READING)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code of the first step that fails, or 0."""
    parser = argparse.ArgumentParser(prog="demo", description="from a raw log to recommendations with reasons")
    parser.add_argument("--output", default="out/demo", help="folder for all results (default out/demo)")
    parser.add_argument("--interactions", help="your own log, files or a folder (default: generate a log)")
    parser.add_argument(
        "--items", help="your catalogue with titles (default: the generated catalogue, or no titles for your own log)"
    )
    parser.add_argument("--users", type=int, default=USERS, help=f"number of users to generate (default {USERS})")
    parser.add_argument(
        "--vae_epochs",
        type=int,
        default=VAE_EPOCHS,
        help=f"epochs of the autoencoder, 0 to skip it (default {VAE_EPOCHS})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results of another log or of other flags")
    options, further = parser.parse_known_args(argv)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides TensorFlow's messages about the processor
    # These imports must follow the environment variable above.
    from pipelines.batch_cf.__main__ import main as batch_cf
    from pipelines.evaluate.__main__ import main as evaluate
    from pipelines.vae_train.__main__ import main as vae_train

    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    output = pathlib.Path(options.output)
    interactions, items = options.interactions, options.items
    reading, others = split_flags(further)
    steps: list[tuple[str, Callable[[], int]]] = []
    if interactions is None:
        platform = output / "platform"
        interactions, items = str(platform / "interactions"), str(platform / "items.csv")
        steps.append(("Generate a course platform's log", lambda: _generate(console, platform, options.users)))
    catalogue = [] if items is None else [f"--items={items}"]

    train, holdout = output / "split" / "train", output / "split" / "holdout"
    split = ["split", f"--interactions={interactions}", f"--output={output / 'split'}", "--by=user", *reading]
    published = {"cf": output / "models" / "cf"}
    if options.vae_epochs > 0:
        published["vae"] = output / "models" / "vae"
    published["draft"] = output / "models" / "draft"
    fit = [
        f"--interactions={train}",
        f"--output={output / 'cf'}",
        f"--model_dir={published['cf']}",
        *catalogue,
        *others,
    ]
    draft = [f"--interactions={train}", f"--output={output / 'draft'}", "--similarity=lift", *catalogue]
    draft.append(f"--model_dir={published['draft']}")
    learn = [f"--interactions={train}", f"--output={output / 'vae'}", f"--epochs={options.vae_epochs}", *catalogue]
    learn.append(f"--model_dir={output / 'models' / 'vae'}")
    judge = ["evaluate", f"--model=batch_cf={output / 'cf'}", f"--interactions={train}", f"--holdout={holdout}"]
    judge += [f"--model=vae_train={output / 'vae'}"] * (options.vae_epochs > 0)
    judge.append(f"--output={output / 'evaluation'}")
    for arguments in (split, fit, draft, learn, judge):
        arguments += ["--overwrite"] * options.overwrite
    steps += [
        ("Hold out a tenth of the users: evaluate split", lambda: evaluate(split)),
        ("Item neighbors and a servable model: batch_cf", lambda: batch_cf(fit)),
        ("A first draft, by lift alone, for the live traffic to compare with: batch_cf", lambda: batch_cf(draft)),
        *[("An autoencoder that serves from raw ids: vae_train", lambda: vae_train(learn))] * (options.vae_epochs > 0),
        ("Beside the baselines, on the users held out: evaluate", lambda: _judge(console, evaluate, judge, output)),
        (
            "Served: what the models recommend, and why; then live traffic, which moves to the better model",
            lambda: serve.show(console, published, output / "cf" / "items.parquet", holdout, output / "traffic"),
        ),
    ]
    for number, (title, step) in enumerate(steps, start=1):
        console.rule(f"[bold]{number}/{len(steps)}  {title}", align="left")
        started = time.monotonic()
        code = step()
        if code:
            return code
        console.print(f"[dim]{time.monotonic() - started:.1f} s[/dim]\n")
    console.print(f"Metrics and plots   [bold]{output / 'evaluation' / 'report.html'}[/bold]")
    console.print(f"Item neighbors      [bold]{output / 'cf' / 'neighbors'}[/bold]")
    console.print(f"Models for serving  [bold]{'  '.join(map(str, published.values()))}[/bold]")
    serve.show_commands(
        console, published["cf"], output / "cf" / "items.parquet", items if options.items is None else None
    )
    return 0


def _generate(console: rich.console.Console, directory: pathlib.Path, users: int) -> int:
    if generate.is_complete(directory, SEED, users):
        console.print(f"already done: {directory}")
        return 0
    rows = generate.write(directory, SEED, users)
    console.print(f"{rows:,} interactions of {users:,} users in {directory}")
    return 0


def _judge(
    console: rich.console.Console, evaluate: Callable[[list[str]], int], arguments: list[str], output: pathlib.Path
) -> int:
    code = evaluate(arguments)
    if not code:
        for sentence in compare.sentences(output / "evaluation" / "metrics.json"):
            console.print(sentence, markup=False, highlight=False)
    return code


if __name__ == "__main__":
    sys.exit(main())
