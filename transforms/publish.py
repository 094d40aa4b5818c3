"""python -m transforms.publish SRC MODEL_DIR publishes a model; `rollback` goes back to an older version."""

import sys

from transforms.models.publish import main

if __name__ == "__main__":
    sys.exit(main())
