"""F6: training. ``fit`` is the loop that one writes by hand, with what belongs around it.

>>> import contraflow as cf
>>> sorted(cf.train.__all__)[:4]
['Callback', 'CheckpointWarning', 'Checkpoints', 'ClipGradNorm']
"""

from __future__ import annotations

from contraflow.train.callbacks import (
    EMA,
    Callback,
    ClipGradNorm,
    ClipGradValue,
    EarlyStopping,
    KeepBest,
    Schedule,
)
from contraflow.train.checkpoint import Checkpoints, CheckpointWarning
from contraflow.train.history import History
from contraflow.train.interrupt import Interrupted
from contraflow.train.loop import evaluate, fit, predict
from contraflow.train.metrics import (
    Metric,
    accuracy,
    confusion_matrix,
    f1,
    mae,
    mse,
    precision,
    r2,
    recall,
    top_k,
)
from contraflow.train.models import Scale, load_model, save_model
from contraflow.train.progress import Progress
from contraflow.train.recipe import Recipe
from contraflow.train.run import Run
from contraflow.train.sources import Source, open_source
from contraflow.train.together import Together
from contraflow.train.whole import Result, train_recipe

__all__ = [
    # the loop
    "History", "Interrupted", "Run", "evaluate", "fit", "predict",
    # callbacks
    "EMA", "Callback", "ClipGradNorm", "ClipGradValue", "EarlyStopping", "KeepBest", "Progress",
    "Schedule", "Together",
    # checkpoints
    "CheckpointWarning", "Checkpoints",
    # models in a file, and whole runs
    "Recipe", "Result", "Scale", "Source", "load_model", "open_source", "save_model",
    "train_recipe",
    # metrics
    "Metric", "accuracy", "confusion_matrix", "f1", "mae", "mse", "precision", "r2", "recall",
    "top_k",
]  # fmt: skip
