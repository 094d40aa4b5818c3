"""One scenario per outcome that a record can have, and per rule of duplicates, worked by hand (see scenarios)."""

from __future__ import annotations

import json

from tests.oracles.ranks import rank_of
from tests.reward_stream.staging import STREAM, Delivery, Row, Says, Scenario, at, bandit, decision, reward

__all__ = ["OUTCOMES"]

A: Row = ("*", "a", 1)
B: Row = ("*", "b", 1)


# --- outcomes ---------------------------------------------------------------------------------------------------------

_MALFORMED_DECISIONS = [
    b'{"decision_id": "cut off',
    b'{"decision_id": "no-more", "bandit_id": "bad"}',
    json.dumps({**decision("bad", "2", 1), "policy_epoch": "1"}).encode(),
    b"\xff\xfe",
]
_MALFORMED_REWARDS = [
    json.dumps(reward("bad-1", "seven-places", 2)).replace('"value": 1', '"value": 0.1234567').encode(),
    json.dumps(reward("bad-1", "too-large", 2, 1_000_000_000.5)).encode(),
]
MALFORMED = Scenario(
    "malformed",
    "cannot be parsed or breaks the schema: 4 decisions, and 2 rewards of a decision that has no other",
    {"bad": bandit()},
    [Delivery(0, [*_MALFORMED_DECISIONS, decision("bad", "1", 1, of_no_meaning=[1])], _MALFORMED_REWARDS)],
    {"bad": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1}), STREAM: Says(counters={"malformed": 6})},
    letters=[("malformed", raw) for raw in (*_MALFORMED_DECISIONS, *_MALFORMED_REWARDS)],
)

_LABELLED = [
    (outcome, decision(name, outcome, 0, **{"policy_epoch": 2, **fields}))
    for outcome, name, fields in (
        ("old_epoch", "label", {"policy_epoch": 1}),
        ("unknown_epoch", "label", {"policy_epoch": 3}),
        ("unknown_arm", "label", {"arm_id": "z"}),
        ("unknown_generation", "label", {"arm_generation": 2}),
        ("unknown_bandit", "label-nobody", {}),
    )
]
_THEIR_REWARDS = [(outcome, reward(each["decision_id"], "e", 1)) for outcome, each in _LABELLED]
LABELS = Scenario(
    "labels",
    "unknown_* and old_epoch: a decision's outcome is its rewards'; unknown ones are held up to the cut (0 < 95 - 65)",
    {"label": bandit(policy_epoch=2)},
    [Delivery(0, [each for _, each in _LABELLED], [each for _, each in _THEIR_REWARDS])],
    {
        "label": Says({}, {"old_epoch": 2, "unknown_epoch": 2, "unknown_arm": 2, "unknown_generation": 2}),
        STREAM: Says(counters={"unknown_bandit": 2}),
    },
    after={3: {"label": Says({}, {"old_epoch": 2}), STREAM: Says()}, 4: {STREAM: Says(counters={"unknown_bandit": 2})}},
    letters=[each for each in (*_LABELLED, *_THEIR_REWARDS) if each[0] != "old_epoch"],
)

BOTS = Scenario(
    "bots",
    "bot: the decision's verdict, for its rewards too; after unknown_arm, before fallback",
    {"bot": bandit()},
    [
        Delivery(
            0,
            [
                decision("bot", "1", 1, bot=True),
                decision("bot", "2", 1, bot=True, served_by="b"),
                (_UNKNOWN_BOT := decision("bot", "3", 1, "z", bot=True)),
                decision("bot", "4", 1, bot=False),
            ],
            [reward("bot-1", "e", 2), reward("bot-1", "outside", -9)],
        )
    ],
    {"bot": Says({A: {"n": 1, "sum_r": 0.0}}, {"bot": 4, "unknown_arm": 1, "counted": 1})},
    letters=[("unknown_arm", _UNKNOWN_BOT)],
)

FALLBACKS = Scenario(
    "fallbacks",
    "served_by != arm_id enters no arm's n, is counted per arm as fallbacks, and takes its rewards with it",
    {"fall": bandit()},
    [
        Delivery(
            0,
            [
                decision("fall", "1", 1, served_by="b"),
                decision("fall", "2", 1, served_by="a"),
                decision("fall", "3", 1, served_by=None),
            ],
            [reward("fall-1", "e", 2), reward("fall-2", "e", 2)],
        )
    ],
    {"fall": Says({A: {"n": 2, "sum_r": 1.0, "fallbacks": 1}}, {"fallback": 2, "counted": 3})},
)

