"""The commands from files to files: split, evaluate, gates, publishing, refusals and exit codes.

The model under test is a batch_cf output written here by hand, or a SavedModel of a few lines.
"""

from __future__ import annotations

import hashlib
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from rich.console import Console

from pipelines.evaluate.__main__ import main
from pipelines.evaluate.baselines import nearest

USERS, ITEMS = 240, 40


def write_log(path: pathlib.Path, times: bool = True) -> pathlib.Path:
    """Users like the items near their own number; every row has its own time."""
    rng = np.random.default_rng(11)
    rows = [
        (f"u{user}", f"i{int(item) % ITEMS}") for user in range(USERS) for item in (user / 6 + rng.normal(0, 3, 25))
    ]
    order = rng.permutation(len(rows))
    table = pa.table({"user_id": [rows[n][0] for n in order], "item_id": [rows[n][1] for n in order]})
    if times:
        table = table.append_column("timestamp", pa.array(np.arange(len(rows)) * 60, pa.int64()))
    pq.write_table(table, path)
    return path


def write_neighbors(train: pathlib.Path, output: pathlib.Path, reverse: bool = False) -> pathlib.Path:
    """A batch_cf output folder from train files: cosine, or for a bad model each score's reciprocal."""
    table = pq.read_table(train, columns=["user_id", "item_id"])
    users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    ids = sorted(items.dictionary.to_pylist(), key=str.encode)
    index = np.array([ids.index(one) for one in items.dictionary.to_pylist()])
    matrix = sp.coo_array((np.ones(len(users)), (users.indices.to_numpy(), index[items.indices.to_numpy()]))).tocsr()
    matrix.data[:] = 1
    found = nearest(matrix, 100)["cosine"].tocoo()
    scores = 1 / found.data if reverse else found.data
    (output / "neighbors").mkdir(parents=True)
    pairs = {"item_id": [ids[n] for n in found.row], "neighbor_id": [ids[n] for n in found.col]}
    columns = {"rank": pa.array(np.ones(len(scores), np.int32)), "score": pa.array(scores.astype(np.float32))}
    pq.write_table(pa.table(pairs | columns), output / "neighbors" / "part-0.parquet")
    counts = np.asarray(matrix.sum(axis=0)).astype(np.int64)
    pq.write_table(pa.table({"item_id": ids, "users": counts, "title": ids}), output / "items.parquet")
    return output


