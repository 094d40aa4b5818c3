"""How Prism is started so that it ends when its command does, and not before.

A Ctrl-C in a terminal goes to all processes of the foreground group: Prism would be gone before the last snapshot is
published. And a command that was killed would leave Prism behind. So it runs in a session of its own, and on Linux the
kernel ends it with the thread that started it. What it holds is mostly state that lives for minutes, which Go would let
double before it looks for garbage (GOGC=100); a smaller heap is worth the few per cent of a core.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

__all__ = ["wrapped"]

_START = """\
import ctypes, os, sys
os.setsid()
os.environ.setdefault("GOGC", "30")
try:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
except (AttributeError, OSError):
    pass  # no Linux
os.execv(sys.argv[1], sys.argv[1:])
"""


def wrapped(folder: str, location: str | None) -> str | None:
    """Write a program below `folder` that starts Prism in this way.

    Args:
        folder: Where to write the program.
        location: Prism's path, if the user named one. None uses the environment's own Prism, or one on the PATH.

    Returns:
        Path of the program. None if this machine has no Prism.
    """
    own = os.path.join(sysconfig.get_path("scripts"), "prism")
    found = location or (own if os.path.exists(own) else shutil.which("prism"))
    if found is None or not os.path.isfile(found) or not os.access(found, os.X_OK):
        return None
    script = Path(folder, "prism")
    start = " ".join(map(shlex.quote, (sys.executable, "-S", "-c", _START, os.path.abspath(found))))
    script.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
    script.chmod(0o700)
    return str(script)
