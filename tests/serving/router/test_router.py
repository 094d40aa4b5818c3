"""What a router decides, what it logs, and that it answers whatever happens. Snapshots are made by hand."""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import re
import threading
import time

import jsonschema
import numpy as np
import pytest

from serving_client.contracts import schemas
from serving_client.contracts.bandits import feature_schema
from serving_client.router.bandit_set import UnknownBandit
from serving_client.router.decision_log import AlreadyLogged
from serving_client.router.ids import DecisionKeys, Forged
from serving_client.router.router import Router
from serving_client.router.table import Case, Table, hashed
from serving_client.router.users import keyed_hash, sticky_draw, sticky_holdback
from serving_client.snapshots.snapshot import Lin, Row
from tests.serving.router.world import ARMS, Log, Shelf, bandits, snapshot

KEYS = DecisionKeys({"k1": b"0123456789abcdef"})


@pytest.fixture
def log():
    return Log()


def router(of, shelf=None, **options):
    return Router(of, snapshots=shelf or Shelf(snapshot(of, cf=(1000, 50), vae=(1000, 80))), **options)


def test_a_decision_says_what_was_drawn_from_what():
    of = bandits()
    made = router(of, clock_us=lambda: 7, uniform=lambda: 0.5)
    decision = made.route("home_row", {"plan": "free", "email": "a@b.c"}, user_key="u1")
    assert (decision.bandit_id, decision.segment, decision.rung, decision.draw) == ("home_row", "free", "fresh", 0.5)
    assert tuple(decision.propensities) == decision.choice.eligible_arms == ARMS
    assert decision.propensity == decision.propensities[decision.arm_id]
    assert sum(decision.propensities.values()) == pytest.approx(1, abs=1e-12)
    assert (decision.decided_at_us, decision.user_key, decision.context) == (7, "u1", {"plan": "free"})
    assert decision.arm is of.bandits["home_row"].arms[decision.arm_id]


@pytest.mark.parametrize("number", [0.0, 0.25, 0.5, 0.75, 1 - 2**-53])
def test_the_drawn_arm_is_the_first_whose_cumulative_probability_exceeds_the_draw(number):
    decision = router(bandits(), uniform=lambda: number).route("home_row", {"plan": "free"})
    total, expected = 0.0, None
    for arm, p in decision.propensities.items():
        total += p
        if expected is None and total > number:
            expected = arm
    assert decision.arm_id == (expected or ARMS[-1])


def test_arms_are_drawn_with_their_probabilities():
    made = router(bandits(), uniform=random.Random(1).random)
    decisions = [made.route("home_row", {"plan": "free"}) for _ in range(20_000)]
    counts = collections.Counter(decision.arm_id for decision in decisions)
    for arm, p in decisions[0].propensities.items():
        assert abs(counts[arm] - 20_000 * p) < 4 * (20_000 * p * (1 - p)) ** 0.5


def test_a_user_keeps_the_draw_and_an_anonymous_request_gets_another():
    of = bandits(sticky=True)
    made = router(of)
    draws = {made.route("home_row", {"plan": "free"}, user_key="u1").draw for _ in range(5)}
    assert draws == {sticky_draw(of.bandits["home_row"], "u1")}
    assert len({made.route("home_row", {"plan": "free"}).draw for _ in range(5)}) == 5
    assert len({router(bandits()).route("home_row", {}, user_key="u1").draw for _ in range(5)}) == 5  # not sticky


def test_the_holdback_is_a_sticky_share_of_users_with_one_arm():
    of = bandits(holdback={"share": 0.2, "arm": "vae"})
    made = router(of)
    users = [f"u{number}" for number in range(2_000)]
    held = {user for user in users if made.route("home_row", {"plan": "free"}, user_key=user).holdback}
    assert held == {user for user in users if sticky_holdback(of.bandits["home_row"], user) < 0.2}
    assert 320 < len(held) < 480
    decision = made.route("home_row", {"plan": "free"}, user_key=min(held))
    assert (decision.arm_id, decision.propensities, decision.draw) == ("vae", {"vae": 1.0}, None)
    assert (decision.segment, decision.rung, decision.served_by) == ("free", "fresh", "vae")


