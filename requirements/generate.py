"""Which exact packages a remote Beam worker needs: requirements/worker.txt, the closure of the `pipelines` extra.

Beam's --setup_file installs no extras, so a remote run passes this file with --requirements_file. The versions are
those of constraints.txt; which package needs which is read from the installed distributions. It resolves nothing.

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

# Markers are read for the Python of the pins and of the worker image, so that every machine writes the same file.
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
    """Canonical name to version, of a file of plain `name==version` lines; comments and blank lines are skipped."""
    lines = (line.split("#")[0].strip() for line in constraints.splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def worker_requirements(pyproject: str, constraints: str) -> str:
    """The text of worker.txt. Raises KeyError, naming the package, if one that is needed has no pin."""
    project = tomllib.loads(pyproject)["project"]
    versions = pins(constraints)
    names = _closure(project["dependencies"] + project["optional-dependencies"]["pipelines"])
    head = "# What a worker of Python 3.11 or 3.12 installs; requirements/generate.py made it of constraints.txt.\n"
    return head + "".join(f"{name}=={versions[name]}\n" for name in sorted(names))


def main() -> int:
    """Write worker.txt."""
    text = worker_requirements((ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text())
    WORKER.write_text(text)
    print(f"{WORKER.relative_to(ROOT)}: {text.count('==')} packages", file=sys.stderr)
    return 0


def _closure(requirements: Iterable[str]) -> set[str]:
    """Canonical names of all that these requirements install, extras included."""
    wanted = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()  # (name, extra); the extra "" is the distribution itself
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
    except metadata.PackageNotFoundError:  # a backport that only Python 3.11 installs; none of them needs another
        return []
    requirements = [Requirement(text) for text in texts]
    return [r for r in requirements if r.marker is None or r.marker.evaluate(dict(environment))]


if __name__ == "__main__":
    sys.exit(main())
