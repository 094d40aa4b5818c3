"""Give a label to a version in models.config: `python deploy/tensorflow_serving/label.py cf stable 1767312000`.

With --server=HOST:PORT it first asks whether the server has that version AVAILABLE, and changes nothing where it has
not: a label that a server is told to move to a version it does not serve stays where it was, and the reload fails.
Exit codes: 0 done, 2 usage, 3 no such model or file, 4 not AVAILABLE, 1 no answer.
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
    """Runs the command; the exit code."""
    parser = argparse.ArgumentParser(prog="label.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="a name in the config")
    parser.add_argument("label", metavar="LABEL", help="stable, canary, or another name")
    parser.add_argument("version", metavar="VERSION", type=int, help="the version that LABEL shall name")
    parser.add_argument("--config", metavar="FILE", type=Path, default=CONFIG, help="default: models.config here")
    parser.add_argument("--server", metavar="HOST:PORT", help="ask it first whether VERSION is AVAILABLE")
    options = parser.parse_args(argv)
    code, sentence = _label(options)
    print(sentence, file=sys.stderr)
    return code


def _label(options: Any) -> tuple[int, str]:
    try:
        config = text_format.Parse(options.config.read_text(), messages.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        return 3, f"{options.config}: cannot be read as a model server config ({error}); check --config"
    found = [one for one in config.model_config_list.config if one.name == options.model]
    if not found:
        return 3, f"{options.config}: has no model {options.model}; add it there first"
    place = f"model {options.model}, version {options.version}"
    if options.server:
        try:
            with Client(options.server, model=options.model, timeout_s=10.0) as client:
                states = {row.version: row.state for row in client.status()}
        except NotFound:
            states = {}
        except ServingError as error:
            return 1, f"{error}; nothing was changed"
        state = states.get(options.version, "not there")
        if state != "AVAILABLE":
            return 4, f"{options.server}, {place}: is {state}, not AVAILABLE; nothing was changed, try again when it is"
    before = found[0].version_labels.get(options.label)
    found[0].version_labels[options.label] = options.version
    work = options.config.with_name(f".{options.config.name}.tmp")
    work.write_text(HEAD + text_format.MessageToString(config))
    os.replace(work, options.config)
    return 0, f"{options.config}: {options.label} of {options.model} is now {options.version}, it was {before}"


if __name__ == "__main__":
    sys.exit(main())
