"""The import of optional dependencies, with an error that says what to install.

Call `require` where the dependency is used, not at the head of a module: importing serving_client must need only
grpcio, protobuf and numpy. The pipelines use `transforms.extras`, because the client does not import their packages.
"""

from __future__ import annotations

import importlib
import types

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """An optional dependency is not installed. The message has the pip command that installs it."""


def require(module: str, extra: str) -> types.ModuleType:
    """Import and return an optional module.

    If an import fails inside an installed distribution, the installation is broken and the error passes through.

    Args:
        module: Name of the module.
        extra: Extra in pyproject.toml that installs the module.

    Raises:
        MissingExtra: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module != missing and not module.startswith(missing + "."):
            raise
        raise MissingExtra(f"{module} is not installed; run: pip install 'recbeam[{extra}]'") from error
