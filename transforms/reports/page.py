"""Render a page from a pipeline's template. The template extends `base.html`, which holds the style of all pages."""

from __future__ import annotations

import importlib.resources
from typing import Any

import jinja2

__all__ = ["render_page"]


def render_page(package: str, **values: Any) -> str:
    """Render `page.html` of a package.

    Args:
        package: Package with the template.
        values: What the template names.

    Returns:
        The page.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_read),
    )
    return environment.get_template(f"{package}/page.html").render(values)


def _read(name: str) -> str:
    package, _, file = name.rpartition("/")
    return importlib.resources.files(package or "transforms.reports").joinpath(file).read_text("utf-8")
