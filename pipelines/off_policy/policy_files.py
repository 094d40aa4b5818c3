"""Read the policy of `--policy`, and the snapshot at which it is frozen."""

from __future__ import annotations

from pipelines.off_policy.target import AlwaysArm, FrozenPolicy, Target
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandit, BanditsError
from serving_client.snapshots.fields import SnapshotError
from serving_client.snapshots.snapshot import Snapshot, parse_snapshot
from transforms.errors import BadInput, BadUsage
from transforms.files import storage

__all__ = ["read_target"]

_ARM = "arm:"


def read_target(policy: str, bandit: Bandit, snapshot: str | None) -> Target:
    """Return the policy to evaluate.

    Args:
        policy: Path of a bandits file, or arm:NAME.
        bandit: The bandit that made the log.
        snapshot: Path of a snapshot, or None.

    Raises:
        BadUsage: The arm is unknown, or a policy that learns has no snapshot.
        BadInput: A file cannot be read, or is about another bandit or policy epoch.
    """
    if policy.startswith(_ARM):
        arm_id = policy.removeprefix(_ARM)
        if arm_id not in bandit.arms:
            raise BadUsage(
                f"--policy={policy}: {bandit.bandit_id} has no arm {arm_id}; its arms are {', '.join(bandit.arms)}"
            )
        return AlwaysArm(bandit, arm_id)
    try:
        bandits = parse_bytes(_read(policy, "--policy"), policy).bandits
    except BanditsError as error:
        raise BadInput(str(error)) from error
    target = bandits.get(bandit.bandit_id)
    if target is None:
        raise BadInput(f"--policy={policy}: has no bandit {bandit.bandit_id}; its bandits are {', '.join(bandits)}")
    frozen_at = None if snapshot is None else _snapshot(snapshot, target)
    if frozen_at is None and target.policy["kind"] != "fixed":
        raise BadUsage(
            f"--policy={policy}: kind {target.policy['kind']} learns; pass --snapshot=FILE, at which it is frozen"
        )
    source = policy.rpartition("/")[2]
    return FrozenPolicy(target, source, frozen_at, same_segments=target.segments == bandit.segments)


def _snapshot(path: str, target: Bandit) -> Snapshot:
    try:
        snapshot = parse_snapshot(_read(path, "--snapshot"))
    except SnapshotError as error:
        raise BadInput(f"--snapshot={path}: {error}") from error
    if snapshot.bandit_id != target.bandit_id:
        raise BadInput(f"--snapshot={path}: is of bandit {snapshot.bandit_id}; pass a snapshot of {target.bandit_id}")
    if snapshot.policy_epoch != target.policy_epoch:
        raise BadInput(
            f"--snapshot={path}: has policy_epoch {snapshot.policy_epoch} and --policy has {target.policy_epoch}, so "
            f"the policy would know nothing; pass a snapshot of that epoch"
        )
    return snapshot


def _read(path: str, flag: str) -> bytes:
    try:
        with storage.open_read(path) as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise BadInput(f"{flag}={path}: the file does not exist; correct the path") from error
    except OSError as error:  # Beam's own errors, too
        raise BadInput(f"{flag}={path}: cannot be read ({error}); check the path and its permissions") from error
    return data
