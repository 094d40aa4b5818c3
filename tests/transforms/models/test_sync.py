"""Sync: LOCAL holds whole, checked versions alone, the newest stay, and nothing that a server needs is removed.

S3 is moto over HTTP, so that other processes reach it; the model server is a gRPC server that answers with
tensorflow_serving's own messages.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import boto3
import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from transforms.errors import BadInput
from transforms.files.durable import one_at_a_time
from transforms.models.manifest import COMPLETE_FILE, dump, hashed, listed, parse
from transforms.models.publish import versions
from transforms.models.server_config import Named, named_versions
from transforms.models.server_status import STATES, NoAnswer, held_versions
from transforms.models.sync import LOCK_FILE, beyond, main, sync, wanted

FILES = {"saved_model.pb": "graph {}", "variables/variables.index": "index {}", "assets.extra/warm": "warm {}"}


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    resource = boto3.resource("s3")
    resource.create_bucket(Bucket="models")
    yield resource.Bucket("models")
    resource.Bucket("models").objects.all().delete()
    resource.Bucket("models").delete()
    resource.meta.client.close()


@pytest.fixture
def store(bucket):
    """s3://models/cf with the versions 100, 200, 300, 400."""
    for version in (100, 200, 300, 400):
        upload(bucket, version)
    return "s3://models/cf"


def upload(bucket, version):
    """As `publish` leaves a version; a test below takes one that it made."""
    bodies = {name: text.format(version).encode() for name, text in FILES.items()}
    for name, body in bodies.items():
        bucket.put_object(Key=f"cf/{version}/{name}", Body=body)
    files = [
        {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in bodies.items()
    ]
    bucket.put_object(Key=f"cf/{version}/_COMPLETE.json", Body=json.dumps({"files": files}).encode())


@pytest.fixture
def folder(tmp_path):
    """A local source with the same versions."""
    for version in (100, 200, 300, 400):
        published(tmp_path / "source" / "cf" / str(version), version)
    return str(tmp_path / "source" / "cf")


@pytest.fixture(scope="session")
def messages():
    from transforms.models.import_tensorflow import import_tensorflow

    import_tensorflow()
    from tensorflow_serving.apis import get_model_status_pb2

    return get_model_status_pb2


class ModelServer:
    """Answers GetModelStatus for model cf with `states`, version to name; otherwise NOT_FOUND."""

    def __init__(self, messages, states):
        self.messages, self.states, self.calls = messages, dict(states), 0

    def answer(self, request, context):
        self.calls += 1
        if request.model_spec.name != "cf":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}")
        response = self.messages.GetModelStatusResponse()
        for version, state in self.states.items():
            row = response.model_version_status.add(version=version, state=state)
            row.status.error_message = "OK"
        return response

    @contextlib.contextmanager
    def running(self):
        handler = grpc.unary_unary_rpc_method_handler(
            self.answer,
            request_deserializer=self.messages.GetModelStatusRequest.FromString,
            response_serializer=self.messages.GetModelStatusResponse.SerializeToString,
        )
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            server = grpc.server(pool)
            service = grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService", {"GetModelStatus": handler}
            )
            server.add_generic_rpc_handlers((service,))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                server.stop(None).wait()


def make_model(folder, version):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.format(version))
    return folder


def published(folder, version):
    """A version as `publish` leaves it, with the list of its files."""
    make_model(folder, version)
    (folder / COMPLETE_FILE).write_bytes(dump(hashed(folder)))


def content(folder):
    """The model's files; the list of them is checked apart."""
    return {file.name: (folder / file.name).read_text() for file in listed(folder)}


def whole(local, *expected):
    """LOCAL holds these versions, each with exactly its files, and no work in progress."""
    assert sorted(path.name for path in local.iterdir() if not path.name.endswith(".lock")) == sorted(
        map(str, expected)
    )
    for version in expected:
        assert content(local / str(version)) == {name: text.format(version) for name, text in FILES.items()}
    return True


