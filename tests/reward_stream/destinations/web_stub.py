"""A web server over a folder, with ETags, as a CDN or nginx serves one."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.answered: list[int] = []
        self.authorizations: list[str | None] = []
        self.broken = False

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/live"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.authorizations.append(self.headers["Authorization"])
        path = self.server.folder.joinpath(*map(urllib.parse.unquote, self.path.split("/")[1:]))
        status, data = (200, path.read_bytes()) if path.is_file() else (404, b"")
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if status == 200 and self.headers["If-None-Match"] == tag:
            status, data = 304, b""
        if self.server.broken:
            status, data = 503, b"later"
        self.server.answered.append(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Server]:
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
