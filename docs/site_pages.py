"""Build the site from files that also read well on GitHub.

mkdocs calls the functions of this module. Pages outside docs/ become pages of the site, and links that leave docs/ are
rewritten: a link to a page of the site points there, a link to another file of the repository becomes plain text.
"""

from __future__ import annotations

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

__all__ = ["OUTSIDE", "on_files", "on_page_markdown", "rewrite_links"]

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Path in the repository -> path in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "deploy/prometheus/README.md": "deploy/prometheus.md",
    "deploy/tensorflow_serving/README.md": "deploy/tensorflow_serving.md",
}
INSIDE = {page: source for source, page in OUTSIDE.items()}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/.

    Args:
        files: Files of the site so far.
        config: Configuration of mkdocs.

    Returns:
        `files` with the added pages.
    """
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page.

    Args:
        markdown: Text of the page.
        page: The page, with its path in the site.

    Returns:
        The text with links that work in the site.
    """
    return rewrite_links(markdown, page.file.src_uri)


def rewrite_links(markdown: str, page: str) -> str:
    """Rewrite links between files of the repository as links between pages of the site.

    Args:
        markdown: Text of the page.
        page: Path of the page in the site, for example `guides/serve.md`.

    Returns:
        The text with links that work in the site.
    """
    source = INSIDE.get(page, f"docs/{page}")

    def rewritten(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group()
        path, hash_, anchor = target.partition("#")
        in_repository = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if in_repository in OUTSIDE:
            in_site = OUTSIDE[in_repository]
        elif in_repository.startswith("docs/"):
            in_site = in_repository.removeprefix("docs/")
        elif (ROOT / in_repository).exists():
            return text
        else:
            return match.group()  # a broken link: mkdocs reports it
        relative = posixpath.relpath(in_site, posixpath.dirname(page) or ".")
        return f"{image}[{text}]({relative}{hash_}{anchor})"

    return LINK.sub(rewritten, markdown)
