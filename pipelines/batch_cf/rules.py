"""Hold the options that decide which interactions make a history, as one value that every stage shares."""

from __future__ import annotations

import dataclasses

from transforms.histories.dedupe import DedupeRule

__all__ = ["HistoryRules"]


@dataclasses.dataclass(frozen=True)
class HistoryRules:
    """The rules that turn interactions into histories, in the order in which they apply.

    Args:
        half_life_us: Age in microseconds at which a weight halves (decay, before dedupe). None disables decay.
        dedupe: See `dedupe.deduplicate`. Interactions whose weight is then 0 are left out.
        min_user_items: Users with fewer items are left out.
        max_user_items: Users with more items are left out.
        min_item_users: Items with fewer of the remaining users are left out. Limits apply once, not repeatedly.
        max_item_users: Items with more of the remaining users are left out.
        max_items_per_user: Cap on a history. The most recent items stay, or without times those with the smallest
            seeded hash. Marginals are taken before the cap. None disables it.
        binary: Every weight counts as 1 after these rules.
        seed: Seed of the hash that divides users among shards, and of the cap's hash.
    """

    dedupe: DedupeRule = "last"
    half_life_us: int | None = None
    min_user_items: int = 1
    max_user_items: int | None = None
    min_item_users: int = 1
    max_item_users: int | None = None
    max_items_per_user: int | None = None
    binary: bool = False
    seed: int = 1
