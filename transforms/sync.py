"""python -m transforms.sync SRC LOCAL brings published versions to a model server's folder."""

import sys

from transforms.models.sync import main

if __name__ == "__main__":
    sys.exit(main())
