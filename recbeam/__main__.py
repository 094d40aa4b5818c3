"""The command `recbeam` with its sub-commands; `python -m recbeam` is the same.

    recbeam                      list the sub-commands
    recbeam NAME --help          show the flags of one
    recbeam --version            print the version

A sub-command's module is imported when the sub-command runs. The list imports only the standard library.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recbeam import __version__

__all__ = ["COMMANDS", "Command", "main"]


class Command(NamedTuple):
    """A sub-command.

    Args:
        module: Module whose `main` runs the sub-command.
        purpose: Description of the sub-command in the list.
        takes_prog: Whether `main` takes the name that usage and errors show. Other commands always show `recbeam NAME`.
        requires: Optional dependency that `main`'s module imports, or None.
    """

    module: str
    purpose: str
    takes_prog: bool = False
    requires: str | None = None


COMMANDS: Mapping[str, Command] = {
    "batch-cf": Command("pipelines.batch_cf.__main__", "Compute item neighbors from interactions and export a model."),
    "vae-train": Command("pipelines.vae_train.__main__", "Train a variational autoencoder and export a model."),
    "evaluate": Command("pipelines.evaluate.__main__", "Split a log, measure models on held-out users, and gate."),
    "reward-stream": Command("pipelines.reward_stream.__main__", "Join rewards to decisions and publish statistics."),
    "interactions": Command("pipelines.interactions.__main__", "Turn decision and reward logs into interactions."),
    "route": Command("serving_client.router.command", "Show which arm a request would get, and why.", True),
    "off-policy": Command("pipelines.off_policy.__main__", "Estimate what a policy would have earned, from logs."),
    "experiment": Command(
        "pipelines.experiment.__main__", "Say which arm of a bandit is better, and how sure that is."
    ),
    "publish": Command("transforms.models.publish", "Publish a model as a new version, or roll back to an older one."),
    "sync": Command(
        "transforms.models.sync", "Copy published versions to a model server's folder.", False, "apache_beam"
    ),
    "lineage": Command(
        "transforms.lineage.command", "Show what a model came from and what a file was used for.", False, "apache_beam"
    ),
    "serve": Command("local_serving.__main__", "Serve models over gRPC and REST, for development and tests.", True),
    "ask": Command("serving_client.__main__", "Ask a model server for recommendations or its status.", True),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        argv: The sub-command's name and its arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_listing())
        return 0
    if arguments[0] == "--version":
        print(f"recbeam {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(_unknown(name), file=sys.stderr)
        return 2
    if argv is None:  # this process runs only the sub-command, which may set up signals and threads
        sys.argv = [f"recbeam {name}", *rest]
    return _run(name, None if argv is None else rest)


def _run(name: str, argv: Sequence[str] | None) -> int:
    command = COMMANDS[name]
    if command.requires is not None:
        from transforms.extras import missing

        if said := missing(command.requires, "pipelines"):
            print(said, file=sys.stderr)
            return 1
    more = {"prog": f"recbeam {name}"} if command.takes_prog else {}
    code: int = importlib.import_module(command.module).main(argv, **more)
    return code


def _listing() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        (
            "usage: recbeam COMMAND [ARGUMENTS]",
            "",
            *(f"  {name:{width}}  {command.purpose}" for name, command in COMMANDS.items()),
            "",
            "recbeam COMMAND --help shows the flags of a command. recbeam --version prints the version.",
        )
    )


def _unknown(name: str) -> str:
    from recbeam.arguments import closest

    close = closest(name.replace("_", "-"), COMMANDS)
    hint = f"did you mean {close}?" if close else "run recbeam without arguments for the list"
    kind = "an option" if name.startswith("-") else "a command"
    return f"recbeam: {name} is not {kind}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
