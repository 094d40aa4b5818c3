"""As much of Google Cloud Storage's JSON API as conditional writes need; the client that talks to it is Google's."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its address while the caller is inside."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def service_account(address: str) -> str:
    """A key file that has tokens issued here."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem}
    return json.dumps(account | {"client_email": "nobody@localhost", "token_uri": f"{address}/token"})


class Handler(http.server.BaseHTTPRequestHandler):
    objects: ClassVar[dict[str, tuple[dict[str, Any], bytes]]] = {}
    lock = threading.Lock()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int) -> None:
        self.answer(status, json.dumps({"error": {"code": status, "message": f"stub {status}"}}).encode())

    def parsed(self) -> tuple[str, str, dict[str, str]]:
        """Which path without the object, which object, which query."""
        parts = urlsplit(self.path)
        before, _, name = parts.path.partition("/o/")
        return before, unquote(name), {key: value[0] for key, value in parse_qs(parts.query).items()}

    def do_POST(self) -> None:
        """A token, or an upload: multipart/related of metadata and content."""
        before, _, query = self.parsed()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if before == "/token":
            token = {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
            return self.answer(200, json.dumps(token).encode(), Content_Type="application/json")
        boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        _, first, second, _ = body.split(b"--" + boundary)
        metadata = json.loads(first.partition(b"\r\n\r\n")[2])
        data = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        name = metadata["name"]
        with self.lock:
            former = int(self.objects[name][0]["generation"]) if name in self.objects else 0
            if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != former:
                return self.refuse(412)
            now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            metadata |= {"bucket": "snapshots", "generation": str(former + 1), "updated": now}
            self.objects[name] = (metadata, data)
        self.answer(200, json.dumps(metadata).encode())

    def do_GET(self) -> None:
        before, name, query = self.parsed()
        with self.lock:
            if not name:
                return self.answer(200, json.dumps(self.listing(query)).encode())
            if name not in self.objects:
                return self.refuse(404)
            metadata, data = self.objects[name]
        if query.get("ifGenerationNotMatch") == metadata["generation"]:
            return self.answer(304)
        if before.startswith("/download"):
            self.answer(200, data, X_Goog_Generation=metadata["generation"])
        else:
            self.answer(200, json.dumps(metadata).encode())

    def listing(self, query: dict[str, str]) -> dict[str, Any]:
        prefix = query.get("prefix", "")
        rest = {name: name[len(prefix) :] for name in self.objects if name.startswith(prefix)}
        return {
            "items": [self.objects[name][0] for name, tail in rest.items() if "/" not in tail],
            "prefixes": sorted({prefix + tail.partition("/")[0] + "/" for tail in rest.values() if "/" in tail}),
        }

    def do_DELETE(self) -> None:
        _, name, _ = self.parsed()
        with self.lock:
            found = self.objects.pop(name, None)
        if found is None:
            return self.refuse(404)
        self.answer(204)
