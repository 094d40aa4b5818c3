"""Pass a worker's error to the command.

If both run on one machine, the error is passed in a file. Otherwise it is found in the text of the runner's error.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from transforms.errors import BadInput, BadUsage, RecbeamError, Refused

__all__ = ["fault_in", "record_fault", "recorded_fault"]

_KINDS = {kind.__name__: kind for kind in (RecbeamError, BadInput, BadUsage, Refused)}
_IN_TEXT = re.compile(r"transforms\.errors\.(\w+): (.+)")


def record_fault(path: str, fault: RecbeamError) -> None:
    """Write an error for the command to raise. If one was written before, keep that one."""
    if os.path.exists(path):
        return
    partial = Path(f"{path}.partial")
    partial.write_text(json.dumps({"kind": type(fault).__name__, "message": str(fault)}))
    os.replace(partial, path)


def recorded_fault(path: str) -> RecbeamError | None:
    """Return the error that a worker recorded, None if there is none."""
    if not os.path.exists(path):
        return None
    fields = json.loads(Path(path).read_text())
    return _KINDS.get(fields["kind"], RecbeamError)(fields["message"])


def fault_in(error: BaseException) -> RecbeamError | None:
    """Extract the project's own error from a runner's error.

    Args:
        error: Error that the runner raised in this process, or that quotes the error of a worker.

    Returns:
        The project's error. None if there is none.
    """
    if isinstance(error, RecbeamError):
        return type(error)(_plain(str(error)))
    found = [match for match in _IN_TEXT.finditer(str(error)) if match[1] in _KINDS]
    if not found:
        return None
    return _KINDS[found[-1][1]](_plain(found[-1][2].split("\\n")[0]))


def _plain(sentence: str) -> str:
    return sentence.split(" [while running")[0].strip()
