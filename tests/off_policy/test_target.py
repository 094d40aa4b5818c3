"""The policy that is evaluated has the probabilities of the router, frozen at a snapshot."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml

from pipelines.off_policy.policy_files import read_target
from pipelines.off_policy.target import AlwaysArm, FrozenPolicy
from serving_client.contracts.bandits import Bandit
from serving_client.contracts.bandits_document import bandits_of
from serving_client.features import FeatureEncoder
from serving_client.policies.probabilities import probabilities
from serving_client.snapshots.snapshot import parse_snapshot
from tests.off_policy import made_up
from tests.serving.snapshots.documents import published, row
from transforms.errors import BadInput, BadUsage

FEATURES = [{"name": "age", "type": "numeric", "scale": 10, "max": 9, "from": "user"}]


def bandit(**changes: Any) -> Bandit:
    return bandits_of({"bandits": {"row": made_up.bandit(**changes)}}, "test").bandits["row"]


def frozen(folder: pathlib.Path, document: bytes | None, **changes: Any) -> FrozenPolicy:
    """Read a policy from files, as the command does."""
    (folder / "next.yaml").write_text(yaml.safe_dump({"bandits": {"row": made_up.bandit(**changes)}}))
    snapshot = None
    if document is not None:
        (folder / "3.json").write_bytes(document)
        snapshot = str(folder / "3.json")
    target = read_target(str(folder / "next.yaml"), bandit(), snapshot)
    assert isinstance(target, FrozenPolicy)
    return target


def learned(**changes: Any) -> bytes:
    """1,000 decisions of each arm: a earns 0.1 and b 0.12, and in the segment paid b earns nothing."""
    rows = [
        row(arm, segment, arm_generation=1, n=1_000, sum_r=sum_r, sum_r2=sum_r)
        for segment, arm, sum_r in (("*", "a", 100), ("*", "b", 120), ("paid", "a", 100), ("paid", "b", 0))
    ]
    return published(3, bandit_id="row", arms=rows, **changes)


def test_a_policy_that_learns_has_the_probabilities_of_the_router(tmp_path: pathlib.Path) -> None:
    changes = {"policy": {"kind": "thompson_beta", "floor": 0.05}}
    target = frozen(tmp_path, learned(), **changes)
    snapshot = parse_snapshot(learned())
    for segment in ("free", "paid", "*"):
        for eligible in (None, ["a", "b"], ["b"]):
            expected = probabilities(bandit(**changes), snapshot, segment, eligible)
            found = target.probabilities(segment, eligible, None)
            assert found == dict(zip(expected.arms, expected.p, strict=True))
    assert target.probabilities("paid", None, None)["b"] == pytest.approx(0.05)
    assert target.name == "thompson_beta of next.yaml at snapshot 3"
    assert not target.needs_context


def test_where_no_arm_is_eligible_the_default_arm_is_drawn(tmp_path: pathlib.Path) -> None:
    target = frozen(tmp_path, None)
    assert target.probabilities("free", ["z"], None) == {"a": 1.0}
    assert target.probabilities("free", None, None) == pytest.approx(made_up.LOGGED)
    assert target.name == "fixed of next.yaml"
    assert set(target.arms) == {"a", "b"} and target.generations == {"a": 1, "b": 1}


def test_features_are_encoded_from_the_context(tmp_path: pathlib.Path) -> None:
    changes = {"policy": {"kind": "linucb", "floor": 0.1}, "features": FEATURES}
    target = frozen(tmp_path, learned(), **changes)
    assert target.needs_context
    model = bandit(**changes)
    encoder = FeatureEncoder(model)
    context = {"age": 42}
    x = {arm: encoder.encode(arm, context).tolist() for arm in "ab"}
    expected = probabilities(model, parse_snapshot(learned()), "free", None, x)
    assert target.probabilities("free", None, '{"age":42}') == dict(zip(expected.arms, expected.p, strict=True))


def test_segments_of_the_policys_own_keys_come_from_the_context(tmp_path: pathlib.Path) -> None:
    """The log has segments by plan, the policy has none, so it reads the row of all decisions."""
    target = frozen(tmp_path, learned(), segments=[], policy={"kind": "thompson_beta"})
    assert target.needs_context
    everywhere = target.probabilities("paid", None, '{"plan":"paid"}')
    assert everywhere == target.probabilities("free", None, None) and everywhere["b"] > 0.8


def test_always_an_arm_means_the_default_arm_where_the_arm_is_not_eligible() -> None:
    target = read_target("arm:b", bandit(), None)
    assert isinstance(target, AlwaysArm)
    assert target.probabilities("free", None, None) == target.probabilities("free", ["a", "b"], None) == {"b": 1.0}
    assert target.probabilities("free", ["a"], None) == {"a": 1.0}
    assert (target.name, set(target.arms), target.generations) == ("always b", {"a", "b"}, {"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (published(3, bandit_id="other", arms=[]), "is of bandit other; pass a snapshot of row"),
        (published(3, bandit_id="row", policy_epoch=2, arms=[]), "has policy_epoch 2 and --policy has 1"),
        (b"{}", "3.json: "),
    ],
)
def test_a_snapshot_of_something_else_is_bad_input(tmp_path: pathlib.Path, document: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        frozen(tmp_path, document, policy={"kind": "thompson_beta"})


def test_a_file_without_the_bandit_and_an_unknown_arm_are_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "next.yaml"
    path.write_text(yaml.safe_dump({"bandits": {"other": made_up.bandit()}}))
    with pytest.raises(BadInput, match="has no bandit row; its bandits are other"):
        read_target(str(path), bandit(), None)
    path.write_text("bandits: [")
    with pytest.raises(BadInput, match=r"next\.yaml"):
        read_target(str(path), bandit(), None)
    with pytest.raises(BadUsage, match="row has no arm z; its arms are a, b"):
        read_target("arm:z", bandit(), None)
