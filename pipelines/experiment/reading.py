"""Read what an experiment is judged from: its bandit in the bandits file, and the bandit's newest snapshot."""

from __future__ import annotations

from collections.abc import Callable

from serving_client.contracts.bandits import Bandit, Bandits
from serving_client.snapshots.fields import SnapshotError
from serving_client.snapshots.published import AddressError, Published, read_latest
from serving_client.snapshots.snapshot import Snapshot, parse_snapshot
from serving_client.snapshots.stores import open_store
from transforms.errors import BadInput, BadUsage

__all__ = ["bandit_named", "read_snapshot"]


def bandit_named(bandits: Bandits, bandit_id: str | None, where: str) -> Bandit:
    """Return a bandit of the file.

    Args:
        bandits: The file.
        bandit_id: Name of the bandit. None takes the only one.
        where: Name of the file, for messages.

    Raises:
        BadUsage: The file has no such bandit, or several and none is named.
    """
    names = ", ".join(bandits.bandits)
    if bandit_id is None:
        if len(bandits.bandits) > 1:
            raise BadUsage(f"--bandit is not set and {where} has several; pass --bandit=NAME (bandits: {names})")
        return next(iter(bandits.bandits.values()))
    if bandit_id not in bandits.bandits:
        raise BadUsage(f"--bandit={bandit_id}: {where} has no such bandit (bandits: {names})")
    return bandits.bandits[bandit_id]


def read_snapshot(destination: str, bandit: Bandit) -> tuple[Published, Snapshot]:
    """Read the newest snapshot of a bandit.

    Args:
        destination: Where the stream publishes.
        bandit: The bandit.

    Returns:
        The published document and its content.

    Raises:
        BadUsage: The address is invalid.
        BadInput: Nothing is published for the bandit, it cannot be read, or it counts another policy_epoch.
    """
    try:
        published = _checked(lambda: read_latest(open_store(destination), bandit.bandit_id), destination)
    except AddressError as error:
        raise BadUsage(f"--snapshots={destination}: {error}") from error
    if published is None:
        raise BadInput(
            f"{destination}: nothing is published for {bandit.bandit_id}; is it the --snapshots of a stream that has "
            "begun?"
        )
    try:
        snapshot = parse_snapshot(published.data)
    except SnapshotError as error:
        raise BadInput(f"{destination}: version {published.version} of {bandit.bandit_id} {error}") from error
    if snapshot.policy_epoch != bandit.policy_epoch:
        raise BadInput(
            f"{destination}: version {snapshot.version} counts policy_epoch {snapshot.policy_epoch} of "
            f"{bandit.bandit_id}, and the bandits file says {bandit.policy_epoch}; pass the file of the stream"
        )
    return published, snapshot


def _checked(read: Callable[[], Published | None], destination: str) -> Published | None:
    try:
        return read()
    except (AddressError, ImportError):
        raise
    except Exception as error:  # every store has errors of its own
        raise BadInput(f"{destination}: cannot be read ({error}); check the address and the access rights") from error
