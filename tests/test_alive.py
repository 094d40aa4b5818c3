"""tools/alive.py, which keeps a long installation from falling silent."""

from __future__ import annotations

import concurrent.futures
import io
import pathlib
import subprocess
import sys
import threading

import pytest

from tests.third_party import install
from tools import alive


class Waited(io.StringIO):
    """Creates a file when two signs of life were printed. The command waits for that file."""

    def __init__(self, file: pathlib.Path) -> None:
        super().__init__()
        self.file = file

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count(" s …") == 2:
            self.file.touch()
        return written


def test_a_silent_command_gets_a_line_again_and_again(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "printed"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(file)!r}).exists(): time.sleep(0.01)\nprint('done')"
    out = Waited(file)
    assert alive.run([sys.executable, "-c", wait], "packages", ".+", out, every_s=0.05) == 0
    lines = out.getvalue().splitlines()
    assert all(line.startswith("  packages: ") for line in lines[:2])
    assert [line for line in lines if "packages" not in line] == ["  done"]  # it may take long to exit after it


def test_only_matches_are_printed_and_the_exit_code_is_that_of_the_command() -> None:
    out = io.StringIO()
    code = "print('Collecting a'); print('  Downloading b (572.4 MB)'); raise SystemExit(7)"
    assert alive.run([sys.executable, "-c", code], "packages", r"Downloading .* MB", out) == 7
    assert out.getvalue() == "  Downloading b (572.4 MB\n"


def test_the_installation_is_silent_for_at_most_ten_seconds() -> None:
    assert alive.EVERY_S <= 10


def test_the_script_runs_without_packages_and_passes_the_arguments_of_the_command_on() -> None:
    command = [sys.executable, "-I", "-S", alive.__file__, "label", "printf", "--", "%s", "--keep=x"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "  --keep=x\n"


def test_a_missing_command_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        alive.main(["label"])
    assert "the command is missing" in capsys.readouterr().err


def test_the_programs_that_tests_talk_to_are_named_while_they_install(capsys: pytest.CaptureFixture[str]) -> None:
    ended = concurrent.futures.Future[None]()
    ended.set_result(None)
    waits = concurrent.futures.Future[None]()
    rest = install._as_completed({waits: "mlserver", ended: "ghz"}, every_s=0.01)
    assert next(rest) is ended
    timer = threading.Timer(0.05, waits.set_result, [None])
    timer.start()
    assert list(rest) == [waits]
    assert capsys.readouterr().out.startswith("  0 s, still to install: mlserver\n")
