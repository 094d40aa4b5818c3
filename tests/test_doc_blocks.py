"""Every command block of README and docs runs, page by page, in a temporary folder with a small generated log.

A block that cannot run here stands below the comment `<!-- not run: REASON -->` in its page, and in NOT_RUN below.
The folder of a page holds what `make demo` leaves in out/demo: the log and a published model `cf`.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import markdown_it
import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "deploy/**/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "commands.md"  # generated: the help of every command
)

# Page -> first line of each block that does not run here. The page gives the reason.
NOT_RUN: dict[str, list[str]] = {
    "CONTRIBUTING.md": [
        "make env     # install everything for development into .venv; repeat after changes of pyproject.toml",
    ],
    "README.md": [
        "make demo      # generates a log, splits it, trains models, evaluates and serves them, and routes traffic: "
        "3 to 6 minutes",
    ],
    "deploy/prometheus/README.md": [
        "recbeam reward-stream … --streaming --metrics_port=9464          # then scrape http://HOST:9464/metrics",
        "promtool test rules reward_stream_test.yml",
    ],
    "deploy/tensorflow_serving/README.md": [
        "recbeam batch-cf  --interactions='logs/*.parquet' --output=out/cf  --model_dir=models/cf",
        "recbeam sync s3://BUCKET/cf models/cf --keep=3 --server=127.0.0.1:8500 \\",
        ".venv/bin/python -m tests.conformance.models out/conformance",
    ],
    "docs/getting-started.md": [
        "make install",
        "make demo INTERACTIONS=log.parquet ITEMS=courses.csv",
    ],
    "docs/guides/own-model.md": [
        "import numpy as np",
    ],
    "docs/guides/publish-and-roll-back.md": [
        "recbeam sync s3://bucket/models/cf /models/cf --keep=3 --server=localhost:8500 --watch=30",
    ],
    "docs/guides/run-on-a-cluster.md": [
        "recbeam batch-cf … --runner=PrismRunner                       # Prism of make prism, or Beam's own download",
        "recbeam reward-stream … --streaming --runner=FlinkRunner --flink_master=HOST:8081 --checkpointing_interval=10000 \\",  # noqa: E501
    ],
    "docs/guides/run-the-reward-stream.md": [
        "python -m examples.reward_stream.generate --output=out/rs --decisions=120000 --rate=1000 --live --start=now \\",  # noqa: E501
        "recbeam reward-stream --streaming --stop_when_idle=5s --bandits=out/rs/bandits.yaml \\",
        "recbeam reward-stream inspect out/rs/snapshots --bandit=home_row",
    ],
    "docs/guides/serve.md": [
        "make conformance SERVER=HOST:PORT",
    ],
    "docs/guides/train-cf.md": [
        "recbeam batch-cf --interactions=mooc/train.parquet --items=mooc/courses.csv --output=out/mooc",
    ],
    "docs/operations/reward-stream.md": [
        "cat DIR/*.jsonl | python -c \"import sys,json,collections; print(collections.Counter(json.loads(l)['reason'].split(':')[0] for l in sys.stdin))\"",  # noqa: E501
    ],
    "docs/operations/router.md": [
        "recbeam route --bandits=bandits.yaml --snapshots=s3://bucket/snapshots --context=plan=free",
    ],
    "docs/reference/conformance.md": [
        ".venv/bin/python -m pytest tests/conformance                 # local_serving in this process",
    ],
}

# Commands of the pages -> modules that run them.
MODULES = {"recbeam": "recbeam", "local-serving": "local_serving", "serving-client": "serving_client"}
# Ports that pages name. Each page run gets free ports instead.
PORTS = ("8500", "8501", "9464")
TIMEOUT_S = 300


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    marked: bool

    @property
    def first_line(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[0].removeprefix("$ ") if lines else ""


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    previous = ""
    for token in markdown_it.MarkdownIt("commonmark").parse(text):
        if token.type == "fence":
            assert token.map is not None
            marked = re.search(r"<!-- not run: \S", previous) is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, marked)
        if token.type in ("fence", "html_block", "paragraph_open", "heading_open"):
            previous = token.content if token.type == "html_block" else ""


def commands_of(block: Block) -> list[str]:
    """Return the shell commands of a console or sh block, continuation lines joined."""
    commands: list[str] = []
    pending = False
    for line in block.text.splitlines():
        if block.language == "sh":
            starts, shown = not pending and bool(line.strip()) and not line.lstrip().startswith("#"), line
        else:
            starts, shown = line.startswith("$ "), line.removeprefix("$ ")
        if pending:
            commands[-1] += "\n" + line
        elif starts:
            commands.append(shown)
        else:
            continue
        heredoc = re.search(r"<<'?(\w+)'?", commands[-1])
        pending = commands[-1].endswith("\\") or (
            heredoc is not None and not commands[-1].endswith("\n" + heredoc.group(1))
        )
    return commands


def every_block() -> list[Block]:
    """Return the fenced blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page, (ROOT / page).read_text())]


