"""Where the servers, clients and tools that nobody here wrote are installed, and whether they are whole.

Each Python program has an environment of its own, .peers/NAME, for its pins contradict ours; Go tools are in
.peers/bin, programs of Debian packages in .peers/debian. `install.py` fills all, from the lists in requirements/ and
below.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / ".peers"
REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements"
PYTHON_PEERS = ("pythie", "ovmsclient", "mlserver", "redis")
INSTALL = f"{pathlib.Path(sys.executable).name} -m tests.third_party.install"


@dataclasses.dataclass(frozen=True)
class GoTool:
    """A line of requirements/go.txt: the name a test calls, the package, the version."""

    name: str
    package: str
    version: str

    @property
    def path(self) -> pathlib.Path:
        return PEERS / "bin" / self.name

    def is_whole(self) -> bool:
        """Whether it is there in this version; Go writes the version into what it builds."""
        if not self.path.exists():
            return False
        told = subprocess.run(["go", "version", "-m", str(self.path)], capture_output=True, text=True, check=False)
        built = [line.split()[1:3] for line in told.stdout.splitlines() if line.split()[:1] == ["mod"]]
        return any(self.package.startswith(module) and version == self.version for module, version in built)


@dataclasses.dataclass(frozen=True)
class DebianTool:
    """A program of a Debian package, unpacked below .peers/debian: nothing is installed or started, no root needed."""

    name: str
    package: str

    @property
    def path(self) -> pathlib.Path:
        return PEERS / "debian" / self.package / "usr" / "bin" / self.name


DEBIAN_TOOLS = (DebianTool("promtool", "prometheus"),)


def go_tools() -> dict[str, GoTool]:
    lines = (REQUIREMENTS / "go.txt").read_text().splitlines()
    return {line.split()[0]: GoTool(*line.split()) for line in lines if line and not line.startswith("#")}


def requirements(name: str) -> pathlib.Path:
    return REQUIREMENTS / f"{name}.txt"


def stamp(name: str) -> pathlib.Path:
    """Written last into an environment; it holds `fingerprint` of what was installed."""
    return PEERS / name / ".complete"


def fingerprint(name: str) -> str:
    """Changes with the list, with the Python, and with the place: an environment holds absolute paths."""
    told = (requirements(name).read_text(), sys.version, sys.base_prefix, str(PEERS))
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def is_whole(name: str) -> bool:
    """Whether the environment of a Python program is there as its list says."""
    return stamp(name).exists() and stamp(name).read_text() == fingerprint(name)
