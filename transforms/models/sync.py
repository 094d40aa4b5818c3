"""Copy published versions of a model to the folder that a local model server reads, and remove old versions.

    recbeam sync s3://bucket/models/cf models/cf --server=localhost:8500

Only whole versions are copied (`sync_source`). Each one is written to LOCAL/.tmp-sync-…, checked, synced to disk and
renamed, so a server sees it whole or not at all. A round wants the newest --keep of all versions at SRC and in LOCAL,
and those that a model config file names.

A version of LOCAL that differs from SRC is copied again, and replaced once the copy is complete. A version without
_COMPLETE.json is copied only if nothing in it has changed for a minute (`sync_source.SETTLE_S`).

Then the versions of LOCAL beyond --keep are removed, whether or not SRC still has them, with these exceptions:

    --server             Versions that the server holds in any state but END stay. This includes every label that
                         the server has set. If the server does not answer for this model, or tracks other
                         versions only, nothing is removed.
    --model_config_file  Versions that a label or the version policy names stay. Under the policy `all`, every one.
    _COMPLETE.json       The newest version with this list of its files stays, because every file was checked.

Pass --model_config_file too if the server labels versions before they are loaded
(--allow_version_labels_for_unavailable_models). If a version fails its check, it is refused, the others are still
copied, and the round removes nothing. Only one sync at a time works on LOCAL. A second one waits.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from recbeam.arguments import EXIT_CODES, Parser
from transforms import progress
from transforms.errors import BadInput, BadUsage, RecbeamError
from transforms.files.durable import fsync, one_at_a_time, sync_to_disk
from transforms.models import publish, sync_source
from transforms.models.manifest import COMPLETE_FILE, ModelFile, dump
from transforms.models.server_config import Named, named_versions
from transforms.models.server_status import END, NoAnswer, held_versions

__all__ = ["Synced", "beyond", "main", "sync", "wanted"]

LOCK_FILE = ".sync.lock"
NOTHING_NAMED = Named()
PREFIX = ".tmp-sync-"
"""Prefix of the temporary folders of sync alone. `publish` has other .tmp- folders."""


@dataclasses.dataclass(frozen=True)
class Synced:
    """What one round did.

    Attributes:
        brought: Versions that were copied.
        removed: Versions that were removed.
        kept: Versions beyond --keep that stay, with the reason.
        refused: Versions that could not be copied, with the error.
        unasked: Why nothing was removed. Empty if removal was decided.
        settling: Versions at the source that may still be being copied, newest first.
    """

    brought: tuple[int, ...]
    removed: tuple[int, ...]
    kept: Mapping[int, str]
    refused: Mapping[int, RecbeamError]
    unasked: str
    settling: tuple[int, ...] = ()


def wanted(there: Collection[int], here: Collection[int], keep: int, named: Named) -> list[int]:
    """Return the versions to have from the source, newest first, so that a server loads the newest one first.

    Args:
        there: Versions at the source.
        here: Versions in the local folder.
        keep: How many of the newest versions to have.
        named: Versions that the server's config file names.
    """
    newest = sorted({*there, *here}, reverse=True)[: max(keep, named.newest)]
    return sorted((set(newest) | named.versions) & set(there), reverse=True)


def beyond(
    here: Collection[int], keep: int, held: Mapping[int, str], named: Named, checked: Collection[int] = ()
) -> tuple[list[int], dict[int, str]]:
    """Return the versions to remove, oldest first, and the versions beyond `keep` that stay, with the reason.

    Args:
        here: Versions in the local folder.
        keep: How many of the newest versions to have.
        held: State by version, from `held_versions`.
        named: Versions that the server's config file names.
        checked: Versions whose files were checked against a list. The newest of them stays.
    """
    old = sorted(here)[: -max(keep, named.newest)]
    why = {version: f"the server has it {state}" for version, state in held.items() if state != END}
    if checked:
        why.setdefault(max(checked), "the newest with checked files")
    why |= dict.fromkeys(named.versions, "the config file names it")
    if named.everything:
        why |= dict.fromkeys(old, "the config file serves all")
    return [version for version in old if version not in why], {
        version: why[version] for version in old if version in why
    }


def sync(
    source: str,
    local: str | os.PathLike[str],
    keep: int = 3,
    held: Callable[[], Mapping[int, str]] | None = None,
    named: Named = NOTHING_NAMED,
    clock: Callable[[], float] = time.time,
) -> Synced:
    """Run one round.

    Args:
        source: Folder or bucket prefix of the published versions.
        local: Folder that the model server reads; created if it does not exist.
        keep: How many of the newest versions to have.
        held: Asks the server for the state of its versions, and raises NoAnswer. None if there is no server.
        named: Versions that the server's config file names.
        clock: Returns the time in seconds since 1970.

    Raises:
        BadInput: The source has no whole version.
        RecbeamError: The source cannot be listed.
    """
    found = sync_source.find(source, clock())
    there, settling = found.whole, tuple(sorted(found.settling, reverse=True))
    if not there:
        todo = _settling_text(settling) if settling else "publish one with recbeam publish"
        raise BadInput(f"{source}: has no whole version; {todo}")
    base = Path(local)
    base.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(base / LOCK_FILE, lambda: _say(f"{local}: another sync is running here; waiting for it")):
        for left in base.glob(f"{PREFIX}*"):  # this process holds the lock, so the writer of these folders is dead
            _delete(left)
        choice = wanted(there, _folders(base), keep, named)
        brought, refused = _bring_all({version: there[version] for version in choice}, base, f"{source} to {local}")
        here = _folders(base)
        checked = [version for version, folder in here.items() if sync_source.is_listed(folder)]
        unasked = f"{len(refused)} of {len(brought) + len(refused)} versions could not be copied" if refused else ""
        remove, kept = beyond(here, keep, {}, named, checked)
        if remove and held and not refused:
            try:
                states = held()
            except NoAnswer as error:
                unasked = str(error)
            else:
                remove, kept = beyond(here, keep, states, named, checked)
                if not set(states) & set(here):
                    others = ", ".join(map(str, sorted(states))) or "none"
                    unasked = f"the server tracks other versions ({others}); is --model_name right?"
        if unasked:
            remove = []
        for version in remove:
            _remove(Path(here[version]))
    return Synced(tuple(brought), tuple(remove), kept, refused, unasked, settling)


def main(argv: Sequence[str] | None = None, wait: Callable[[float], None] = time.sleep) -> int:
    """Run the command: sync once or repeatedly, and print the folders of the versions that were copied.

    Args:
        argv: The arguments. None means those of the process.
        wait: Sleeps between two rounds of `--watch`, in seconds.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 1 anything else.
    """
    options = _parser().parse_args(argv)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # Beam logs a stack trace for each retried request
    try:
        _check(options)
        if options.watch is None:
            return _round(options, _say)
        return _watch(options, wait)
    except RecbeamError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        _say(_disk_problem(error))
        return 1
    except KeyboardInterrupt:
        _say(f"{options.local}: interrupted; no incomplete version was left; run the same command again")
        return 1


def _round(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    model = options.model_name or os.path.basename(os.path.abspath(options.local))
    named = named_versions(options.model_config_file, model) if options.model_config_file else NOTHING_NAMED
    held = (lambda: held_versions(options.server, model)) if options.server else None
    done = sync(options.source, options.local, options.keep, held, named)
    for version in done.brought:
        print(os.path.join(options.local, str(version)), flush=True)
    if done.refused:
        error = done.refused[max(done.refused)]
        say(str(error))
        return error.exit_code
    say(_sentence(options, done))
    return 0


def _watch(options: argparse.Namespace, wait: Callable[[float], None]) -> int:
    """Run rounds until SIGTERM or Ctrl-C. Show a round's message only if it differs from the previous one."""
    said: list[str] = []

    def say(text: str) -> None:
        if said != [text]:
            _say(text)
            said[:] = [text]

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            try:
                _round(options, say)
            except RecbeamError as error:
                say(str(error))
            except OSError as error:
                say(_disk_problem(error))
            wait(options.watch)
    except KeyboardInterrupt:
        _say(f"{options.local}: stopped")
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _bring_all(choice: Mapping[int, str], base: Path, title: str) -> tuple[list[int], dict[int, RecbeamError]]:
    """Copy the versions that `base` lacks or has otherwise. Return those that were copied, and errors by version."""
    missing: dict[int, list[ModelFile]] = {}
    brought: list[int] = []
    refused: dict[int, RecbeamError] = {}
    for version, folder in choice.items():
        try:
            files = sync_source.files_of(folder)
        except RecbeamError as error:
            refused[version] = error
            continue
        local = base / str(version)
        if not local.is_dir() or not sync_source.is_copy(files, local):
            missing[version] = files
    if not missing:
        return brought, refused
    with progress.display(title):
        for version, files in missing.items():
            try:
                _appear(version, choice[version], files, base)
            except RecbeamError as error:
                refused[version] = error
            else:
                brought.append(version)
    return brought, refused


