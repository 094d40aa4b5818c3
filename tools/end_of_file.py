"""Check that text files end with exactly one newline.

    python tools/end_of_file.py FILE...   # names each file that does not; exit code 1 if there is one

The command changes no file. It skips empty files and files with a NUL byte, which are binary.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

__all__ = ["ends_well", "main"]


def ends_well(content: bytes) -> bool:
    """Return whether a file is empty, is binary, or ends with exactly one newline.

    Args:
        content: The whole content of the file.

    Returns:
        False if the file needs a change.
    """
    if not content or b"\0" in content:
        return True
    return content.endswith(b"\n") and not content.endswith(b"\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Name the files that do not end with exactly one newline.

    Args:
        argv: Paths of files, those of the command line if None.

    Returns:
        The exit code: 0 if all files are correct, else 1.
    """
    paths = sys.argv[1:] if argv is None else argv
    wrong = [path for path in paths if not ends_well(pathlib.Path(path).read_bytes())]
    for path in wrong:
        print(f"{path}: does not end with exactly one newline; correct its last line")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