def test_the_holdback_also_takes_its_share_of_anonymous_requests():
    made = router(bandits(holdback={"share": 0.2, "arm": "vae"}), uniform=random.Random(3).random)
    held = sum(made.route("home_row", {}).holdback for _ in range(5_000))
    assert 880 < held < 1_120


@pytest.mark.parametrize("why", ["not eligible", "rolled back"])
def test_a_holdback_whose_arm_cannot_be_shown_gets_popular_items(why):
    of = bandits(holdback={"share": 0.999, "arm": "vae"})
    shelf = Shelf(
        dataclasses.replace(snapshot(of), rolled_back=frozenset({("vae", 1)} if why == "rolled back" else ()))
    )
    eligible = ["cf"] if why == "not eligible" else None
    decision = router(of, shelf, uniform=lambda: 0.5).route("home_row", {}, eligible=eligible)
    assert (decision.arm_id, decision.propensity, decision.served_by) == ("vae", 1.0, "popularity")
    assert decision.fallback_reason == "no_eligible_arm"


@pytest.mark.parametrize("eligible", [[], ["unknown"], ()])
def test_without_an_eligible_arm_popular_items_are_shown(eligible):
    decision = router(bandits()).route("home_row", {"plan": "free"}, eligible=eligible)
    assert (decision.arm_id, decision.propensities, decision.rung) == ("cf", {"cf": 1.0}, "default")
    assert (decision.served_by, decision.fallback_reason) == ("popularity", "no_eligible_arm")
    assert decision.choice.eligible_arms == ()


def test_only_eligible_arms_are_drawn():
    made = router(bandits())
    for eligible in (["vae"], {"vae", "new"}, ("new", "vae", "unknown"), frozenset({"new"})):
        decision = made.route("home_row", {"plan": "free"}, eligible=eligible)
        assert set(decision.propensities) == set(eligible) & set(ARMS)
        assert decision.arm_id in eligible


def test_draining_and_retired_arms_are_neither_drawn_nor_eligible():
    arms = {
        "cf": {"generation": 1, "model": "cf"},
        "new": {"generation": 1, "model": "new", "state": "draining"},
        "vae": {"generation": 1, "model": "vae", "state": "retired"},
    }
    decision = router(bandits(arms=arms)).route("home_row", {"plan": "free"})
    assert (decision.propensities, decision.choice.eligible_arms) == ({"cf": 1.0}, ("cf",))


def test_without_a_usable_snapshot_the_default_arm_is_certain():
    of = bandits()
    for shelf in (Shelf(), Shelf(snapshot(of, cf=(10, 1)), "default")):
        decision = router(of, shelf).route("home_row", {"plan": "free"})
        assert (decision.arm_id, decision.propensities, decision.rung) == ("cf", {"cf": 1.0}, "default")
        assert decision.choice.snapshot_version is None
    assert Router(of).route("home_row").rung == "default"


def test_without_a_usable_snapshot_an_ineligible_default_arm_is_not_drawn():
    decision = router(bandits(), Shelf()).route("home_row", {}, eligible=["vae"])
    assert (decision.arm_id, decision.served_by) == ("cf", "popularity")


def test_a_new_snapshot_is_used_at_once():
    of = bandits()
    shelf = Shelf(snapshot(of, version=1, cf=(1000, 50), vae=(1000, 80)))
    made = router(of, shelf)
    before = made.route("home_row", {"plan": "free"}, eligible=["cf", "vae"])
    shelf.snapshot = snapshot(of, version=2, cf=(1000, 80), vae=(1000, 50))
    after = made.route("home_row", {"plan": "free"}, eligible=["cf", "vae"])
    assert (before.choice.snapshot_version, after.choice.snapshot_version) == (1, 2)
    assert before.propensities["vae"] > 0.5 > after.propensities["vae"]


