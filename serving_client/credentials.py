"""The TLS settings of a client: certificates as bytes, and the name to expect in the server's certificate.

This module reads no files and no environment variables. Use `Path.read_bytes`.
"""

from __future__ import annotations

import dataclasses

import grpc

__all__ = ["Tls", "channel_credentials"]


@dataclasses.dataclass(frozen=True)
class Tls:
    """Certificates for the TLS of all channels of a client. All are PEM, as bytes.

    Args:
        root_ca: Authorities to trust. None trusts those that gRPC brings.
        key: Private key of the client, for mutual TLS. Give both `key` and `certificate` or neither.
        certificate: Certificate of the client. It may be a chain that starts with the client's own.
        server_name: Name to expect in the server's certificate if it differs from the target (an address, a tunnel).

    Raises:
        TypeError: A certificate is a path or text instead of bytes.
        ValueError: A certificate is not PEM, or one of `key` and `certificate` is missing.
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
    """Return gRPC's credentials, for blocking and asynchronous channels."""
    return grpc.ssl_channel_credentials(tls.root_ca, tls.key, tls.certificate)
