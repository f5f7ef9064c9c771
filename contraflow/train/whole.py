"""From the name of a data set to a model in a file: what ``contraflow train`` does."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contraflow import nn, optim
from contraflow.base.errors import ArgumentError, lesson
from contraflow.data.dataset import TensorDataset
from contraflow.data.loader import DataLoader
from contraflow.data.spatial import RandomAffine
from contraflow.ops.softmax import softmax
from contraflow.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from contraflow.tensor.rng import manual_seed
from contraflow.tensor.tensor import make
from contraflow.train.callbacks import EMA, ClipGradNorm, EarlyStopping, KeepBest, Schedule
from contraflow.train.checkpoint import Checkpoints
from contraflow.train.history import History
from contraflow.train.loop import evaluate, fit, predict
from contraflow.train.metrics import accuracy, confusion_matrix, mae, r2
from contraflow.train.models import Scale, save_model
from contraflow.train.recipe import Recipe, complete, prepare
from contraflow.train.sources import Source, open_source, split
from contraflow.train.together import Together

__all__ = ["Result", "judge", "mistakes", "train_recipe"]

Array = np.ndarray[Any, Any]
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Result:
    """What came out of a recipe.

    Attributes:
        model: trained, in evaluation mode; path: the file that holds it; about: what the file says.
        history: the course of the training.
        found: the numbers on the test part, which had no part in anything before.
        inputs, targets, outputs: of the test part.
    """

    model: Any
    path: Path
    about: dict[str, Any]
    history: History
    found: dict[str, Any]
    inputs: Array
    targets: Array
    outputs: Array

    def mistakes(self) -> list[tuple[int, int, float]]:
        """The samples that were taken for another class: index, class and its probability, the
        surest first."""
        return mistakes(self.outputs, self.targets)


def mistakes(outputs: Array, targets: Array) -> list[tuple[int, int, float]]:
    """The samples whose largest score is not the target's, the surest first."""
    chance = softmax(make(outputs), dim=1).numpy()
    said, sure = chance.argmax(1), chance.max(1)
    wrong = np.flatnonzero(said != targets)
    order = wrong[np.argsort(-sure[wrong], kind="stable")]
    return [(int(i), int(said[i]), float(sure[i])) for i in order]


