"""The gRPC path of each remote procedure: /PACKAGE.SERVICE/METHOD."""

from __future__ import annotations

__all__ = [
    "GET_MODEL_METADATA",
    "GET_MODEL_STATUS",
    "GRPC_INFERENCE_SERVICE",
    "MODEL_INFER",
    "MODEL_METADATA",
    "MODEL_READY",
    "MODEL_SERVICE",
    "PREDICT",
    "PREDICTION_SERVICE",
    "RELOAD_CONFIG",
    "SERVER_LIVE",
    "SERVER_METADATA",
    "SERVER_READY",
]

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
PREDICT = f"/{PREDICTION_SERVICE}/Predict"
"""PredictRequest to PredictResponse."""
GET_MODEL_METADATA = f"/{PREDICTION_SERVICE}/GetModelMetadata"
"""GetModelMetadataRequest to GetModelMetadataResponse."""

MODEL_SERVICE = "tensorflow.serving.ModelService"
GET_MODEL_STATUS = f"/{MODEL_SERVICE}/GetModelStatus"
"""GetModelStatusRequest to GetModelStatusResponse."""
RELOAD_CONFIG = f"/{MODEL_SERVICE}/HandleReloadConfigRequest"
"""ReloadConfigRequest to ReloadConfigResponse."""

GRPC_INFERENCE_SERVICE = "inference.GRPCInferenceService"
MODEL_INFER = f"/{GRPC_INFERENCE_SERVICE}/ModelInfer"
"""ModelInferRequest to ModelInferResponse."""
MODEL_METADATA = f"/{GRPC_INFERENCE_SERVICE}/ModelMetadata"
"""ModelMetadataRequest to ModelMetadataResponse."""
MODEL_READY = f"/{GRPC_INFERENCE_SERVICE}/ModelReady"
"""ModelReadyRequest to ModelReadyResponse."""
SERVER_LIVE = f"/{GRPC_INFERENCE_SERVICE}/ServerLive"
"""ServerLiveRequest to ServerLiveResponse."""
SERVER_METADATA = f"/{GRPC_INFERENCE_SERVICE}/ServerMetadata"
"""ServerMetadataRequest to ServerMetadataResponse."""
SERVER_READY = f"/{GRPC_INFERENCE_SERVICE}/ServerReady"
"""ServerReadyRequest to ServerReadyResponse."""
