"""The TensorFlow-free client of the served recommenders, and the contracts it shares with the pipelines.

    from serving_client import Client

The asynchronous client is `serving_client.aio.Client`, in a module of its own: both are called Client.
"""

from __future__ import annotations

from serving_client.balancing import Balance
from serving_client.breaker import CircuitBreaker
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
from serving_client.results import ModelMetadata, Prediction, Recommendation, TensorSpec, VersionStatus
from serving_client.retry import Retry

__all__ = [
    "Attempt",
    "BadResponse",
    "Balance",
    "Call",
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
    "Overloaded",
    "Prediction",
    "Recommendation",
    "Retry",
    "ServerFault",
    "ServingError",
    "TensorSpec",
    "Tls",
    "Unauthorized",
    "Unavailable",
    "VersionStatus",
]