def _appear(version: int, folder: str, files: list[ModelFile], base: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{version}-", dir=base))
    try:
        copy = work / "model"  # mkdtemp's folder is private; the folder inside it gets the usual permissions
        copy.mkdir()
        sync_source.bring(folder, files, copy, _progress(version, sum(file.size for file in files)))
        if files[0].sha256 is not None:
            (copy / COMPLETE_FILE).write_bytes(dump(files))
        sync_to_disk(copy)
        with one_at_a_time(base / publish.LOCK_FILE):  # a publish to this folder may be choosing its version
            target = base / str(version)
            if target.exists():
                target.rename(work / "replaced")
            copy.rename(target)
            fsync(base)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Rename the folder, then delete it, so that a server never sees half a version."""
    away = folder.with_name(f"{PREFIX}removed-{folder.name}")
    folder.rename(away)
    fsync(folder.parent)
    _delete(away)


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _folders(base: Path) -> dict[int, str]:
    return {version: folder for version, folder in publish.versions(base).items() if os.path.isdir(folder)}


def _progress(version: int, total_bytes: int) -> Callable[[int], None]:
    """Return a function that counts the copied bytes of a version on the display, in whole MiB."""
    stage, done = f"{version}, MiB", 0
    progress.expect(stage, math.ceil(total_bytes / 2**20))

    def note(count: int) -> None:
        nonlocal done
        progress.advance(stage, math.ceil((done + count) / 2**20) - math.ceil(done / 2**20))
        done += count

    return note


def _sentence(options: argparse.Namespace, done: Synced) -> str:
    parts = []
    if done.brought:
        parts.append(f"copied {_list(done.brought)} from {options.source}")
    if done.removed:
        parts.append(f"removed {_list(done.removed)}")
    parts += [f"kept {version} beyond --keep={options.keep} ({why})" for version, why in sorted(done.kept.items())]
    if done.unasked:
        parts.append(f"removed nothing: {done.unasked}")
    if done.settling:
        parts.append(_settling_text(done.settling))
    return f"{options.local}: " + ("; ".join(parts) or f"is up to date with {options.source}")


def _settling_text(versions: Sequence[int]) -> str:
    return (
        f"{_list(versions)} may be incomplete ({COMPLETE_FILE} is missing or does not fit, and the last change is less "
        f"than {sync_source.SETTLE_S:g} s old), so sync again later"
    )


def _list(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


def _disk_problem(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; check the path, its permissions and the free disk space"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check(options: argparse.Namespace) -> None:
    if "://" in options.local:
        raise BadUsage(f"{options.local}: is not a local folder; a model server reads local folders only")
    if "://" not in options.source and os.path.realpath(options.source) == os.path.realpath(options.local):
        raise BadUsage(f"{options.source}: is both source and target; pass two different folders")
    if options.keep < 1:
        raise BadUsage(f"--keep={options.keep}: must be at least 1, because the newest version always stays")
    if options.watch is not None and not (math.isfinite(options.watch) and options.watch > 0):
        raise BadUsage(f"--watch={options.watch:g}: must be a number of seconds greater than 0")
    if options.server is not None and not options.server.rpartition(":")[2].isdecimal():
        raise BadUsage(f"--server={options.server}: is not HOST:PORT; write it like --server=localhost:8500")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="recbeam sync",
        description="Copy complete versions of a model to a local folder, and remove old versions there.",
        epilog=f"example: %(prog)s s3://bucket/models/cf models/cf --server=localhost:8500\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="bucket prefix (s3://, gs://) or folder of the versions")
    parser.add_argument("local", metavar="LOCAL", help="folder that the model server reads; created if missing")
    parser.add_argument("--keep", metavar="N", type=int, default=3, help="newest versions to keep (default: 3)")
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="gRPC address of the model server that reads LOCAL. Versions that the server holds are not removed. If "
        "the server does not answer, no version is removed (default: ask no server and remove every version beyond "
        "--keep)",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        help="name of the model on the server and in the config file (default: the last part of LOCAL)",
    )
    parser.add_argument(
        "--model_config_file",
        metavar="FILE",
        help="the server's ModelServerConfig as text. Versions that it labels or lists are copied and not removed "
        "(default: none)",
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=float,
        help="sync again after this many seconds, until SIGTERM or Ctrl-C. Errors are printed, and the next round "
        "tries again (default: sync once)",
    )
    return parser