def test_an_unknown_bandit_is_an_error_that_names_the_known_ones():
    with pytest.raises(UnknownBandit, match=r"bandit 'side' is not in the bandits file; its bandits are home_row"):
        router(bandits()).route("side")


def test_a_line_of_the_log_has_the_decision(log):
    of = bandits(features=[{"name": "age", "type": "numeric", "scale": 10}])
    made = router(of, log=log, keys=KEYS, clock_us=lambda: 1_800_000_000_000_000)
    decision = made.route("home_row", {"plan": "free", "age": 31, "email": "a@b.c"}, user_key="u1")
    assert made.log(decision, items=["c07", "c12"], model_version=7)
    (line,) = log.decisions
    jsonschema.Draft202012Validator(schemas.load("decision")).validate(line)
    KEYS.verify("home_row", line["decision_id"])
    assert line["propensities"] == decision.propensities
    assert line["propensity"] == decision.propensity
    assert (line["arm_id"], line["arm_generation"], line["segment"]) == (decision.arm_id, 1, "free")
    assert (line["context"], line["features"]) == ({"plan": "free", "age": 31}, [3.1])
    assert (line["items"], line["model_version"], line["user_key"]) == (["c07", "c12"], 7, "u1")
    assert (line["draw"], line["rung"], line["snapshot_version"]) == (decision.draw, "fresh", 1)
    assert line["decided_at"] == "2027-01-15T08:00:00.000000Z"
    assert "email" not in str(line) and "a@b.c" not in str(line)
    assert not {"served_by", "fallback_reason", "holdback", "bot"} & line.keys()


def test_what_was_shown_is_logged_beside_what_was_drawn(log):
    made = router(bandits(), log=log)
    decision = made.route("home_row", {"plan": "free"}, eligible=["vae"])
    made.log(decision, served_by="cf", fallback_reason="unavailable", bot=True)
    (line,) = log.decisions
    assert (line["arm_id"], line["served_by"], line["fallback_reason"]) == ("vae", "cf", "unavailable")
    assert line["bot"] is True


def test_ever_new_reasons_of_fallbacks_are_counted_as_other():
    made = router(bandits())
    for number in range(2_010):
        made.log(made.route("home_row", eligible=["vae"]), served_by="cf", fallback_reason=f"request {number} failed")
    counts = made.counts().fallbacks
    assert len(counts) == 2_001
    assert (counts["home_row", "vae", "request 0 failed"], counts["home_row", "vae", "other"]) == (1, 10)


def test_a_decision_without_an_eligible_arm_logs_what_must_be_shown(log):
    made = router(bandits(), log=log)
    made.log(made.route("home_row", {"plan": "free"}, eligible=[]))
    (line,) = log.decisions
    assert (line["arm_id"], line["propensity"], line["rung"]) == ("cf", 1.0, "default")
    assert (line["served_by"], line["fallback_reason"]) == ("popularity", "no_eligible_arm")
    assert line["eligible_arms"] == []


def test_a_decision_is_logged_once(log):
    made = router(bandits(), log=log)
    decision = made.route("home_row")
    made.log(decision)
    with pytest.raises(AlreadyLogged, match=decision.decision_id):
        made.log(decision)
    assert len(log.decisions) == 1


def test_of_many_threads_one_logs_a_decision(log):
    made = router(bandits(), log=log)
    decision = made.route("home_row")
    raised = []

    def attempt():
        try:
            made.log(decision)
        except AlreadyLogged as error:
            raised.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(log.decisions), len(raised)) == (1, 7)


