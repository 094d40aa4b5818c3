"""Serve the published models and request recommendations, as the last step of the demo.

The server runs in its own process and takes the flags of tensorflow_model_server. The client, the same that a service
would use, needs only the address, the models' names and raw course ids. It does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table
from rich.markup import escape

from examples.course_platform.people import Person, choose, held_out, hit_rate
from examples.course_platform.traffic import show_traffic
from serving_client import Client, Recommendation, ServingError

__all__ = ["served", "show", "show_commands"]

PEOPLE = 3
NAMED = 10  # a longer history is cut to this many titles
SHOWN = 6
START_S = 120.0
"""Timeout in seconds. Importing TensorFlow and loading two models take about 10 s, and longer on a busy machine."""


@contextlib.contextmanager
def served(models: Mapping[str, pathlib.Path]) -> Iterator[str]:
    """Run a model server while the block runs, and return its address.

    Args:
        models: Maps a model's name to its folder of versions.

    Raises:
        RuntimeError: The server exits or does not start within START_S. The message has the server's last line.
    """
    with tempfile.TemporaryDirectory(prefix="demo-serving-") as folder:
        config, log = pathlib.Path(folder, "models.config"), pathlib.Path(folder, "log")
        entries = "".join(
            f'  config {{ name: "{name}" base_path: "{path.resolve()}" model_platform: "tensorflow" }}\n'
            for name, path in models.items()
        )
        config.write_text(f"model_config_list {{\n{entries}}}\n")
        command = [sys.executable, "-m", "local_serving", "--port=0", f"--model_config_file={config}"]
        with log.open("wb") as written:
            process = subprocess.Popen(command, stderr=written, stdout=written)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def show(
    console: rich.console.Console,
    models: Mapping[str, pathlib.Path],
    catalogue: pathlib.Path,
    holdout: pathlib.Path,
    traffic: pathlib.Path,
) -> int:
    """Print recommendations with reasons for three held-out users, the hit rate over all of them, and live traffic.

    Args:
        console: Where to print.
        models: Maps a model's name to its folder of versions. Must include "cf" and "draft". The draft is shown in the
            hit rates and in the live traffic alone.
        catalogue: items.parquet of batch_cf.
        holdout: Folder with the held-out users.
        traffic: Folder for what the live traffic writes.

    Returns:
        The exit code.
    """
    rows = pq.read_table(catalogue, columns=["item_id", "title"])
    titles = {i: t or i for i, t in zip(*(rows[name].to_pylist() for name in ("item_id", "title")), strict=True)}
    timed = "timestamp" in pq.read_schema(next(iter(sorted(holdout.glob("*.parquet"))))).names
    console.print("starting local_serving with the published models …")
    try:
        with served(models) as address, Client(address, timeout_s=10.0) as client:
            for name in models:
                client.wait_until_ready(model=name, timeout_s=START_S)
            console.print(f"{', '.join(models)} are served at {address}; what follows came over gRPC\n")
            people = held_out(holdout, set(titles))
            if not people:
                console.print("no held-out user has both a history and an item to find")
                return 0
            shown = [(person, client.recommend(person.given, model="cf", k=SHOWN)) for person in choose(people, PEOPLE)]
            hits = any(not person.later.isdisjoint(answer.items) for person, answer in shown)
            for person, answer in shown:
                console.print(_table(client, titles, person, answer, hits, timed))
                _print_others(console, client, [name for name in models if name != "draft"], titles, person)
            rates = ", ".join(f"{name} {hit_rate(client, name, people, SHOWN):.0%}" for name in models)
            console.print("These users were drawn by a hash of their ids, not by their results.")
            console.print(
                f"Hit rate over all {len(people):,} held-out users, at least one of {SHOWN} recommendations "
                f"{_hit(timed).lower()}: [bold]{rates}[/bold]\n"
            )
            return show_traffic(console, client, models, people, traffic)
    except (ServingError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; trained and published models are kept", file=sys.stderr)
        return 130
    return 0


def show_commands(
    console: rich.console.Console, model: pathlib.Path, catalogue: pathlib.Path, titles: str | None
) -> None:
    """Print the commands to serve the co-occurrence model and to request recommendations.

    Args:
        console: Where to print.
        model: Folder of the model's versions.
        catalogue: items.parquet of batch_cf.
        titles: A CSV file with item_id and title, or None.
    """
    some = pq.read_table(catalogue, columns=["item_id"])["item_id"][:2].to_pylist()
    ask = ["serving-client", "recommend", "--server=localhost:8500", "--model=cf", "--k=5"]
    ask += [f"--items={titles}"] * (titles is not None) + some
    serve = ["local-serving", "--model_name=cf", f"--model_base_path={model.resolve()}"]
    console.print("\nServe a model yourself, and request recommendations from another terminal:")
    for command in (serve, ask):
        console.print(f"  .venv/bin/{shlex.join(command)}", soft_wrap=True, highlight=False, markup=False)


def _table(
    client: Client, titles: Mapping[str, str], person: Person, answer: Recommendation, hits: bool, timed: bool
) -> rich.table.Table:
    """Return the table of a person: recommendations of cf with their reasons, and a column for hits if asked for."""
    given = person.given
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title_justify="left", title_style="", expand=True)
    took = "; ".join(escape(titles[item]) for item in given[: -NAMED - 1 : -1])
    took += f" and {len(given) - NAMED} more" if len(given) > NAMED else ""
    table.title = f"[bold]{escape(person.user)}[/bold] took{', newest first' * timed}: {took}"
    table.add_column("Recommended by cf", ratio=5)
    table.add_column("Score", justify="right")
    table.add_column("Because of (its part of the score)", ratio=7)
    if hits:
        table.add_column(_hit(timed), justify="center")
    parts = client.explain(given, answer.items, model="cf")
    for item, score, part in zip(answer.items, answer.scores, parts, strict=True):
        cells = [escape(titles[item]), f"{score:.3f}", _reasons(part, given, titles)]
        table.add_row(*cells, *["✓" * (item in person.later)] * hits)
    return table


def _print_others(
    console: rich.console.Console, client: Client, models: Sequence[str], titles: Mapping[str, str], person: Person
) -> None:
    """Print what the models other than cf recommend to a person."""
    for name in models:
        if name != "cf":
            items = client.recommend(person.given, model=name, k=SHOWN).items
            named = "; ".join(escape(titles.get(item, item)) + " ✓" * (item in person.later) for item in items)
            console.print(f"  [dim]{name} recommends[/dim] {named}\n")


def _hit(timed: bool) -> str:
    return "Taken later" if timed else "Held out"


def _reasons(parts: Sequence[float], given: Sequence[str], titles: Mapping[str, str]) -> str:
    """Return the two history items that add most to a score, with what they add."""
    newest = given[-len(parts) :]  # a client sends only the newest items
    ranked = sorted(zip(parts, newest, strict=True), reverse=True)[:2]
    return "; ".join(f"{escape(titles[item])} ({part:+.3f})" for part, item in ranked if part > 0)


def _address(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        found = re.search(r"listening: grpc \S+:(\d+)", said)
        if found:
            return f"127.0.0.1:{found[1]}"  # an IP address avoids the proxies of the environment
        if process.poll() is not None:
            break
        time.sleep(0.05)
    last = " ".join(log.read_text(errors="replace").strip().splitlines()[-1:])
    raise RuntimeError(f"the model server did not start: {last or 'it printed nothing'}")