def metrics_of(folder: pathlib.Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """log.parquet, its user split in split/, good/ and bad/ models of split/train."""
    root = tmp_path_factory.mktemp("world")
    write_log(root / "log.parquet")
    arguments = [f"--interactions={root}/log.parquet", f"--output={root}/split", "--by=user", "--holdout=0.3"]
    assert main(["split", *arguments]) == 0
    write_neighbors(root / "split/train", root / "good")
    write_neighbors(root / "split/train", root / "bad", reverse=True)
    return root


def evaluate(root: pathlib.Path, output: pathlib.Path, *more: str) -> int:
    places = [f"--interactions={root}/split/train", f"--holdout={root}/split/holdout", f"--output={output}"]
    return main(["evaluate", *places, "--k=5,10", *more])


def test_split_by_user_divides_every_row_once(world: pathlib.Path) -> None:
    log = pq.read_table(world / "log.parquet")
    train, holdout = pq.read_table(world / "split/train"), pq.read_table(world / "split/holdout")
    assert train.num_rows + holdout.num_rows == log.num_rows
    assert not set(train["user_id"].to_pylist()) & set(holdout["user_id"].to_pylist())
    assert train.schema.names == ["user_id", "item_id", "timestamp"]
    assert holdout.schema.names == ["user_id", "item_id", "timestamp", "given"]
    assert sum(holdout["given"].to_pylist()) == 20 * len(set(holdout["user_id"].to_pylist()))


@pytest.mark.parametrize("by", ["time", "user_time"])
def test_split_by_time_trains_on_nothing_later_than_what_is_asked(by: str, world: pathlib.Path, tmp_path) -> None:
    places = [f"--interactions={world}/log.parquet", f"--output={tmp_path}/s"]
    assert main(["split", *places, f"--by={by}", "--holdout=0.2"]) == 0
    train, holdout = pq.read_table(tmp_path / "s/train"), pq.read_table(tmp_path / "s/holdout")
    asked = [t for t, g in zip(holdout["timestamp"].to_pylist(), holdout["given"].to_pylist(), strict=True) if not g]
    assert max(train["timestamp"].to_pylist()) < min(asked)
    assert by == "user_time" or len(asked) == pytest.approx(0.2 * USERS * 25, abs=1)


def test_split_without_times_is_by_user_and_by_time_is_refused(tmp_path, capsys) -> None:
    write_log(tmp_path / "log.parquet", times=False)
    place = f"--interactions={tmp_path}/log.parquet"
    assert main(["split", place, f"--output={tmp_path}/a"]) == 0
    assert main(["split", place, f"--output={tmp_path}/b", "--by=user"]) == 0
    files = [sorted(folder.rglob("*.parquet")) for folder in (tmp_path / "a", tmp_path / "b")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]] != []
    assert main(["split", place, f"--output={tmp_path}/c", "--by=time"]) == 3
    assert "has no times, which --by=time needs" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_split_finds_columns_by_common_names_and_records_them(tmp_path, capsys) -> None:
    rows = [f"u{n % 20},i{n % 7},{n}" for n in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,when", *rows]) + "\n")
    place = f"--interactions={tmp_path}/log.csv"
    assert main(["split", place, f"--output={tmp_path}/a", "--by=time"]) == 0
    assert "columns: --user_column=user --item_column=item --timestamp_column=when" in capsys.readouterr().err
    options = json.loads((tmp_path / "a/run.json").read_text())["options"]
    assert [options[f"{name}_column"] for name in ("user", "item", "timestamp", "weight")] == [
        "user",
        "item",
        "when",
        None,
    ]
    assert pq.read_table(tmp_path / "a/train").num_rows == 180

    (tmp_path / "log.csv").write_text("\n".join(["user,item,when,ts", *(f"{row},0" for row in rows)]) + "\n")
    assert main(["split", place, f"--output={tmp_path}/b", "--by=time"]) == 2
    assert "pass --timestamp_column=when or --timestamp_column=ts" in capsys.readouterr().err


def test_evaluate_ranks_the_good_model_above_the_bad_one(world: pathlib.Path, tmp_path) -> None:
    models = [f"--model=good={world}/good", f"--model=bad={world}/bad"]
    assert evaluate(world, tmp_path / "out", *models) == 0
    found = metrics_of(tmp_path / "out")["models"]
    assert set(found) == {"good", "bad", "popularity", "cooccurrence", "cosine", "rp3beta", "ease"}
    ndcg = {name: one["metrics"]["ndcg@10"]["mean"] for name, one in found.items()}
    assert ndcg["good"] > ndcg["bad"] and ndcg["good"] > ndcg["popularity"]
    assert ndcg["good"] == pytest.approx(ndcg["cosine"], abs=0.01)  # the model's scores are float32: ties may turn
    assert metrics_of(tmp_path / "out")["data"]["protocol"] == "fold_in"
    page = (tmp_path / "out/report.html").read_text()
    assert "<svg" in page and "good" in page and "http-equiv" not in page and "src=" not in page


def test_metrics_are_the_same_bytes_in_every_run_and_for_any_files(world: pathlib.Path, tmp_path) -> None:
    """The holdout as it is, and as one file in another row order."""
    table = pq.read_table(world / "split/holdout")
    pq.write_table(table.take(np.random.default_rng(2).permutation(table.num_rows)), tmp_path / "h.parquet")
    model = f"--model=good={world}/good"
    assert evaluate(world, tmp_path / "a", model) == 0
    assert evaluate(world, tmp_path / "b", model, f"--holdout={tmp_path}/h.parquet") == 0
    for name in ("metrics.json", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.needs("prism")
def test_prism_gives_the_same_bytes(world: pathlib.Path, tmp_path) -> None:
    model = f"--model=good={world}/good"
    assert evaluate(world, tmp_path / "a", model) == 0
    assert evaluate(world, tmp_path / "b", model, "--runner=PrismRunner") == 0
    assert (tmp_path / "a/metrics.json").read_bytes() == (tmp_path / "b/metrics.json").read_bytes()
    arguments = [f"--interactions={world}/log.parquet", "--by=user", "--holdout=0.3", "--runner=PrismRunner"]
    assert main(["split", *arguments, f"--output={tmp_path}/split"]) == 0
    for part in ("train", "holdout"):
        files = [sorted((root / "split" / part).iterdir()) for root in (world, tmp_path)]
        assert [f.name for f in files[0]] == [f.name for f in files[1]]
        assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


def test_holdout_without_given_is_asked_of_the_users_train_rows(world: pathlib.Path, tmp_path) -> None:
    """Other column names, and integer ids beside strings: the shape of the public benchmark splits."""
    log = pq.read_table(world / "log.parquet").select(["user_id", "item_id"]).rename_columns(["user", "item"])
    held = np.arange(log.num_rows) % 5 == 0
    for name, mask in (("train", ~held), ("test", held)):
        pq.write_table(log.filter(pa.array(mask)), tmp_path / f"{name}.parquet")
    places = [f"--interactions={tmp_path}/train.parquet", f"--holdout={tmp_path}/test.parquet"]
    assert main(["evaluate", *places, f"--output={tmp_path}/out", "--k=5"]) == 0
    data = metrics_of(tmp_path / "out")["data"]
    assert data["protocol"] == "per_user" and data["targets_in_history"] > 0


def test_a_refused_gate_exits_4_and_publishes_nothing(world: pathlib.Path, tmp_path, capsys) -> None:
    saved_model(tmp_path / "model", ["i0"])
    publish = f"--publish=worst:{tmp_path}/served"
    assert evaluate(world, tmp_path / "out", f"--model=worst={tmp_path}", publish, "--gate=worst>=cosine:ndcg@10") == 4
    assert not (tmp_path / "served").exists()
    said = capsys.readouterr()
    assert "nothing was published" in said.err.splitlines()[-1]
    [gate] = metrics_of(tmp_path / "out")["gates"]
    assert gate["passed"] is False and gate["interval_95"][0] <= gate["difference"] <= gate["interval_95"][1]
    assert " ".join((said.out + said.err).split()).count(gate["sentence"]) == 1


def test_a_passed_gate_publishes_and_the_next_run_compares_with_it(world: pathlib.Path, tmp_path, capsys) -> None:
    """Nothing served: against popularity; then against the version that the first run published."""
    best = pq.read_table(world / "good/items.parquet").sort_by([("users", "descending")])["item_id"].to_pylist()
    saved_model(tmp_path / "model", best)
    arguments = [
        f"--model=pop={tmp_path}/model",
        f"--publish=pop:{tmp_path}/served",
        "--gate=pop>=serving:recall@10:0.02",
    ]
    assert evaluate(world, tmp_path / "one", *arguments) == 0
    assert "compares with popularity" in capsys.readouterr().err
    [version] = [int(p.name) for p in (tmp_path / "served").iterdir() if p.name.isdecimal()]
    assert evaluate(world, tmp_path / "two", *arguments) == 0
    found = metrics_of(tmp_path / "two")
    assert found["models"]["serving"]["source"].endswith(str(version))
    assert found["gates"][0]["difference"] == 0.0
    assert max(int(p.name) for p in (tmp_path / "served").iterdir() if p.name.isdecimal()) > version


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_no_cell_is_cut(
    width: int, world: pathlib.Path, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("pipelines.evaluate.terminal._console", lambda: Console(width=width))
    assert evaluate(world, tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "…" not in told and max(map(len, told.splitlines())) <= width
    assert ("map@" in told) == (width == 120)


def test_a_model_of_other_ids_is_said_to_be_one(world: pathlib.Path, tmp_path) -> None:
    """It ranks 0 without an error; the note says why. The same model with one known item is not noted."""
    saved_model(tmp_path / "strange", [f"course-{n}" for n in range(ITEMS)])
    saved_model(tmp_path / "known", ["course-1", "i1"])
    models = [f"--model={name}={tmp_path}/{name}" for name in ("strange", "known")]
    assert evaluate(world, tmp_path / "out", *models) == 0
    notes = [note for note in metrics_of(tmp_path / "out")["notes"] if "no item" in note]
    assert notes == [
        "strange recommended no item of train or holdout to anybody; are its item ids those of --interactions?"
    ]
    assert notes[0] in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("what", ["path", "content", "origin"])
def test_a_model_that_saw_the_holdout_is_refused(what: str, world: pathlib.Path, tmp_path, capsys) -> None:
    model = write_neighbors(world / "split/train", tmp_path / "model")
    holdout = min((world / "split/holdout").iterdir())
    record = {
        "path": {"uri": str(holdout), "digest": None},
        "content": {"uri": "s3://elsewhere/x", "digest": "sha256:" + hashlib.sha256(holdout.read_bytes()).hexdigest()},
        "origin": {"uri": f"{world}/log.parquet", "digest": "sha256:00"},
    }[what]
    (model / "run.json").write_text(json.dumps({"inputs": [record]}))
    assert evaluate(world, tmp_path / "out", f"--model=leaky={model}") == 4
    assert "was trained on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--output="], 2, "--output is not set"),
        (["--items=items.csv"], 2, "--items has no effect in this command; leave the flag out"),
        (["--k=0"], 2, "--k=0 is not a list"),
        (["--model=cosine=x"], 2, "name of a baseline"),
        (["--gate=a>=b:ndcg@10"], 2, "there is no model a"),
        (["--gate=cosine>=cosine:ndcg@10"], 2, "compares a model with itself"),
        (["--gate=cosine>=popularity:ndcg@7"], 2, "not a cut-off"),
        (["--holdot=x"], 2, "unknown argument --holdot=x"),
        (["--protocol=some"], 2, "--protocol=some is not a choice (choices: fold_in, per_user)"),
        (["--model=cf=/nowhere"], 3, "/nowhere: holds no model (cf)"),
        (["--holdout=/nowhere/*"], 3, "/nowhere/*: no such file"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(flags, code, says, world: pathlib.Path, tmp_path, capsys) -> None:
    assert evaluate(world, tmp_path / "out", *flags) == code
    error = capsys.readouterr().err
    assert says in error.splitlines()[-1] and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_other_content_in_the_output_needs_overwrite(world: pathlib.Path, tmp_path, capsys) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    assert evaluate(world, tmp_path) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert evaluate(world, tmp_path, "--overwrite") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "report.html", "run.json"]


def test_the_same_command_again_is_already_done_and_refuses_again(world: pathlib.Path, tmp_path, capsys) -> None:
    assert evaluate(world, tmp_path / "a") == 0
    before = (tmp_path / "a/run.json").read_bytes()
    assert evaluate(world, tmp_path / "a") == 0
    assert "already done" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "a/run.json").read_bytes() == before
    assert evaluate(world, tmp_path / "a", "--ease_lambda=400") == 2
    gate = "--gate=popularity>=ease:ndcg@10"
    assert [evaluate(world, tmp_path / "b", gate) for _ in range(2)] == [4, 4]
    assert "gate popularity>=ease:ndcg@10 refused" in capsys.readouterr().err.splitlines()[-1]


def test_too_many_bad_rows_leave_their_dead_letters_and_nothing_else(tmp_path, capsys) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "u,i\n,i\n" * 5)
    assert main(["split", f"--interactions={tmp_path}/log.csv", f"--output={tmp_path}/out"]) == 3
    assert "out/rejected" in capsys.readouterr().err
    [letters] = (tmp_path / "out/rejected").iterdir()
    assert len(letters.read_text().splitlines()) == 5
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["rejected"]


