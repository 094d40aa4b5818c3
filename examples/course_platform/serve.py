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

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table
from rich.markup import escape

from serving_client import Client, ServingError

__all__ = ["served", "show", "show_commands"]

PEOPLE = 3
HISTORY = 8  # users with about this many courses are shown: enough to see their interests, few enough to read
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
    console: rich.console.Console, models: Mapping[str, pathlib.Path], catalogue: pathlib.Path, holdout: pathlib.Path
) -> int:
    """Print recommendations with their reasons for three held-out users.

    Args:
        console: Where to print.
        models: Maps a model's name to its folder of versions. Must include "cf".
        catalogue: items.parquet of batch_cf.
        holdout: Folder with the held-out users.

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
            for user, given, later in _people(holdout, set(titles)):
                _show_person(console, client, list(models), titles, user, given, later, timed)
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


def _show_person(
    console: rich.console.Console,
    client: Client,
    models: Sequence[str],
    titles: Mapping[str, str],
    user: str,
    given: Sequence[str],
    later: set[str],
    timed: bool,
) -> None:
    answer = client.recommend(given, model="cf", k=SHOWN)
    parts = client.explain(given, answer.items, model="cf")
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title_justify="left", title_style="", expand=True)
    took = "; ".join(escape(titles[item]) for item in given[: -NAMED - 1 : -1])
    took += f" and {len(given) - NAMED} more" if len(given) > NAMED else ""
    table.title = f"[bold]{escape(user)}[/bold] took{', newest first' * timed}: {took}"
    table.add_column("Recommended by cf", ratio=5)
    table.add_column("Score", justify="right")
    table.add_column("Because of (share of the score)", ratio=7)
    table.add_column("Taken later" if timed else "Held out", justify="center")
    for item, score, part in zip(answer.items, answer.scores, parts, strict=True):
        table.add_row(escape(titles[item]), f"{score:.3f}", _reasons(part, given, titles), "✓" * (item in later))
    console.print(table)
    for name in models:
        if name != "cf":
            items = client.recommend(given, model=name, k=SHOWN).items
            named = "; ".join(escape(titles.get(item, item)) + " ✓" * (item in later) for item in items)
            console.print(f"  [dim]{name} recommends[/dim] {named}\n")


def _reasons(parts: Sequence[float], given: Sequence[str], titles: Mapping[str, str]) -> str:
    """Return the two history items with the largest shares of a score."""
    total = sum(parts)
    newest = given[-len(parts) :]  # a client sends only the newest items
    ranked = sorted(zip(parts, newest, strict=True), reverse=True)[:2]
    return "; ".join(f"{escape(titles[item])} ({part / total:.0%})" for part, item in ranked if part > 0)


def _people(holdout: pathlib.Path, known: set[str]) -> list[tuple[str, list[str], set[str]]]:
    """Return users with about HISTORY courses: (user, the model's input oldest first, held-out courses)."""
    rows = pq.read_table(holdout)
    rows = rows.filter(pc.is_in(pc.cast(rows["item_id"], pa.string()), pa.array(sorted(known))))
    if "timestamp" in rows.column_names:
        rows = rows.sort_by("timestamp")
    histories: dict[str, dict[bool, list[str]]] = {}
    columns = (rows[name].to_pylist() for name in ("user_id", "item_id", "given"))
    for user, item, given in zip(*columns, strict=True):
        histories.setdefault(user, {True: [], False: []})[given].append(item)
    people = [(user, list(dict.fromkeys(h[True])), set(h[False])) for user, h in histories.items() if h[True]]
    return sorted(people, key=lambda person: (abs(len(person[1]) - HISTORY), person[0]))[:PEOPLE]


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
