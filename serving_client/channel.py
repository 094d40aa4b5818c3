"""The targets of a client and the gRPC settings of its channels, for blocking and asynchronous clients.

A target is HOST:PORT, [IPV6]:PORT, dns:///NAME:PORT (all addresses of the name in turn) or unix:PATH, as in gRPC.
This module opens no connection: a channel connects on its first call.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from serving_client.credentials import Tls

__all__ = ["channel_options", "is_loopback", "target_list"]

KEEPALIVE_MS = 20_000
"""A keepalive ping is sent after this much silence during a call. Servers allow two pings per call."""
KEEPALIVE_TIMEOUT_MS = 5_000
"""A connection is lost if a ping, or bytes that were sent, are not acknowledged for this long."""
FIRST_BACKOFF_MS = 50
MAX_BACKOFF_MS = 250
"""Longest pause between two connection attempts, so a restarted server is found within it. gRPC's default is 2 min."""
CONNECT_MS = 2_000
"""Time for name lookup, TCP, TLS and HTTP/2 together. They take less even between continents. gRPC's default: 20 s."""

_PORT = re.compile(r".*:\d+", re.DOTALL)


def target_list(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Check the targets of a client.

    Args:
        targets: One target or several. A string is one target.

    Raises:
        ValueError: There is no target, or one is named twice or has no port.
        TypeError: A target is not text.
    """
    found = (targets,) if isinstance(targets, str) else tuple(targets)
    for target in found:
        if not isinstance(target, str):
            raise TypeError(f"target {target!r} is {type(target).__name__}, not text like HOST:PORT")
        if not target.startswith(("unix:", "unix-abstract:", "dns:", "xds:")) and not _PORT.fullmatch(target):
            raise ValueError(f"target {target!r} has no port; write HOST:PORT, as in localhost:8500")
        if found.count(target) > 1:
            raise ValueError(f"target {target!r} is named twice; to spread load name each replica once")
    if not found:
        raise ValueError("a client needs at least one target, got none; write HOST:PORT, as in localhost:8500")
    return found


def is_loopback(target: str) -> bool:
    """Return whether a target's name is on this machine: localhost, 127.0.0.0/8, ::1, or a unix socket."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(dns:(//[^/]*/)?|ipv4:|ipv6:)", "", target).rpartition(":")[0].strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def channel_options(target: str, tls: Tls | None) -> list[tuple[str, Any]]:
    """Return the gRPC settings of the channel to one target.

    Args:
        target: As `target_list` returns it.
        tls: Certificates, or None for plaintext.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),  # gRPC stops at 4 MiB, the server at 2 GiB
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # clients do not share connections, nor does a forked child
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", FIRST_BACKOFF_MS),
        ("grpc.max_reconnect_backoff_ms", MAX_BACKOFF_MS),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),  # despite its name, the time limit of one attempt
        ("grpc.primary_user_agent", "recbeam-serving-client"),
    ]
    if is_loopback(target):
        options.append(
            ("grpc.enable_http_proxy", 0)
        )  # a proxy from the environment cannot reach servers on this machine
    if target.startswith("dns:"):
        options.append(("grpc.lb_policy_name", "round_robin"))  # all addresses of the name, not only the first
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options
