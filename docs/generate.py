"""Write docs/reference/commands.md: the `--help` of every command, so that the page cannot differ from the program.

python docs/generate.py
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import sys

__all__ = ["commands_page"]

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "commands.md"
COMMANDS = {
    "recbeam batch-cf": ("pipelines.batch_cf.__main__", ["--help"]),
    "recbeam vae-train": ("pipelines.vae_train.__main__", ["--help"]),
    "recbeam evaluate split": ("pipelines.evaluate.__main__", ["split", "--help"]),
    "recbeam evaluate evaluate": ("pipelines.evaluate.__main__", ["evaluate", "--help"]),
    "recbeam interactions": ("pipelines.interactions.__main__", ["--help"]),
    "recbeam off-policy": ("pipelines.off_policy.__main__", ["--help"]),
    "recbeam reward-stream": ("pipelines.reward_stream.__main__", ["--help"]),
    "recbeam reward-stream inspect": ("pipelines.reward_stream.__main__", ["inspect", "--help"]),
    "recbeam reward-stream replay": ("pipelines.reward_stream.__main__", ["replay", "--help"]),
    "recbeam route": ("serving_client.router.command", ["--help"]),
    "recbeam experiment": ("pipelines.experiment.__main__", ["--help"]),
    "python -m examples.reward_stream.generate": ("examples.reward_stream.generate", ["--help"]),
    "recbeam publish": ("transforms.models.publish", ["--help"]),
    "recbeam publish rollback": ("transforms.models.publish", ["rollback", "--help"]),
    "recbeam sync": ("transforms.models.sync", ["--help"]),
    "recbeam lineage": ("transforms.lineage.command", ["--help"]),
    "serving-client recommend": ("serving_client.__main__", ["recommend", "--help"]),
    "serving-client status": ("serving_client.__main__", ["status", "--help"]),
    "serving-client bench": ("serving_client.__main__", ["bench", "--help"]),
    "local-serving": ("local_serving.__main__", ["--help"]),
}


def commands_page() -> str:
    """The page's text. Help is wrapped to 100 columns."""
    os.environ["COLUMNS"] = "100"
    parts = [
        "# Commands",
        "",
        "Written by `python docs/generate.py`; every pipeline also takes Beam's own options.",
        "",
    ]
    for name, (module, argv) in COMMANDS.items():
        parts += [f"## {name}", "```", _help(module, argv).rstrip(), "```", ""]
    return "\n".join(parts)


def _help(module: str, argv: list[str]) -> str:
    main = __import__(module, fromlist=["main"]).main
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main(argv)
    return shown.getvalue()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(commands_page())
    print(PAGE)
