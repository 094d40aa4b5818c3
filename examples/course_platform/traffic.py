"""Divide made-up live traffic between the demo's models, and show how it moves to the better ones.

Every request goes through the router, as a service's would: the bandit draws an arm, the arm's model recommends over
gRPC, and the decision is logged. Held-out users click on the courses that they really took later. After each round
reward_stream joins the clicks to the decisions, and the router follows the new snapshot by itself. Here reward_stream
runs once per round over all of the logs. In production it runs all the time: `recbeam reward-stream --streaming`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import logging
import pathlib
import random
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import rich.box
import rich.console
import rich.progress
import rich.table

from examples.course_platform.people import Person
from serving_client import Client
from serving_client.contracts.signatures import POPULARITY_FILE
from serving_client.popularity import Popularity
from serving_client.router import Recommender, Router
from transforms.models.publish import versions

__all__ = ["BANDIT", "show_traffic"]

BANDIT = "home_row"
ROUNDS = 6
REQUESTS = 600
"""Requests per round."""
PLACES = 6
"""Courses on the page. The user looks at the place p, from 0, with probability LOOKED ** p."""
LOOKED = 0.9
TWICE = 0.1
"""Share of clicks that are sent twice, as by a browser that retries. They count once."""
HOLDBACK = "holdback"
THREADS = 4
SEED = 1

_BANDITS = """\
# What the demo's home row shows: all traffic starts at the default arm, as before the first snapshot.
bandits:
  {bandit}:
    policy_epoch: 1
    default_arm: draft
    arms:
{arms}
    policy: {{kind: thompson_beta, floor: 0.02}}
    cold: {{min_n: 50, share: 0.3}}
    holdback: {{share: 0.1, arm: draft}}   # a tenth of the users keeps the draft, to compare with
    attribution: {{window: 10s, allowed_lateness: 20s, reward_kinds: [click]}}
    half_lives: [1h]
"""
_FLUSHED_S = 1.2  # the router's logs are flushed every second
_FOLLOWED_S = 30.0


class _Round(NamedTuple):
    """What happened in a round: requests and clicked pages by arm. The holdback's are under HOLDBACK."""

    requests: Counter[str]
    clicked: Counter[str]