def test_the_newest_versions_are_brought_and_only_what_is_new_is_fetched(store, bucket, tmp_path, capsys):
    local = tmp_path / "cf"
    assert main([store, str(local), "--keep=2"]) == 0
    assert whole(local, 300, 400)
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(local / "400"), str(local / "300")]
    assert err.splitlines()[-1] == f"{local}: copied 400, 300 from {store}"
    bucket.objects.filter(Prefix="cf/400/variables").delete()  # fetched again, 400 would be refused now
    upload(bucket, 500)
    assert main([store, str(local), "--keep=2"]) == 0
    assert whole(local, 400, 500)
    assert capsys.readouterr().err.splitlines()[-1] == f"{local}: copied 500 from {store}; removed 300"
    assert main([store, str(local), "--keep=2"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{local}: is up to date with {store}\n")


def test_what_publish_puts_into_a_bucket_is_brought_from_there(bucket, tmp_path):
    """Both as commands in processes of their own, where no pipeline has set Beam's options."""
    made = make_model(tmp_path / "made", 7)
    publish = [sys.executable, "-m", "transforms.publish", made, "s3://models/cf"]
    published = subprocess.run(publish, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    command = [sys.executable, "-m", "transforms.sync", "s3://models/cf", tmp_path / "cf"]
    brought = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    assert os.path.basename(brought) == os.path.basename(published)
    assert content(tmp_path / "cf" / os.path.basename(brought)) == content(made)


def test_a_brought_version_may_be_read_by_the_server(folder, tmp_path):
    sync(folder, tmp_path / "cf", 1)
    assert (tmp_path / "cf" / "400").stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_half_uploaded_version_is_not_brought(store, bucket, tmp_path):
    for name, text in FILES.items():
        bucket.put_object(Key=f"cf/900/{name}", Body=text.encode())
    bucket.put_object(Key="cf/900/_claim-x", Body=b"x")
    sync(store, tmp_path / "cf", 1)
    assert whole(tmp_path / "cf", 400)


def test_a_mounted_bucket_is_read_as_the_bucket_is(folder, tmp_path):
    source = tmp_path / "source" / "cf"
    (source / "400" / "_claim-x").write_text("x")
    (source / "400" / "_COMPLETE.json").unlink()
    assert sync(folder, tmp_path / "cf", 1).brought == (300,)
    files = [{"name": name, "size": len(text), "sha256": "0" * 64} for name, text in FILES.items()]
    (source / "400" / "_COMPLETE.json").write_text(json.dumps({"files": files}))
    assert set(sync(folder, tmp_path / "cf", 1, clock=lambda: time.time() + 120).refused) == {400}


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"INDEX 400", "has sha256"), (b"index", "has 5 bytes, but 9 are listed"), (None, "is listed but does not exist")],
)
def test_a_file_that_is_not_as_listed_is_refused_by_name_and_nothing_of_it_appears(
    body, says, store, bucket, tmp_path, capsys
):
    """The other versions still come; nothing is removed in such a round."""
    make_model(tmp_path / "cf" / "50", 50)
    bucket.Object("cf/400/variables/variables.index").delete()
    if body is not None:
        bucket.put_object(Key="cf/400/variables/variables.index", Body=body)
    assert main([store, str(tmp_path / "cf"), "--keep=2"]) == 3
    out, err = capsys.readouterr()
    assert f"{store}/400/variables/variables.index: {says}" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out.splitlines() == [str(tmp_path / "cf" / "300")]
    assert whole(tmp_path / "cf", 50, 300)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a//b", "", "variables/../../x", ".", "nul\0", 7, None]
)
def test_a_listed_name_cannot_lead_out_of_the_version(name):
    entry = {"name": name, "size": 1, "sha256": "0" * 64}
    with pytest.raises(BadInput, match="is not a list of name, size and sha256"):
        parse(json.dumps({"files": [entry]}).encode(), "s3://b/_COMPLETE.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files": 1}',
        b'{"files": ["saved_model.pb"]}',
        b'{"files": []}',
        b'{"files": [{"name": "saved_model.pb", "size": true, "sha256": "%s"}]}' % (b"0" * 64),
        b'{"files": [{"name": "saved_model.pb", "size": 1, "sha256": "abc"}]}',
        b'{"files": [{"name": "saved_model.pb", "size": 0, "sha256": "%s"}]}' % (b"0" * 64),
        b'{"files": [%s, %s]}' % ((b'{"name": "saved_model.pb", "size": 1, "sha256": "%s"}' % (b"0" * 64),) * 2),
    ],
)
def test_a_list_that_is_none_is_refused_by_name(text):
    with pytest.raises(BadInput, match=r"^s3://b/1/_COMPLETE\.json: "):
        parse(text, "s3://b/1/_COMPLETE.json")


