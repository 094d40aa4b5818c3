"""All scenarios: those of windows, lateness, silence and changes of the bandits file here, others from beside.

Worked by hand. On the steady axis the watermark is 5, 20, 40, 60, 95, 130 after steps 0 to 5; records of a step are
judged by the watermark before it. A decision of second 0 matures at 20, is late after 60 and behind the cut after 65.
"""

from __future__ import annotations

from tests.reward_stream.outcome_scenarios import OUTCOMES
from tests.reward_stream.row_scenarios import ROWS
from tests.reward_stream.staging import (
    HELD,
    SILENT,
    STEADY,
    STREAM,
    Axis,
    Delivery,
    Row,
    Says,
    Scenario,
    at,
    bandit,
    decision,
    reward,
)

__all__ = ["SCENARIOS"]

A: Row = ("*", "a", 1)


# --- windows and lateness ---------------------------------------------------------------------------------------------

WAITING = Scenario(
    "waiting",
    "a reward waits for its decision; both enter at 1 + 20 = 21, not at 20; a matured decision that is not late counts",
    {"wait": bandit()},
    [
        Delivery(0, (), [reward("wait-1", "e", 3), reward("wait-2", "e", 6)]),
        Delivery(1, [decision("wait", "1", 1)]),
        Delivery(3, [decision("wait", "2", 5)]),
    ],
    {"wait": Says({A: {"n": 2, "sum_r": 2.0, "pending": 0}}, {"counted": 4})},
    after={
        0: {"wait": Says()},
        1: {"wait": Says({A: {"n": 0, "sum_r": 0.0, "pending": 1}})},
        2: {"wait": Says({A: {"n": 1, "sum_r": 1.0, "pending": 0}}, {"counted": 2})},
        3: {"wait": Says({A: {"n": 2, "sum_r": 2.0, "pending": 0}}, {"counted": 4})},
    },
)

ENDS = Scenario(
    "ends",
    "both ends of [2 - 5, 2 + 20] are inside, a microsecond further is outside: 1 + 100 of 1, 10, 100, 1000",
    {"end": bandit(aggregate="sum")},
    [
        Delivery(0, [decision("end", "1", 2)], [reward("end-1", "1", -3), reward("end-1", "2", -3.000001, 10)]),
        Delivery(1, (), [reward("end-1", "3", 22, 100), reward("end-1", "4", 22.000001, 1_000)]),
    ],
    {
        "end": Says(
            {A: {"n": 1, "sum_r": 101.0, "sum_r2": 10_201.0, "kinds": {"click": 2}, "max_event_ts": at(22)}},
            {"counted": 3, "outside_window": 2},
        )
    },
)

WINDOWS = Scenario(
    "windows",
    "each bandit has its own window: of 10 s, a decision of 5 matures at 15 without the click of 20; of 20 s, with it",
    {"ten": bandit(window="10s"), "twenty": bandit()},
    [
        Delivery(0, [decision("ten", "1", 5), decision("twenty", "1", 5)]),
        Delivery(1, (), [reward("ten-1", "e", 20), reward("twenty-1", "e", 20)]),
    ],
    {
        "ten": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1, "outside_window": 1}),
        "twenty": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2}),
    },
    after={
        1: {
            "ten": Says({A: {"n": 1, "pending": 0}}, {"counted": 1, "outside_window": 1}),
            "twenty": Says({A: {"n": 0, "pending": 1}}),
        }
    },
)

_LATE_DECISION, _LATE_REWARD = decision("late", "2", -0.000001), reward("late-3", "e2", -0.000001, 4)
LATE = Scenario(
    "late",
    "the watermark is past decided_at + 60 or occurred_at + 40: at 60 and 40 a time of 0 is not late, 1 us less is",
    {"late": bandit(aggregate="sum")},
    [
        Delivery(0, [decision("late", "3", -2)]),
        Delivery(3, (), [reward("late-3", "e1", 0, 2), _LATE_REWARD]),
        Delivery(4, [decision("late", "1", 0), _LATE_DECISION]),
    ],
    {"late": Says({A: {"n": 2, "sum_r": 2.0}}, {"counted": 3, "late": 1}), STREAM: Says(counters={"late": 1})},
    after={
        2: {"late": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1}), STREAM: Says()},
        3: {"late": Says({A: {"n": 1, "sum_r": 2.0}}, {"counted": 2}), STREAM: Says(counters={"late": 1})},
        4: {"late": Says({A: {"n": 2, "sum_r": 2.0}}, {"counted": 3, "late": 1})},
    },
    letters=[("late", _LATE_DECISION), ("late", _LATE_REWARD)],
)