HOLDBACK = Scenario(
    "holdback",
    "the holdback share counts in *holdback alone, pending and rewards too; bots and failures of it stay what they are",
    {"held": bandit(segments=["plan"], max_segments=1)},
    [
        Delivery(
            0,
            [
                decision("held", "1", 1, segment="free", holdback=True),
                decision("held", "2", 1, segment="pro", holdback=True),
                decision("held", "3", 1, segment="free", holdback=False),
                decision("held", "4", 1, "b", segment="free", holdback=True, bot=True),
                decision("held", "5", 1, "b", segment="free", holdback=True, served_by="a"),
            ],
            [
                reward("held-1", "e", 2), reward("held-1", "v", 2, kind="view"), reward("held-1", "outside", -9),
                reward("held-3", "e", 2), reward("held-5", "e", 2),
            ],
        ),
        Delivery(2, [decision("held", "6", 40, segment="free", holdback=True)]),
    ],
    {
        "held": Says(
            {
                A: {"n": 1, "sum_r": 1.0, "pending": 0},
                ("*holdback", "a", 1): {"n": 3, "sum_r": 1.0, "kinds": {"click": 1, "view": 1}},
                ("*holdback", "b", 1): {"n": 0, "fallbacks": 1},
                ("free", "a", 1): {"n": 1, "sum_r": 1.0},
            },
            {"holdback": 6, "counted": 2, "bot": 1, "fallback": 2},
        )
    },
    after={
        2: {
            "held": Says(
                {
                    A: {"n": 1, "sum_r": 1.0, "pending": 0},
                    ("*holdback", "a", 1): {"n": 2, "pending": 1},
                    ("*holdback", "b", 1): {"n": 0, "fallbacks": 1},
                    ("free", "a", 1): {"n": 1, "sum_r": 1.0},
                },
                {"holdback": 5, "counted": 2, "bot": 1, "fallback": 2},
            )
        }
    },
)  # fmt: skip

KINDS = Scenario(
    "kinds",
    "ignored_kind comes after outside_window and is tallied in kinds; so is an impression that is no denominator",
    {"kind": bandit()},
    [
        Delivery(
            0,
            [decision("kind", "1", 0)],
            [
                reward("kind-1", "c", 1), reward("kind-1", "v", 2, kind="view"),
                reward("kind-1", "i", 3, kind="impression"),
            ],
        ),
        Delivery(1, (), [reward("kind-1", "far", 21, kind="view")]),
    ],
    {
        "kind": Says(
            {A: {"n": 1, "sum_r": 1.0, "kinds": {"click": 1, "view": 1, "impression": 1}}},
            {"counted": 2, "ignored_kind": 2, "outside_window": 1},
        )
    },
)  # fmt: skip

_GHOST = reward("orphan-nobody", "e", -4)
ORPHAN = Scenario(
    "orphan",
    "no decision when the holding watermark passes -4 + 5 + 20 + 40 = 61: not at 60, but at 95",
    {"orphan": bandit()},
    [Delivery(0, (), [_GHOST, _GHOST])],
    {"orphan": Says(), STREAM: Says(counters={"orphan": 1, "duplicate": 1})},
    after={3: {STREAM: Says()}, 4: {STREAM: Says(counters={"orphan": 1, "duplicate": 1})}},
    letters=[("orphan", _GHOST)],
)

_AHEAD = decision("ahead", "2", 5.000001, received_at=at(0))
_AGES_AHEAD = decision("ahead", "3", 0) | {"decided_at": "2099-01-01T00:00:00Z", "received_at": at(0)}
_SHORT_AHEAD = decision("ahead-short", "2", 2.000001, received_at=at(0))
_REWARD_AHEAD = reward("ahead-1", "e2", 6.000001, received_at=at(1))
FUTURE = Scenario(
    "future",
    "event time > received_at + max_future of the bandit, for rewards the largest; 2099 moves no watermark",
    {"ahead": bandit(), "ahead-short": bandit(max_future="2s")},
    [
        Delivery(
            0,
            [
                decision("ahead", "1", 5, received_at=at(0)), _AHEAD, _AGES_AHEAD,
                decision("ahead-short", "1", 2, received_at=at(0)), _SHORT_AHEAD,
            ],
            [
                reward("ahead-1", "e1", 6, received_at=at(1)), _REWARD_AHEAD,
                reward("ahead-short-1", "e1", 5, received_at=at(0)),
            ],
        )
    ],
    {
        "ahead": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2, "future": 2}),
        "ahead-short": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2, "future": 1}),
        STREAM: Says(counters={"future": 1}),
    },
    letters=[("future", each) for each in (_AHEAD, _AGES_AHEAD, _SHORT_AHEAD, _REWARD_AHEAD)],
)  # fmt: skip

