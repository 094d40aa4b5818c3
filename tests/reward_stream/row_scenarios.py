"""One scenario per rule of aggregation and of the statistics row, worked by hand (see scenarios)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

from examples.reward_stream.config import configs
from tests.reward_stream.staging import Delivery, Row, Says, Scenario, at, bandit, decision, reward

__all__ = ["ROWS"]

A: Row = ("*", "a", 1)
B: Row = ("*", "b", 1)


def _packed(values: Sequence[float]) -> str:
    """float64, little-endian, base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def _aggregate(aggregate: str, sum_r: float, sum_r2: float) -> Scenario:
    """Four decisions: three clicks out of order, two below 0, three at one time, none.

            1: 2.5 at 3, -0.5 at 1, 4 at 2   2: -7 at 4, -3 at 5   3: e2: 16, e10: 8, e3: 32   4   sum   sum of squares
    any     1                                0                     1                           0   2     2
    first   -0.5                             -7                    8 (e10, by id as text)      0   0.5   0.25 + 49 + 64
    sum     6                                -10                   56                          0   52    36 + 100 + 3136
    max     4                                -3                    32                          0   33    16 + 9 + 1024
    """
    name = f"by-{aggregate}"
    rewards = (
        ("1", "e1", 3, 2.5), ("1", "e2", 1, -0.5), ("1", "e3", 2, 4), ("2", "e1", 4, -7), ("2", "e2", 5, -3),
        ("3", "e2", 6, 16), ("3", "e10", 6, 8), ("3", "e3", 6, 32),
    )  # fmt: skip
    return Scenario(
        name,
        f"aggregate {aggregate}",
        {name: bandit(aggregate=aggregate)},
        [
            Delivery(
                0,
                [decision(name, str(n), n - 1) for n in (1, 2, 3, 4)],
                [reward(f"{name}-{of}", event, second, value) for of, event, second, value in rewards],
            )
        ],
        {name: Says({A: {"n": 4, "sum_r": sum_r, "sum_r2": sum_r2, "kinds": {"click": 8}}}, {"counted": 12})},
    )


IMPRESSIONS = Scenario(
    "impressions",
    """counts decisions with an impression inside the window: 1; 3 as well, once its impression of 19 has come, after it
    matured at 20; not 2, which has none, nor 4, whose impression is 1 us too late""",
    {"shown": bandit(denominator="impressions")},
    [
        Delivery(
            0,
            [decision("shown", str(n), 0) for n in (1, 2, 3, 4)],
            [
                reward("shown-1", "i", 1, kind="impression"), reward("shown-1", "c", 2),
                reward("shown-2", "c", 2), reward("shown-3", "c", 3),
            ],
        ),
        Delivery(1, (), [reward("shown-4", "i", 20.000001, kind="impression")]),
        Delivery(2, (), [reward("shown-3", "i", 19, kind="impression")]),
    ],
    {
        "shown": Says(
            {A: {"n": 2, "sum_r": 2.0, "kinds": {"click": 2, "impression": 2}}}, {"counted": 6, "unexposed": 4}
        )
    },
    after={1: {"shown": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 3, "unexposed": 6})}},
)  # fmt: skip

SEGMENTS = Scenario(
    "segments",
    "a decision counts once in * and once in its segment as written, ? included, never in marginals",
    {"seg": bandit(segments=["plan", "country"])},
    [
        Delivery(
            0,
            [
                decision("seg", "1", 0, segment="free|fr"), decision("seg", "2", 0, segment="?|fr"),
                decision("seg", "3", 0, "b", segment="free|de"),
            ],
            [reward("seg-1", "e", 1)],
        )
    ],
    {
        "seg": Says(
            {
                A: {"n": 2, "sum_r": 1.0},
                B: {"n": 1, "sum_r": 0.0},
                ("free|fr", "a", 1): {"n": 1, "sum_r": 1.0},
                ("?|fr", "a", 1): {"n": 1, "sum_r": 0.0},
                ("free|de", "b", 1): {"n": 1, "sum_r": 0.0},
            },
            {"counted": 4},
        )
    },
)  # fmt: skip

MAX_SEGMENTS = Scenario(
    "max-segments",
    "beyond max_segments (1: x, which matures first) a segment counts in * alone; 2 decisions did, one a fallback",
    {"seg-few": bandit(segments=["plan"], max_segments=1)},
    [
        Delivery(
            0,
            [
                decision("seg-few", "1", 0, segment="x"), decision("seg-few", "2", 5, segment="y"),
                decision("seg-few", "3", 6, segment="y", served_by="b"),
            ],
        )
    ],
    {
        "seg-few": Says(
            {A: {"n": 2, "fallbacks": 1}, ("x", "a", 1): {"n": 1, "fallbacks": 0}},
            {"counted": 2, "fallback": 1, "segments_over_limit": 2},
        )
    },
    after={1: {"seg-few": Says({A: {"n": 1, "pending": 1}, ("x", "a", 1): {"n": 1, "pending": 0}}, {"counted": 1})}},
)  # fmt: skip

