"""The models that the conformance suite asks for, in a folder that any server can be started on.

    python -m tests.conformance.models DIR [--as=/models]

writes them with models.config and batching.config beside them; --as is where the server sees DIR. Versions of
half_plus_two: 1 and 2 (the same graph), labelled stable and canary; of all others: 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.serving.models import add_version, export_models

MODELS = ("half_plus_two", "contract", "typed", "slow")
BATCHING = """max_batch_size { value: 32 }
batch_timeout_micros { value: 20000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 4 }
allowed_batch_sizes: 4
allowed_batch_sizes: 32
"""


def models_config(seen_as: str, names: tuple[str, ...] = MODELS, labels: tuple[tuple[str, int], ...] = ()) -> str:
    """A ModelServerConfig of all versions of these models; labels are of half_plus_two."""
    entries = []
    for name in names:
        lines = [f'    name: "{name}"', f'    base_path: "{seen_as}/{name}"', '    model_platform: "tensorflow"']
        lines.append("    model_version_policy { all {} }")
        if name == "half_plus_two":
            lines += [f'    version_labels {{ key: "{label}" value: {version} }}' for label, version in labels]
        entries.append("  config {\n" + "\n".join(lines) + "\n  }")
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


LABELS = (("stable", 1), ("canary", 2))


def export(directory: str | os.PathLike[str], seen_as: str) -> None:
    """Writes models and configs below `directory`, which a server sees as `seen_as`."""
    base = Path(directory)
    base.mkdir(parents=True, exist_ok=True)
    paths = export_models(base)
    add_version(paths["half_plus_two"], 2)
    (base / "models.config").write_text(models_config(seen_as, labels=LABELS))
    (base / "batching.config").write_text(BATCHING)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.models", description=__doc__)
    parser.add_argument("directory", metavar="DIR", help="an empty or new folder")
    parser.add_argument(
        "--as", dest="seen_as", default="/models", help="where the server sees it (default %(default)s)"
    )
    options = parser.parse_args(argv)
    if Path(options.directory).exists() and any(Path(options.directory).iterdir()):
        print(f"{options.directory}: is not empty; name an empty or new folder", file=sys.stderr)
        return 2
    export(options.directory, options.seen_as.rstrip("/"))
    print(options.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
