"""What a person reads who lacks an optional dependency."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from transforms.errors import RecbeamError
from transforms.extras import MissingExtra, require


def test_an_installed_module_is_imported() -> None:
    assert require("json", "pipelines") is json


@pytest.mark.parametrize("module", ["recbeam_no_such_thing", "recbeam_no_such_thing.client"])
def test_a_missing_module_is_answered_with_the_pip_command(module: str) -> None:
    with pytest.raises(MissingExtra) as caught:
        require(module, "redis")
    assert str(caught.value) == f"{module} is not installed; run: pip install 'recbeam[redis]'"
    assert isinstance(caught.value, RecbeamError)
    assert caught.value.exit_code == 1


def test_a_broken_installation_is_not_taken_for_a_missing_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recbeam_half_installed.py").write_text("import recbeam_no_such_thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="recbeam_no_such_thing"):
        require("recbeam_half_installed", "redis")
    sys.modules.pop("recbeam_half_installed", None)


@pytest.mark.parametrize("pipeline", ["batch_cf", "evaluate"])
def test_a_command_without_its_extra_ends_in_one_line(pipeline: str) -> None:
    """apache_beam is hidden from a fresh process, as in a base install."""
    script = (
        "import sys; sys.modules['apache_beam'] = None\n"
        f"from pipelines.{pipeline}.__main__ import main; sys.exit(main(['--help']))"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "apache_beam is not installed; run: pip install 'recbeam[pipelines]'\n"
