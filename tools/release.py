"""Build a release, check it in a fresh environment, and write its date into CHANGELOG.md.

    python -m tools.release 0.1.0

The command builds the sdist, and the wheel from the sdist. It installs the wheel without extras into a new virtual
environment, imports serving_client there and runs the command's help. CHANGELOG.md changes only after all checks pass.
The command neither tags nor uploads anything.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence

__all__ = ["dated", "main", "missing_files"]

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNRELEASED = "## [Unreleased]"
# The client does not work without its descriptors and schemas, and the license must travel with the code.
REQUIRED = (
    "LICENSE",
    "pyproject.toml",
    "serving_client/py.typed",
    "serving_client/protocol/serving.binpb",
    "serving_client/protocol/inference.binpb",
)
# The first of these commands that the wheel installs is the one to try.
COMMANDS = ("recbeam", "serving-client")


def dated(changelog: str, version: str, date: datetime.date) -> str:
    """Return the changelog with its unreleased entries under a version and a date.

    An empty unreleased section stays at the top for the next entries.

    Args:
        changelog: Text of CHANGELOG.md.
        version: Version to release, for example 0.1.0.
        date: Date of the release.

    Returns:
        The new text of CHANGELOG.md.

    Raises:
        ValueError: The version is malformed or already released, or no unreleased entry exists.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise ValueError(f"version {version!r} is malformed; use MAJOR.MINOR.PATCH, for example 0.1.0 or 0.2.0rc1")
    if re.search(rf"^## \[{re.escape(version)}\]", changelog, re.MULTILINE):
        raise ValueError(f"CHANGELOG.md already has a section for {version}; choose a higher version")
    sections = re.split(rf"^{re.escape(UNRELEASED)}[ \t]*\n", changelog, flags=re.MULTILINE)
    if len(sections) != 2:
        raise ValueError(f"CHANGELOG.md has {len(sections) - 1} lines '{UNRELEASED}'; keep exactly one")
    head, rest = sections
    entries = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    if not re.search(r"^- ", entries, re.MULTILINE):
        raise ValueError(f"CHANGELOG.md has no entry under '{UNRELEASED}'; add one for every change that users see")
    return f"{head}{UNRELEASED}\n\n## [{version}] - {date.isoformat()}\n{rest}"


def missing_files(names: Iterable[str]) -> list[str]:
    """Return the required files that an sdist lacks.

    Args:
        names: Names of the sdist's members, each below one top folder.

    Returns:
        Required paths, relative to the top folder, that no member has.
    """
    present = {name.partition("/")[2] for name in names}
    return [name for name in REQUIRED if name not in present]


def main(argv: Sequence[str] | None = None) -> int:
    """Build, check and date a release.

    Args:
        argv: Arguments of the command line, those of the process if None.

    Returns:
        The exit code: 0 if all checks pass, 1 if one fails.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", help="version to release, for example 0.1.0")
    version = parser.parse_args(argv).version
    changelog = ROOT / "CHANGELOG.md"
    try:
        text = dated(changelog.read_text(), version, datetime.datetime.now(datetime.UTC).date())
        _check(version)
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    changelog.write_text(text)
    print(f"dist/ holds {version} and CHANGELOG.md is dated; commit CHANGELOG.md and tag the commit v{version}")
    return 0


def _check(version: str) -> None:
    """Build into dist/, then try both archives."""
    sdist, wheel = ROOT / f"dist/recbeam-{version}.tar.gz", ROOT / f"dist/recbeam-{version}-py3-none-any.whl"
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(ROOT / "dist"), str(ROOT))
    for path in (sdist, wheel):
        if not path.exists():
            raise ValueError(f"the build did not write {path.name}; set the project's version to {version}")
    with tarfile.open(sdist) as archive:
        missing = missing_files(archive.getnames())
    if missing:
        raise ValueError(f"{sdist.name} lacks {', '.join(missing)}; add the files to package-data in pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        bin_ = pathlib.Path(folder) / "bin"
        _run(sys.executable, "-m", "venv", folder)
        _run(str(bin_ / "python"), "-m", "pip", "install", "--quiet", str(wheel), cwd=folder)
        _run(str(bin_ / "python"), "-c", "import serving_client, serving_client.aio; serving_client.Client", cwd=folder)
        command = next((name for name in COMMANDS if (bin_ / name).exists()), COMMANDS[0])
        _run(str(bin_ / command), "--help", cwd=folder)


def _run(*command: str, cwd: str | None = None) -> None:
    """Run a command that cannot import this checkout through PYTHONPATH."""
    print("release:", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=cwd, env=environment)


if __name__ == "__main__":
    sys.exit(main())