def runs(block: Block) -> bool:
    """Tell whether a block must run."""
    return block.language in ("console", "sh", "bash", "python") and not block.marked


def test_every_fenced_block_names_its_language() -> None:
    assert [f"{block.page}:{block.line}" for block in every_block() if not block.language] == []


def test_blocks_that_do_not_run_are_listed_here() -> None:
    marked: dict[str, list[str]] = {}
    for block in every_block():
        if block.marked:
            marked.setdefault(block.page, []).append(block.first_line)
    assert marked == NOT_RUN


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder for PATH with the commands that the pages call."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in MODULES.items():
        lines = [
            f"#!{shlex.quote(sys.executable)}",
            "import os, sys",
            "arguments = sys.argv[1:]",
            "if arguments[:1] == ['vae-train'] and '--help' not in arguments:",
            "    arguments += ['--epochs=1', '--hidden=16', '--latent=8']  # pages train longer",
            f"os.execv(sys.executable, [sys.executable, '-m', {module!r}, *arguments])",
        ]
        path = folder / name
        path.write_text("\n".join(lines))
        path.chmod(0o755)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return folder


def environment(shims: pathlib.Path) -> dict[str, str]:
    """Return the environment of a page's commands."""
    paths = f"{shims}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "120"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, shims: pathlib.Path) -> pathlib.Path:
    """A folder with what `make demo` leaves behind, in small."""
    folder = tmp_path_factory.mktemp("demo")
    for command in (
        "python -m examples.course_platform.generate --output=out/demo/platform --users=600",
        "recbeam batch-cf --interactions='out/demo/platform/interactions/*.parquet'"
        " --items=out/demo/platform/items.csv --output=out/demo/cf --model_dir=out/demo/models/cf",
    ):
        subprocess.run(["bash", "-c", command], cwd=folder, env=environment(shims), check=True, timeout=TIMEOUT_S)
    return folder


class Place:
    """The folder in which the blocks of one page run."""

    def __init__(self, folder: pathlib.Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.background: list[subprocess.Popen[bytes]] = []
        self.ports = {port: str(_free_port()) for port in PORTS}

    def run(self, block: Block) -> None:
        """Run the commands of a block; fail at the first that ends with another exit code than 0."""
        where = f"{block.page}:{block.line}"
        if block.language == "python":
            self._finish(where, [sys.executable, "-c", self._translate(block.text)])
            return
        commands = commands_of(block)
        assert commands, f"{where}: a block without a command; start commands with '$ '"
        for command in commands:
            if command.rstrip().endswith("&"):
                self._start(command.rstrip().removesuffix("&"))
            else:
                self._finish(where, ["bash", "-e", "-o", "pipefail", "-c", self._translate(command)])
                self._check_outputs(where, command)

    def stop(self) -> None:
        """End what the page started in the background."""
        for process in self.background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.background:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def _translate(self, text: str) -> str:
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text

    def _start(self, command: str) -> None:
        log = (self.folder / "background.log").open("ab")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._translate(command)}"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.background.append(process)
        if port := re.search(r"--port=(\d+)", self._translate(command)):
            _wait_for_port(int(port.group(1)), process)

    def _finish(self, where: str, argv: list[str]) -> None:
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{where}: {argv[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"

    def _check_outputs(self, where: str, command: str) -> None:
        for path in re.findall(r"--(?:output|model_dir|snapshots|state)=([\w./-]+)(?=\s|$)", command):
            assert (self.folder / path).exists(), f"{where}: {path} is missing after {command}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        select_wait(process)
    raise AssertionError(f"nothing listens on port {port}")


def select_wait(process: subprocess.Popen[bytes]) -> None:
    """Wait a quarter of a second, or until the process ends."""
    try:
        process.wait(0.25)
    except subprocess.TimeoutExpired:
        return


@pytest.mark.parametrize("page", sorted({block.page for block in every_block() if runs(block)}))
def test_the_blocks_of_a_page_run(page: str, demo: pathlib.Path, shims: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(demo, folder)
    for name in ("examples", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    place = Place(folder, environment(shims))
    try:
        for block in blocks_of(page, (ROOT / page).read_text()):
            if runs(block):
                place.run(block)
    finally:
        place.stop()