def show_traffic(
    console: rich.console.Console,
    client: Client,
    models: Mapping[str, pathlib.Path],
    people: Sequence[Person],
    folder: pathlib.Path,
) -> int:
    """Send requests in rounds, and print which share of them each arm got.

    Args:
        console: Where to print.
        client: Client of the server that serves the models.
        models: Maps a model's name to its folder of versions. Must include "draft" and "cf". Each is an arm.
        people: Users with a history and courses to find.
        folder: Folder for the bandits file, logs and snapshots. An earlier demo's are removed.

    Returns:
        The exit code.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bandits, logs, snapshots = folder / "bandits.yaml", folder / "logs", folder / "snapshots"
    arms = "\n".join(f"      {name}: {{generation: 1, model: {name}}}" for name in models)
    bandits.write_text(_BANDITS.format(bandit=BANDIT, arms=arms))
    _, newest = max(versions(models["cf"]).items())
    popularity = Popularity.from_file(pathlib.Path(newest, "assets.extra", POPULARITY_FILE))
    # Until the first round ends nothing is published, which the router would warn of.
    logging.getLogger("serving_client").setLevel(logging.ERROR)
    rng = random.Random(SEED)
    rounds: list[_Round] = []
    with (
        Router(bandits, snapshots=snapshots, log=logs, poll_interval_s=0.2, uniform=rng.random) as router,
        rich.progress.Progress(console=console, transient=True) as bar,
    ):
        task = bar.add_task(f"{ROUNDS * REQUESTS:,} requests", total=ROUNDS * REQUESTS)
        recommender = Recommender(router, BANDIT, client, popularity, timeout_s=5.0)
        for version in range(1, ROUNDS + 1):
            rounds.append(_round(router, recommender, people, rng))
            bar.advance(task, REQUESTS)
            time.sleep(_FLUSHED_S)
            code = _learn(bandits, logs, snapshots)
            if code:
                return code
            if not _followed(router, version):
                print(f"{snapshots}: the router did not find the new snapshot; see {logs}", file=sys.stderr)
                return 1
    console.print(_table(rounds, list(models)))
    console.print(_sentence(rounds, list(models)))
    console.print("\nSee what the router would decide now, and how sure it is which arm is better:")
    for command in ("route", "experiment"):
        words = ["recbeam", command, f"--bandits={bandits}", f"--snapshots={snapshots}", f"--bandit={BANDIT}"]
        console.print(f"  .venv/bin/{shlex.join(words)}", soft_wrap=True, highlight=False, markup=False)
    return 0


def _round(router: Router, recommender: Recommender, people: Sequence[Person], rng: random.Random) -> _Round:
    done = _Round(Counter(), Counter())
    chosen = rng.choices(people, k=REQUESTS)
    looks = [rng.random() for _ in chosen]

    def ask(person: Person, look: float) -> tuple[str, bool]:
        shown = recommender.recommend(person.user, person.given, k=PLACES)
        clicked = [item for item in shown.items if item.item_id in person.later and look < LOOKED**item.position]
        for item in clicked[:1]:
            for _ in range(1 + (look < TWICE)):
                router.record(shown.decision_id, "click", item_id=item.item_id, position=item.position)
        return HOLDBACK if shown.decision.holdback else shown.decision.arm_id, bool(clicked)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for arm, clicked in pool.map(ask, chosen, looks):
            done.requests[arm] += 1
            done.clicked[arm] += clicked
    return done


def _learn(bandits: pathlib.Path, logs: pathlib.Path, snapshots: pathlib.Path) -> int:
    """Run reward_stream over the logs. What it prints is shown only if it fails."""
    from pipelines.reward_stream.__main__ import main as reward_stream

    arguments = [
        f"--bandits={bandits}",
        f"--decisions={logs}/decisions-*.jsonl",
        f"--rewards={logs}/rewards-*.jsonl",
        f"--snapshots={snapshots}",
        f"--dead_letters={logs.parent / 'dead_letters'}",
    ]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = reward_stream(arguments)
    if code:
        print(said.getvalue(), file=sys.stderr)
    return code


def _followed(router: Router, version: int) -> bool:
    """Wait until the router has this version of the snapshot."""
    until_s = time.monotonic() + _FOLLOWED_S
    while time.monotonic() < until_s:
        if (router.route(BANDIT).choice.snapshot_version or 0) >= version:
            return True
        time.sleep(0.05)
    return False


def _table(rounds: Sequence[_Round], arms: Sequence[str]) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title_justify="left", title_style="")
    table.title = "[bold]Share of the traffic by arm[/bold]"
    table.add_column("Round", justify="right")
    for arm in arms:
        table.add_column(arm, no_wrap=True)
    table.add_column("Pages clicked", justify="right")
    table.add_column("in the holdback", justify="right")
    for number, each in enumerate(rounds, start=1):
        routed = each.requests.total() - each.requests[HOLDBACK]
        shares = (each.requests[arm] / routed for arm in arms)
        cells = (f"{'█' * round(10 * share):10} {share:4.0%}" for share in shares)
        table.add_row(str(number), *cells, f"{_rate([each], arms):.0%}", f"{_rate([each], [HOLDBACK]):.0%}")
    table.add_section()
    rates = (f"{_rate(rounds, [arm]):.1%} clicked" for arm in arms)
    table.add_row("all", *rates, f"{_rate(rounds, arms):.0%}", f"{_rate(rounds, [HOLDBACK]):.0%}")
    return table


def _rate(rounds: Sequence[_Round], arms: Sequence[str]) -> float:
    """Return the share of clicked pages."""
    requests = sum(each.requests[arm] for each in rounds for arm in arms)
    return sum(each.clicked[arm] for each in rounds for arm in arms) / requests if requests else 0.0


def _sentence(rounds: Sequence[_Round], arms: Sequence[str]) -> str:
    last = rounds[-1]
    best = max(arms, key=lambda arm: last.requests[arm])
    share = last.requests[best] / (last.requests.total() - last.requests[HOLDBACK])
    return (
        f"Before the first snapshot every request went to draft, and {_rate(rounds[:1], arms):.0%} of the pages were "
        f"clicked. In the last round {best} got {share:.0%} of the traffic, and {_rate([last], arms):.0%} of the pages "
        f"were clicked. A tenth of the users is held back: they keep draft, and show what the bandit is worth."
    )
