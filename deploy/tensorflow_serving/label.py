"""Give a label to a version in models.config: `python deploy/tensorflow_serving/label.py cf stable 1767312000`.

With --server=HOST:PORT the command first checks that the version is AVAILABLE on the server. If the version is not
AVAILABLE, nothing is changed: the server's reload would fail, and the label would stay at its old version. Exit codes:
0 done, 1 no answer, 2 usage, 3 no such model or file, 4 not AVAILABLE.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving_client import Client
from serving_client.errors import NotFound, ServingError
from serving_client.protocol import messages

__all__ = ["main"]

CONFIG = Path(__file__).with_name("models.config")
HEAD = """# Which models are served, and which versions the labels name. label.py rewrites this file; the server
# rereads it every 10 s.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="label.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="name of a model in the config file")
    parser.add_argument("label", metavar="LABEL", help="label, for example stable or canary")
    parser.add_argument("version", metavar="VERSION", type=int, help="version that gets the label")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=CONFIG,
        help="config file (default: models.config in the folder of this script)",
    )
    parser.add_argument("--server", metavar="HOST:PORT", help="first check that VERSION is AVAILABLE on this server")
    options = parser.parse_args(argv)
    code, sentence = _label(options)
    print(sentence, file=sys.stderr)
    return code


def _label(options: Any) -> tuple[int, str]:
    try:
        config = text_format.Parse(options.config.read_text(), messages.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        return 3, f"{options.config}: cannot be read as a model server config file ({error}); check --config"
    found = [one for one in config.model_config_list.config if one.name == options.model]
    if not found:
        return 3, f"{options.config}: has no model {options.model}; add the model first"
    place = f"model {options.model}, version {options.version}"
    if options.server:
        try:
            with Client(options.server, model=options.model, timeout_s=10.0) as client:
                states = {row.version: row.state for row in client.status()}
        except NotFound:
            states = {}
        except ServingError as error:
            return 1, f"{error}; nothing was changed"
        state = states.get(options.version, "missing")
        if state != "AVAILABLE":
            return 4, f"{options.server}, {place}: is {state}, not AVAILABLE; nothing was changed, retry later"
    before = found[0].version_labels.get(options.label)
    found[0].version_labels[options.label] = options.version
    work = options.config.with_name(f".{options.config.name}.tmp")
    work.write_text(HEAD + text_format.MessageToString(config))
    os.replace(work, options.config)
    return 0, f"{options.config}: {options.label} of {options.model} is now {options.version} (was {before})"


if __name__ == "__main__":
    sys.exit(main())