def test_an_empty_file_needs_no_object(bucket, tmp_path):
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    model = {"name": "saved_model.pb", "size": 5, "sha256": hashlib.sha256(b"graph").hexdigest()}
    files = [model, {"name": "assets/none", "size": 0, "sha256": empty}]
    bucket.put_object(Key="cf/7/saved_model.pb", Body=b"graph")
    bucket.put_object(Key="cf/7/_COMPLETE.json", Body=json.dumps({"files": files}).encode())
    sync("s3://models/cf", tmp_path / "cf")
    assert content(tmp_path / "cf" / "7") == {"saved_model.pb": "graph", "assets/none": ""}


KILLED = """
import sys
from transforms.models import sync_source
from transforms.models.sync import main

class Slow:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def read(self, _=-1):
        print("half", flush=True)
        sys.stdin.read()

opened = sync_source._open
sync_source._open = lambda uri: Slow(opened(uri)) if uri.endswith("variables.index") else opened(uri)
main([sys.argv[1], sys.argv[2], "--keep=1"])
"""


def test_a_sync_killed_in_mid_download_leaves_no_version_and_the_next_one_brings_it(store, tmp_path):
    local = tmp_path / "cf"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", KILLED, store, local], text=True, **pipes) as process:
        assert process.stdout.readline() == "half\n"
        assert versions(local) == {}
        [work] = local.glob(".tmp-sync-*")
        assert (work / "model" / "saved_model.pb").is_file()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert versions(local) == {}
    assert main([store, str(local), "--keep=1"]) == 0
    assert whole(local, 400)


TOGETHER = """
import sys
from transforms.models.sync import main
sys.stdin.read()
sys.exit(main([sys.argv[1], sys.argv[2], "--keep=4"]))
"""


def test_two_syncs_at_once_bring_every_version_once(folder, tmp_path):
    local = tmp_path / "cf"
    make_model(local / "50", 50)
    command = [sys.executable, "-c", TOGETHER, folder, local]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:  # both have imported and wait; now they start
        process.stdin.close()
    printed = [line for process in both for line in process.stdout.read().split()]
    for process in both:
        process.stdout.close()
        assert process.wait() == 0
    assert sorted(printed) == [str(local / str(version)) for version in (100, 200, 300, 400)]
    assert whole(local, 100, 200, 300, 400)


