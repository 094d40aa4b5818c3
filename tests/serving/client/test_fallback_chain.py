"""The shares of time that rungs get, and that nothing keeps a caller from a list; no servers, no waiting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client import errors
from serving_client.breaker import CircuitBreaker
from serving_client.fallback import Fallback, first_answer
from serving_client.fallback_chain import COUNTED, FALLS_THROUGH, LAST, Chain, Rung
from serving_client.popularity import Popularity
from serving_client.results import Recommendation

POPULAR = Popularity(["p0", "p1"], [2.0, 1.0])
RAISED = (errors.InvalidRequest, errors.ClientClosed)
ALL = sorted(
    (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ServingError)),
    key=lambda one: one.__name__,
)


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@dataclasses.dataclass
class Model:
    """Takes `needs_s` of the clock's time, or all it is given if that is less; then `does` happens."""

    clock: Clock
    needs_s: float = 0.0
    does: type[Exception] | None = None
    items: tuple[str, ...] = ("m",)
    attempts: int = 0
    given_s: list[float] = dataclasses.field(default_factory=list)

    def recommend(self, history, *, exclude, k, timeout_s, model, version):
        self.given_s.append(timeout_s)
        self.clock.now_s += min(self.needs_s, timeout_s)
        if self.needs_s > timeout_s:
            raise errors.DeadlineExceeded("too slow")
        if self.does is not None:
            raise self.does("as the test wants it", attempts=self.attempts) if self.attempts else self.does("as wanted")
        return Recommendation(list(self.items), np.ones(len(self.items), np.float32), "m", 1, "there", 1)


def make(models, clock, timeout_s=1.0, **options):
    rungs = [
        Rung(model, name=f"rung {place}", breaker=CircuitBreaker(2, 10.0, clock=clock))
        for place, model in enumerate(models)
    ]
    return Fallback(rungs, POPULAR, timeout_s=timeout_s, clock=clock, **options), rungs


models = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),
        st.sampled_from([None, None, *(one for one in FALLS_THROUGH if one is not errors.DeadlineExceeded)]),
    ),
    min_size=1,
    max_size=4,
)


@given(plans=models, calls=st.integers(1, 5), reserve=st.floats(LAST, 0.9))
def test_whatever_the_models_do_there_is_a_list_within_the_deadline_of_the_first_that_could(plans, calls, reserve):
    clock = Clock()
    made = [Model(clock, needs_s, does) for needs_s, does in plans]
    fallback, rungs = make(made, clock, reserve=reserve)
    for _ in range(calls):
        started_at_s = clock.now_s
        asked = [len(model.given_s) for model in made]
        answer = fallback.recommend(["h"])
        assert clock.now_s - started_at_s <= 1.0 + 1e-9
        turns = [place for place, model in enumerate(made) if len(model.given_s) > asked[place]]
        assert turns == sorted(turns)
        if answer.rung == "popularity":
            assert answer.items == ["p0", "p1"]
            assert all(made[place].does is not None or made[place].needs_s > made[place].given_s[-1] for place in turns)
        else:
            assert answer.rung == f"rung {turns[-1]}"
            assert answer.items == ["m"]
        skipped = set(range(len(made) if answer.rung == "popularity" else turns[-1])) - set(turns)
        assert all(rungs[place].breaker.state == "open" for place in skipped)


def test_a_model_leaves_the_reserve_to_the_models_after_it_and_the_last_one_a_little_to_popularity():
    """Of 1 s, each using all it gets: 0.7; 0.7 of the 0.3 left = 0.21; 0.95 of the 0.09 left = 0.0855."""
    clock = Clock()
    made = [Model(clock, 9.0) for _ in range(3)]
    make(made, clock)[0].recommend(["h"])
    assert [model.given_s for model in made] == [[pytest.approx(0.7)], [pytest.approx(0.21)], [pytest.approx(0.0855)]]


def test_time_that_a_model_did_not_use_goes_to_the_next():
    """0.1 s are used of 1 s: the last gets 0.95 of 0.9."""
    clock = Clock()
    made = [Model(clock, 0.1, errors.ServerFault), Model(clock, 9.0)]
    make(made, clock)[0].recommend(["h"])
    assert made[1].given_s == [pytest.approx(0.855)]


def test_nothing_is_reserved_for_models_that_are_not_asked():
    clock = Clock()
    made = [Model(clock), Model(clock)]
    fallback, rungs = make(made, clock)
    rungs[1].breaker.failed()
    rungs[1].breaker.failed()
    fallback.recommend(["h"])
    assert made[0].given_s == [pytest.approx(0.95)]


def test_every_error_of_the_client_either_falls_through_or_is_the_callers():
    undecided = [one for one in ALL if not issubclass(one, FALLS_THROUGH) and one not in RAISED]
    assert undecided == [errors.ServingError]


@pytest.mark.parametrize("error", [one for one in ALL if one is not errors.ServingError])
def test_an_error_is_counted_passed_over_or_raised_as_documented(error):
    clock = Clock()
    fallback, rungs = make([Model(clock, does=error), Model(clock)], clock)
    for _ in range(2):
        if error in RAISED:
            with pytest.raises(error):
                fallback.recommend(["h"])
        else:
            assert fallback.recommend(["h"]).rung == "rung 1"
    counts = issubclass(error, COUNTED) and error is not errors.CircuitOpen
    assert rungs[0].breaker.state == ("open" if counts else "closed")


