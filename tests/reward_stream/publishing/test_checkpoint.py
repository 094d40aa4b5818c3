"""Checkpoints: whole or passed over, refused where the rules changed, one run at a time."""

from __future__ import annotations

import multiprocessing
import pathlib

import pytest

from pipelines.reward_stream.publishing.checkpoint import CheckpointStore, hold, load, pack, unpack
from tests.reward_stream.publisher_setup import T0, Clock, Memory, bandits, label, publisher, report, step, sums
from transforms.errors import BadInput, Refused


def save_runs(folder: pathlib.Path, ticks: int = 1, store: CheckpointStore | None = None) -> None:
    """Ticks that close one decision each."""
    made = publisher(Memory(), Clock(), shards=1, store=store or CheckpointStore(str(folder)))
    for seq in range(ticks):
        made.offer(report(seq))
        made.offer(step(0, seq, {label(): sums(2)}, closed={label(): sums(1)}))


def closed_n(folder: pathlib.Path) -> int:
    saved = load(str(folder), bandits())
    assert saved is not None
    return int(saved.closed["bandits"]["row"]["rows"][0][-1]["sums"][0])


def test_a_run_goes_on_from_what_was_closed_alone(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path, 3)
    memory = Memory()
    made = publisher(memory, Clock(), shards=1, checkpoint=load(str(tmp_path), bandits()))
    made.offer(report(0))
    made.offer(step(0, 0, {label(): sums(4)}))
    document = memory.document()
    assert document["arms"][0]["n"] == 3 + 4 and document["counters"]["counted"] == 7


def test_no_checkpoint_is_none(tmp_path: pathlib.Path) -> None:
    assert load(str(tmp_path / "nothing"), bandits()) is None


def test_packing_keeps_all(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path, 2)
    saved = load(str(tmp_path), bandits())
    assert saved is not None and unpack(pack(saved)) == saved


def test_the_two_newest_are_kept(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path, 5)
    assert sorted(path.name[:21] for path in tmp_path.glob("*.gz")) == [
        "checkpoint-0000000004",
        "checkpoint-0000000005",
    ]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_newest_is_passed_over_with_a_note(tmp_path: pathlib.Path, damage: str) -> None:
    save_runs(tmp_path, 2)
    newest = tmp_path / "checkpoint-0000000002.json.gz"
    data = newest.read_bytes()
    flipped = bytearray(data)
    flipped[-20] ^= 1
    newest.write_bytes({"cut": data[:-7], "flipped": bytes(flipped), "empty": b""}[damage])
    assert closed_n(tmp_path) == 1
    saved = load(str(tmp_path), bandits())
    assert saved is not None and "checkpoint-0000000002.json.gz: damaged" in saved.notes[0]
    save_runs(tmp_path, 1)  # and its number is not used again
    assert (tmp_path / "checkpoint-0000000003.json.gz").exists()


def test_all_damaged_is_bad_input(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path)
    (tmp_path / "checkpoint-0000000001.json.gz").write_bytes(b"recbeam-checkpoint-1 x\n")
    with pytest.raises(BadInput, match="all checkpoints are damaged; remove the folder"):
        load(str(tmp_path), bandits())


def test_another_format_is_refused_not_passed_over(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path)
    (tmp_path / "checkpoint-0000000002.json.gz").write_bytes(b"recbeam-checkpoint-2 abc\n")
    with pytest.raises(Refused, match="written by another version of recbeam"):
        load(str(tmp_path), bandits())


def test_a_changed_rule_is_refused_with_the_name_of_the_key(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path)
    with pytest.raises(
        Refused, match=r'bandit row, policy_epoch 1: window was "20s" and is "30s"; put the former value'
    ):
        load(str(tmp_path), bandits(window="30s"))


def test_with_a_new_epoch_the_rule_may_change_and_totals_start_empty(tmp_path: pathlib.Path) -> None:
    save_runs(tmp_path)
    file = bandits(window="30s", epoch=2)
    memory = Memory()
    made = publisher(memory, Clock(), shards=1, file=file, checkpoint=load(str(tmp_path), file))
    made.offer(report(0))
    made.offer(step(0, 0, {label(epoch=2): sums(1)}))
    assert memory.document()["arms"][0]["n"] == 1


def test_outcomes_that_the_source_gave_before_the_cut_are_counted_again(tmp_path: pathlib.Path) -> None:
    made = publisher(Memory(), Clock(), shards=1, store=CheckpointStore(str(tmp_path)))
    state = report(0).state
    counted = {("row", 1, "late"): 4, ("", 0, "malformed"): 2}
    given = report(0, counters=counted, state=type(state)(cut_us=T0, counters=counted))
    made.offer(given)
    made.offer(step(0, 0, {}))
    memory = Memory()
    again = publisher(memory, Clock(), shards=1, checkpoint=load(str(tmp_path), bandits()))
    again.offer(report(0))
    again.offer(step(0, 0, {}))
    assert memory.document()["counters"]["late"] == 4
    assert memory.document("_stream")["counters"]["malformed"] == 2


def _hold(folder: str, held: object, over: object) -> None:
    with hold(folder):
        held.set()  # type: ignore[attr-defined]
        over.wait(60)  # type: ignore[attr-defined]


def test_the_folder_is_one_runs_alone(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("fork")
    held, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), held, over))
    other.start()
    assert held.wait(60)
    with pytest.raises(Refused, match="another run is using it; stop that one"), hold(str(tmp_path)):
        pass
    over.set()
    other.join()
    with hold(str(tmp_path)):
        pass