@pytest.mark.parametrize(
    ("items", "logged"),
    [
        ([7, np.int64(8)], ["7", "8"]),
        (np.array(["c07", "c12"]), ["c07", "c12"]),
        (("c07",), ["c07"]),
        (iter(["c07"]), ["c07"]),
        (["x" * 300, "y" * 1024], ["x" * 300, "y" * 1024]),
        ([], None),
        (None, None),
    ],
    ids=["integers", "array", "tuple", "iterator", "long", "none", "None"],
)
def test_items_are_logged_as_text(log, items, logged):
    made = router(bandits(), log=log)
    assert made.log(made.route("home_row"), items=items)
    (line,) = log.decisions
    jsonschema.Draft202012Validator(schemas.load("decision")).validate(line)
    assert line.get("items") == logged
    assert made.counts().faults == {}


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ("c07", "items is of type str, not a list of ids"),
        ([b"c07"], "'bytes' object cannot be interpreted as an integer"),
        ([None], "'NoneType' object"),
        ([["c07"]], "'list' object"),
        (["c07", ""], r"items\[1\] is empty"),
        (["a\nb"], r"items\[0\] holds NUL, CR or LF"),
        (["x" * 1025], "has 1,025 bytes"),
        (["\ud800"], "half a surrogate pair"),
        (7, "not iterable"),
    ],
    ids=["text", "bytes", "None", "nested", "empty", "line", "long", "surrogate", "number"],
)
def test_a_decision_with_other_items_is_logged_without_them(log, caplog, items, why):
    made = router(bandits(), log=log)
    assert made.log(made.route("home_row"), items=items)
    (line,) = log.decisions
    jsonschema.Draft202012Validator(schemas.load("decision")).validate(line)
    assert "items" not in line
    assert made.counts().faults == {("home_row", "items"): 1}
    assert re.search(f"a decision is logged without its items: .*{why}.*; correct items", caplog.text)


@pytest.mark.parametrize(
    ("version", "logged"), [(7, 7), (np.int64(7), 7), ("7b", "7b"), (1.5, "1.5"), (True, 1), (None, None)], ids=repr
)
def test_a_model_version_is_logged_as_an_integer_or_text(log, version, logged):
    made = router(bandits(), log=log)
    made.log(made.route("home_row"), model_version=version)
    (line,) = log.decisions
    jsonschema.Draft202012Validator(schemas.load("decision")).validate(line)
    assert line.get("model_version") == logged and type(line.get("model_version")) is type(logged)


def test_served_by_must_be_an_arm_or_popularity(log):
    made = router(bandits(), log=log)
    decision = made.route("home_row")
    with pytest.raises(ValueError, match="'cff' is not an arm of home_row"):
        made.log(decision, served_by="cff")
    assert made.log(decision, served_by="popularity")


def test_a_router_without_a_log_logs_nothing():
    made = router(bandits())
    assert made.log(made.route("home_row")) is False


def test_with_a_secret_only_the_hash_of_the_user_is_used_and_logged(log):
    of = bandits(sticky=True)
    secret = b"0123456789abcdef"
    made = router(of, log=log, user_key_secret=secret)
    decision = made.route("home_row", {}, user_key="u1@example.org")
    made.log(decision)
    expected = keyed_hash(secret, "u1@example.org")
    assert (decision.user_key, log.decisions[0]["user_key"]) == (expected, expected)
    assert decision.draw == sticky_draw(of.bandits["home_row"], expected)
    assert "u1@" not in str(log.decisions)


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="user_key_secret has 5 bytes; use at least 16"):
        Router(bandits(), user_key_secret=b"short")


@pytest.mark.parametrize("user_key", ["a\nb", "x" * 1025, "a\ud800", 7])
def test_a_user_key_that_cannot_be_logged_makes_the_request_anonymous(user_key, caplog):
    made = router(bandits(sticky=True))
    for _ in range(3):
        assert made.route("home_row", {}, user_key=user_key).user_key is None
    assert made.counts().faults == {("home_row", "user_key"): 3}
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("router, bandit home_row: user_key ")
    assert str(user_key) not in message or user_key == 7


@pytest.mark.parametrize("user_key", [None, ""])
def test_no_user_key_is_no_fault(user_key):
    made = router(bandits(sticky=True))
    assert made.route("home_row", {}, user_key=user_key).user_key is None
    assert made.counts().faults == {}