@pytest.mark.parametrize("error", [*RAISED, errors.NotSupported, TypeError, KeyboardInterrupt])
def test_what_says_nothing_about_the_server_gives_a_trial_back(error):
    clock = Clock()
    broken = Model(clock, does=errors.ServerFault)
    fallback, rungs = make([broken], clock)
    fallback.recommend(["h"])
    fallback.recommend(["h"])
    clock.now_s += 10.0
    broken.does = error
    try:
        assert fallback.recommend(["h"]).rung == "popularity"
    except error:
        assert error is not errors.NotSupported
    assert rungs[0].breaker.state == "half open"
    broken.does = None
    assert fallback.recommend(["h"]).rung == "rung 0"


def test_a_defect_in_the_program_is_not_hidden_behind_a_list():
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        make([Model(clock, does=ZeroDivisionError), Model(clock)], clock)[0].recommend(["h"])


def test_an_iterator_as_history_reaches_every_rung_whole():
    clock = Clock()
    fallback, _ = make([Model(clock, does=errors.ServerFault)], clock)
    assert fallback.recommend(iter(["p0"])).items == ["p1"]
    assert fallback.recommend([], exclude=iter(["p0"])).items == ["p1"]


def test_names_of_rungs_are_told_by_the_model():
    assert [Rung(None, model="cf").name, Rung(None).name, Rung(None, model="cf", name="old").name] == [
        "model cf",
        "model",
        "old",
    ]


@pytest.mark.parametrize(
    ("rungs", "options", "says"),
    [
        ([], {}, "at least one rung"),
        ([Rung(None, "a"), Rung(None, "a")], {}, "two rungs are called 'model a'"),
        ([Rung(None, name="popularity")], {}, "two rungs are called 'popularity'"),
        ([Rung(None)], {"timeout_s": 0.0}, "timeout_s must be above 0 and at most 86400 seconds, got 0.0"),
        ([Rung(None)], {"timeout_s": 200_000}, "above 0 and at most 86400 seconds, got 200000"),
        ([Rung(None)], {"timeout_s": float("inf")}, "seconds, got inf"),
        ([Rung(None)], {"reserve": 1.0}, "reserve must be at least 0.05 and below 1, got 1.0"),
        ([Rung(None)], {"reserve": 0.0}, "got 0.0"),
    ],
)
def test_a_chain_that_cannot_work_is_refused_at_construction(rungs, options, says):
    with pytest.raises(ValueError, match=says):
        Fallback(rungs, POPULAR, **options)


def test_two_rungs_cannot_share_a_breaker():
    breaker = CircuitBreaker()
    with pytest.raises(ValueError, match="share a circuit breaker"):
        Fallback([Rung(None, "a", breaker=breaker), Rung(None, "b", breaker=breaker)], POPULAR)


def test_a_model_with_no_item_to_give_is_well_and_the_next_is_asked():
    clock = Clock()
    fallback, rungs = make([Model(clock, items=()), Model(clock)], clock)
    for _ in range(3):
        assert fallback.recommend(["h"]).rung == "rung 1"
    assert rungs[0].breaker.state == "closed"
    assert make([Model(clock, items=())], clock)[0].recommend(["p0"]).items == ["p1"]


def test_a_request_that_a_server_refuses_goes_to_the_next_model_and_counts():
    clock = Clock()
    fallback, rungs = make([Model(clock, does=errors.InvalidRequest, attempts=1), Model(clock)], clock)
    for state in ("closed", "open"):
        assert fallback.recommend(["h"]).rung == "rung 1"
        assert rungs[0].breaker.state == state


@pytest.mark.parametrize("error", [None, errors.NotSupported, errors.ServerFault])
def test_a_call_of_before_the_opening_does_not_end_the_trial_that_runs(error):
    clock = Clock()
    broken = Model(clock, does=errors.ServerFault)
    fallback, (rung,) = make([broken], clock)
    turns = iter(fallback._chain.climb(["h"], (), None, None))
    early = next(turns)
    fallback.recommend(["h"])
    fallback.recommend(["h"])
    clock.now_s += 10.0
    assert rung.breaker.allow()
    with early:  # its answer comes now
        if error is not None:
            raise error("late")
    assert rung.breaker.state == "half open"
    assert not rung.breaker.allow()


def test_a_climb_calls_the_rungs_it_is_given_and_tells_why_the_others_did_not_answer():
    clock = Clock()
    down = Model(clock, does=errors.NotReady)
    models = [Model(clock, items=()), down, Model(clock), Model(clock)]
    _, rungs = make(models, clock)
    chain = Chain(rungs, POPULAR, 1.0, 0.3, (), clock)
    for _ in range(2):  # after two failures in a row the breaker is open
        with chain.climb([], [], None, None, [rungs[1]]) as climb:
            assert first_answer(climb).rung == "popularity"
        assert climb.failures == {"rung 1": "NotReady"}
    with chain.climb([], [], None, None, [rungs[1], rungs[0], rungs[3]]) as climb:
        assert first_answer(climb).rung == "rung 3"
    assert {name: climb.failures.get(name) for name in ("rung 0", "rung 1")} == {
        "rung 0": "NoItems",
        "rung 1": "CircuitOpen",
    }
    assert len(models[2].given_s) == 0


def test_a_rung_without_time_left_has_missed_the_deadline():
    clock = Clock()
    _, rungs = make([Model(clock), Model(clock)], clock)
    chain = Chain(rungs, POPULAR, 1.0, 0.3, (), clock)
    with chain.climb([], [], None, None) as climb:
        clock.now_s = 2.0
        assert first_answer(climb).rung == "popularity"
    assert climb.failures == {"rung 0": "DeadlineExceeded", "rung 1": "DeadlineExceeded"}
