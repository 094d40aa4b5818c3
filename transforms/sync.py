"""The command `python -m transforms.sync`, the same as `recbeam sync`."""

import sys

from transforms.models.sync import main

if __name__ == "__main__":
    sys.exit(main())
