"""The client of the served recommenders, without TensorFlow, and the contracts that it shares with the pipelines.

    from serving_client import Client

The asynchronous client is `serving_client.aio.Client`. A name is imported when it is first used, because trainers and
publishers import `serving_client.contracts` only and do not need grpc.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving_client.balancing import Balance
    from serving_client.breaker import CircuitBreaker
    from serving_client.calls import CallOptions
    from serving_client.client import Client
    from serving_client.credentials import Tls
    from serving_client.errors import (
        BadResponse,
        Cancelled,
        CircuitOpen,
        ClientClosed,
        DeadlineExceeded,
        InvalidRequest,
        NotFound,
        NotReady,
        NotSupported,
        Overloaded,
        ServerFault,
        ServingError,
        Unauthorized,
        Unavailable,
    )
    from serving_client.hedging import Hedge
    from serving_client.observing import Attempt, Call, Observer
    from serving_client.open_inference import OpenInference
    from serving_client.results import ModelMetadata, Prediction, Recommendation, TensorSpec, VersionStatus
    from serving_client.retry import Retry
    from serving_client.server_protocol import TensorFlowServing

__all__ = [
    "Attempt",
    "BadResponse",
    "Balance",
    "Call",
    "CallOptions",
    "Cancelled",
    "CircuitBreaker",
    "CircuitOpen",
    "Client",
    "ClientClosed",
    "DeadlineExceeded",
    "Hedge",
    "InvalidRequest",
    "ModelMetadata",
    "NotFound",
    "NotReady",
    "NotSupported",
    "Observer",
    "OpenInference",
    "Overloaded",
    "Prediction",
    "Recommendation",
    "Retry",
    "ServerFault",
    "ServingError",
    "TensorFlowServing",
    "TensorSpec",
    "Tls",
    "Unauthorized",
    "Unavailable",
    "VersionStatus",
]

_HOMES = {
    "Balance": "balancing",
    "CircuitBreaker": "breaker",
    "CallOptions": "calls",
    "Client": "client",
    "Tls": "credentials",
    "BadResponse": "errors",
    "Cancelled": "errors",
    "CircuitOpen": "errors",
    "ClientClosed": "errors",
    "DeadlineExceeded": "errors",
    "InvalidRequest": "errors",
    "NotFound": "errors",
    "NotReady": "errors",
    "NotSupported": "errors",
    "Overloaded": "errors",
    "ServerFault": "errors",
    "ServingError": "errors",
    "Unauthorized": "errors",
    "Unavailable": "errors",
    "Hedge": "hedging",
    "Attempt": "observing",
    "Call": "observing",
    "Observer": "observing",
    "OpenInference": "open_inference",
    "ModelMetadata": "results",
    "Prediction": "results",
    "Recommendation": "results",
    "TensorSpec": "results",
    "VersionStatus": "results",
    "Retry": "retry",
    "TensorFlowServing": "server_protocol",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
