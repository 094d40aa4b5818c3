"""Serve REST over HTTP/1.1 with the standard library's server: persistent connections, one thread each.

Like all of local_serving this is for development and tests, not for an untrusted network. Bodies have a Content-Length
or are chunked.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

__all__ = ["RestServer"]

Answer = Callable[[str, str, bytes], tuple[int, bytes] | None]

MAX_BODY_BYTES = 2**31 - 1
"""tensorflow_model_server's limit for a gRPC message. Its REST has no limit."""
MAX_CHUNK_LINE_BYTES = 4096
IDLE_S = 60.0
"""How long a connection may be silent, also within a request, in seconds."""


class RestServer:
    """An HTTP server that listens once it is created, and answers between `start` and `stop`.

    Args:
        answer: (method, path, body) -> HTTP status code and JSON body, or None for 404.
        host: Address to listen on.
        port: Port to listen on. 0 uses any free port.
        threads: How many requests are answered at once. Further ones wait.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, answer: Answer, host: str = "", port: int = 0, threads: int = 16) -> None:
        self._http = _Http((host, port), answer, threads)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="rest", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._http.server_address[1])

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no new connections, wait at most grace_s seconds for complete requests, and close all connections."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.socket.close()
        self._http.close_connections(grace_s)


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, address: tuple[str, int], answer: Answer, threads: int) -> None:
        super().__init__(address, _Handler)
        self.answer = answer
        self.places = threading.BoundedSemaphore(threads)
        self.changed = threading.Condition()
        self.busy = 0
        self.stopping = False
        self.connections: set[socket.socket] = set()

    def server_bind(self) -> None:
        """Bind without the DNS look-up of the machine's name, which can take seconds and is only needed for CGI."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "local_serving", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close_connections(self, grace_s: float) -> None:
        with self.changed:
            self.stopping = True
            self.changed.wait_for(lambda: not self.busy, grace_s)
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version = "local_serving"
    sys_version = ""
    timeout = IDLE_S
    # Head and body are sent as one segment each. Otherwise the second waits until the first is acknowledged.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        with self.server.changed:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.changed:
            self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Handle every method. The answer decides which methods are served."""
        body = self._body()
        if body is None:
            return
        with self.server.changed:  # a stop waits for this request, but not for bodies, which may never be complete
            self.server.busy += 1
        try:
            self._serve(body)
            self.wfile.flush()
        finally:
            with self.server.changed:
                self.server.busy -= 1
                self.close_connection |= self.server.stopping
                self.server.changed.notify_all()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def _serve(self, body: bytes) -> None:
        path = urllib.parse.urlsplit(self.path).path
        with self.server.places:
            answered = self.server.answer(self.command, path, body)
        if answered is None:
            self.send_error(404)
            return
        code, content = answered
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes | None:
        """Read the body. If it cannot be read, answer with an error, close the connection and return None."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()):
            self._refuse(400)
            return None
        text = text.lstrip("0") or "0"
        if len(text) > len(str(MAX_BODY_BYTES)) or int(text) > MAX_BODY_BYTES:
            self._refuse(413)
            return None
        body = self.rfile.read(int(text))
        if len(body) < int(text):
            self._refuse(400)
            return None
        return body

    def _chunks(self) -> bytes | None:
        body = bytearray()
        while True:
            size = _chunk_size(self.rfile.readline(MAX_CHUNK_LINE_BYTES))
            if size is None or len(body) + size > MAX_BODY_BYTES:
                self._refuse(400 if size is None else 413)
                return None
            if size == 0:
                while self.rfile.readline(MAX_CHUNK_LINE_BYTES).strip():  # trailers
                    pass
                return bytes(body)
            chunk = self.rfile.read(size)
            if len(chunk) < size or self.rfile.readline(3).strip():
                self._refuse(400)
                return None
            body += chunk

    def _refuse(self, code: int) -> None:
        self.close_connection = True
        self.send_error(code)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _chunk_size(line: bytes) -> int | None:
    text = line.partition(b";")[0].strip()
    return int(text, 16) if text and all(byte in b"0123456789abcdefABCDEF" for byte in text) else None
