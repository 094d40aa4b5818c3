"""Which snapshots are due, and what happens around one that fails."""

from __future__ import annotations

from pipelines.reward_stream.publishing.versions import Moment, Pace, Versions
from pipelines.reward_stream.totals.totals import Totals
from serving_client.snapshots.published import Owner
from tests.reward_stream.publisher_setup import SECOND, T0, Memory, bandits


def versions(memory: Memory, publish_s: int = 10, heartbeat_s: int = 30) -> Versions:
    return Versions(memory, Totals(bandits()), Pace(publish_s * SECOND, heartbeat_s * SECOND, 3_600 * SECOND))


def at(second: int, *, final: bool = False, stop: bool = False) -> Moment:
    return Moment(T0 + second * SECOND, T0, T0, final, stop)


def published(made: Versions, moment: Moment) -> list[str]:
    assert made.meet(moment.now_us) == []
    return [written.content.bandit_id for written in made.publish(moment)[0]]


def test_what_changed_is_published_each_interval_and_what_did_not_each_heartbeat() -> None:
    made = versions(Memory())
    assert published(made, at(0)) == ["row", "_stream"]
    made.change({"row"})
    assert published(made, at(9)) == []
    assert published(made, at(10)) == ["row"]
    assert published(made, at(29)) == []
    assert published(made, at(30)) == ["_stream"]
    assert published(made, at(40)) == ["row"]


def test_a_heartbeat_comes_in_time_though_the_interval_is_longer() -> None:
    made = versions(Memory(), publish_s=60, heartbeat_s=30)
    published(made, at(0))
    made.change({"row"})
    assert published(made, at(30)) == ["row", "_stream"]


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    made = versions(Memory())
    published(made, at(100))
    assert published(made, at(50)) == ["row", "_stream"]


def test_a_stop_publishes_at_once_and_once() -> None:
    made = versions(Memory())
    published(made, at(0))
    assert published(made, at(1, stop=True)) == ["row", "_stream"]
    assert published(made, at(2, stop=True)) == []


def test_a_version_that_could_not_be_pointed_at_is_passed_over() -> None:
    class Unpointable(Memory):
        failures = 1

        def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no way to the store")
            super().point(name, version, sha256, owner)

    memory = Unpointable()
    made = versions(memory)
    made.meet(at(0).now_us)
    written, failures, _ = made.publish(at(0))
    assert [each.content.bandit_id for each in written] == ["_stream"]
    assert failures == ["row: the snapshot was not published, trying again: no way to the store"]
    assert published(made, at(1)) == ["row"]
    assert memory.pointers["row"] == 2


def test_old_versions_are_removed_now_and_then_and_a_failure_is_no_end() -> None:
    class Pruned(Memory):
        asked: list[int] = []  # noqa: RUF012

        def prune(self, name: str, before_us: int) -> int:
            self.asked.append(before_us)
            raise ConnectionError("no way to the store")

    memory = Pruned()
    made = versions(memory)
    failures = made.prune(T0)
    assert len(failures) == 2 and "old snapshots were not removed" in failures[0]
    assert made.prune(T0 + 599 * SECOND) == [] and made.prune(T0 + 600 * SECOND)
    assert memory.asked[0] == T0 - 3_600 * SECOND
