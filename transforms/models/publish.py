"""Give a model a version number under which servers find it: MODEL_DIR/<epoch seconds>.

    recbeam publish DIR/model MODEL_DIR
    recbeam publish rollback MODEL_DIR --to=V

A server that watches MODEL_DIR sees a version whole or not at all. The files are copied to MODEL_DIR/.tmp-…, which
servers ignore, synced to disk, and renamed. Version numbers only grow, also when the clock is set back and when two
publishers run at once. A rollback copies the old version under a new number. Every version has a _COMPLETE.json with
the size and sha256 of each file (`manifest`). On s3:// and gs:// a version counts once this file exists
(`publish_bucket`).

This module does not check whether a model is good enough. A publish that was killed leaves a .tmp- folder or an
incomplete folder but never a version. You can delete such a folder at any time.
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

from recbeam.arguments import EXIT_CODES, Parser
from transforms.errors import BadInput, BadUsage, RecbeamError
from transforms.files.durable import fsync, one_at_a_time, sync_to_disk
from transforms.models import manifest

__all__ = ["LOCK_FILE", "main", "publish", "publish_run", "rollback", "versions"]

LOCK_FILE = ".publish.lock"


def _now_us() -> int:
    return time.time_ns() // 1000


def publish(
    source: str | os.PathLike[str], model_dir: str | os.PathLike[str], clock: Callable[[], int] = _now_us
) -> int:
    """Copy a SavedModel to a new version of a model, and return the version.

    Args:
        source: Folder that holds the SavedModel, on any filesystem.
        model_dir: Folder of the versions, on any filesystem; created if it does not exist.
        clock: Returns the time in microseconds since 1970. The version is this time in seconds, or the newest
            version plus one if that is greater.

    Raises:
        BadInput: `source` holds no SavedModel, its files differ from its _COMPLETE.json, or it cannot be copied because
            of its links.
        BadUsage: `model_dir` lies in `source`.
    """
    if _on_store(model_dir):
        from transforms.models import publish_bucket

        return publish_bucket.publish_to_store(str(source), str(model_dir), clock, uuid.uuid4().hex)
    if not _on_store(source):
        graph = Path(source) / "saved_model.pb"
        found = [manifest.ModelFile(graph.name, graph.stat().st_size, None)] if graph.is_file() else []
        manifest.check(found, str(source))
    base = Path(model_dir)
    if not _on_store(source) and base.resolve().is_relative_to(Path(source).resolve()):
        raise BadUsage(f"{model_dir}: lies in {source}, which is to be published; pass another folder")
    base.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".tmp-", dir=base))
    try:
        copy = work / "model"  # mkdtemp's folder is private; the folder inside it gets the usual permissions
        if _on_store(source):
            from transforms.models import publish_bucket

            publish_bucket.fetch(str(source), str(copy))
        else:
            _copy(source, copy)
        _write_manifest(source, copy)
        sync_to_disk(copy)
        # Choosing the number and renaming happen under one lock. Otherwise a lower number could appear after a higher.
        with one_at_a_time(base / LOCK_FILE):
            version = max(clock() // 1_000_000, max(versions(base), default=0) + 1)
            copy.rename(base / str(version))
            fsync(base)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return version


def publish_run(source: str | os.PathLike[str], model_dir: str, run_id: str, clock: Callable[[], int] = _now_us) -> int:
    """Publish the model of a run at most once.

    Args:
        source: Folder that holds the SavedModel.
        model_dir: Folder of the versions.
        run_id: The run's id. A version whose model card names this run is returned instead of a new one.
        clock: Returns the time in microseconds since 1970.

    Returns:
        The version of the run's model.
    """
    from transforms.files import storage

    for number, folder in versions(model_dir).items():
        card = storage.read_json(storage.join(folder, "assets.extra", "model_card.json"))
        if isinstance(card, dict) and card.get("run_id") == run_id:
            return number
    return publish(source, model_dir, clock)


def rollback(model_dir: str | os.PathLike[str], to: int, clock: Callable[[], int] = _now_us) -> int:
    """Publish an older version again, under a number above all others, and return that number.

    Args:
        model_dir: Folder of the versions.
        to: Version to publish again.
        clock: Returns the time in microseconds since 1970.

    Raises:
        BadInput: `model_dir` has no version `to`.
    """
    present = versions(model_dir)
    if to not in present:
        there = ", ".join(map(str, sorted(present))) or "none"
        raise BadInput(f"{model_dir}: has no version {to}; versions here: {there}")
    return publish(present[to], model_dir, clock)


def versions(model_dir: str | os.PathLike[str]) -> dict[int, str]:
    """Return the versions in `model_dir` with their folders. As in TF Serving, other folder names are ignored."""
    if _on_store(model_dir):
        from transforms.models import publish_bucket

        return publish_bucket.complete_versions(str(model_dir))
    base = Path(model_dir)
    names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    return {int(name): str(base / name) for name in names if manifest.is_version(name)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: publish or roll back, and print the folder of the new version.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 3 bad input, 1 anything else. Bad usage exits with code 2.
    """
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
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}; check the path, its permissions and the free space", file=sys.stderr)
        return 1
    print(os.path.join(options.model_dir, str(version)))
    print(f"{options.model_dir}: {done}; a server that watches this folder loads it by itself", file=sys.stderr)
    return 0


def _copy(source: str | os.PathLike[str], copy: Path) -> None:
    """Copy a folder. Links are followed, so the copy has none."""
    try:
        shutil.copytree(source, copy)
    except shutil.Error as error:  # one entry for each file that could not be copied
        raise BadInput(f"{source}: cannot be copied ({error.args[0][0][2]}); is a link in it broken?") from error
    except RecursionError as error:
        raise BadInput(f"{source}: has a link to a folder above; remove the link") from error


def _write_manifest(source: str | os.PathLike[str], copy: Path) -> None:
    """Write the list of the copied files. If the source has such a list, the files must be those of that list."""
    files = manifest.hashed(copy)
    complete = copy / manifest.COMPLETE_FILE
    if complete.is_file():
        before = manifest.parse(complete.read_bytes(), os.path.join(source, manifest.COMPLETE_FILE))
        different = set(before) ^ set(files)
        if different:
            name = min(file.name for file in different)
            raise BadInput(f"{source}: {name} differs from {manifest.COMPLETE_FILE}; publish another version")
    copy.chmod(copy.stat().st_mode | 0o700)  # the source may be read-only
    for beside in [path for path in copy.iterdir() if manifest.is_beside(path.name)]:
        beside.unlink()
    complete.write_bytes(manifest.dump(files))


def _publish_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="recbeam publish",
        description="Publish a model as a new version.",
        epilog="To go back to an older version: %(prog)s rollback MODEL_DIR --to=V\n\n"
        f"examples:\n  %(prog)s out/cf/model models/cf\n  %(prog)s rollback models/cf --to=1767225600\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="folder with the SavedModel, for example a trainer's DIR/model")
    parser.add_argument(
        "model_dir", metavar="MODEL_DIR", help="folder or bucket prefix of the versions; created if missing"
    )
    return parser


def _rollback_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="recbeam publish rollback",
        description="Publish an older version again, under a number above all others.",
        epilog=f"example: %(prog)s models/cf --to=1767225600\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder or bucket prefix of the versions")
    parser.add_argument("--to", metavar="V", type=int, required=True, help="version to publish again; required")
    return parser


def _on_store(path: str | os.PathLike[str]) -> bool:
    return "://" in str(path)