def test_a_name_in_eligible_that_is_no_arm_is_counted(caplog):
    made = router(bandits())
    made.route("home_row", {}, eligible=["vae", "vea"])
    assert made.counts().faults == {("home_row", "eligible"): 1}
    assert "eligible names 'vea', which is not an arm" in caplog.text


def test_names_in_eligible_that_are_not_even_text_are_counted(caplog):
    made = router(bandits())
    assert made.route("home_row", {}, eligible=[None, 3, "vae"]).arm_id == "vae"
    assert made.counts().faults == {("home_row", "eligible"): 1}
    assert "eligible names 3, which is not an arm" in caplog.text


def test_a_policy_that_fails_gives_the_default_arm(caplog, monkeypatch):
    of = bandits()

    def broken(*_):
        raise FloatingPointError("as the test wants it")

    monkeypatch.setattr("serving_client.router.table.allocate", broken)
    decision = router(of).route("home_row", {"plan": "free"})
    assert (decision.arm_id, decision.propensity, decision.rung) == ("cf", 1.0, "default")
    assert "FloatingPointError('as the test wants it')" in caplog.text


def test_a_snapshot_of_another_bandits_file_is_reported_once(caplog):
    of, other = bandits(), bandits(salt="x")
    made = router(of)
    for version in (1, 2, 3):
        made.prepare(snapshot(other, version=version))
    assert made.counts().faults == {("home_row", "config_hash"): 1}
    assert len(caplog.records) == 1


def test_cases_in_use_are_ready_before_a_new_snapshot_is_used(monkeypatch):
    of = bandits()
    shelf = Shelf(snapshot(of, version=1, cf=(1000, 50)))
    made = router(of, shelf)
    cases = [({"plan": plan}, eligible) for plan in ("free", "paid") for eligible in (None, ["cf", "vae"])]
    for context, eligible in cases:
        made.route("home_row", context, eligible=eligible)
    new = snapshot(of, version=2, cf=(1000, 90))
    made.prepare(new)
    shelf.snapshot = new

    def fail(*_):
        raise AssertionError("a request computes")

    monkeypatch.setattr("serving_client.router.table.allocate", fail)
    for context, eligible in cases:
        decision = made.route("home_row", context, eligible=eligible)
        assert (decision.choice.snapshot_version, decision.rung) == (2, "fresh")


def test_cases_in_use_are_ready_before_a_new_bandits_file_is_used():
    of = bandits()
    made = router(of)
    for plan in ("free", "paid"):
        made.route("home_row", {"plan": plan}, eligible=["cf", "vae"])
    made.take(bandits(policy={"kind": "softmax", "temperature": 0.1}))
    decisions = [made.route("home_row", {"plan": plan}, eligible=["cf", "vae"]) for plan in ("free", "paid")]
    assert [decision.choice.bandit.policy["kind"] for decision in decisions] == ["softmax", "softmax"]
    assert made.counts().computed == {"home_row": 2}  # before the change


def test_a_forked_child_draws_other_numbers_and_ids():
    made = router(bandits())
    made.route("home_row")
    read, write = os.pipe()
    if os.fork() == 0:
        decision = made.route("home_row")
        os.write(write, f"{decision.decision_id} {decision.draw!r}".encode())
        os._exit(0)
    os.wait()
    decision_id, draw = os.read(read, 1_000).decode().split()
    decision = made.route("home_row")
    assert decision.decision_id != decision_id
    assert repr(decision.draw) != draw


def test_a_decision_is_small():
    """One dictionary and one object per decision; the probabilities are shared."""
    made = router(bandits())
    first, second = (made.route("home_row", {"plan": "free"}) for _ in range(2))
    assert first.choice is second.choice
    assert not hasattr(first, "__dict__")


