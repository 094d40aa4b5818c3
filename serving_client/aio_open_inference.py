"""The deprecated `OpenInferenceClient` for asyncio. Use `aio.Client` with `protocol=OpenInference(...)`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from serving_client.aio import Client
from serving_client.open_inference import OpenInference
from serving_client.open_inference_operations import Featurize

__all__ = ["OpenInferenceClient"]


class OpenInferenceClient(Client):
    """Deprecated alias of `aio.Client` with `protocol=OpenInference(...)`. The next release removes it."""

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        featurize: Featurize | None = None,
        scores_output: str = "predict",
        scores_column: int | None = None,
        catalogue: Sequence[str] = (),
        raw: bool = True,
        **settings: Any,
    ) -> None:
        warnings.warn(
            "OpenInferenceClient is deprecated; use aio.Client(..., protocol=OpenInference(...))",
            DeprecationWarning,
            stacklevel=2,
        )
        protocol = OpenInference(featurize, scores_output, scores_column, catalogue, raw)
        super().__init__(targets, protocol=protocol, **settings)
