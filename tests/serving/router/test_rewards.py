"""record(): what is written, what is refused, and which decision ids are accepted."""

from __future__ import annotations

import base64
import decimal
import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Bandits
from serving_client.router.ids import DecisionKeys, Forged, new_id
from serving_client.router.rewards import RewardRecorder, default_event_id
from transforms.attribution.parsing.lines import read_line
from transforms.attribution.parsing.schema import Reward

NOW_US = 1_764_000_000_000_000  # 2025-11-24T16:00:00Z
HOUR_US = 3_600_000_000


class Lines(list[bytes]):
    """A log in memory."""

    def write(self, line: bytes) -> bool:
        self.append(line)
        return True

    def last(self) -> dict[str, Any]:
        read_line(self[-1].removesuffix(b"\n"), Reward)
        record: dict[str, Any] = json.loads(self[-1])
        return record


def bandit(bandit_id: str, aggregate: str = "any") -> Bandit:
    rules = Attribution(HOUR_US, HOUR_US, aggregate=aggregate, reward_kinds=("click", "watch"))
    return Bandit(bandit_id, 1, "cf", {"cf": Arm("cf", 1, "cf")}, {"kind": "fixed"}, rules)


def bandits(*each: Bandit) -> Bandits:
    return Bandits({one.bandit_id: one for one in each})


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def recorder(lines: Lines) -> RewardRecorder:
    return RewardRecorder(lines, bandits(bandit("home")), clock_us=lambda: NOW_US)


def test_a_click_needs_a_decision_alone(recorder: RewardRecorder, lines: Lines) -> None:
    assert recorder.record("d1", "click")
    assert lines.last() == {
        "event_id": default_event_id("d1", "click", None, None), "decision_id": "d1", "kind": "click", "value": 1.0,
        "occurred_at": "2025-11-24T16:00:00.000000Z", "received_at": "2025-11-24T16:00:00.000000Z",
    }  # fmt: skip


def test_every_argument_is_written(recorder: RewardRecorder, lines: Lines) -> None:
    recorder.record("d1", "watch", 0.25, "007", 3, "e1", "2025-11-24T15:59:00Z")
    expected = {
        "event_id": "e1", "kind": "watch", "value": 0.25, "item_id": "007", "position": 3,
        "occurred_at": "2025-11-24T15:59:00.000000Z", "received_at": "2025-11-24T16:00:00.000000Z",
    }  # fmt: skip
    assert expected.items() <= lines.last().items()
    recorder.record("d1", "click", occurred_at=NOW_US - 1, position=np.int64(0))  # type: ignore[arg-type]
    assert {"occurred_at": "2025-11-24T15:59:59.999999Z", "position": 0}.items() <= lines.last().items()


def test_the_default_event_id_is_a_hash_of_decision_kind_item_and_position() -> None:
    digest = hashlib.blake2b(b"\0".join([b"d1", b"click", b"007", b"3"]), digest_size=16).digest()
    assert default_event_id("d1", "click", "007", 3) == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    ids = {
        default_event_id(*each)
        for each in [
            ("d1", "click", "007", 3), ("d2", "click", "007", 3), ("d1", "watch", "007", 3), ("d1", "click", "008", 3),
            ("d1", "click", "007", 4), ("d1", "click", None, 3), ("d1", "click", "007", None),
            ("d1", "click", None, None), ("d1", "click", "3", None), ("d1", "click", "0", None),
            ("d1", "click", None, 0),
        ]
    }  # fmt: skip
    assert len(ids) == 11


@given(value=st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9))
def test_a_value_is_rounded_to_the_nearest_decimal_of_six_places_that_the_stream_accepts(value: float) -> None:
    lines = Lines()
    RewardRecorder(lines, bandits(bandit("home"))).record("d1", "click", value)
    exact = decimal.Decimal(value).quantize(decimal.Decimal("0.000001"), decimal.ROUND_HALF_EVEN)
    assert lines.last()["value"] == float(exact)
    assert math.copysign(1, lines.last()["value"]) == (-1 if exact < 0 else 1)


@pytest.mark.parametrize("value", [0.1 + 0.2, decimal.Decimal("0.3"), np.float32(0.3), np.float64(0.3)])
def test_a_value_may_have_any_type_of_number(recorder: RewardRecorder, lines: Lines, value: float) -> None:
    recorder.record("d1", "click", value)
    assert lines.last()["value"] == 0.3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e9 + 1, -1e9 - 1, 10**400, "1", None, [1]])
