"""Start Prism so that it ends when its command does, and not before.

A Ctrl-C in a terminal goes to all processes of the foreground group, which would end Prism before the last snapshot is
published. A command that was killed would leave Prism running. So Prism runs in a session of its own, and on Linux the
kernel ends it with the thread that started it.

Prism mostly holds state that lives for minutes. With the default of Go's garbage collector (GOGC=100) the heap may
double before it is collected. A smaller heap is worth a few per cent of a core.
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
