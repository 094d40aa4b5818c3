"""How a module of an optional dependency is imported, and what a person reads who has not installed it.

Call it where the dependency is used, not at the head of a module: the base install has none of the extras, and
importing recbeam must not need them.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence

from transforms.errors import RecbeamError

__all__ = ["MissingExtra", "require", "run_command"]


class MissingExtra(RecbeamError):
    """An optional dependency is not installed; the message is the pip command that installs it."""


def require(module: str, extra: str) -> types.ModuleType:
    """The module, imported. `extra` is the extra of the distribution that brings it, as in pyproject.toml.

    Raises MissingExtra if the module's distribution is not installed. An import that fails inside an installed
    distribution is a defect of that installation, and its own error passes through.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module != missing and not module.startswith(missing + "."):
            raise
        message = f"{module} is not installed; run: pip install 'recbeam[{extra}]'"
        raise MissingExtra(message) from error


def run_command(module: str, argv: Sequence[str] | None) -> int:
    """`module.main(argv)` of a pipeline's command; without the extra `pipelines`, one line on stderr and code 1."""
    try:
        require("apache_beam", "pipelines")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return error.exit_code
    code: int = importlib.import_module(module).main(argv)
    return code
