"""The recipe of a training run: what decides it, checked and kept beside the model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from contraflow import optim
from contraflow.base.errors import ArgumentError, FileError, lesson
from contraflow.base.files import damaged, opened, write_atomically
from contraflow.interop.structure import read_json
from contraflow.train.sources import Source, nearest

__all__ = [
    "MODELS", "OPEN_ENDED", "SCHEDULES", "Recipe", "complete", "differs", "prepare", "read_recipe",
]  # fmt: skip

MODELS = ("cnn", "mlp", "linear")
SCHEDULES = ("onecycle", "cosine", "plateau", "none")
OPEN_ENDED = ("plateau", "none")  # schedules that do not depend on the number of epochs
SETTINGS = "settings.json"


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


# ---- the folder ----------------------------------------------------------------------------------


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
