"""Check the next content of a bandits file against the former one: which changes need a new policy_epoch."""

from __future__ import annotations

from serving_client.bandits_file.reading import parse_bytes
from serving_client.contracts.bandits import Bandits, BanditsError, attribution_key

__all__ = ["check_change", "successor"]

# Keys of the attribution key that do not stand directly below the bandit.
_BELOW_ATTRIBUTION = frozenset({"window", "allowed_lateness", "max_future", "aggregate", "denominator", "reward_kinds"})


def successor(old: Bandits, data: bytes, where: str) -> Bandits:
    """Parse the next content of a bandits file.

    Args:
        old: Content before.
        data: The new content.
        where: Name of the file, for messages.

    Raises:
        BanditsError: The new content is invalid by itself, or after the old one.
    """
    new = parse_bytes(data, where)
    try:
        check_change(old, new)
    except BanditsError as error:
        raise BanditsError(f"{where}: {error}") from error
    return new


def check_change(old: Bandits, new: Bandits) -> None:
    """Check that statistics of the old file can go on under the new file.

    A bandit whose policy_epoch rises starts empty, so anything about it may change. Bandits may be added and removed.

    Raises:
        BanditsError: A policy_epoch falls, or a rule of counting changes within a policy_epoch.
    """
    for bandit_id, after in new.bandits.items():
        before = old.bandits.get(bandit_id)
        if before is None or after.policy_epoch > before.policy_epoch:
            continue
        if after.policy_epoch < before.policy_epoch:
            raise BanditsError(
                f"{bandit_id}.policy_epoch was {before.policy_epoch} and is {after.policy_epoch}; "
                f"it never falls, so put {before.policy_epoch} back or use a larger one"
            )
        was, now = attribution_key(before), attribution_key(after)
        for name in was:
            if was[name] != now[name]:
                place = f"attribution.{name}" if name in _BELOW_ATTRIBUTION else name
                raise BanditsError(
                    f"{bandit_id}.{place} was {was[name]} and is {now[name]} in the same policy_epoch "
                    f"{after.policy_epoch}; put the former value back, or raise policy_epoch, with which the bandit's "
                    f"statistics start empty"
                )
