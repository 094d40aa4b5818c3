"""A bandits file that changes under a running router: a valid change is taken, an invalid one changes nothing."""

from __future__ import annotations

import pathlib
import queue

import pytest

from serving_client.bandits_file.follow import BanditsFollower
from serving_client.contracts.bandits import Bandits, BanditsError
from tests.serving.test_bandits_file import PLAIN, changed


class Seen:
    """A follower of a file, with what it called."""

    def __init__(self, path: pathlib.Path) -> None:
        path.write_bytes(PLAIN)
        self.path = path
        self.taken: list[Bandits] = []
        self.reports: list[tuple[str, str, str]] = []
        self.follower = BanditsFollower(
            str(path), on_new=self.taken.append, report=lambda *fault: self.reports.append(fault)
        )

    def floor(self) -> float:
        return self.follower.bandits.bandits["home_row"].policy["floor"]


@pytest.fixture
def seen(tmp_path: pathlib.Path) -> Seen:
    return Seen(tmp_path / "bandits.yaml")


def with_floor(floor: float, **changes: object) -> bytes:
    return changed(policy={"kind": "thompson_beta", "floor": floor}, **changes)


def test_equal_content_is_not_taken_again(seen: Seen) -> None:
    seen.path.write_bytes(PLAIN)
    seen.follower.poll()
    assert (seen.taken, seen.reports, seen.floor()) == ([], [], 0.02)


def test_a_valid_change_is_taken_once(seen: Seen) -> None:
    seen.path.write_bytes(with_floor(0.1))
    seen.follower.poll()
    seen.follower.poll()
    assert seen.taken == [seen.follower.bandits]
    assert (seen.reports, seen.floor()) == ([], 0.1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "bandits.yaml"),
        (b"", "bandits.yaml"),
        (with_floor(0.9), "floor 0.9 times 2 arms exceeds 1"),
        (changed(segments=["country"]), "home_row.segments was ['plan'] and is ['country'] in the same policy_epoch 1"),
        (changed(policy_epoch=0), "home_row.policy_epoch"),
        (None, "the file does not exist; correct the path"),
    ],
)
def test_an_invalid_change_leaves_the_content_before_in_use(seen: Seen, data: bytes | None, says: str) -> None:
    if data is None:
        seen.path.unlink()
    else:
        seen.path.write_bytes(data)
    for _ in range(2):
        seen.follower.poll()
    assert (seen.taken, seen.floor()) == ([], 0.02)
    assert [fault[:2] for fault in seen.reports] == [(str(seen.path), "bandits_file")] * 2
    message = seen.reports[0][2]
    assert message == seen.reports[1][2]
    assert message.startswith(f"{seen.path}:")
    assert says in message
    assert message.endswith("; the content before stays in use")
    seen.path.write_bytes(with_floor(0.1))
    seen.follower.poll()
    assert seen.floor() == 0.1


def test_a_change_is_compared_with_the_content_in_use_and_not_with_an_invalid_one(seen: Seen) -> None:
    seen.path.write_bytes(changed(policy_epoch=3))
    seen.follower.poll()
    seen.path.write_bytes(b"{")
    seen.follower.poll()
    seen.path.write_bytes(changed(policy_epoch=2))
    seen.follower.poll()
    assert seen.follower.bandits.bandits["home_row"].policy_epoch == 3
    assert "policy_epoch was 3 and is 2" in seen.reports[-1][2]


def test_a_file_that_is_invalid_at_the_start_raises(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BanditsError, match="the file does not exist"):
        BanditsFollower(str(tmp_path / "none.yaml"), on_new=print, report=print)


def test_the_thread_takes_a_change_that_could_not_be_used_at_first(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bandits.yaml"
    path.write_bytes(PLAIN)
    calls: queue.Queue[object] = queue.Queue()
    failures = iter([ZeroDivisionError("first")])

    def on_new(bandits: Bandits) -> None:
        for failure in failures:
            raise failure
        calls.put(bandits)

    follower = BanditsFollower(
        str(path), on_new=on_new, report=lambda *fault: calls.put(fault[1]), poll_interval_s=0.001
    )
    path.write_bytes(with_floor(0.1))
    follower.start()
    try:
        assert calls.get(timeout=10) == "thread"
        taken = calls.get(timeout=10)
    finally:
        follower.close()
    assert isinstance(taken, Bandits)
    assert taken.bandits["home_row"].policy["floor"] == 0.1
