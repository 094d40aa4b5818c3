"""What a worker found wrong, told to the command: by a file where both run on one machine, else in the error's text."""

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
    """Write a fault for the command to raise; the first one stays."""
    if os.path.exists(path):
        return
    partial = Path(f"{path}.partial")
    partial.write_text(json.dumps({"kind": type(fault).__name__, "message": str(fault)}))
    os.replace(partial, path)


def recorded_fault(path: str) -> RecbeamError | None:
    """The fault that a worker recorded, None if it found none."""
    if not os.path.exists(path):
        return None
    fields = json.loads(Path(path).read_text())
    return _KINDS.get(fields["kind"], RecbeamError)(fields["message"])


def fault_in(error: BaseException) -> RecbeamError | None:
    """The project's own error in a runner's: raised again in this process, or quoted; None if there is none."""
    if isinstance(error, RecbeamError):
        return type(error)(_plain(str(error)))
    found = [match for match in _IN_TEXT.finditer(str(error)) if match[1] in _KINDS]
    if not found:
        return None
    return _KINDS[found[-1][1]](_plain(found[-1][2].split("\\n")[0]))


def _plain(sentence: str) -> str:
    return sentence.split(" [while running")[0].strip()
