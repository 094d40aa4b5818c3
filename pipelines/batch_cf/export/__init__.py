"""Recommend items from a neighbor table, as a SavedModel for TF Serving or with plain numpy."""

from pipelines.batch_cf.export.reference import explain, recommend, score_items
from pipelines.batch_cf.export.saved_model import export_model

__all__ = ["explain", "export_model", "recommend", "score_items"]
