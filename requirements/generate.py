"""Write requirements/worker.txt: the exact packages that a remote Beam worker needs for the `pipelines` extra.

Beam's --setup_file does not install extras, so a remote run passes worker.txt with --requirements_file. The versions
come from constraints.txt. The dependencies of each package come from the installed distributions. The script does not
resolve versions.

    python requirements/generate.py
"""

from __future__ import annotations

import pathlib
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["WORKER", "main", "pins", "worker_requirements"]

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKER = ROOT / "requirements" / "worker.txt"

# Markers are evaluated for the Python of the worker image, so that every machine writes the same file.
ENVIRONMENT = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def pins(constraints: str) -> dict[str, str]:
    """Parse a constraints file.

    Args:
        constraints: Text with one `name==version` per line. Comments and blank lines are skipped.

    Returns:
        Maps a canonical name to its version.
    """
    lines = (line.split("#")[0].strip() for line in constraints.splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def worker_requirements(pyproject: str, constraints: str) -> str:
    """Return the text of worker.txt.

    Args:
        pyproject: Text of pyproject.toml.
        constraints: Text of constraints.txt.

    Raises:
        KeyError: A needed package has no version in constraints.txt. The key is its name.
    """
    project = tomllib.loads(pyproject)["project"]
    versions = pins(constraints)
    names = _closure(project["dependencies"] + project["optional-dependencies"]["pipelines"])
    head = (
        "# What a worker of Python 3.11 or 3.12 installs; written by requirements/generate.py from constraints.txt.\n"
    )
    return head + "".join(f"{name}=={versions[name]}\n" for name in sorted(names))


def main() -> int:
    """Write worker.txt."""
    text = worker_requirements((ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text())
    WORKER.write_text(text)
    print(f"{WORKER.relative_to(ROOT)}: {text.count('==')} packages", file=sys.stderr)
    return 0


def _closure(requirements: Iterable[str]) -> set[str]:
    """Return the canonical names of all packages that the requirements install, extras included."""
    wanted = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()  # (name, extra), where the extra "" is the distribution itself
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                wanted += _needed_by(name, {**ENVIRONMENT, "extra": extra})
    return {name for name, _ in seen}


def _needed_by(name: str, environment: Mapping[str, str]) -> list[Requirement]:
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # a backport for Python 3.11, which has no dependencies
        return []
    requirements = [Requirement(text) for text in texts]
    return [r for r in requirements if r.marker is None or r.marker.evaluate(dict(environment))]


if __name__ == "__main__":
    sys.exit(main())
