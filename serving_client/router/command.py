"""The command `recbeam route`: show which arm a request would get, with the probabilities and the reasons.

It reads the bandits file and the newest snapshot as a router does, and logs nothing. Exit codes:

    0  done
    2  bad usage
    3  the bandits file is invalid
    1  anything else, for example a store whose library is not installed
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recbeam.arguments import EXIT_CODES, Parser, closest
from serving_client.commands.tables import counted, printable, table
from serving_client.extras import MissingExtra, require

if TYPE_CHECKING:
    from serving_client.contracts.bandits import Bandit
    from serving_client.router.preview import Preview

__all__ = ["main"]

EXAMPLE = "example: %(prog)s --bandits=bandits.yaml --snapshots=s3://bucket/snapshots --context=plan=free -n 1000"


def main(argv: Sequence[str] | None = None, prog: str = "recbeam route") -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.
        prog: Name of the command in usage and errors.

    Returns:
        The exit code, see the module.

    Raises:
        SystemExit: The command line is invalid (code 2), or `--help` is given (code 0).
    """
    parser = _parser(prog)
    options = parser.parse_args(argv)
    try:
        for module in ("scipy", "yaml", "jsonschema", "orjson"):
            require(module, "router")
        return _run(parser, options)
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return 1


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        description="Show which arm a request would get, with the probabilities and the reasons.",
        epilog=f"{EXAMPLE}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bandits", required=True, metavar="FILE", help="bandits file")
    parser.add_argument(
        "--snapshots",
        metavar="URI",
        help="folder, s3://, gs://, http(s)://, dynamodb:// or redis:// address that reward-stream publishes to "
        "(default: none, so the default arm is certain)",
    )
    parser.add_argument("--bandit", metavar="NAME", help="bandit (default: the only one of the file)")
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="value of a segment or feature key; repeat the flag for more keys (default: every value is missing)",
    )
    parser.add_argument("--eligible", metavar="ARM,ARM", help="arms that the request allows (default: all)")
    parser.add_argument("--user_key", metavar="KEY", help="key of the user (default: a new user at each draw)")
    parser.add_argument("-n", "--draws", type=int, default=1000, metavar="N", help="number of draws (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the draws (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _run(parser: Parser, options: argparse.Namespace) -> int:
    from serving_client.contracts.bandits import BanditsError
    from serving_client.router.preview import preview
    from serving_client.snapshots.published import AddressError

    if options.draws < 1:
        parser.error(f"-n must be at least 1, got {options.draws}")
    try:
        bandit = _bandit(parser, options)
        context = _context(parser, options.context, bandit)
        eligible = None if options.eligible is None else options.eligible.split(",")
        for arm_id in eligible or ():
            if arm_id not in bandit.arms:
                parser.error(f"--eligible: {_unknown(arm_id, 'an arm', bandit.arms)}")
        found = preview(
            bandit,
            options.snapshots,
            context,
            eligible=eligible,
            user_key=options.user_key,
            draws=options.draws,
            seed=options.seed,
        )
    except BanditsError as error:
        print(error, file=sys.stderr)
        return 3
    except AddressError as error:
        parser.error(f"--snapshots: {error}")
    print(json.dumps(found.document(), ensure_ascii=False) if options.json else _table(found))
    for message in found.faults:
        print(message, file=sys.stderr)
    print(_sentence(found), file=sys.stderr)
    return 0


def _bandit(parser: Parser, options: argparse.Namespace) -> Bandit:
    from serving_client.bandits_file import read

    bandits = read(options.bandits).bandits
    names = ", ".join(bandits)
    if options.bandit is None and len(bandits) > 1:
        parser.error(f"--bandit is missing; the bandits of the file are {names}")
    bandit = next(iter(bandits.values())) if options.bandit is None else bandits.get(options.bandit)
    if bandit is None:
        parser.error(f"--bandit: {_unknown(options.bandit, 'a bandit of the file', bandits)}")
    return bandit


def _context(parser: Parser, pairs: Sequence[str], bandit: Bandit) -> dict[str, Any]:
    """Return the context. A numeric or bool feature gets a number or a boolean, all other keys get text."""
    kinds: dict[str, str] = dict.fromkeys(bandit.segments, "text")
    kinds |= {feature.name: feature.type for feature in bandit.features if feature.source != "model"}
    context: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            parser.error(f"--context={pair} is not KEY=VALUE; write --context=KEY=VALUE")
        if key not in kinds:
            parser.error(f"--context: {_unknown(key, 'a segment or feature key of the bandit', kinds)}")
        try:
            context[key] = _READ.get(kinds[key], str)(text)
        except (KeyError, ValueError):
            wanted = "a number" if kinds[key] == "numeric" else "true or false"
            parser.error(f"--context={pair}: {key} takes {wanted}; correct the value")
    return context


_READ: Mapping[str, Callable[[str], Any]] = {"numeric": float, "bool": {"true": True, "false": False}.__getitem__}


def _unknown(word: str, kind: str, known: Collection[str]) -> str:
    close = closest(word, known)
    hint = f"did you mean {close}?" if close else f"use one of {', '.join(known)}" if known else "there is none"
    return f"{word} is not {kind}; {hint}"


def _table(found: Preview) -> str:
    rows = [
        [
            arm.arm_id,
            f"{arm.probability:.4f}",
            f"{arm.drawn:,}",
            f"{arm.decisions:,.0f}",
            "" if arm.mean_reward is None else f"{arm.mean_reward:.4f}",
            arm.why,
        ]
        for arm in found.arms
    ]
    head = ["arm", "probability", "drawn", "decisions", "mean reward", "why"]
    return table(head, rows, right=head[1:5])


def _sentence(found: Preview) -> str:
    place = f"{found.bandit_id}, segment {printable(found.segment)}"
    draws = counted(found.draws, "draw")
    if found.held_back:
        draws += f", {found.held_back:,} of them in the holdback"
    if found.version is None or found.age_s is None:
        return f"{place}: rung {found.rung}, no usable snapshot; {draws}"
    return f"{place}: rung {found.rung}, snapshot {found.version}, {found.age_s:,.0f} s old; {draws}"
