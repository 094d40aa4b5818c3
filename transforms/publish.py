"""The command `python -m transforms.publish`, the same as `recbeam publish`."""

import sys

from transforms.models.publish import main

if __name__ == "__main__":
    sys.exit(main())
