"""Number the labels, kinds and feature schemas of a shard, and keep the rules of each as arrays.

The numbers are valid in one shard only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Attribution, Bandit, feature_schema, feature_width
from transforms.attribution.joining.kernels import AGGREGATES, BANDIT, OUTCOMES
from transforms.attribution.rules import Label, Rules

__all__ = ["IMPRESSION", "LabelTable"]

IMPRESSION = 0
"""The number of the kind `impression`."""

_MOST_KINDS = 60_000  # numbers of kinds are 16 bits
_OTHER = "(other)"


class LabelTable:
    """Numbers for labels and kinds, and the arrays of rules that the kernels read.

    place: int64 [labels], 0 where known, else an index of OUTCOMES. bandit: int64 [labels], row of `bandits` and of
    `rewarded` [bandits, kinds]; the last row stands for bandits that the file does not name.
    """

    def __init__(self, rules: Rules) -> None:
        self.labels: list[Label] = []
        self.kinds: list[str] = ["impression"]
        self.schemas: list[str] = []
        self.known: list[Bandit | None] = []
        self._code: dict[Label, int] = {}
        self._kind: dict[str, int] = {"impression": IMPRESSION}
        self._schema: dict[str, int] = {}
        self._outcome = {name: number for number, name in enumerate(OUTCOMES)}
        self.rules = rules
        self._derive()

    def codes(self, labels: Iterable[Label]) -> npt.NDArray[np.int32]:
        """Return the numbers of labels. A new label gets the next number."""
        added = False
        codes = []
        for label in labels:
            code = self._code.get(label)
            if code is None:
                code = self._code[label] = len(self.labels)
                self.labels.append(label)
                added = True
            codes.append(code)
        if added:
            self._derive()
        return np.array(codes, np.int32)

    def kind_codes(self, kinds: Sequence[str]) -> npt.NDArray[np.uint16]:
        """Return the numbers of kinds. Beyond 60,000 different kinds, a new one is counted as (other)."""
        before = len(self.kinds)
        codes = [self._number(kind if kind in self._kind or before < _MOST_KINDS else _OTHER) for kind in kinds]
        if len(self.kinds) > before:
            self._derive()
        return np.array(codes, np.uint16)

    def schema_codes(self, schemas: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the numbers of feature schemas."""
        for schema in schemas:
            if schema not in self._schema:
                self._schema[schema] = len(self.schemas)
                self.schemas.append(schema)
        return np.array([self._schema[schema] for schema in schemas], np.int32)

    def changed_by(self, rules: Rules) -> npt.NDArray[np.bool_]:
        """Return a mask [labels] of the labels for which other rules differ."""
        after = [self._place(label, code, rules) for code, label in enumerate(self.labels)]
        return np.array(
            [
                now != self.place[code] or _attribution(rules, label) != _attribution(self.rules, label)
                for code, (label, now) in enumerate(zip(self.labels, after, strict=True))
            ],
            np.bool_,
        )

    def follow(self, rules: Rules) -> None:
        """Apply other rules."""
        place = [self._place(label, code, rules) for code, label in enumerate(self.labels)]
        kept = self.known
        self.rules = rules
        self._derive()
        self.place = np.array(place, np.int64)
        self.known = [rules.bandit_of(label) or kept[code] for code, label in enumerate(self.labels)]

    def outliving(self) -> list[tuple[Label, Bandit | None]]:
        """Return the labels that left the rules while their records are held, each with its bandit."""
        places = zip(self.labels, self.place.tolist(), self.known, strict=True)
        return [(label, known) for label, place, known in places if place == 0 and self.rules.place(label)]

    def recall(self, outliving: Sequence[tuple[Label, Bandit | None]]) -> None:
        """Restore the labels that `outliving` returned."""
        codes = self.codes([label for label, _ in outliving])
        for code, (_, known) in zip(codes.tolist(), outliving, strict=True):
            self.place[code], self.known[code] = 0, known
        self._describe()

    def keep(self, used: npt.NDArray[np.int64]) -> None:
        """Drop all labels except those with these numbers, which are renumbered from 0."""
        place, known = self.place[used], [self.known[code] for code in used.tolist()]
        self.labels = [self.labels[code] for code in used.tolist()]
        self._code = {label: code for code, label in enumerate(self.labels)}
        self._derive()
        self.place, self.known = place, known

    def _place(self, label: Label, code: int, rules: Rules) -> int:
        """Keep a label known while its records are held, because records that counted cannot become unknown."""
        place = self._outcome[rules.place(label) or "counted"]
        was_known = code < len(self.place) and self.place[code] == 0
        return 0 if was_known and OUTCOMES[place].startswith("unknown") else place

    def _number(self, kind: str) -> int:
        if kind not in self._kind:
            self._kind[kind] = len(self.kinds)
            self.kinds.append(kind)
        return self._kind[kind]

    def _derive(self) -> None:
        """Compute all arrays from the rules."""
        rules = self.rules
        bandits = list(rules.bandits.bandits.values())
        row = {bandit.bandit_id: at for at, bandit in enumerate(bandits)}
        self.bandits = np.zeros(len(bandits) + 1, BANDIT)
        self.rewarded = np.zeros((len(bandits) + 1, len(self.kinds)), np.bool_)
        for at, bandit in enumerate(bandits):
            each = bandit.attribution
            aggregate = AGGREGATES.index(each.aggregate)
            self.bandits[at] = (each.window_us, each.max_future_us, aggregate, each.denominator == "impressions")
            for kind in each.reward_kinds:
                if kind in self._kind:
                    self.rewarded[at, self._kind[kind]] = True
        self.bandits[-1] = (rules.window_us, rules.max_future_us, 0, 0)
        place = getattr(self, "place", np.zeros(0, np.int64))
        fresh = [self._outcome[rules.place(label) or "counted"] for label in self.labels[len(place) :]]
        self.place = np.concatenate([place[: len(self.labels)], np.array(fresh, np.int64)])
        self.bandit = np.array([row.get(label.bandit_id, len(bandits)) for label in self.labels], np.int64)
        self.known = [rules.bandit_of(label) for label in self.labels]
        self._describe()

    def _describe(self) -> None:
        """Compute wanted_schema and wanted_width, int64 [labels]: the feature schema's number (-1 for none) and d."""
        described = [
            (self.schema_codes([feature_schema(bandit)])[0], feature_width(bandit))
            if bandit is not None and bandit.features
            else (-1, 0)
            for bandit in self.known
        ]
        self.wanted_schema = np.array([schema for schema, _ in described], np.int64)
        self.wanted_width = np.array([width for _, width in described], np.int64)


def _attribution(rules: Rules, label: Label) -> Attribution | None:
    bandit = rules.bandit_of(label)
    return None if bandit is None else bandit.attribution
