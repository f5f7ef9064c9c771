"""What a file says about itself, and the data that a saved model is to be measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from contraflow.base.errors import ArgumentError, ContraflowError, lesson
from contraflow.base.files import damaged
from contraflow.interop.files import DIGEST, load
from contraflow.train import load_model
from contraflow.train.sources import open_source, split

__all__ = ["FileInfo", "Part", "describe_file", "held_out", "open_model"]


@dataclass(frozen=True)
class Part:
    """Data to measure a model on."""

    name: str
    arrays: tuple[Any, Any]


def open_model(path: str) -> tuple[Any, dict[str, Any]]:
    """A model of ``contraflow train`` and what is said about it.

    Raises:
        FileError: if the file holds no model, or not what is needed to use it from here.
    """
    model, about = load_model(path)
    classes, shape, recipe = (about.get(name) for name in ("classes", "shape", "recipe"))
    good = (
        set(about) >= {"data", "shape", "classes", "recipe"}
        and isinstance(about["data"], str)
        and isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
        and (classes is None or is_texts(classes))
        and isinstance(recipe, dict)
        and all(isinstance(recipe.get(part), float) for part in ("test", "validation"))
    )  # fmt: skip
    if not good or (classes is not None and len(classes) != outputs_of(model)):
        raise damaged(path, "it does not say what its inputs and outputs are",
                      "a model that contraflow train has saved")  # fmt: skip
    return model, about


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def outputs_of(model: Any) -> int | None:
    """How many numbers the last layer with a size gives."""
    sizes = [m.out_features for m in model if hasattr(m, "out_features")]
    return sizes[-1] if sizes else None


def held_out(about: dict[str, Any], data: str | None) -> Part:
    """The test part of the data that a model was trained on, or all of other data.

    Raises:
        ArgumentError: for data of another shape or with other classes than the model was made for.
    """
    source = open_source(data or about["data"])
    shape = list(source.x.shape[1:])
    if shape != list(about["shape"]) or (source.classes is None) != (about["classes"] is None):
        raise ArgumentError(
            lesson(
                f"{source.name} is no data for this model",
                [("model", f"inputs {list(about['shape'])}, {kind(about['classes'])}"),
                 ("data", f"inputs {shape}, {kind(source.classes)}")],
                f"data like {about['data']}, which it was trained on",
            )
        )  # fmt: skip
    if source.classes and int(source.y.max()) >= len(about["classes"]):
        raise ArgumentError(
            lesson(f"{source.name} has {len(source.classes)} classes, "
                   f"the model knows {len(about['classes'])}",
                   fix=f"data like {about['data']}, which it was trained on")
        )  # fmt: skip
    if source.name != about["data"]:
        return Part(f"all of {source.name}", (source.x, source.y))
    recipe = about["recipe"]
    return Part(f"the test part of {source.name}",
                split(source, recipe["test"], recipe["validation"]).test)  # fmt: skip


def kind(classes: Any) -> str:
    return f"{len(classes)} classes" if classes else "numbers to predict"


@dataclass(frozen=True)
class FileInfo:
    """What stands in a safetensors file, after it was read and checked."""

    path: Path
    size: int
    tensors: list[tuple[str, str, list[int]]]  # name, dtype, shape
    digest: str | None
    about: dict[str, Any]
    layers: str | None


def describe_file(path: str) -> FileInfo:
    """Read a file and check it.

    Raises:
        FileError: if it is missing, damaged or of another format.
    """
    load(path)
    with safetensors.safe_open(path, "numpy") as file:
        views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        tensors = [(n, v.get_dtype(), list(v.get_shape())) for n, v in views.items()]
        digest = (file.metadata() or {}).get(DIGEST)
    try:
        model, about = load_model(path)
        layers: str | None = repr(model)
    except ContraflowError:  # intact, but weights or a checkpoint and not a model
        layers, about = None, {}
    return FileInfo(Path(path), Path(path).stat().st_size, sorted(tensors), digest, about, layers)
