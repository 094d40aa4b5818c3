"""Import optional dependencies, and name the pip command when one is not installed.

Call `require` where a dependency is used, not at the head of a module. The base install has none of the extras, and
importing recbeam must not need them.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence

from transforms.errors import RecbeamError

__all__ = ["MissingExtra", "missing", "require", "run_command"]


class MissingExtra(RecbeamError):
    """An optional dependency is not installed. The message is the pip command that installs it."""


def require(module: str, extra: str) -> types.ModuleType:
    """Import and return a module of an optional dependency.

    An import that fails inside an installed distribution is a fault of that installation. Its own error passes
    through.

    Args:
        module: Dotted name of the module.
        extra: Extra of pyproject.toml that installs the module.

    Returns:
        The module.

    Raises:
        MissingExtra: The module's distribution is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        absent = error.name or ""
        if module != absent and not module.startswith(absent + "."):
            raise
        message = f"{module} is not installed; run: pip install 'recbeam[{extra}]'"
        raise MissingExtra(message) from error


def missing(module: str, extra: str) -> str | None:
    """Return the sentence with the pip command if a module is not installed, None if it is.

    Args:
        module: Dotted name of the module. It is imported.
        extra: Extra of pyproject.toml that installs the module.
    """
    try:
        require(module, extra)
    except MissingExtra as error:
        return str(error)
    return None


def run_command(module: str, argv: Sequence[str] | None) -> int:
    """Run a command that needs the extra `pipelines`.

    Args:
        module: Dotted name of the module whose `main(argv)` is the command.
        argv: The arguments. None means those of the process.

    Returns:
        The command's exit code. Without the extra it is 1, and stderr holds one line with the pip command.
    """
    if said := missing("apache_beam", "pipelines"):
        print(said, file=sys.stderr)
        return 1
    code: int = importlib.import_module(module).main(argv)
    return code