def test_a_truncated_holdout_file_is_bad_input_that_names_it(world: pathlib.Path, tmp_path, capsys) -> None:
    good = min((world / "split/holdout").iterdir()).read_bytes()
    (tmp_path / "a.parquet").write_bytes(good)
    (tmp_path / "b.parquet").write_bytes(good[: len(good) // 2])
    assert evaluate(world, tmp_path / "out", f"--holdout={tmp_path}/*.parquet") == 3
    assert "b.parquet" in capsys.readouterr().err
    assert not (tmp_path / "out/metrics.json").exists()


def saved_model(folder: pathlib.Path, ranking: list[str]) -> None:
    """A SavedModel that gives everybody this ranking less the history, padded with empty strings."""
    import tensorflow as tf

    class Fixed(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ranking = tf.constant(ranking)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
        def serve(self, history):
            owned = tf.reduce_any(history[:, :, None] == self.ranking[None, None, :], axis=1)
            rank = tf.cast(tf.range(tf.shape(self.ranking)[0])[None, :], tf.float32)
            scores = tf.where(owned, -float("inf"), -rank)
            values, order = tf.math.top_k(scores, tf.shape(self.ranking)[0])
            return {"items": tf.where(values > -float("inf"), tf.gather(self.ranking, order), ""), "scores": values}

    module = Fixed()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def test_rows_of_the_future_are_held_out_of_train_and_holdout(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log.parquet")
    late = pa.table({"user_id": ["u0"], "item_id": ["i0"], "timestamp": [32_000_000_000]})
    pq.write_table(pa.concat_tables([pq.read_table(log), late]), log)
    arguments = [f"--interactions={log}", "--by=time", "--max_bad_fraction=0"]
    assert main(["split", *arguments, f"--output={tmp_path}/split"]) == 0
    assert "of them in the future" in capsys.readouterr().out
    record = json.loads((tmp_path / "split/run.json").read_text())
    counters = record["counters"]
    assert (counters["rows_rejected"], counters["rows_future"]) == (1, 1)
    assert counters["train_rows"] + counters["given_rows"] + counters["target_rows"] + counters["unused_rows"] == (
        pq.read_metadata(log).num_rows - 1
    )
    [letters] = (tmp_path / "split/dead_letters").iterdir()
    assert '"reason": "future: ' in letters.read_text()
    places = [f"--interactions={tmp_path}/split/train", f"--holdout={tmp_path}/split/holdout"]
    assert main(["evaluate", *places, f"--output={tmp_path}/early", "--as_of=0"]) == 3
    assert "later than --as_of" in capsys.readouterr().err
