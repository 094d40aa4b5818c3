"""The documentation says what the program does."""

from __future__ import annotations

import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_commands_page_is_the_help_of_every_command(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGE.read_text() == generate.commands_page(), "run python docs/generate.py"


def test_every_flag_named_in_the_readme_exists() -> None:
    known = set(re.findall(r"--[a-z_0-9]+", (ROOT / "docs" / "reference" / "commands.md").read_text()))
    beams = {"--runner", "--flink_master", "--sdk_container_image", "--project", "--region", "--temp_location"}
    beams |= {"--setup_file", "--requirements_file", "--checkpointing_interval"}
    named = set(re.findall(r"--[a-z_0-9]+", (ROOT / "README.md").read_text()))
    assert named - beams <= known


def test_every_file_the_readme_links_to_is_there() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([\w./-]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