FINAL = Scenario(
    "final",
    "the end matures what is pending at 130; its watermark is the largest counted decided_at + window, 130 + 20",
    {"end-of-all": bandit()},
    [Delivery(5, [decision("end-of-all", "1", 130)], [reward("end-of-all-1", "e", 131)])],
    {"end-of-all": Says({A: {"n": 1, "sum_r": 1.0, "pending": 0}}, {"counted": 2}, watermark_s=150)},
    after={5: {"end-of-all": Says({A: {"n": 0, "sum_r": 0.0, "pending": 1}}, watermark_s=130)}},
)

# --- another bandits file ---------------------------------------------------------------------------------------------

_ARMS = {"a": {"generation": 2, "model": "m"}, "b": {"generation": 1, "model": "m"}}
GENERATIONS = Scenario(
    "generations",
    "an old generation keeps its row; one that is unknown is held and counted once the file, from step 2 on, knows it",
    {"gen": bandit(arms=_ARMS)},
    [
        Delivery(0, [decision("gen", "1", 0), decision("gen", "2", 0, arm_generation=2)], [reward("gen-1", "e", 1)]),
        Delivery(1, [decision("gen", "3", 12, arm_generation=3)], [reward("gen-3", "e", 13)]),
    ],
    {
        "gen": Says(
            {("*", "a", generation): {"n": 1, "sum_r": sum_r} for generation, sum_r in ((1, 1.0), (2, 0.0), (3, 1.0))},
            {"counted": 5},
        )
    },
    after={1: {"gen": Says({A: {"n": 1, "pending": 0}, ("*", "a", 2): {"n": 1, "pending": 0}}, {"counted": 3})}},
    changes={2: {"gen": bandit(arms=_ARMS | {"a": {"generation": 3, "model": "m"}})}},
)

EPOCHS = Scenario(
    "epochs",
    "a new policy_epoch starts empty; from then on the records of the one before are old_epoch, open ones too",
    {"epoch": bandit()},
    [
        Delivery(0, [decision("epoch", "1", 1)], [reward("epoch-1", "e", 2)]),
        Delivery(
            3,
            [decision("epoch", "2", 50, policy_epoch=2), decision("epoch", "3", 52)],
            [reward("epoch-2", "e", 51)],
        ),
    ],
    {"epoch": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2, "old_epoch": 3})},
    after={
        2: {"epoch": Says({A: {"n": 1, "sum_r": 1.0}}, {"counted": 2})},
        3: {"epoch": Says({A: {"n": 0, "sum_r": 0.0, "pending": 1}}, {"old_epoch": 2})},
    },
    changes={3: {"epoch": bandit(policy_epoch=2)}},
)

# --- silent sources ---------------------------------------------------------------------------------------------------

_SILENCE = [
    Delivery(0, [decision("quiet", "1", 0)], [reward("quiet-nobody", "e", 3)]),
    Delivery(2, [decision("quiet", "2", 30)], [reward("quiet-1", "e", 12)]),
]
IDLE = Scenario(
    "idle",
    "an idle source lets decisions mature and keeps the holding watermark (5): nothing is late or orphan, it corrects",
    {"quiet": bandit()},
    _SILENCE,
    {"quiet": Says({A: {"n": 2, "sum_r": 1.0}}, {"counted": 3}), STREAM: Says(counters={"orphan": 1})},
    after={
        0: {"quiet": Says({A: {"n": 0, "pending": 1}})},
        1: {"quiet": Says({A: {"n": 1, "sum_r": 0.0, "pending": 0}}, {"counted": 1}), STREAM: Says()},
        2: {"quiet": Says({A: {"n": 2, "sum_r": 1.0, "pending": 0}}, {"counted": 3}), STREAM: Says()},
    },
    letters=[("orphan", _SILENCE[0].rewards[0])],
)

UNHELD = Scenario(
    "unheld",
    "after max_hold the holding watermark (95) waits no more: 12 + 40 and 30 + 60 are late, 3 is an orphan",
    {"quiet": bandit()},
    _SILENCE,
    {
        "quiet": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1, "late": 1}),
        STREAM: Says(counters={"orphan": 1, "late": 1}),
    },
    after={
        1: {"quiet": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1}), STREAM: Says(counters={"orphan": 1})},
        2: {"quiet": Says({A: {"n": 1, "sum_r": 0.0}}, {"counted": 1, "late": 1})},
    },
    letters=[("orphan", _SILENCE[0].rewards[0]), ("late", _SILENCE[1].decisions[0]), ("late", _SILENCE[1].rewards[0])],
)

SCENARIOS: list[tuple[Axis, Scenario]] = [
    *(
        (STEADY, scenario)
        for scenario in (*OUTCOMES, WAITING, ENDS, WINDOWS, LATE, FINAL, GENERATIONS, EPOCHS, *ROWS)
    ),
    (SILENT, IDLE),
    (HELD, UNHELD),
]  # fmt: skip
