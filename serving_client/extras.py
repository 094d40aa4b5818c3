"""How the client imports what the base install lacks, and what a person reads who has not installed it.

Call it where the dependency is used, not at the head of a module: importing serving_client must need grpcio, protobuf
and numpy alone. The pipelines have their own (`transforms.extras`), because the client imports nothing of theirs.
"""

from __future__ import annotations

import importlib
import types

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """An optional dependency is not installed; the message is the pip command that installs it."""


def require(module: str, extra: str) -> types.ModuleType:
    """The module, imported. `extra` is the extra of the distribution that brings it, as in pyproject.toml.

    Raises MissingExtra if the module is not installed. An import that fails inside an installed distribution is a
    defect of that installation, and its own error passes through.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module != missing and not module.startswith(missing + "."):
            raise
        raise MissingExtra(f"{module} is not installed; run: pip install 'recbeam[{extra}]'") from error
