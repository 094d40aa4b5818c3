"""Gives a written model a version number under which servers find it: MODEL_DIR/<epoch seconds>.

    python -m transforms.publish DIR/model MODEL_DIR
    python -m transforms.publish rollback MODEL_DIR --to=V

A server that watches MODEL_DIR sees a version whole or not at all: the files are copied to MODEL_DIR/.tmp-…, which no
server reads, synced to disk and renamed. Versions only grow, also when the clock goes back, when two publish at once,
and on a rollback, which is a copy of the old version under a new number. On s3:// and gs:// a version is there when its
_COMPLETE.json is (`publish_bucket`). Whether a model is good enough is not asked here. A publish that was killed leaves
a .tmp- folder or an incomplete one, never a version; delete it at leisure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from transforms.errors import BadInput, RecbeamError
from transforms.files.durable import fsync, one_at_a_time, sync_to_disk
from transforms.models.manifest import is_version

__all__ = ["LOCK_FILE", "main", "publish", "publish_run", "rollback", "versions"]

LOCK_FILE = ".publish.lock"


def _now_us() -> int:
    return time.time_ns() // 1000


def publish(
    source: str | os.PathLike[str], model_dir: str | os.PathLike[str], clock: Callable[[], int] = _now_us
) -> int:
    """Copies the SavedModel in `source` to a new version of `model_dir`, and returns that version.

    clock: microseconds since 1970. The version is its second, or one more than the newest version if that is greater.
    Raises BadInput if `source` holds no SavedModel.
    """
    if _on_store(model_dir):
        from transforms.models import publish_bucket

        return publish_bucket.publish_to_store(str(source), str(model_dir), clock, uuid.uuid4().hex)
    if not _on_store(source) and not (Path(source) / "saved_model.pb").is_file():
        raise BadInput(f"{source}: holds no saved_model.pb; name the folder that a trainer wrote as DIR/model")
    base = Path(model_dir)
    base.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".tmp-", dir=base))
    try:
        copy = work / "model"  # mkdtemp's own folder is private, this one gets the permissions everything gets
        if _on_store(source):
            from transforms.models import publish_bucket

            publish_bucket.fetch(str(source), str(copy))
        else:
            shutil.copytree(source, copy)
        sync_to_disk(copy)
        # Number and rename belong together, or a lower number could appear after a higher.
        with one_at_a_time(base / LOCK_FILE):
            version = max(clock() // 1_000_000, max(versions(base), default=0) + 1)
            copy.rename(base / str(version))
            fsync(base)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return version


def publish_run(source: str | os.PathLike[str], model_dir: str, run_id: str, clock: Callable[[], int] = _now_us) -> int:
    """Publishes the model of a run, once: the version whose model card names the run is returned if there is one."""
    from transforms.files import storage

    for number, folder in versions(model_dir).items():
        card = storage.read_json(storage.join(folder, "assets.extra", "model_card.json"))
        if isinstance(card, dict) and card.get("run_id") == run_id:
            return number
    return publish(source, model_dir, clock)


def rollback(model_dir: str | os.PathLike[str], to: int, clock: Callable[[], int] = _now_us) -> int:
    """Publishes version `to` of `model_dir` once more, under a number above all others, and returns that number.

    Raises BadInput if there is no such version.
    """
    present = versions(model_dir)
    if to not in present:
        there = ", ".join(map(str, sorted(present))) or "none"
        raise BadInput(f"{model_dir}: has no version {to}; versions here: {there}")
    return publish(present[to], model_dir, clock)


def versions(model_dir: str | os.PathLike[str]) -> dict[int, str]:
    """The versions in `model_dir` with their folders, read as TF Serving does: names that are not integers are none."""
    if _on_store(model_dir):
        from transforms.models import publish_bucket

        return publish_bucket.complete_versions(str(model_dir))
    base = Path(model_dir)
    names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    return {int(name): str(base / name) for name in names if is_version(name)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints the folder of the new version."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["rollback"]:
            options = _rollback_parser().parse_args(arguments[1:])
            version = rollback(options.model_dir, options.to)
            done = f"version {options.to} is published again as {version}"
        else:
            options = _publish_parser().parse_args(arguments)
            version = publish(options.source, options.model_dir)
            done = f"{options.source} is published as version {version}"
    except RecbeamError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(os.path.join(options.model_dir, str(version)))
    print(f"{options.model_dir}: {done}; a server that watches this folder loads it by itself", file=sys.stderr)
    return 0


def _publish_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m transforms.publish",
        description="Publish a model as a new version.",
        epilog="To go back: python -m transforms.publish rollback MODEL_DIR --to=V",
    )
    parser.add_argument("source", metavar="SRC", help="folder with the SavedModel, such as DIR/model of a trainer")
    parser.add_argument(
        "model_dir", metavar="MODEL_DIR", help="folder or bucket prefix of the versions; made if missing"
    )
    return parser


def _rollback_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m transforms.publish rollback",
        description="Publish an older version once more, under a number above all others.",
    )
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder or bucket prefix of the versions")
    parser.add_argument("--to", metavar="V", type=int, required=True, help="version to go back to")
    return parser


def _on_store(path: str | os.PathLike[str]) -> bool:
    return "://" in str(path)
