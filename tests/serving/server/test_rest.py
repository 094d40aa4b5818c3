"""REST without models: the socket side with an `answer` of the test's own, and what the conformance suite leaves out.

What a body means is tested there, over the wire and against any server (tests/conformance/test_rest.py).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time

import grpc
import numpy as np
import pytest

from local_serving.errors import StartError, Status
from local_serving.flags import Flags
from local_serving.rest import HTTP_CODES, Backend, RestApi, answer
from local_serving.rest_json import fill_request, written
from local_serving.rest_server import RestServer
from serving_client import codec
from serving_client.protocol import messages

DEADLINE_S = 30


@pytest.fixture
def serve():
    """Starts a RestServer for an answer, and stops it."""
    started = []

    def start(reply, threads=4):
        started.append(RestServer(reply, "127.0.0.1", 0, threads))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


def echo(method, path, body):
    return 200, json.dumps([method, path, body.decode()]).encode()


def connect(server):
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S))


def raw(server, *parts):
    """What comes back for these bytes until the server closes the connection, or all that fits one answer."""
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_connection_stays_open_for_many_requests(serve):
    with connect(serve(echo)) as connection:
        ports = set()
        for number in range(3):
            connection.request("POST", f"/v1/a?q={number}", b"x" * number)
            assert json.loads(connection.getresponse().read()) == ["POST", "/v1/a", "x" * number]
            ports.add(connection.sock.getsockname())
        assert len(ports) == 1


def test_a_body_may_come_in_chunks(serve):
    with connect(serve(echo)) as connection:
        connection.request("POST", "/v1/a", iter([b"one ", b"two"]), encode_chunked=True)
        assert json.loads(connection.getresponse().read())[2] == "one two"
        connection.request("GET", "/v1/b")
        assert json.loads(connection.getresponse().read())[2] == ""


def test_a_client_that_asks_whether_to_go_on_is_told_to(serve):
    sent = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    got = raw(serve(echo), sent, b"ok")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("head", "body", "code"),
    [
        (b"Content-Length: x", b"", 400),
        (b"Content-Length: " + b"0" * 30 + b"2147483648", b"", 413),
        (b"Content-Length: " + b"9" * 5000, b"", 413),
        (b"Content-Length: -1", b"", 400),
        (b"Content-Length: 5", b"abc", 400),
        (b"Content-Length: 99999999999999999999999", b"", 413),
        (b"Transfer-Encoding: chunked", b"zz\r\n", 400),
        (b"Transfer-Encoding: chunked", b"5\r\nabc", 400),
        (b"Transfer-Encoding: chunked", b"-5\r\nabc", 400),
        (b"Transfer-Encoding: chunked", b"2\r\nabcd\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked", b"ffffffffffff\r\n", 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_and_the_server_goes_on(head, body, code, serve):
    server = serve(echo)
    got = raw(server, b"POST /v1/a HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
    assert got.startswith(f"HTTP/1.1 {code} ".encode())
    with connect(server) as connection:
        connection.request("GET", "/v1/a")
        assert connection.getresponse().status == 200


def test_zeros_before_a_length_do_not_count(serve):
    head = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
    for length, body in ((b"0" * 5000, b""), (b"0" * 5000 + b"2", b"ok")):
        got = raw(serve(echo), head + length + b"\r\n\r\n" + body)
        assert got.endswith(json.dumps(["POST", "/v1/a", body.decode()]).encode())


def test_what_is_not_below_v1_is_not_found(serve):
    backend = Backend(predict=None, metadata=None, status=None, signatures=None)
    with connect(serve(lambda *request: answer(backend, *request))) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.read() != b"") == (404, True)


def test_no_more_requests_are_answered_at_once_than_there_are_threads(serve):
    inside, most, lock, gate = 0, 0, threading.Lock(), threading.Event()

    def reply(method, path, body):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        assert gate.wait(DEADLINE_S)
        with lock:
            inside -= 1
        return 200, b"{}"

    server = serve(reply, threads=2)

    def ask(_):
        with connect(server) as connection:
            connection.request("GET", "/v1/a")
            return connection.getresponse().status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(8)]
        deadline = time.monotonic() + DEADLINE_S
        while server._http.busy < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        gate.set()
        assert [one.result(DEADLINE_S) for one in asked] == [200] * 8
    assert most == 2


def test_stop_answers_what_is_in_flight_and_then_closes_idle_connections(serve):
    entered, gate = threading.Event(), threading.Event()

    def reply(method, path, body):
        if path == "/v1/slow":
            entered.set()
            assert gate.wait(DEADLINE_S)
        return 200, b"{}"

    server = serve(reply)
    with connect(server) as idle, connect(server) as busy, concurrent.futures.ThreadPoolExecutor(2) as pool:
        idle.request("GET", "/v1/a")
        assert idle.getresponse().read() == b"{}"
        busy.request("GET", "/v1/slow")
        assert entered.wait(DEADLINE_S)
        stopping = pool.submit(server.stop, DEADLINE_S)
        idle.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):  # nothing is closed while a request is in flight
            idle.sock.recv(1)
        idle.sock.settimeout(DEADLINE_S)
        gate.set()
        assert busy.getresponse().read() == b"{}"
        stopping.result(DEADLINE_S)
        assert idle.sock.recv(1) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)


def test_a_body_that_is_half_sent_does_not_delay_a_stop(serve):
    server = serve(echo)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        sock.sendall(b"POST /v1/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)  # it is being read
        began = time.monotonic()
        server.stop(DEADLINE_S)
        assert time.monotonic() - began < DEADLINE_S / 2


def backend(error):
    def fail(*_):
        raise error

    return Backend(predict=fail, metadata=fail, status=fail, signatures=fail)


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_code_of_grpc_has_one_of_http(code):
    status, body = answer(backend(Status(code, 'the "reason"')), "GET", "/v1/models/cf", b"")
    assert status == HTTP_CODES[code]
    assert json.loads(body) == {"error": 'the "reason"'}


def test_a_fault_of_the_servers_own_is_a_500_with_its_name_and_nothing_more(caplog):
    status, body = answer(backend(ZeroDivisionError("oops")), "GET", "/v1/models/cf", b"")
    assert (status, json.loads(body)) == (500, {"error": "ZeroDivisionError: oops"})
    assert "an error in local_serving" in caplog.text


def test_names_and_labels_in_a_path_may_be_escaped():
    seen = []

    def status(request):
        seen.append((request.model_spec.name, request.model_spec.version_label))
        return messages.GetModelStatusResponse()

    one = Backend(predict=None, metadata=None, status=status, signatures=None)
    assert answer(one, "GET", "/v1/models/a%20b/labels/c%3Ad", b"")[0] == 200
    assert seen == [("a b", "c:d")]


def test_a_version_beyond_int64_is_refused():
    status, body = answer(backend(None), "GET", f"/v1/models/cf/versions/{2**63}", b"")
    message = f"Failed to convert version: {2**63} to numeric."
    assert (status, json.loads(body)) == (400, {"error": message})


def test_zeros_before_a_version_do_not_count():
    seen = []

    def status(request):
        seen.append(request.model_spec.version.value)
        return messages.GetModelStatusResponse()

    one = Backend(predict=None, metadata=None, status=status, signatures=None)
    for version in ("0" * 5000, "0" * 30 + "7", str(2**63 - 1)):
        assert answer(one, "GET", f"/v1/models/cf/versions/{version}", b"")[0] == 200
    assert seen == [0, 7, 2**63 - 1]
    assert answer(one, "GET", f"/v1/models/cf/versions/{'0' * 30}{'9' * 5000}", b"")[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"signature_name": "\\ud800", "instances": [1]}',
        b'{"instances": [{"\\udfff": 1}]}',
        b'{"instances": ["\\uD800\\u0041"]}',
        b'{"inputs": {"\\ud800": 1}}',
    ],
)
def test_half_a_surrogate_is_no_text(body):
    message = "JSON Parse error: The surrogate pair in string is invalid. at offset: 0"
    assert answer(backend(None), "POST", "/v1/models/cf:predict", body) == (
        400,
        json.dumps({"error": message}, indent=1).encode(),
    )


def test_a_number_beyond_a_double_is_refused_and_infinity_is_not():
    signature = messages.SignatureDef()
    signature.inputs["x"].dtype = 2

    def values(text):
        request = messages.PredictRequest()
        fill_request(b'{"instances": [' + text + b"]}", request, lambda name: signature.inputs)
        return list(request.inputs["x"].double_val)

    assert values(b"Infinity, -Infinity, 1e308, 1e-999, 1.5") == [float("inf"), float("-inf"), 1e308, 0.0, 1.5]
    for text in (b"1e999", b"-1E+0309", b"9" * 310 + b".0"):
        with pytest.raises(Status, match="JSON Parse error: Number too big to be stored in double"):
            values(text)


def test_what_other_methods_the_real_server_has_is_said_not_to_be_there():
    status, body = answer(backend(None), "POST", "/v1/models/cf:classify", b"")
    assert status == 501
    assert "use predict" in json.loads(body)["error"]


def test_a_predict_is_given_the_time_it_may_take():
    asked = []
    signature = messages.SignatureDef()
    signature.inputs["x"].dtype = 1

    def predict(request, timeout_s):
        asked.append((list(request.inputs["x"].float_val), timeout_s))
        response = messages.PredictResponse()
        response.outputs["y"].CopyFrom(codec.to_tensor(np.ones(1, np.float32)))
        return response

    one = Backend(predict, None, None, lambda spec: {"serving_default": signature})
    assert answer(one, "POST", "/v1/models/cf:predict", b'{"instances": [3]}', 1.5) == (200, b'{"predictions": [1.0]}')
    assert asked == [([3.0], 1.5)]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.float32(1)}, "Tensor name: y has no shape information "),
        ({"y": np.ones(2), "z": np.ones(3)}, "Tensor name: z has inconsistent batch size: 3 expecting: 2"),
    ],
)
def test_outputs_that_have_no_rows_cannot_be_written_as_rows(outputs, says):
    protos = {name: codec.to_tensor(value) for name, value in outputs.items()}
    with pytest.raises(Status, match=says):
        written(protos, rows=True)


def test_outputs_are_written_with_the_digits_of_their_type_and_strings_as_they_are():
    def one(value):
        return written({"y": codec.to_tensor(value)}, rows=False)

    assert one(np.asarray([0.1, 1e20], np.float32)) == b'{"outputs": [0.1, 1e+20]}'
    assert one(np.asarray([0.1], np.float64)) == b'{"outputs": [0.1]}'
    assert one(np.asarray([[True, False]])) == b'{"outputs": [[true, false]]}'
    assert one(np.asarray(2**62, np.int64)) == b'{"outputs": 4611686018427387904}'
    assert one(np.asarray(["é\n".encode(), b"\xff"], object)) == b'{"outputs": ["\xc3\xa9\\n", "\xff"]}'


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{port} \(.*\); use another --rest_api"):
            RestApi(None, Flags()).start("127.0.0.1", port)
