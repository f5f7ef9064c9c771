"""From the name of a data set to a model in a file: what ``contraflow train`` does."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from contraflow import nn, optim
from contraflow.base.errors import ArgumentError, FileError, lesson
from contraflow.base.files import damaged, opened, write_atomically
from contraflow.data.dataset import TensorDataset
from contraflow.data.loader import DataLoader
from contraflow.data.spatial import RandomAffine
from contraflow.interop.structure import read_json
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
from contraflow.train.sources import Source, nearest, open_source, split
from contraflow.train.together import Together

__all__ = [
    "MODELS",
    "OPEN_ENDED",
    "SCHEDULES",
    "Recipe",
    "Result",
    "differs",
    "judge",
    "mistakes",
    "read_recipe",
    "train_recipe",
]

Array = np.ndarray[Any, Any]
MODELS = ("cnn", "mlp", "linear")
SCHEDULES = ("onecycle", "cosine", "plateau", "none")
OPEN_ENDED = ("plateau", "none")  # schedules that do not depend on the number of epochs
SETTINGS = "settings.json"
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run; what is None gets a value that suits the data.

    Attributes:
        data: a bundled set, an ``.npz`` file, or a folder of idx files.
        model: ``"cnn"``, ``"mlp"`` or ``"linear"``.
        widths: channels of the convolutions, or units of the hidden layers.
        dropout: the probability of dropping a unit.
        epochs, batch_size, lr, weight_decay: as their names say.
        optimizer: a name of ``cf.optim.RULES``.
        schedule: ``"onecycle"``, ``"cosine"``, ``"plateau"`` or ``"none"``.
        augment: turn, move and scale the pictures a little, differently in each epoch.
        label_smoothing: the share of the target that goes to all classes alike.
        clip: the largest norm of the gradient; ema: the decay of an average of the weights.
        patience: epochs without improvement after which the run ends.
        seed: of the initial weights, the order of the data, dropout and augmentation.
        test, validation: the parts that are held out of training.
    """

    data: str
    model: str | None = None
    widths: tuple[int, ...] | None = None
    dropout: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: str = "AdamW"
    weight_decay: float | None = None
    schedule: str = "onecycle"
    augment: bool | None = None
    label_smoothing: float | None = None
    clip: float | None = None
    ema: float | None = None
    patience: int | None = None
    seed: int = 0
    test: float = 0.2
    validation: float = 0.1


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


# ---- the recipe --------------------------------------------------------------------------------