def test_a_second_sync_waits_for_the_first(folder, tmp_path, capsys):
    (tmp_path / "cf").mkdir()
    waits = threading.Event()
    with one_at_a_time(tmp_path / "cf" / LOCK_FILE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transforms.models.sync._say", lambda text: waits.set() if "another sync" in text else None)
            other = threading.Thread(target=sync, args=(folder, tmp_path / "cf", 1))
            other.start()
            assert waits.wait(30)
        assert versions(tmp_path / "cf") == {}
    other.join(30)
    assert whole(tmp_path / "cf", 400)


def test_work_of_a_publish_to_the_same_folder_is_left_alone(folder, tmp_path):
    local = tmp_path / "cf"
    (local / ".tmp-other").mkdir(parents=True)
    (local / ".tmp-sync-100-dead").mkdir()
    sync(folder, local, 1)
    assert {path.name for path in local.iterdir() if path.is_dir()} == {".tmp-other", "400"}


def test_what_is_here_alone_counts_and_is_removed_like_the_rest(folder, tmp_path):
    for version in (50, 350, 900):
        make_model(tmp_path / "cf" / str(version), version)
    done = sync(folder, tmp_path / "cf", 3)
    assert (done.brought, done.removed) == ((400,), (50,))
    assert whole(tmp_path / "cf", 350, 400, 900)


numbers = st.sets(st.integers(1, 30), max_size=8)


@given(
    there=numbers,
    here=numbers,
    keep=st.integers(1, 5),
    labelled=numbers,
    held=st.dictionaries(st.integers(1, 30), st.sampled_from(sorted(STATES.values()))),
    newest=st.integers(0, 4),
    everything=st.booleans(),
)
def test_what_stays_and_what_goes(there, here, keep, labelled, held, newest, everything):
    named = Named(frozenset(labelled), newest, everything)
    bring = wanted(there, here, keep, named)
    assert bring == sorted(bring, reverse=True)
    assert set(bring) <= there
    after = here | set(bring)
    assert labelled & there <= after
    best = sorted(here | there, reverse=True)[: max(keep, newest)]
    assert set(best) <= after
    remove, kept = beyond(after, keep, held, named)
    left = after - set(remove)
    assert set(best) <= left
    assert not set(remove) & labelled
    assert all(held.get(version, "END") == "END" for version in remove)
    assert remove == [] or not everything
    assert set(kept) <= left
    assert left - set(kept) == set(best)  # whatever else stays has its reason
    assert not set(wanted(there, left, keep, named)) & set(remove)  # nothing goes to and fro


@pytest.mark.parametrize("state", ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"])
def test_a_version_that_the_server_holds_is_not_removed(state, messages, folder, tmp_path, capsys):
    local = tmp_path / "cf"
    for version in (10, 20):
        make_model(local / str(version), version)
    server = ModelServer(messages, {10: state, 20: "END", 400: "AVAILABLE"})
    with server.running() as address:
        assert main([folder, str(local), "--keep=1", f"--server={address}"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    if state == "END":
        assert whole(local, 400)
        assert last.endswith("removed 10, 20")
    else:
        assert whole(local, 10, 400)
        assert last.endswith(f"removed 20; kept 10 beyond --keep=1 (the server has it {state})")
    assert server.calls == 1


def test_the_messages_described_here_are_the_servers_own(messages):
    """A state that nobody has named yet protects as well, and of two rows for a version the one that protects wins."""
    assert {number: name for name, number in messages.ModelVersionStatus.State.items()} == STATES
    with ModelServer(messages, {2**62: "AVAILABLE", 3: 70}).running() as address:
        assert held_versions(address, "cf") == {2**62: "AVAILABLE", 3: "70"}


@pytest.mark.parametrize("case", ["down", "other name", "other versions", "none tracked"])
def test_where_the_server_cannot_say_nothing_is_removed(case, messages, folder, tmp_path, capsys):
    local = tmp_path / "cf"
    make_model(local / "10", 10)
    states = {1: "AVAILABLE"} if case == "other versions" else {} if case == "none tracked" else {400: "AVAILABLE"}
    with ModelServer(messages, states).running() as address:
        flags = [f"--server={'127.0.0.1:1' if case == 'down' else address}"]
        flags += ["--model_name=vae"] if case == "other name" else []
        assert main([folder, str(local), "--keep=1", *flags]) == 0
    assert whole(local, 10, 400)
    err = capsys.readouterr().err
    says = {
        "down": "127.0.0.1:1, model cf: UNAVAILABLE, ",
        "other name": "model vae: NOT_FOUND, Could not find any versions of model vae",
        "other versions": "the server tracks other versions (1); is --model_name right?",
        "none tracked": "the server tracks other versions (none); is --model_name right?",
    }[case]
    assert err.count("\n") == 1
    assert f"copied 400 from {folder}; removed nothing: " in err
    assert says in err


def test_a_server_is_asked_only_when_something_is_to_be_removed(folder, tmp_path, capsys):
    assert main([folder, str(tmp_path / "cf"), "--server=127.0.0.1:1"]) == 0
    assert "UNAVAILABLE" not in capsys.readouterr().err


def test_no_answer_names_server_model_and_status():
    with pytest.raises(NoAnswer, match=r"^127\.0\.0\.1:1, model cf: UNAVAILABLE"):
        held_versions("127.0.0.1:1", "cf", timeout_s=5)


CONFIG = """
# as tensorflow_model_server reads it
model_config_list {
  config { name: "vae" base_path: "/models/vae" model_platform: "tensorflow" }
  config {
    name: 'cf' base_path: '/models/cf' model_platform: 'tensorflow'
    POLICY
    version_labels { key: 'stable' value: 100 }
    version_labels { key: 'canary' value: 400 }
  }
}
"""


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("", Named(frozenset({100, 400}), 1)),
        ("model_version_policy { latest { num_versions: 2 } }", Named(frozenset({100, 400}), 2)),
        ("model_version_policy { latest {} }", Named(frozenset({100, 400}), 1)),
        ("model_version_policy: { specific { versions: 200 versions: 100 } }", Named(frozenset({100, 200, 400}))),
        ("model_version_policy { all {} }", Named(frozenset({100, 400}), everything=True)),
    ],
)
def test_a_config_names_versions_by_label_and_policy(policy, named, tmp_path):
    (tmp_path / "models.config").write_text(CONFIG.replace("POLICY", policy))
    assert named_versions(tmp_path / "models.config", "cf") == named
    assert named_versions(tmp_path / "models.config", "vae") == Named(newest=1)


def test_labelled_versions_are_brought_and_stay(folder, tmp_path, capsys):
    local = tmp_path / "cf"
    (tmp_path / "models.config").write_text(CONFIG.replace("POLICY", ""))
    make_model(local / "50", 50)
    assert main([folder, str(local), "--keep=2", f"--model_config_file={tmp_path}/models.config"]) == 0
    assert whole(local, 100, 300, 400)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("removed 50; kept 100 beyond --keep=2 (the config file names it)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model_config_list { config { name: 'vae' } }", "has no model cf; its models are: vae; pass --model_name"),
        ("model_config_list { config { name: 'cf' version_label {} } }", "is not a model server config"),
        ("\udcff", "cannot be read (not UTF-8)"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_config_that_cannot_be_used_stops_before_anything_is_done(text, says, folder, tmp_path, capsys):
    file = tmp_path / "models.config"
    if text is not None:
        file.write_text(text, errors="surrogateescape")
    assert main([folder, str(tmp_path / "cf"), f"--model_config_file={file}"]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"{file}: {says}")
    assert err.count("\n") == 1
    assert not (tmp_path / "cf").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["SRC", "LOCAL", "--keep=0"], 2, "--keep=0: must be at least 1"),
        (["SRC", "SRC"], 2, "is both source and target"),
        (["SRC", "s3://b/cf"], 2, "s3://b/cf: is not a local folder"),
        (["SRC", "LOCAL", "--watch=0"], 2, "--watch=0: must be a number of seconds"),
        (["SRC", "LOCAL", "--server=localhost"], 2, "--server=localhost: is not HOST:PORT"),
        (["LOCAL", "OTHER"], 3, "has no whole version"),
        (["s3://models/none", "LOCAL"], 3, "s3://models/none: has no whole version"),
        (["s3://no-such-bucket/cf", "LOCAL"], (1, 3), "s3://no-such-bucket/cf: "),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(arguments, code, says, bucket, folder, tmp_path, capsys):
    places = {"SRC": folder, "LOCAL": str(tmp_path / "cf"), "OTHER": str(tmp_path / "other")}
    assert main([places.get(one, one) for one in arguments]) in (code if isinstance(code, tuple) else (code,))
    out, err = capsys.readouterr()
    assert says in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "cf").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(folder, tmp_path, capsys):
    (tmp_path / "cf").write_text("a file")
    assert main([folder, str(tmp_path / "cf")]) == 1
    err = capsys.readouterr().err
    assert "check the path" in err and err.count("\n") == 1


def test_watch_repeats_goes_on_after_errors_and_says_what_is_new(folder, tmp_path, capsys):
    """The source is empty at first; then there is a version, twice nothing new, and a second version."""
    source, local = tmp_path / "made", tmp_path / "cf"
    rounds = iter([[], [100], [], [], [200]])

    def wait(seconds):
        assert seconds == 7
        made = next(rounds, None)
        if made is None:
            raise KeyboardInterrupt
        for version in made:
            published(source / str(version), version)

    assert main([str(source), str(local), "--watch=7"], wait) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(local / "100"), str(local / "200")]
    assert [line.split(": ", 1)[1] for line in err.splitlines()] == [
        "has no whole version; publish one with recbeam publish",
        f"copied 100 from {source}",
        f"is up to date with {source}",
        f"copied 200 from {source}",
        "stopped",
    ]


def test_sigterm_ends_a_watch_with_exit_code_0(folder, tmp_path):
    command = [sys.executable, "-m", "transforms.sync", folder, tmp_path / "cf", "--keep=1", "--watch=600"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == f"{tmp_path}/cf/400\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.splitlines()[-1] == f"{tmp_path}/cf: stopped"


def test_syncing_a_folder_beside_a_server_needs_neither_tensorflow_nor_beam(folder, tmp_path):
    (tmp_path / "models.config").write_text(CONFIG.replace("POLICY", ""))
    code = """
import sys
from transforms.models.sync import main
assert main([*sys.argv[1:3], "--keep=1", "--server=127.0.0.1:1", f"--model_config_file={sys.argv[3]}"]) == 0
assert not {"tensorflow", "apache_beam", "pyarrow", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, folder, tmp_path / "cf", tmp_path / "models.config"], check=True)
