"""The command: its files, counts, dead letters, reruns and refusals, and a trainer that reads what it wrote."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from pipelines.batch_cf import __main__ as batch_cf
from pipelines.interactions.__main__ import main
from tests.transforms.attribution.joined.test_join import decision, reward


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three users who clicked on two of three items, one malformed line, a reward of another kind, and an orphan."""
    decisions = [decision(f"d{user}", user_key=f"u{user}", items=["a", "b", "c"]) for user in range(3)]
    rewards = [
        reward(f"d{user}", f"{at}", at + 1, position=at, kind="click" if at else "enrol")
        for user in range(3)
        for at in (user % 2, 2)
    ]
    rewards += [reward("d0", "seen", kind="impression"), reward("nobody", "1")]
    write(tmp_path / "decisions.jsonl", decisions)
    write(tmp_path / "rewards.jsonl", rewards)
    return tmp_path


def write(path: pathlib.Path, records: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def command(logs: pathlib.Path, *more: str, output: str = "out") -> int:
    return main([f"--decisions={logs}/decisions*", f"--rewards={logs}/rewards*", f"--output={logs / output}", *more])


def test_the_interactions_are_a_log_of_their_own_with_a_record_of_the_run(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (logs / "decisions-2.jsonl").write_bytes(b"{oops\n")
    assert command(logs, "--kinds=click,enrol", "--max_bad_fraction=0.1") == 0
    (part,) = (logs / "out" / "interactions").iterdir()
    table = pq.read_table(part)
    assert {field.name: str(field.type) for field in table.schema} == {
        "user_id": "string", "item_id": "string", "weight": "double", "timestamp": "timestamp[us, tz=UTC]",
    }  # fmt: skip
    assert [(row["user_id"], row["item_id"]) for row in table.to_pylist()] == [
        ("u0", "a"), ("u0", "c"), ("u1", "b"), ("u1", "c"), ("u2", "a"), ("u2", "c"),
    ]  # fmt: skip
    record = json.loads((logs / "out" / "run.json").read_text())
    assert record["status"] == "done"
    assert record["counters"] == {
        "bot": 0, "other_kinds": 1, "not_positive": 0, "no_user": 0, "no_item": 0, "interactions": 6,
        "from_holdback": 0, "records_read": 12, "malformed": 1, "future": 0, "duplicate": 0, "orphan": 1,
        "rows_rejected": 1,
    }  # fmt: skip
    assert record["details"]["kinds"] == {"click": 4, "enrol": 2, "impression": 1}
    (letters,) = (logs / "out" / "dead_letters").iterdir()
    assert b"{oops" in letters.read_bytes()
    shown = capsys.readouterr()
    assert "rewards of kind enrol" in shown.out
    assert shown.err.splitlines()[-1].endswith("out: done, interactions/ are there; 1 bad rows are in "
                                               f"{logs}/out/dead_letters")  # fmt: skip
    before = part.read_bytes()
    assert command(logs, "--kinds=enrol,click", "--max_bad_fraction=0.1") == 0
    assert "already done by run" in capsys.readouterr().err
    assert command(logs, "--kinds=click,enrol", "--max_bad_fraction=0.1", output="again") == 0
    assert (logs / "again" / "interactions" / part.name).read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--kinds=,"], 2, "--kinds=, names no kind; write them like click,enrol"),
        (["--max_bad_fraction=2"], 2, "--max_bad_fraction=2.0 is not between 0 and 1"),
        (["--decisions="], 2, "--decisions is not set; pass the files of the decision log"),
        (["--rewards=nowhere/*"], 3, "nowhere/*: no such file, nor a folder with files; check --rewards"),
        (["--kinds=buy"], 3, "no reward with a decision has such a kind; the log has click, enrol, impression"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, sentence: str
) -> None:
    assert command(logs, *flags) == code
    assert capsys.readouterr().err.splitlines()[-1].endswith(sentence)
    assert not (logs / "out" / "interactions").exists()


def test_logs_without_users_name_what_is_missing(logs: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(logs / "decisions.jsonl", [decision("d0")])
    assert command(logs) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        "--kinds=click: no reward is an interaction (2 other_kinds, 1 no_user); "
        "log user_key, item_id and a value above 0"
    )
    assert not (logs / "out" / "interactions").exists()


@pytest.mark.slow
def test_batch_cf_reads_the_interactions(logs: pathlib.Path) -> None:
    """Items a and c share the users 0 and 2, and b and c share user 1."""
    assert command(logs, "--kinds=click,enrol") == 0
    assert batch_cf.main(
        [f"--interactions={logs}/out/interactions", f"--output={logs}/cf", "--similarity=count", "--top_k=5"]
    ) == 0  # fmt: skip
    rows = pq.read_table(logs / "cf" / "neighbors").to_pylist()
    assert [(row["item_id"], row["neighbor_id"], row["cooccurrence"]) for row in rows] == [
        ("a", "c", 2), ("b", "c", 1), ("c", "a", 2), ("c", "b", 1),
    ]  # fmt: skip
