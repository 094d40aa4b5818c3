"""The pages of the documentation hang together: links, navigation, length, and a site without warnings."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "docs/**/*.md", "deploy/**/README.md")
    for path in ROOT.glob(pattern)
)
SUBCOMMANDS = ("batch-cf", "vae-train", "evaluate", "reward-stream", "experiment", "publish", "sync", "serve", "ask")
README_LINES = 120


def headings(text: str) -> set[str]:
    """Return the anchors of a page as GitHub and the site write them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: str) -> None:
    for target in re.findall(r"\]\(([^()\s]+)\)", (ROOT / page).read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert linked.exists(), f"{page} links to {target}"
        assert not anchor or anchor in headings(linked.read_text()), f"{page} links to {target}: no such heading"


def test_the_readme_is_short_and_names_every_sub_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= README_LINES
    assert [name for name in SUBCOMMANDS if f"recbeam {name}" not in text] == []


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not included in the" not in done.stderr, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
