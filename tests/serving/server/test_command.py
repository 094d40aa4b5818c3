"""`python -m local_serving` as a process: where it listens, how it stops, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest

from local_serving.__main__ import main
from local_serving.errors import StartError
from tests.serving import models
from tests.serving.server.wire import Wire, floats, tensor, until


@contextlib.contextmanager
def process(*arguments):
    """The running program; its stderr is read up to the line wanted, by `line`."""
    command = [sys.executable, "-m", "local_serving", "--port=0", *map(str, arguments)]
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
        found = line(running, r"^listening: grpc 0\.0\.0\.0:(\d+) rest 0\.0\.0\.0:(\d+)$")
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


def test_a_port_in_use_is_one_sentence_and_exit_code_1(base, capsys):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([f"--port={port}", f"--model_base_path={base}"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"local-serving: 0.0.0.0:{port}: cannot listen there (Address already in use); use another port"
    )


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
