"""Which interactions make a history: the options that decide it, as one value that every stage shares."""

from __future__ import annotations

import dataclasses

from transforms.histories.dedupe import DedupeRule

__all__ = ["HistoryRules"]


@dataclasses.dataclass(frozen=True)
class HistoryRules:
    """From interactions to histories, in the order in which the rules apply.

    half_life_us: a weight halves with every half_life_us of age (decay, before dedupe); None: off.
    dedupe: see `dedupe.deduplicate`; what is left with weight 0 is no interaction.
    min_user_items, max_user_items: users with fewer or more items are left out.
    min_item_users, max_item_users: items with fewer or more of the users left are left out. Both once, not repeated.
    max_items_per_user: cap; the most recent stay, or without times those of smallest seeded hash. Marginals are taken
    before it. None: off.
    binary: after these rules every weight counts as 1.
    seed: of the hash that divides users among shards and of the cap's.
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