_HOURS = [
    {"start": at(10 - 3_600), "n": 1, "sum_r": 1.0, "sum_r2": 1.0},
    {"start": at(10), "n": 1, "sum_r": 0.0, "sum_r2": 0.0},
]
HOURS = Scenario(
    "hours",
    "an hour begins at 10; decisions of 5 (clicked) and 15; hours_kept 1 keeps the newest decision's hour, 2 both",
    {"hour-1": bandit(hours_kept=1), "hour-2": bandit(hours_kept=2)},
    [
        Delivery(
            0,
            [decision(f"hour-{kept}", "1", 5) for kept in (1, 2)],
            [reward(f"hour-{kept}-1", "e", 6) for kept in (1, 2)],
        ),
        Delivery(1, [decision(f"hour-{kept}", "2", 15) for kept in (1, 2)]),
    ],
    {
        f"hour-{kept}": Says({A: {"n": 2, "sum_r": 1.0, "hours": _HOURS[-kept:]}}, {"counted": 3}) for kept in (1, 2)
    },
)  # fmt: skip

DECAY = Scenario(
    "decay",
    """half-life 10 s; reference for all arms 20, the smallest multiple not before b's decision of 12.5; a: 0 (clicked)
    and 10 weigh 1/4 + 1/2; b: 12.5 weighs 2^-(7.5 / 10)""",
    {"decay": bandit(half_lives=["10s"])},
    [
        Delivery(0, [decision("decay", "1", 0), decision("decay", "2", 10)], [reward("decay-1", "e", 1)]),
        Delivery(1, [decision("decay", "3", 12.5, "b")]),
    ],
    {
        "decay": Says(
            {
                A: {"n": 2, "decayed": {"10s": {"reference_time": at(20), "w": 0.75, "w_r": 0.25, "w_r2": 0.25}}},
                B: {"n": 1, "decayed": {"10s": {"reference_time": at(20), "w": 2**-0.75, "w_r": 0.0, "w_r2": 0.0}}},
            },
            {"counted": 4},
        )
    },
)

IPW = Scenario(
    "ipw",
    "w = 1/p: 2 (clicked) and 4: sums 6, 4 + 16, 2, 4; a propensity of 0 is missing",
    {"ipw": bandit()},
    [
        Delivery(
            0,
            [decision("ipw", "1", 0), decision("ipw", "2", 0, propensity=0.25), decision("ipw", "3", 0, propensity=0)],
            [reward("ipw-1", "e", 1)],
        )
    ],
    {
        "ipw": Says(
            {
                A: {
                    "n": 3,
                    "ipw": {"n": 2, "sum_w": 6.0, "sum_w2": 20.0, "sum_wr": 2.0, "sum_w2r2": 4.0, "missing": 1},
                }
            },
            {"counted": 4},
        )
    },
)

_LINEAR = bandit(features=[{"name": "age", "type": "numeric", "max": 8}, {"name": "new", "type": "bool"}])
_SCHEMA = configs({"bandits": {"lin": _LINEAR}})["lin"].schema
LIN = Scenario(
    "lin",
    """x = (1.5, 1) clicked, (-2, 0) not, one of another schema left out; X'X = (2.25 + 4, 1.5, 1), X'r = (1.5, 1)""",
    {"lin": _LINEAR},
    [
        Delivery(
            0,
            [
                decision("lin", "1", 0, features=[1.5, 1], feature_schema=_SCHEMA),
                decision("lin", "2", 0, features=[-2, 0], feature_schema=_SCHEMA),
                decision("lin", "3", 0, features=[8, 1], feature_schema="another"),
            ],
            [reward("lin-1", "e", 1)],
        )
    ],
    {
        "lin": Says(
            {
                A: {
                    "n": 3,
                    "lin": {"schema": _SCHEMA, "d": 2, "xtx": _packed([6.25, 1.5, 1]), "xtr": _packed([1.5, 1])},
                }
            },
            {"counted": 4},
        )
    },
)

ROWS = [
    _aggregate("any", 2.0, 2.0),
    _aggregate("first", 0.5, 113.25),
    _aggregate("sum", 52.0, 3_272.0),
    _aggregate("max", 33.0, 1_049.0),
    IMPRESSIONS,
    SEGMENTS,
    MAX_SEGMENTS,
    HOURS,
    DECAY,
    IPW,
    LIN,
]
