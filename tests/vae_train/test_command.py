"""The command from end to end: what a run writes, recognises, publishes and serves. Runs are shared, see `running`."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time

import boto3
import pyarrow.parquet as pq
import pytest
from apache_beam.io.aws import s3io
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from moto import mock_aws

from pipelines.vae_train.features.side import side_sizes
from pipelines.vae_train.training.reading import read_users
from tests.vae_train.exporting import unchecked
from tests.vae_train.running import Done, clusters, recommended, run, snapshot, write_log
from transforms.models.publish import versions

SPACES = " a \"quoted\" 'one', with; \\n and tab\t"
EMOJI = "🎓" * 256
"""1,024 bytes, as long as an id may be."""
ITEMS = [SPACES, EMOJI, *(f"c{place:02}" for place in range(2, 30))]
WITHDRAWN = "c05"
USERS = 60
PARTS = {"examples", "model", "run.json", "tensorboard", "training.jsonl", "transform", "vocabulary.parquet"}
NEWEST = 9_999_999_999
"""A version that is there before the run, newer than any clock."""


@dataclasses.dataclass(frozen=True)
class World:
    """A finished run. flags: all but --output."""

    folder: pathlib.Path
    flags: list[str]
    done: Done

    @property
    def output(self) -> pathlib.Path:
        return self.folder / "out"

    @property
    def record(self) -> dict:
        return json.loads((self.output / "run.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Users have nine items of one half of the catalogue, and last one that nobody else has.

    One id is too long, and one time is in the year 2984.
    """
    folder = tmp_path_factory.mktemp("world")
    rows = clusters(USERS, ITEMS, 9)
    rows += [(f"u{user}", f"only-u{user}", 1_790_000_000) for user in range(USERS)]
    rows += [("u0", EMOJI + "x", 1_700_000_000), ("u0", "c02", 32_000_000_000)]
    write_log(folder / "log.parquet", rows)
    with open(folder / "items.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["item_id", "title", "topic", "available"])
        table.writerows(
            (item, f"Title of {item[:5]}", f"topic{place % 4}", item != WITHDRAWN) for place, item in enumerate(ITEMS)
        )
    (folder / "models" / str(NEWEST)).mkdir(parents=True)
    flags = [
        f"--interactions={folder}/log.parquet", f"--items={folder}/items.csv", "--side_columns=topic",
        "--test_fraction=0.2",
    ]  # fmt: skip
    done = run(*flags, f"--output={folder}/out", f"--model_dir={folder}/models")
    assert done.code == 0, done.error
    return World(folder, flags, done)


def test_a_run_writes_the_contract_and_leaves_nothing_else(world: World) -> None:
    assert {path.name for path in world.output.iterdir()} == {*PARTS, "dead_letters"}
    assert not [path for path in world.output.rglob("*") if path.name.startswith((".", "tft_temp"))]
    assert sorted(path.name.partition("-")[0] for path in (world.output / "examples").iterdir()) == [
        "test", "train", "validation",
    ]  # fmt: skip
    assert (world.output / "transform/transform_fn/saved_model.pb").is_file()
    assert list((world.output / "tensorboard").glob("events.*"))
    assert {path.name for path in (world.output / "model").iterdir()} >= {"saved_model.pb", "variables", "assets.extra"}
    assert side_sizes(str(world.output / "transform")) == {"topic": 5}  # four topics, and none
    assert pq.read_schema(world.output / "vocabulary.parquet").names == ["item_id", "users", "available"]


def test_run_json_counts_times_and_notes(world: World) -> None:
    record = world.record
    assert (record["pipeline"], record["status"]) == ("vae_train", "done")
    counters, users = record["counters"], 0
    assert (counters["rows_read"], counters["rows_rejected"], counters["rows_filtered"]) == (USERS * 10 + 2, 2, 0)
    assert counters["rows_future"] == 1 and record["as_of"] > record["started_at"]
    assert (counters["users"], counters["interactions"]) == (USERS, USERS * 10)
    for split in ("train", "validation", "test"):
        held = len(read_users(str(world.output), split))
        assert counters[f"{split}_users"] == held > 0
        users += held
    assert users == USERS
    assert counters["items"] == pq.read_metadata(world.output / "vocabulary.parquet").num_rows
    assert (counters["catalogue_items"], counters["catalogue_duplicates"]) == (len(ITEMS), 0)
    assert counters["catalogue_found"] == len(ITEMS)  # the log has other items, too
    assert list(record["timings"]) == ["export", "features", "linear term", "prepare", "training"]
    assert all(seconds >= 0 for seconds in record["timings"].values())
    told = [line for line in world.done.error.splitlines() if ", ndcg@100 " in line]  # no lines of a slow minute
    assert [line.partition(",")[0] for line in told] == [f"vae_train: epoch {n}/2" for n in (1, 2)]
    assert any(note.startswith("validation scores are of users of --interactions") for note in record["notes"])
    assert record["notes"][0].startswith("best epoch ") and record["notes"][1].startswith("served blend: ")
    named = {each["uri"] for each in record["outputs"]}
    assert named == set(snapshot(world.output)) - {"run.json"}
    assert "rows read" in world.done.out and f"2 bad rows are in {world.output}/dead_letters" in world.done.error


def test_training_jsonl_has_one_line_per_epoch(world: World) -> None:
    lines = [json.loads(line) for line in (world.output / "training.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    metrics = {f"{metric}@{k}" for metric in ("ndcg", "recall") for k in (20, 50, 100)}
    named = {"epoch", "steps", "loss", "log_likelihood", "kl", "beta", "learning_rate", "seconds"}
    assert all(set(line) == named | metrics for line in lines)
    best = max(lines, key=lambda line: (line["ndcg@100"], -line["epoch"]))
    for name in metrics:
        assert world.record["counters"][f"validation {name}"] == best[name]


def test_the_model_card_says_what_was_trained_on_what(world: World) -> None:
    card = json.loads((world.output / "model/assets.extra/model_card.json").read_text())
    record = world.record
    assert (card["pipeline"], card["run_id"], card["model"]) == ("vae_train", record["run_id"], "recvae")
    assert card["trained_at"] == record["started_at"] and card["options"] == record["options"]
    assert (card["items"], card["users"]) == (record["counters"]["items"], record["counters"]["train_users"])
    assert card["data_window"] == {"from": "2023-11-14T22:13:20.000000Z", "to": "2026-09-21T14:13:20.000000Z"}
    assert card["training"]["epochs_run"] == 2 and card["training"]["refit"] is False
    assert set(card["test"]) == set(card["validation"]) and card["sampled_softmax"] is False
    assert len(card["linear"]["ndcg@100_by_share"]) == 11


def test_an_item_that_nobody_trained_on_counts_in_the_ideal_and_is_never_recommended(world: World) -> None:
    """Of ten items eight are given and two asked for: the ninth, which a list of all items has, and the user's own."""
    for split in ("validation", "test"):
        users = read_users(str(world.output), split)
        assert (users.targets.lengths() == 2).all() and (users.items.lengths() == 8).all()
        assert (users.targets.items == -1).sum() == len(users)
        assert world.record["counters"][f"{split} recall@100"] == 0.5
    vocabulary = set(pq.read_table(world.output / "vocabulary.parquet")["item_id"].to_pylist())
    unknown = sorted({f"only-u{user}" for user in range(USERS)} - vocabulary)
    assert unknown
    [after, popular] = recommended(world.output / "model", [[unknown[0], ITEMS[2]], [unknown[0]]])
    assert set(after) == vocabulary - {ITEMS[2], WITHDRAWN}
    assert set(popular) == vocabulary - {WITHDRAWN}


def test_an_item_that_is_not_available_is_in_histories_alone(world: World) -> None:
    table = pq.read_table(world.output / "vocabulary.parquet").to_pylist()
    assert [row["item_id"] for row in table if not row["available"]] == [WITHDRAWN]
    with_it, without = recommended(world.output / "model", [[WITHDRAWN], [ITEMS[2]]])
    assert WITHDRAWN not in [*with_it, *without]
    popular = json.loads((world.output / "model/assets.extra/popularity.json").read_text())["items"]
    assert WITHDRAWN not in popular


def test_ids_with_spaces_quotes_and_emoji_come_back_and_one_past_the_limit_is_a_dead_letter(world: World) -> None:
    first, second = recommended(world.output / "model", [[SPACES], [EMOJI]])
    assert EMOJI in first and SPACES not in first
    assert SPACES in second and EMOJI not in second
    [letters] = (world.output / "dead_letters").iterdir()
    letter, future = map(json.loads, letters.read_text().splitlines())
    assert letter["position"] == USERS * 10 + 1 and "is 1025 bytes long, more than 1024" in letter["reason"]
    assert future["position"] == USERS * 10 + 2 and future["reason"].startswith("future: timestamp 32000000000 is")


def test_the_model_serves_in_a_fresh_process_when_all_else_of_the_run_is_gone(world: World, tmp_path) -> None:
    expected = recommended(world.output / "model", [[SPACES, ITEMS[3]]])
    shutil.copytree(world.output / "model", tmp_path / "model")
    script = (
        "import sys, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "answer = model.signatures['serving_default'](history=tf.constant([sys.argv[2:]]))\n"
        "print(ascii([[item.decode() for item in answer['items'].numpy()[0] if item]]))"
    )
    away = world.folder.rename(tmp_path / "away")
    try:
        command = [sys.executable, "-I", "-c", script, str(tmp_path / "model"), SPACES, ITEMS[3], ""]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        away.rename(world.folder)
    assert done.stdout.strip() == ascii(expected)


def test_a_finished_run_is_known_again_and_published_once_under_a_number_above_all(world: World, tmp_path) -> None:
    assert set(versions(world.folder / "models")) == {NEWEST, NEWEST + 1}
    assert f"published as version {NEWEST + 1}" in world.done.error
    published = world.folder / "models" / str(NEWEST + 1)
    digests = [
        {name: digest for name, (_, digest) in snapshot(one).items()} for one in (published, world.output / "model")
    ]
    assert digests[0].pop("_COMPLETE.json")
    assert digests[0] == digests[1]
    before = snapshot(world.output)
    same = run(*world.flags, f"--output={world.output}", f"--model_dir={world.folder}/models")
    assert same.code == 0 and f"already done by run {world.record['run_id']}" in same.error
    second = int(time.time())
    later = [run(*world.flags, f"--output={world.output}", f"--model_dir={tmp_path}/new").code for _ in range(2)]
    [version] = versions(tmp_path / "new")
    assert later == [0, 0] and second <= version <= time.time()
    other = run(*world.flags, f"--output={world.output}", "--seed=2")
    assert other.code == 2 and "holds run" in other.error and "--overwrite" in other.error
    assert snapshot(world.output) == before and len(versions(world.folder / "models")) == 2


def test_a_run_with_a_file_missing_is_not_already_done(world: World, tmp_path) -> None:
    output = shutil.copytree(world.output, tmp_path / "out")
    (output / "training.jsonl").unlink()
    assert run(*world.flags, f"--output={output}").code == 2


@pytest.fixture(scope="module")
def multvae(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Over another run's output: no times, a tenth of weights 0, users with a single item, trained anew on all."""
    folder = tmp_path_factory.mktemp("multvae")
    rows = clusters(USERS, ITEMS, 9)
    weights = [0.0 if place % 10 == 0 else 2.0 for place in range(len(rows))]
    rows += [(f"u{user}", f"only-u{user}", 0) for user in range(USERS)]
    rows += [(f"short{user}", ITEMS[user % 5], 0) for user in range(30)]
    weights += [2.0] * (len(rows) - len(weights))
    write_log(folder / "log.parquet", rows, weights, times=False)
    shutil.copytree(world.output, folder / "out")
    flags = [f"--interactions={folder}/log.parquet", "--model=multvae", "--refit", "--linear_items=0"]
    assert run(*flags, f"--output={folder}/out").code == 2
    with unchecked():
        done = run(*flags, f"--output={folder}/out", "--overwrite")
    assert done.code == 0, done.error
    return World(folder, flags, done)


def test_a_sparse_log_gets_its_defaults_and_a_note(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """540 interactions of 30 items are 18 per item. 48 to 60 users are one step of at most 100."""
    monkeypatch.setattr("pipelines.vae_train.defaults.LARGE_ITEMS", 20)
    log = write_log(tmp_path / "log.parquet", clusters(USERS, ITEMS, 9))
    with unchecked():
        done = run(f"--interactions={log}", "--linear_items=0", f"--output={tmp_path}/out", "--learning_rate=0.01")
    assert done.code == 0, done.error
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert "sparse log, 18.0 interactions per item: flags that are not set take its defaults" in record["notes"]
    card = json.loads((tmp_path / "out/model/assets.extra/model_card.json").read_text())
    assert card["model"] == "multvae" and card["training"]["steps"] == 2
    last = json.loads((tmp_path / "out/training.jsonl").read_text().splitlines()[-1])
    assert last["beta"] == pytest.approx(0.5 * 1 / 1.6)  # the second of 2 steps, of which 1.6 raise it to .5
    assert last["learning_rate"] == 0.01


def test_overwrite_replaces_all_of_another_run(world: World, multvae: World) -> None:
    assert multvae.record["run_id"] != world.record["run_id"]
    assert not (multvae.output / "dead_letters").exists()
    assert {each["uri"] for each in multvae.record["outputs"]} == set(snapshot(multvae.output)) - {"run.json"}


def test_a_refit_trains_on_validation_users_too(multvae: World) -> None:
    counters = multvae.record["counters"]
    assert counters["train_users"] + counters["validation_users"] < counters["users"] == USERS + 30
    assert counters["refit_users"] == counters["users"]
    card = json.loads((multvae.output / "model/assets.extra/model_card.json").read_text())
    assert card["training"]["refit"] is True and card["model"] == "multvae"
    assert card["users"] == len(read_users(str(multvae.output), "train")) == USERS + 30
    assert set(pq.read_table(multvae.output / "vocabulary.parquet")["item_id"].to_pylist()) >= {
        f"only-u{user}" for user in range(USERS)
    }
    assert "refit" in multvae.record["timings"]
    assert len((multvae.output / "training.jsonl").read_text().splitlines()) == 2


def test_without_times_a_hash_says_what_validation_users_are_asked_for(multvae: World) -> None:
    """By time it were the newest, of which one is the user's own, unknown item: a recall of one half."""
    card = json.loads((multvae.output / "model/assets.extra/model_card.json").read_text())
    assert card["validation"]["recall@100"] > 0.6
    assert card["data_window"] == {"from": None, "to": None}


def test_no_linear_term_short_users_and_weights_of_zero_are_said(multvae: World) -> None:
    card = json.loads((multvae.output / "model/assets.extra/model_card.json").read_text())
    assert card["linear"] is None
    counters, notes = multvae.record["counters"], multvae.record["notes"]
    left_out = counters["users"] - counters["train_users"] - counters["validation_users"]
    assert f"{left_out} held-out users with one item are left out" in notes
    assert counters["zero_weight"] == USERS * 9 // 10  # every tenth row of the clusters
    assert not [note for note in notes if "linear" in note]


def test_the_linear_term_and_the_model_are_both_learned_from_the_halves(world: World, multvae: World) -> None:
    """With EASE even two epochs tell the halves apart: all of the best answers are of the history's half."""
    [best] = recommended(world.output / "model", [ITEMS[2:6]])
    assert set(best[:5]) <= set(ITEMS[:15])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        FileSystems.set_options(PipelineOptions([]))
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        connection = s3io.S3IO(options={})  # Beam makes one, in half a second, for every operation on a file
        monkeypatch.setattr(s3io, "S3IO", lambda *_, **__: connection)
        yield client


def test_a_run_to_a_bucket_is_there_when_its_last_file_is(world: World, bucket, written: list[str]) -> None:
    flags = [
        world.flags[0], "--model=multvae", "--epochs=1", "--linear_items=0",
        "--output=s3://bucket/run", "--model_dir=s3://bucket/vae",
    ]  # fmt: skip
    with unchecked():
        done = run(*flags)
    assert done.code == 0, done.error
    of_run = [uri for uri in written if uri.startswith("s3://bucket/run/")]
    assert of_run[-2:] == ["s3://bucket/run/run.json", "s3://bucket/run/_COMPLETE.json"]
    keys = {found["Key"] for found in bucket.list_objects_v2(Bucket="bucket")["Contents"]}
    manifest = json.loads(bucket.get_object(Bucket="bucket", Key="run/_COMPLETE.json")["Body"].read())
    listed = {file["name"] for file in manifest["files"]}
    assert {key.removeprefix("run/") for key in keys if key.startswith("run/")} == listed | {"_COMPLETE.json"}
    assert {name.partition("/")[0] for name in listed} == {*PARTS, "dead_letters"}
    [version] = versions("s3://bucket/vae")
    assert written[-1] == f"s3://bucket/vae/{version}/_COMPLETE.json" and f"vae/{version}/saved_model.pb" in keys
    again = run(*flags)
    assert again.code == 0 and "already done" in again.error and list(versions("s3://bucket/vae")) == [version]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that appear, in that order: created, or renamed to."""
    names: list[str] = []
    create, rename = FileSystems.create, FileSystems.rename

    def noted_create(uri: str, *args, **options):
        if "/.partial-" not in uri:
            names.append(uri)
        return create(uri, *args, **options)

    def noted_rename(sources: list[str], targets: list[str]) -> None:
        rename(sources, targets)
        names.extend(targets)

    monkeypatch.setattr(FileSystems, "create", noted_create)
    monkeypatch.setattr(FileSystems, "rename", noted_rename)
    return names


@pytest.mark.needs("prism")
def test_prism_makes_the_same_features(world: World, tmp_path) -> None:
    with unchecked():
        done = run(*world.flags, "--epochs=1", "--linear_items=0", "--runner=PrismRunner", f"--output={tmp_path}/out")
    assert done.code == 0, done.error
    assert pq.read_table(tmp_path / "out/vocabulary.parquet").equals(pq.read_table(world.output / "vocabulary.parquet"))
    for split in ("train", "validation", "test"):
        ours, theirs = read_users(str(tmp_path / "out"), split), read_users(str(world.output), split)
        assert ours.keys.tolist() == theirs.keys.tolist()
        assert ours.items.items.tolist() == theirs.items.items.tolist()
        assert ours.targets.items.tolist() == theirs.targets.items.tolist()


def test_help_names_every_flag_with_its_default() -> None:
    done = run("--help")
    assert done.code == 0
    assert "--latent" in done.out and "(default: 200)" in done.out and "example:" in done.out
