"""A request that never left the client: another target at once, then a look now and then, and no retry is charged.

So a restart of one replica after the other fails no call: when the next goes, the first is back but not yet connected.
"""

from __future__ import annotations

import itertools

import grpc
import pytest

from serving_client import operations
from serving_client.calls import LONGEST_LOOK_S, Engine, Plan, Settings
from serving_client.operations import Spec
from serving_client.retry import Retry


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def unsent() -> grpc.RpcError:
    """A real error of a channel that has nobody at its end: should gRPC change its words, these tests fail."""
    with grpc.insecure_channel("127.0.0.1:1", options=[("grpc.enable_http_proxy", 0)]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/any/Method")(b"", timeout=10.0)
        return caught.value


def started(clock: Clock, targets: int = 2, timeout_s: float = 5.0, **retry: float) -> tuple[Engine, Plan]:
    addresses = tuple(f"127.0.0.1:{port}" for port in range(1, targets + 1))
    retry = {"budget_ratio": 0.0, "budget_burst": 0.0, **retry}  # so that a retry that is charged is refused
    engine = Engine(Settings(addresses, model="m", retry=Retry(**retry), clock=clock), draw=lambda: 0.5)
    return engine, engine.plan(operations.status(Spec("m", None, None)), timeout_s)


def failed(plan: Plan, error: grpc.RpcError) -> tuple[str, float | None]:
    """One more request that fails so: whom it went to, and when the next may go."""
    turn = plan.begin()
    return turn.target, plan.retry_delay_s(plan.noted(turn, error))


def test_every_target_is_tried_at_once_and_then_in_turn_after_growing_pauses(unsent: grpc.RpcError) -> None:
    clock = Clock()
    _, plan = started(clock, targets=3)
    told = []
    for _ in range(9):
        target, delay_s = failed(plan, unsent)
        told.append((target, delay_s))
        clock.now_s += delay_s
    assert {target for target, _ in told[:3]} == {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}
    assert [delay_s for _, delay_s in told[:2]] == [0.0, 0.0]
    pauses = [delay_s for _, delay_s in told[2:] if delay_s]
    assert pauses[:3] == pytest.approx([0.0075, 0.015, 0.03]) and max(pauses) == pytest.approx(0.75 * LONGEST_LOOK_S)
    assert all(one != other for (one, _), (other, _) in itertools.pairwise(told))


def test_looking_ends_after_reconnect_s_and_before_the_deadline(unsent: grpc.RpcError) -> None:
    for timeout_s, reconnect_s, bound_s in ((5.0, 0.5, 0.5), (0.2, 0.5, 0.2)):
        clock = Clock()
        _, plan = started(clock, timeout_s=timeout_s, reconnect_s=reconnect_s)
        delay_s: float | None = 0.0
        while delay_s is not None:
            clock.now_s += delay_s
            _, delay_s = failed(plan, unsent)
        assert bound_s - LONGEST_LOOK_S <= clock.now_s <= bound_s


def test_nothing_is_sent_again_that_must_not_be_nor_to_a_single_target(unsent: grpc.RpcError) -> None:
    """A single target has wait_for_ready for that."""
    _, alone = started(Clock(), targets=1)
    assert failed(alone, unsent)[1] is None
    engine, _ = started(Clock())
    reload = operations.reload_config("model_config_list {}")
    assert not reload.repeatable
    assert failed(engine.plan(reload, 5.0), unsent)[1] is None


def test_a_client_that_is_closed_looks_no_further(unsent: grpc.RpcError) -> None:
    engine, plan = started(Clock())
    turn = plan.begin()
    engine.closed = True
    assert plan.retry_delay_s(plan.noted(turn, unsent)) is None
