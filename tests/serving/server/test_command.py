"""`python -m local_serving` as a process: where it listens, how it stops, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest

from local_serving.__main__ import main
from local_serving.errors import StartError
from serving_client.protocol import messages, methods
from tests.serving import models
from tests.serving.server.wire import Wire, floats, request, tensor, until


@contextlib.contextmanager
def process(*arguments, start=("-m", "local_serving")):
    """The running program; its stderr is read up to the line wanted, by `line`."""
    command = [sys.executable, *start, "--port=0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def line(running, pattern):
    """The first line of stderr that the pattern is found in; what came before is lost."""
    for text in running.stderr:
        if found := re.search(pattern, text):
            return found
    raise AssertionError(f"no line with {pattern}; exit code {running.wait()}")


def test_sigterm_lets_the_requests_in_flight_finish_and_takes_no_new_ones(served_models):
    """With REST, so that the line that says where it listens is seen whole."""
    slow = served_models["slow"]
    with process("--model_name=m", f"--model_base_path={slow}", "--rest_api_port=-1") as running:
        found = line(running, r"^listening: grpc 127\.0\.0\.1:(\d+) rest 127\.0\.0\.1:(\d+)$")
        wire = Wire(found[1])
        rounds = 2 * models.SLOW_ROUNDS_PER_S
        answers = []
        flying = threading.Thread(
            target=lambda: answers.append(wire.predict("m", {"rounds": tensor([rounds], np.int64)}))
        )  # fmt: skip
        flying.start()
        until(lambda: wire.states("m") == {1: "AVAILABLE"})
        threading.Event().wait(0.2)  # the request is on its way
        running.send_signal(signal.SIGTERM)
        line(running, "SIGTERM: stopping")
        other = Wire(found[1])
        until(lambda: turned_away(other))
        assert not answers
        flying.join(60)
        assert [list(answer.outputs["rounds"].int64_val) for answer in answers] == [[rounds]]
        assert running.wait(60) == 0
        wire.channel.close()
        other.channel.close()


def test_requests_that_do_not_end_are_given_up_and_the_exit_code_says_so(served_models):
    """The kernel goes on counting in a native thread, for which the interpreter would wait at its end."""
    program = "import sys; from local_serving.__main__ import main; sys.exit(main(sys.argv[1:], drain_s=0.3))"
    slow = served_models["slow"]
    with process("--model_name=m", f"--model_base_path={slow}", start=("-c", program)) as running:
        wire = Wire(line(running, r"^listening: grpc 127\.0\.0\.1:(\d+)")[1])
        flying = wire.channel.unary_unary(
            methods.PREDICT, request_serializer=messages.PredictRequest.SerializeToString
        ).future(request("m", {"rounds": tensor([10**12], np.int64)}))
        threading.Event().wait(0.5)  # the request is on its way
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        line(running, "requests or models are still in use; ending without them")
        assert running.wait(10) == 1
        assert time.monotonic() - began < 10
        assert flying.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        wire.channel.close()


@pytest.mark.parametrize(
    ("shell", "code", "says"),
    [
        ("--help | true", 0, ""),
        ("--help > /dev/full", 1, "local-serving: cannot write to stdout (No space left on device); send it elsewhere"),
        (
            "--model_base_path=/none 2>&-",
            1,
            "local-serving: stderr is closed, and the log goes there; send it elsewhere (2>/dev/null)",
        ),
        (
            "--model_base_path=$'/\\xff'",
            2,
            "local-serving: '--model_base_path=/\\udcff' is not UTF-8; use names and paths that are",
        ),
        (
            "--model_base_path=/none --grpc_channel_arguments=a=99999999999",
            2,
            "local-serving: --grpc_channel_arguments has a=99999999999; use KEY=VALUE, whole numbers within 32 bits",
        ),
    ],
)
def test_what_the_shell_may_do_to_it_is_a_sentence_at_most(shell, code, says):
    command = f"set -o pipefail; {sys.executable} -m local_serving {shell}"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, (done.stdout + done.stderr).strip()) == (code, says)


def turned_away(wire):
    try:
        wire.states("m")
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_sigint_while_a_base_path_is_waited_for(tmp_path):
    with process(f"--model_base_path={tmp_path}/none") as running:
        line(running, "Could not find base path")
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
        assert running.wait(60) == 0
    assert "Traceback" not in rest
    assert "SIGINT: stopping" in rest


def test_no_thread_takes_a_signal_from_the_one_that_waits_for_it(tmp_path):
    """One that does not block it would, at a moment between two waits; the kernel prefers the waiting thread else."""
    wanted = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM))
    with process(f"--model_base_path={tmp_path}/none") as running:
        line(running, "Could not find base path")
        tasks = pathlib.Path(f"/proc/{running.pid}/task")
        statuses = [(one / "status").read_text() for one in tasks.iterdir() if int(one.name) != running.pid]
    assert len(statuses) > 1
    for status in statuses:
        blocked = int(re.search(r"^SigBlk:\s*([0-9a-f]+)$", status, re.MULTILINE)[1], 16)
        assert blocked & wanted == wanted


def test_a_port_in_use_is_one_sentence_and_exit_code_1(base, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([f"--port={port}", f"--model_base_path={base}"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"local-serving: 127.0.0.1:{port}: cannot listen there (Address already in use); use another --host or port"
    )


@pytest.mark.parametrize(("host", "reached"), [(None, False), ("127.0.0.1", False), ("0.0.0.0", True)])
def test_only_this_machine_reaches_it_unless_host_says_otherwise(host, reached, base, make_server):
    """127.0.0.2 is this machine too, but another address: what listens on 127.0.0.1 alone is not found there."""
    server = make_server(base, "--rest_api_port=-1", *([f"--host={host}"] if host else []))
    server.start()
    for port in (server.grpc_port, server.rest_port):
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with contextlib.ExitStack() as stack:
            if not reached:
                stack.enter_context(pytest.raises(ConnectionRefusedError))
            stack.enter_context(socket.create_connection(("127.0.0.2", port), timeout=5))
    assert server.listening() == (
        f"grpc {host or '127.0.0.1'}:{server.grpc_port} rest {host or '127.0.0.1'}:{server.rest_port}"
    )


def test_a_host_that_is_not_this_machine_is_one_sentence(base, make_server):
    with pytest.raises(StartError, match=r"^192\.0\.2\.1:0: cannot listen there \(.*\); use another --host or port$"):
        make_server(base, "--host=192.0.2.1").start()


def test_two_servers_do_not_share_a_port(base, serve, make_server):
    port = serve(base).port
    with pytest.raises(StartError, match="cannot listen there"):
        make_server(base, f"--port={port}").start()


def test_a_config_file_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["--port=0", f"--model_config_file={tmp_path}/none"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"local-serving: {tmp_path}/none: cannot be read (No such file or directory); check --model_config_file"
    )


def test_a_broken_first_version_is_one_sentence(base, capsys):
    (base / "1" / "saved_model.pb").unlink()
    assert main(["--port=0", f"--model_base_path={base}", "--max_num_load_retries=0"]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("local-serving: Failed to start server. Error: UNKNOWN: ")
    )


def test_a_socket_path_is_listened_on_as_well(base, serve, tmp_path):
    serve(base, f"--grpc_socket_path={tmp_path}/grpc.sock")
    wire = Wire(0, target=f"unix:{tmp_path}/grpc.sock")
    assert list(wire.predict("m", {"x": floats([4])}).outputs["y"].float_val) == [4.0]
    wire.channel.close()