@pytest.mark.parametrize("kind", ["linucb", "lints"])
def test_a_policy_that_reads_features_computes_each_request_for_its_arms(kind):
    """vae earns 1 where the feature is 1, and cf where it is 0. The constant is an attribute of every arm."""
    arms = {arm: {"generation": 1, "model": arm, "attributes": {"one": True}} for arm in ("cf", "vae")}
    of = bandits(
        arms=arms,
        policy={"kind": kind},
        segments=None,
        features=[{"name": "night", "type": "bool"}, {"name": "one", "type": "bool", "from": "model"}],
    )
    bandit = of.bandits["home_row"]
    each = 10_000.0
    xtx = np.array([[each, each], [each, 2 * each]])  # as many decisions at night as by day
    rows = {
        ("*", arm, 1): Row(2 * each, each, each, lin=Lin(feature_schema(bandit), 2, xtx, xtr))
        for arm, xtr in (("vae", np.array([each, each])), ("cf", np.array([0.0, each])))
    }
    made = router(of, Shelf(dataclasses.replace(snapshot(of), rows=rows)))
    night, day = (made.route("home_row", {"night": value}) for value in (True, False))
    assert night.propensities["vae"] > 0.99
    assert day.propensities["cf"] > 0.99
    assert (night.features.tolist(), day.features.tolist()) == ([1.0, 1.0], [0.0, 1.0])
    assert made.counts().computed == {"home_row": 1}  # the posterior, for both
    assert list(made.route("home_row", {"night": True}, eligible=["cf"]).propensities) == ["cf"]


def test_requests_with_ever_new_segments_take_no_more_memory(monkeypatch):
    """A case has 3 matrices of 256 x 256 numbers, 1.5 MiB, and a table keeps 128 MiB of them."""
    features = [{"name": "topic", "type": "categorical", "buckets": 255}]
    of = bandits(features=features, policy={"kind": "lints"})
    table = Table(hashed(of.bandits["home_row"]), snapshot(of), print)
    plain = Table(hashed(bandits(features=features).bandits["home_row"]), snapshot(of), print)
    assert plain.add(Case("0")).allocation is None
    kept = table.add(Case("0"))
    assert kept.allocation.prepared.posterior.inverse.nbytes == 1.5 * 2**20
    monkeypatch.setattr(Table, "_compute", lambda *_: kept)  # a matrix takes 20 ms to invert
    for number in range(1, 300):
        table.add(Case(str(number)))
    assert 40 <= len(table.cases()) <= 85


def test_old_log_files_are_removed_if_an_age_is_given(tmp_path):
    """The bandit's window, lateness and max_future of 91 minutes keep a file for 3 h 2 min at least."""
    now_s = time.time()
    for age_h in (1, 4):
        file = tmp_path / f"decisions-host-1-x-{age_h}.jsonl"
        file.write_text("{}\n")
        os.utime(file, (now_s - age_h * 3_600,) * 2)
    with Router(bandits(), log=tmp_path, log_keep_s=60) as made:
        made.log(made.route("home_row"))
    assert (tmp_path / "decisions-host-1-x-1.jsonl").exists()
    assert not (tmp_path / "decisions-host-1-x-4.jsonl").exists()


def test_log_files_are_kept_if_no_age_is_given(tmp_path):
    (tmp_path / "decisions-host-1-x-1.jsonl").write_text("{}\n")
    os.utime(tmp_path / "decisions-host-1-x-1.jsonl", (0, 0))
    with Router(bandits(), log=tmp_path) as made:
        made.log(made.route("home_row"))
    assert len(list(tmp_path.glob("decisions-*"))) == 2


def test_rewards_are_logged_and_forged_ones_are_rejected(log):
    made = router(bandits(), log=log, keys=KEYS)
    decision = made.route("home_row")
    assert made.record(decision.decision_id, "click", item_id="c07", position=0)
    assert log.rewards[0]["decision_id"] == decision.decision_id
    with pytest.raises(Forged):
        made.record(decision.decision_id[:-1] + "!", "click")
    assert made.counts().rejected == {"forged": 1}
    assert len(log.rewards) == 1
