"""From a neighbor table to recommendations: as a SavedModel for TF Serving, or as a call in plain numpy."""

from pipelines.batch_cf.export.reference import explain, recommend, score_items
from pipelines.batch_cf.export.saved_model import export_model

__all__ = ["explain", "export_model", "recommend", "score_items"]
