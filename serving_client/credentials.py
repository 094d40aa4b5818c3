"""What a client shows and what it trusts when it speaks TLS: certificates as bytes, and a name to look for in them.

Nothing here reads files or environment variables; `Path.read_bytes` does, where the program knows the path.
"""

from __future__ import annotations

import dataclasses

import grpc

__all__ = ["Tls", "channel_credentials"]


@dataclasses.dataclass(frozen=True)
class Tls:
    """TLS of every channel of a client. All certificates are PEM, all bytes.

    root_ca: the authorities to trust; None for those that gRPC brings. key, certificate: what the client shows of
    itself (mutual TLS), both or neither; `certificate` may be a chain, its own first. server_name: the name to expect
    in the server's certificate, where it differs from the target (an address, a tunnel).
    Raises TypeError for a path or text in place of bytes, ValueError for a key without certificate or the reverse.
    """

    root_ca: bytes | None = None
    key: bytes | None = None
    certificate: bytes | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("root_ca", "key", "certificate"):
            value: object = getattr(self, name)
            if value is not None and not isinstance(value, bytes):
                raise TypeError(f"Tls: {name} is {type(value).__name__}, not bytes; read the PEM file first")
            if value is not None and b"-----BEGIN" not in value:
                raise ValueError(f"Tls: {name} is not PEM: it has no line -----BEGIN …-----")
        if (self.key is None) != (self.certificate is None):
            given, missing = ("key", "certificate") if self.certificate is None else ("certificate", "key")
            raise ValueError(f"Tls: {given} is given without {missing}; mutual TLS needs both")

    def __repr__(self) -> str:
        shown = [f"{name}=<hidden>" for name in ("root_ca", "key", "certificate") if getattr(self, name) is not None]
        shown += [f"server_name={self.server_name!r}"] if self.server_name is not None else []
        return f"Tls({', '.join(shown)})"


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """The same as gRPC wants it, for blocking and asynchronous channels alike."""
    return grpc.ssl_channel_credentials(tls.root_ca, tls.key, tls.certificate)
