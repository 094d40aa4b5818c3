"""The `recbeam` command, and the version of the whole distribution.

This package imports only the standard library, so that the command starts fast and a base install can run it.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
"""The only place that states the version. pyproject.toml reads it from here."""
