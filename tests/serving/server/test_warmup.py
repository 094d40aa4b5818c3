"""Warm-up records run before a version serves; one that fails fails the load."""

from __future__ import annotations

import logging
import shutil

import pytest

from local_serving.errors import Status
from local_serving.flags import parse
from local_serving.servable import LoadedModel
from local_serving.tensorflow import import_tensorflow
from local_serving.warmup import warm_up
from serving_client.protocol import messages
from tests.serving.server.wire import floats, request, until


class Counted:
    """A loaded model that remembers which signatures were run."""

    def __init__(self, path):
        self.model = LoadedModel("m", 1, path, parse(["--model_base_path=/m"]))
        self.path, self.signature_defs, self.runs = path, self.model.signature_defs, []

    def run(self, signature, inputs, outputs):
        self.runs.append(signature)
        return self.model.run(signature, inputs, outputs)


@pytest.fixture
def counted(base):
    made = Counted(base / "1")
    yield made
    made.model.close()


def log(signature="", **inputs):
    record = messages.PredictionLog()
    record.predict_log.request.CopyFrom(request("", inputs, signature=signature))
    return record.SerializeToString()


def write(folder, records):
    (folder / "assets.extra").mkdir(exist_ok=True)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    tf = import_tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def test_every_record_is_run_as_often_as_asked(counted):
    assert warm_up(counted) == 0
    write(counted.path, [log(x=floats([1])), log("add", a=floats([1]), b=floats([2]))])
    assert warm_up(counted) == 2
    assert counted.runs == ["serving_default", "add"]
    counted.runs.clear()
    assert warm_up(counted, iterations=2) == 2
    assert counted.runs == ["serving_default"] * 2 + ["add"] * 2


def test_1000_records_are_allowed_and_no_more(counted):
    write(counted.path, [log(x=floats([1]))] * 1000)
    assert warm_up(counted) == 1000
    path = write(counted.path, [log(x=floats([1]))] * 1001)
    with pytest.raises(Status) as raised:
        warm_up(counted)
    assert str(raised.value) == f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {path}"


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([log("no", x=floats([1]))], 'FAILED_PRECONDITION: Serving signature key "no" not found.'),
        ([log(y=floats([1]))], "INVALID_ARGUMENT: Signature input alias: x"),
        ([log("add", a=floats([1, 2]), b=floats([1, 2, 3]))], "INVALID_ARGUMENT: Incompatible shapes"),
        ([b"\xff\xff"], "INVALID_ARGUMENT: Failed to parse warmup record: "),
    ],
)
def test_a_record_that_fails_fails_the_load_and_the_old_version_serves_on(records, says, base, serve):
    wire = serve(base)
    work = base / "tmp-2"
    shutil.copytree(base / "1", work)
    write(work, records)
    work.rename(base / "2")
    until(lambda: wire.states("m") == {2: "END", 1: "AVAILABLE"})
    code, _, message = says.partition(": ")
    error = wire.error("m", 2)
    assert error.error_message.startswith(message)
    assert error.error_code == {"INVALID_ARGUMENT": 3, "FAILED_PRECONDITION": 9}[code]
    assert wire.version("m") == 1


def test_a_file_that_is_no_tfrecord_fails_the_load(counted):
    path = write(counted.path, [log(x=floats([1]))])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(Status, match=r"^DATA_LOSS: .*\. Please verify your warmup data is in TFRecord format\.$"):
        warm_up(counted)


def test_records_of_other_kinds_are_left_out_with_a_warning(counted, caplog):
    other = messages.PredictionLog()
    other.classify_log.SetInParent()
    write(counted.path, [other.SerializeToString(), log(x=floats([1]))])
    with caplog.at_level(logging.WARNING):
        assert warm_up(counted) == 2
    assert counted.runs == ["serving_default"]
    assert "skipping a warm-up record of kind classify_log" in caplog.text


def test_without_the_flag_nothing_is_replayed(base, serve):
    write(base / "1", [log("no", x=floats([1]))])
    wire = serve(base, "--enable_model_warmup=false")
    assert wire.version("m") == 1


def test_what_a_trainer_writes_beside_a_model_is_replayed(served_models):
    counted = Counted(served_models["contract"] / "1")
    assert warm_up(counted) == 4
    assert counted.runs == ["serving_default", "filtered", "score_items", "explain"]
    counted.model.close()