def test_a_value_that_is_no_number_or_too_large_is_refused(recorder: RewardRecorder, lines: Lines, value: Any) -> None:
    with pytest.raises(ValueError, match="is not a number from -1e9 to 1e9"):
        recorder.record("d1", "click", value)
    assert not lines
    assert recorder.rejected == {"invalid": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decision_id": ""}, "decision_id is empty"),
        ({"decision_id": 7}, "decision_id is a int, not a string"),
        ({"kind": "a\nb"}, "kind holds NUL, CR or LF"),
        ({"item_id": "x" * 1025}, "item_id has 1,025 bytes"),
        ({"event_id": "\ud800"}, "event_id holds half a surrogate pair"),
        ({"position": 1.5}, "position 1.5 is not an integer"),
        ({"position": 2**63}, "beyond 64 bits"),
        ({"occurred_at": "yesterday"}, "not an RFC 3339 UTC time"),
        ({"occurred_at": 1.5}, "occurred_at 1.5 is neither"),
        ({"occurred_at": NOW_US // 10**6}, "occurred_at 1764000000 does not count microseconds"),
        ({"occurred_at": NOW_US // 10**3}, "occurred_at 1764000000000 does not count microseconds"),
        ({"occurred_at": NOW_US * 10**3}, "occurred_at 1764000000000000000 does not count microseconds"),
        ({"bandit_id": "other"}, "bandit 'other' is not in the bandits file"),
    ],
)
def test_an_invalid_argument_is_named(
    recorder: RewardRecorder, lines: Lines, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recorder.record(**{"decision_id": "d1", "kind": "click", **arguments})
    assert not lines
    assert recorder.rejected == {"invalid": 1}


@pytest.mark.parametrize("name", ["value", "position", "occurred_at"])
@pytest.mark.parametrize("long", ["9" * 10_000, [9] * 10_000, 10**4_000], ids=["text", "list", "integer"])
def test_a_message_is_short_however_long_the_argument_is(recorder: RewardRecorder, name: str, long: Any) -> None:
    with pytest.raises(ValueError) as raised:
        recorder.record(**{"decision_id": "d1", "kind": "click", name: long})
    assert len(str(raised.value)) < 150


def test_an_event_that_is_summed_needs_an_event_id(lines: Lines) -> None:
    """Two purchases of one item are two events. A default id would count one."""
    recorder = RewardRecorder(lines, bandits(bandit("home"), bandit("shop", "sum")))
    for bandit_id in ("shop", None):
        with pytest.raises(ValueError, match="bandit 'shop' sums 'click'; give each event its own event_id"):
            recorder.record("d1", "click", bandit_id=bandit_id)
    recorder.record("d1", "click", event_id="e1")
    recorder.record("d1", "click", bandit_id="home")
    recorder.record("d1", "impression")
    assert len(lines) == 3


def test_the_rules_of_a_new_bandits_file_count(recorder: RewardRecorder) -> None:
    recorder.bandits = bandits(bandit("home", "sum"))
    with pytest.raises(ValueError, match="event_id"):
        recorder.record("d1", "click")


class TestSigned:
    KEYS = DecisionKeys({"k1": b"k" * 32})

    @pytest.fixture
    def recorder(self, lines: Lines) -> RewardRecorder:
        return RewardRecorder(lines, bandits(bandit("home"), bandit("shop", "sum")), keys=self.KEYS)

    def test_a_signed_id_is_accepted_and_tells_its_bandit(self, recorder: RewardRecorder, lines: Lines) -> None:
        signed = self.KEYS.sign("home", new_id())
        assert recorder.record(signed, "click")
        assert lines.last()["decision_id"] == signed
        with pytest.raises(ValueError, match="'shop' sums"):
            recorder.record(self.KEYS.sign("shop", new_id()), "click")

    @pytest.mark.parametrize("bandit_id", [None, "home"])
    def test_a_forged_id_raises_and_is_counted(
        self, recorder: RewardRecorder, lines: Lines, bandit_id: str | None
    ) -> None:
        other = DecisionKeys({"k1": b"x" * 32})
        for forged in (new_id(), other.sign("home", new_id()), self.KEYS.sign("elsewhere", new_id())):
            with pytest.raises(Forged):
                recorder.record(forged, "click", bandit_id=bandit_id)
        assert recorder.rejected == {"forged": 3}
        assert not lines

    def test_an_id_of_another_bandit_is_forged(self, recorder: RewardRecorder) -> None:
        with pytest.raises(Forged, match="wrong for bandit 'home'"):
            recorder.record(self.KEYS.sign("shop", new_id()), "click", event_id="e", bandit_id="home")

    def test_without_bandits_every_id_is_forged(self, lines: Lines) -> None:
        with pytest.raises(Forged, match="the bandits file is empty"):
            RewardRecorder(lines, Bandits({}), keys=self.KEYS).record(self.KEYS.sign("home", new_id()), "click")
