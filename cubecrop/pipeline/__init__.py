"""All steps from an archive to a model, a map or a table, in single calls."""

from __future__ import annotations

from cubecrop.pipeline.adapting import adapt_model
from cubecrop.pipeline.demonstration import DemoResult, demo
from cubecrop.pipeline.evaluations import evaluate, evaluate_table
from cubecrop.pipeline.learn import train
from cubecrop.pipeline.recipes import train_recipe
from cubecrop.pipeline.run import classify, classify_parcels
from cubecrop.pipeline.table import train_table

__all__ = [
    "DemoResult",
    "adapt_model",
    "classify",
    "classify_parcels",
    "demo",
    "evaluate",
    "evaluate_table",
    "train",
    "train_recipe",
    "train_table",
]