# --- duplicates -------------------------------------------------------------------------------------------------------

DUPLICATES = Scenario(
    "duplicates",
    "of one id one counts: 3 copies of a decision and of a reward are 2 counted and 4 duplicates",
    {"twice": bandit(aggregate="sum")},
    [
        Delivery(0, [decision("twice", "1", 3)] * 2, [reward("twice-1", "e", 4, 2)] * 2),
        Delivery(1, [decision("twice", "1", 3)], [reward("twice-1", "e", 4, 2)]),
    ],
    {"twice": Says({A: {"n": 1, "sum_r": 2.0, "kinds": {"click": 1}}}, {"counted": 2, "duplicate": 4})},
)

_TOMB, _ITS_CLICK = decision("tomb", "1", 0), reward("tomb-1", "e", 1, 2)
TOMBSTONE = Scenario(
    "tombstone",
    "duplicates of what has matured (at 20): steps 2 and 3 repeat what was counted after step 1",
    {"tomb": bandit(aggregate="sum")},
    [Delivery(step, [_TOMB], [_ITS_CLICK]) for step in (0, 2, 3)],
    {"tomb": Says({A: {"n": 1, "sum_r": 2.0}}, {"counted": 2, "duplicate": 4})},
    after={
        1: {"tomb": Says({A: {"n": 1, "sum_r": 2.0}}, {"counted": 2})},
        2: {"tomb": Says({A: {"n": 1, "sum_r": 2.0}}, {"counted": 2, "duplicate": 2})},
    },
)

WINNER = Scenario(
    "winner",
    "the smallest event time wins, and corrects where it comes after the other has been counted, its reward with it",
    {"win": bandit()},
    [
        Delivery(0, [decision("win", "1", 0, "b")], [reward("win-1", "e", 1)]),
        Delivery(2, [decision("win", "1", -1, "a")]),
    ],
    {"win": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2, "duplicate": 1, "conflicting_duplicates": 1})},
    after={
        1: {"win": Says({B: {"n": 1, "sum_r": 1.0}}, {"counted": 2})},
        2: {
            "win": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2, "duplicate": 1, "conflicting_duplicates": 1})
        },
    },
)  # fmt: skip

_TIES = [sorted((decision("rank", name, 0, "a"), decision("rank", name, 0, "b")), key=rank_of) for name in "12"]
_RANKED = sorted((reward("rank-1", "e", 2, 3), reward("rank-1", "e", 2, 5)), key=rank_of)
_WINNERS = [pair[0]["arm_id"] for pair in _TIES]
RANK = Scenario(
    "rank",
    "of one time the smallest rank wins: first come with id 1, in step 2, long after the other counted, with id 2",
    {"rank": bandit(aggregate="sum")},
    [
        Delivery(0, [_TIES[0][0], _TIES[1][1]], [_RANKED[1]]),
        Delivery(2, [_TIES[0][1], _TIES[1][0]], [_RANKED[0]]),
    ],
    {
        "rank": Says(
            {
                ("*", arm, 1): {
                    "n": _WINNERS.count(arm),
                    "sum_r": float(_RANKED[0]["value"]) if arm == _WINNERS[0] else 0.0,
                }
                for arm in sorted({*_WINNERS})
            },
            {"counted": 3, "duplicate": 3, "conflicting_duplicates": 3},
        )
    },
)

CONFLICTS = Scenario(
    "conflicts",
    "rewards too: sum 3 + 7 after step 1; the 5 is earlier than the 3 and wins, the 9 is later than the 7 and does not",
    {"conflict": bandit(aggregate="sum")},
    [
        Delivery(0, [decision("conflict", "1", 0)], [reward("conflict-1", "x", 4, 3), reward("conflict-1", "y", 6, 7)]),
        Delivery(2, (), [reward("conflict-1", "x", 3, 5), reward("conflict-1", "y", 8, 9)]),
    ],
    {
        "conflict": Says(
            {A: {"n": 1, "sum_r": 12.0, "sum_r2": 144.0}},
            {"counted": 3, "duplicate": 2, "conflicting_duplicates": 2},
        )
    },
    after={1: {"conflict": Says({A: {"n": 1, "sum_r": 10.0, "sum_r2": 100.0}}, {"counted": 3})}},
)

OUTCOMES = [
    MALFORMED,
    LABELS,
    BOTS,
    FALLBACKS,
    HOLDBACK,
    KINDS,
    ORPHAN,
    FUTURE,
    DUPLICATES,
    TOMBSTONE,
    WINNER,
    RANK,
    CONFLICTS,
]