def layers(recipe: Recipe, x: Array, y: Array, outputs: int) -> list[Any]:
    """The layers of a model, for these training data."""
    widths, dropout = recipe.widths or (), recipe.dropout or 0.0
    made: list[Any] = [Scale.standardizing(make(x))]
    shape = x.shape[1:]
    if recipe.model == "cnn":
        for width in widths:
            made += [nn.Conv2d(shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            shape = (width, *shape[1:])
            if min(shape[1:]) >= 4:
                made.append(nn.MaxPool2d(2))
                shape = (width, shape[1] // 2, shape[2] // 2)
        made += [nn.Flatten(), nn.Dropout(dropout)]
        size = int(np.prod(shape))
    else:
        made.append(nn.Flatten())
        size = int(np.prod(shape))
        for width in widths:
            made += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout)]
            size = width
    made.append(nn.Linear(size, outputs))
    return made if y.dtype.kind == "i" else [*made, Scale.restoring(make(y))]


def make_optimizer(recipe: Recipe, model: Any) -> Any:
    """The optimiser of a recipe."""
    kind = optim.RULES[recipe.optimizer]
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    given = {name: value for name, value in options.items() if value is not None}
    taken = inspect.signature(kind).parameters
    for name in given:
        if name not in taken:
            raise ArgumentError(
                lesson(f"{recipe.optimizer} has no {name}", fix=f"leave {name} out")
            )  # fmt: skip
    params = list(model.parameters())
    matrices = [p for p in params if p.ndim == 2]
    if kind is not optim.Muon or len(matrices) == len(params):
        return kind(params, **given)
    others = optim.AdamW([p for p in params if p.ndim != 2])
    return Together(kind(matrices, **given), others)


def beside(recipe: Recipe, optimizer: Any, steps: int) -> list[Any]:
    """The callbacks of a recipe."""
    made = make_schedule(recipe, optimizer, steps)
    if recipe.clip is not None:
        made.append(ClipGradNorm(recipe.clip))
    if recipe.ema is not None:
        made.append(EMA(recipe.ema))
    return [*made, KeepBest() if recipe.patience is None else EarlyStopping(recipe.patience)]


def make_schedule(recipe: Recipe, optimizer: Any, steps: int) -> list[Any]:
    """The schedule of a recipe."""
    epochs = recipe.epochs or 1
    if recipe.schedule == "none" or recipe.optimizer.startswith("ScheduleFree"):
        return []
    if recipe.schedule == "plateau":
        return [Schedule(ReduceLROnPlateau(optimizer, patience=3, factor=0.3))]
    if recipe.schedule == "cosine":
        return [Schedule(CosineAnnealingLR(optimizer, epochs))]
    total = max(2, epochs * steps)
    rates = [group["lr"] for group in optimizer.param_groups]
    return [Schedule(OneCycleLR(optimizer, max_lr=rates, total_steps=total, cycle_momentum=False))]


def train_recipe(
    recipe: Recipe, out: Any, *, resume: bool = False, callbacks: Iterable[Any] = ()
) -> Result:
    """Train what a recipe says, and keep it in a folder.

    The folder gets ``model.safetensors`` (see ``cf.train.load_model``), ``history.json``,
    ``settings.json`` and ``checkpoints``. Same recipe, same machine: the same bits, also after
    being stopped and resumed.

    Raises:
        ArgumentError, FileError: for a recipe, data or a folder that cannot be used.

    >>> import contraflow as cf
    >>> recipe = cf.train.Recipe("iris", epochs=40)
    >>> result = cf.train.train_recipe(recipe, "runs/iris")
    >>> result.found["accuracy"] > 0.85
    True
    """
    callbacks = list(callbacks)
    source = open_source(recipe.data)
    recipe = complete(recipe, source)
    parts = split(source, recipe.test, recipe.validation)
    folder = prepare(Path(out), recipe, resume)
    manual_seed(recipe.seed)
    model = nn.Sequential(*layers(recipe, *parts.train, count_outputs(source)))
    optimizer = make_optimizer(recipe, model)
    data = DataLoader(dataset(parts.train), batch_size=recipe.batch_size, shuffle=True)
    loss, metrics = measures(source, recipe.label_smoothing or 0.0)
    history = fit(
        model, loss, optimizer, data, recipe.epochs or 1,
        validation=DataLoader(dataset(parts.validation), batch_size=1024), metrics=metrics,
        callbacks=[*beside(recipe, optimizer, len(data)), *callbacks],
        augment=RandomAffine(10, (0.08, 0.08), (0.9, 1.1)) if recipe.augment else None,
        checkpoints=Checkpoints(folder / "checkpoints"), resume=resume,
    )  # fmt: skip
    found, outputs = judge(model, *parts.test)
    about = {
        "data": recipe.data, "shape": list(source.x.shape[1:]), "classes": source.classes,
        "recipe": {**asdict(recipe), "widths": list(recipe.widths or ())},
        "test": {k: v for k, v in found.items() if isinstance(v, float)},
    }  # fmt: skip
    history.save(folder / "history.json")
    save_model(model, folder / MODEL, about)
    return Result(model, folder / MODEL, about, history, found, *parts.test, outputs)


def count_outputs(source: Source) -> int:
    """A score for each class, or the numbers to predict."""
    return len(source.classes) if source.classes else int(source.y.shape[1])


def measures(source: Source, label_smoothing: float) -> tuple[Any, list[Any]]:
    """The loss to train with and what to show beside it."""
    if source.classes:
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing), [accuracy]
    return nn.MSELoss(), [r2]


def judge(model: Any, x: Array, y: Array) -> tuple[dict[str, Any], Array]:
    """The numbers of a trained model on data, and its outputs."""
    classify = y.dtype.kind == "i"
    outputs = predict(model, DataLoader(dataset((x, y)), batch_size=1024))
    loss = nn.CrossEntropyLoss() if classify else nn.MSELoss()
    metrics = [accuracy, confusion_matrix] if classify else [r2, mae]
    found = evaluate(nn.Identity(), [(outputs, make(y))], loss, metrics)
    return found, outputs.numpy()


def dataset(part: tuple[Array, Array]) -> TensorDataset:
    return TensorDataset(make(part[0]), make(part[1]))
