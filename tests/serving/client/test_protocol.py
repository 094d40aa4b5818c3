"""The messages: those of TensorFlow Serving byte for byte, without its modules and beside them."""

from __future__ import annotations

import ast
import concurrent.futures
import contextlib
import fnmatch
import importlib.util
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import tomllib

import pytest
from google.protobuf import descriptor_pb2, text_format

from serving_client.protocol import messages, methods
from tools import generate_protocol

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROTOCOL = ROOT / "serving_client" / "protocol"
BESIDE = pathlib.Path(__file__).parent / "beside_tensorflow.py"


def start(*command: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def beside() -> dict[str, dict]:
    """What beside_tensorflow.py found in a fresh process, for each order of import."""
    orders = ("ours_first", "tensorflow_first")
    processes = [start(str(BESIDE), order) for order in orders]
    return dict(zip(orders, map(answer, processes), strict=True))


@pytest.mark.parametrize("order", ["ours_first", "tensorflow_first"])
def test_our_messages_and_tensorflows_live_in_one_process_in_either_order(beside, order):
    assert beside[order]["light"], "the second library was there before its turn"
    assert beside[order]["equal"], "the same request has other bytes"


def test_every_message_has_the_fields_that_tensorflow_serving_gives_it(beside):
    assert beside["ours_first"]["differing"] == []


def test_the_descriptor_files_are_what_the_script_would_write_today(beside):
    assert beside["ours_first"]["check"] == [0, ""]


def test_tensorflow_reads_and_writes_tensors_as_the_codec_does(beside):
    assert beside["tensorflow_first"]["disagreements"] == []


def test_check_names_a_stale_file_and_a_run_writes_it(tmp_path, monkeypatch, capsys):
    for name in ("serving.binpb", "inference.binpb"):
        (tmp_path / name).write_bytes((PROTOCOL / name).read_bytes())
    (tmp_path / "inference.binpb").write_bytes(b"")
    wanted = {name: (PROTOCOL / name).read_bytes() for name in ("serving.binpb", "inference.binpb")}
    monkeypatch.setattr(generate_protocol, "FOLDER", tmp_path)
    monkeypatch.setattr(generate_protocol, "ROOT", tmp_path)
    monkeypatch.setattr(generate_protocol, "contents", lambda: wanted)
    assert generate_protocol.main(["--check"]) == 1
    assert capsys.readouterr().out == "inference.binpb: stale; run python tools/generate_protocol.py\n"
    assert (tmp_path / "inference.binpb").read_bytes() == b""
    assert generate_protocol.main([]) == 0
    assert (tmp_path / "inference.binpb").read_bytes() == wanted["inference.binpb"]
    assert generate_protocol.main(["--check"]) == 0


def test_the_messages_load_without_the_heavy_packages_and_each_file_when_it_is_asked_for():
    found = answer(
        start(
            "-c",
            "import json, sys\n"
            "from serving_client import codec\n"
            "from serving_client.protocol import messages\n"
            "def loaded(): return sorted({'TensorProto', 'ModelInferRequest'} & {n for n in vars(messages)})\n"
            "seen = [loaded()]\n"
            "codec.to_tensor([1.0]); seen.append(loaded())\n"
            "messages.ServerLiveRequest(); seen.append(loaded())\n"
            "heavy = {'tensorflow', 'tensorflow_serving', 'apache_beam', 'ml_dtypes', 'rich'} & set(sys.modules)\n"
            "print(json.dumps({'seen': seen, 'heavy': sorted(heavy)}))",
        )
    )
    assert found == {"seen": [[], ["TensorProto"], ["ModelInferRequest", "TensorProto"]], "heavy": []}


def test_threads_that_ask_at_once_get_one_class():
    """Two pools would make two classes, and a message of one is no field of the other."""
    spec = importlib.util.spec_from_file_location("serving_client.protocol.fresh", PROTOCOL / "messages.py")
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    made, read, second = [], fresh._classes, threading.Barrier(2)

    def read_slowly(file):
        made.append(file)
        with contextlib.suppress(threading.BrokenBarrierError):
            second.wait(0.2)  # a second thread that reads the file, too, would come here meanwhile
        return read(file)

    fresh._classes = read_slowly
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        classes = set(pool.map(lambda _: fresh.PredictRequest, range(64)))
    assert len(classes) == 1
    assert made == ["serving.binpb"]
    fresh.PredictRequest().inputs["x"].CopyFrom(fresh.TensorProto())


def test_every_name_is_a_message_of_its_full_name():
    full_names = {name for names in messages.FILES.values() for name in names}
    found = {getattr(messages, name).DESCRIPTOR.full_name for name in messages.__all__ if name != "FILES"}
    assert found == full_names


def test_type_checkers_are_told_of_the_same_names():
    stub = ast.parse((PROTOCOL / "messages.pyi").read_text())
    classes = {node.name for node in stub.body if isinstance(node, ast.ClassDef) and node.name != "_Message"}
    assert classes | {"FILES"} == set(messages.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'PredictReqest'"):
        _ = messages.PredictReqest


def test_messages_pickle():
    request = messages.PredictRequest(model_spec={"name": "cf"})
    assert pickle.loads(pickle.dumps(request)) == request
    assert messages.PredictRequest.__module__ == messages.__name__


def test_metadata_unpacks_and_configurations_parse():
    signatures = messages.SignatureDefMap()
    signatures.signature_def["serving_default"].inputs["history"].dtype = 7
    response = messages.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    again = messages.GetModelMetadataResponse.FromString(response.SerializeToString())
    unpacked = messages.SignatureDefMap()
    assert again.metadata["signature_def"].Unpack(unpacked)
    assert unpacked == signatures
    config = text_format.Parse(
        'model_config_list { config { name: "cf" base_path: "/models/cf" model_platform: "tensorflow"'
        ' model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 } } }',
        messages.ModelServerConfig(),
    )
    assert config.model_config_list.config[0].version_labels["stable"] == 1


def test_a_described_file_holds_only_what_the_messages_refer_to():
    """Every file is imported by another or defines a message that is asked for; PredictionLog brings most of them."""
    for file, wanted in messages.FILES.items():
        described = descriptor_pb2.FileDescriptorSet.FromString((PROTOCOL / file).read_bytes())
        imported = {name for proto in described.file for name in proto.dependency}
        for proto in described.file:
            defines = {f"{proto.package}.{message.name}" for message in proto.message_type}
            assert proto.name in imported or defines & set(wanted), f"{file}: nobody needs {proto.name}"
            assert proto.message_type or proto.enum_type, f"{file}: {proto.name} is empty"


def test_an_open_inference_request_has_the_bytes_of_the_specification():
    """Written out by hand: tag = number * 8 + wire type (0 varint, 2 length and bytes)."""
    request = messages.ModelInferRequest(model_name="m", model_version="1", id="i")
    request.parameters["p"].int64_param = 5
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.parameters["b"].bool_param = True
    tensor.contents.fp32_contents.extend([1.0, 2.0])
    request.outputs.add(name="y")
    request.raw_input_contents.append(b"\x01")
    contents = b"\x32\x08" + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    boolean = b"\x0a\x01b" + b"\x12\x02\x08\x01"
    sent = b"\x0a\x01x" + b"\x12\x04FP32" + b"\x1a\x01\x02"
    sent += b"\x22" + bytes([len(boolean)]) + boolean + b"\x2a" + bytes([len(contents)]) + contents
    expected = b"\x0a\x01m" + b"\x12\x011" + b"\x1a\x01i"
    expected += b"\x22\x07" + b"\x0a\x01p" + b"\x12\x02\x10\x05"
    expected += b"\x2a" + bytes([len(sent)]) + sent + b"\x32\x03\x0a\x01y" + b"\x3a\x01\x01"
    assert request.SerializeToString() == expected


def test_an_open_inference_response_has_the_bytes_of_the_specification():
    response = messages.ModelInferResponse(model_name="m", model_version="1", raw_output_contents=[b"\x02"])
    response.outputs.add(name="y", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a")
    output = b"\x0a\x01y" + b"\x12\x05BYTES" + b"\x1a\x01\x01" + b"\x2a\x03\x42\x01a"
    expected = b"\x0a\x01m" + b"\x12\x011" + b"\x2a" + bytes([len(output)]) + output + b"\x32\x01\x02"
    assert response.SerializeToString() == expected


def test_the_methods_are_those_of_the_generated_stubs():
    package = pathlib.Path(importlib.util.find_spec("tensorflow_serving.apis").origin).parent
    stubs = "".join((package / f"{name}_service_pb2_grpc.py").read_text() for name in ("model", "prediction"))
    known = set(re.findall(r"'(/tensorflow\.serving\.\w+/\w+)'", stubs))
    ours = {path for path in vars(methods).values() if isinstance(path, str) and path.startswith("/tensorflow.")}
    assert ours == known - {f"/tensorflow.serving.PredictionService/{name}" for name in UNUSED}


UNUSED = ("Classify", "Regress", "MultiInference")


def test_the_descriptors_are_in_the_wheel():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    for file in messages.FILES:
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), file