def complete(recipe: Recipe, source: Source) -> Recipe:
    """The recipe with a value for everything, after checking what was given.

    Raises:
        ArgumentError: for a name that does not exist, or a number outside its range.
    """
    check(recipe)
    choose("model", recipe.model, MODELS)
    choose("optimizer", recipe.optimizer, optim.RULES)
    choose("schedule", recipe.schedule, SCHEDULES)
    model = recipe.model or ("cnn" if source.images else "mlp")
    if model == "cnn" and not source.images:
        raise ArgumentError(
            lesson(
                f"a cnn looks at pictures; {source.name} has {source.x.shape[1]} numbers a sample",
                fix='model="mlp"',
            )
        )
    if recipe.augment and not source.images:
        raise ArgumentError(
            lesson(f"only pictures are augmented; {source.name} is a table", fix="augment=False")
        )
    usual = {"cnn": (24, 48), "mlp": (128, 64) if source.images else (32,), "linear": ()}
    size = len(source.x)
    filled = {
        "model": model,
        "widths": usual[model],
        "dropout": {"cnn": 0.2, "mlp": 0.2 if source.images else 0.1, "linear": 0.0}[model],
        "epochs": max(3, min(30 if source.images else 60, 300_000 // max(size, 1))),
        "batch_size": 32 if size < 20_000 else 128,
        "augment": source.images,
        "label_smoothing": 0.05 if source.classes and source.images else 0.0,
        "lr": 5e-3 if recipe.optimizer in ("Adam", "AdamW", "NAdam", "RAdam") else None,
    }
    return replace(recipe, **{k: v for k, v in filled.items() if getattr(recipe, k) is None})


def choose(name: str, value: Any, names: Iterable[str]) -> None:
    """A name that exists."""
    if value is None or value in names:
        return
    close = nearest(str(value), names)
    raise ArgumentError(
        lesson(
            f"there is no {name} {value!r}" + (f"; did you mean {close!r}?" if close else ""),
            [("known", " ".join(names))],
            f"{name}={close or next(iter(names))!r}",
        )
    )


Number = (int, float)
RANGES: dict[str, tuple[str, Any, Any]] = {
    "epochs": ("a whole number above 0", int, lambda v: v >= 1),
    "batch_size": ("a whole number above 0", int, lambda v: v >= 1),
    "dropout": ("in [0, 1)", Number, lambda v: 0 <= v < 1),
    "lr": ("a finite number above 0", Number, lambda v: 0 < v < np.inf),
    "weight_decay": ("a finite number >= 0", Number, lambda v: 0 <= v < np.inf),
    "label_smoothing": ("in [0, 1]", Number, lambda v: 0 <= v <= 1),
    "clip": ("a finite number above 0", Number, lambda v: 0 < v < np.inf),
    "ema": ("in [0, 1)", Number, lambda v: 0 <= v < 1),
    "patience": ("a whole number above 0", int, lambda v: v >= 1),
    "widths": ("whole numbers above 0", tuple, lambda v: all(type(w) is int and w > 0 for w in v)),
    "augment": ("True or False", bool, lambda v: True),
    "test": ("in (0, 1)", Number, lambda v: 0 < v < 1),
    "validation": ("in (0, 1)", Number, lambda v: 0 < v < 1),
    "seed": ("a 64-bit whole number", int, lambda v: -(2**63) <= v < 2**63),
}


def check(recipe: Recipe) -> None:
    """Numbers within their ranges."""
    for name, (domain, kind, good) in RANGES.items():
        value = getattr(recipe, name)
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if value is not None and not (fits and good(value)):
            usual = getattr(Recipe, name, None)
            raise ArgumentError(
                lesson(f"{name} must be {domain}, received {value!r}",
                       fix=f"leave {name} out" if usual is None else f"{name}={usual}")
            )  # fmt: skip


def read_recipe(out: Any) -> Recipe:
    """The recipe of a run in a folder.

    Raises:
        FileError: if there is none, or it is damaged.
    """
    path = Path(out) / SETTINGS
    if not path.exists():
        raise FileError(lesson("there is no run to go on with", [("folder", Path(out))],
                               "begin one: leave resume out"))  # fmt: skip
    with opened(path) as (file, _):
        found = read_json(file.read().decode())
    if not isinstance(found, dict) or set(found) != {f.name for f in fields(Recipe)}:
        raise damaged(path, "it holds no settings of a training run")
    if isinstance(found["widths"], list):
        found["widths"] = tuple(found["widths"])
    return Recipe(**found)


# ---- its parts ---------------------------------------------------------------------------------


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


def prepare(folder: Path, recipe: Recipe, resume: bool) -> Path:
    """The folder of the run, with its settings; an earlier run's checkpoints are set aside.

    They go to ``checkpoints.before``, so that nothing is lost by beginning anew.
    """
    checkpoints, before = folder / "checkpoints", folder / "checkpoints.before"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if checkpoints.is_dir() and not resume:
            for path in (*before.glob("checkpoint-*.safetensors"),):
                path.unlink()
            if before.is_dir():
                before.rmdir()
            os.replace(checkpoints, before)
    except OSError as error:
        raise FileError(
            lesson(f"the folder cannot be used: {error.strerror or error}", [("folder", folder)],
                   "a folder that can be written")
        ) from None  # fmt: skip
    if not resume or not (folder / SETTINGS).exists():
        text = json.dumps(asdict(recipe), indent=1)
        write_atomically(folder / SETTINGS, text.encode() + b"\n")
        return folder
    saved = read_recipe(folder)
    if recipe.schedule in OPEN_ENDED:
        saved = replace(saved, epochs=recipe.epochs)
    if saved != recipe:
        raise differs(saved, recipe, [f.name for f in fields(Recipe)])
    return folder


def differs(saved: Recipe, asked: Recipe, names: Iterable[str]) -> ArgumentError:
    """The error for a run that shall go on with other settings."""
    rows = [
        (name, f"{getattr(saved, name)} in the run, {getattr(asked, name)} now")
        for name in names
        if getattr(saved, name) != getattr(asked, name)
    ]
    return ArgumentError(
        lesson(
            "a run goes on with the settings that it began with",
            rows,
            "leave these options out, or begin another run in another folder",
        )
    )
