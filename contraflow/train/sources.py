"""Data by name: a bundled set, an ``.npz`` file, or a folder of MNIST-style idx files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, FileError, lesson
from contraflow.base.files import damaged
from contraflow.data.bundled_sets import SETS, load, stratified
from contraflow.data.readers import MNIST, read_arrays, read_npy
from contraflow.data.stream import stream
from contraflow.tensor.rng import Generator
from contraflow.tensor.tensor import make

__all__ = ["Parts", "Source", "nearest", "open_source", "read_inputs", "split"]

Array = np.ndarray[Any, Any]
X_NAMES, Y_NAMES = ("x", "X", "features", "data", "images"), ("y", "targets", "labels", "target")
SPLIT_SEED = 0  # who is held out does not depend on the seed of the training


@dataclass(frozen=True)
class Source:
    """Data to train on.

    Attributes:
        name: as it was asked for.
        x: float32 ``[N, features]`` or ``[N, channels, H, W]``.
        y: int64 classes ``[N]``, or float32 ``[N, values]``.
        classes: names of the classes; None where the targets are numbers.
        test: x and y of a test part that comes with the data, or None.
    """

    name: str
    x: Array
    y: Array
    classes: list[str] | None
    test: tuple[Array, Array] | None = None

    @property
    def images(self) -> bool:
        """Whether the inputs are pictures."""
        return self.x.ndim == 4


@dataclass(frozen=True)
class Parts:
    """Three parts of the data, each a pair of arrays; what is held out has no part in training."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    names = list(names)
    lower = {n.lower(): n for n in names}
    found = get_close_matches(name.lower(), lower, 1, 0.5)
    return lower[found[0]] if found else None


def open_source(name: str) -> Source:
    """The data of a name or a path.

    Raises:
        FileError: for a file or folder that is missing, damaged, or holds something else.
        ArgumentError: for a name that is neither a bundled set nor a path.

    >>> from contraflow.train.sources import open_source
    >>> source = open_source("iris")
    >>> source.x.shape, source.classes
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    if name in SETS:
        bundle = load(name)
        x, y = bundle.arrays()
        return Source(name, x, y, list(bundle.class_names))
    path = Path(name)
    if path.is_dir():
        return open_folder(name)
    if path.suffix == ".npz":
        return open_npz(name)
    if path.exists():
        raise FileError(
            lesson(f"{path.name} is no data file that can be trained on", [("file", path)],
                   "an .npz file with arrays x and y, or a folder of idx files")
        )  # fmt: skip
    close = nearest(name, SETS)
    raise ArgumentError(
        lesson(
            f"there is no data set {name!r}" + (f"; did you mean {close!r}?" if close else ""),
            [("bundled", " ".join(SETS)), ("files", "a path to an .npz file or an idx folder")],
            close or "digits",
        )
    )


def open_folder(name: str) -> Source:
    """An MNIST-style folder: its own train and test parts."""
    train, test = MNIST(name, train=True), MNIST(name, train=False)
    return source_of(name, *train.arrays(), test.arrays())


def open_npz(name: str) -> Source:
    """``x`` and ``y`` (or ``x_train``, ``y_train``, ``x_test``, ``y_test``) of an ``.npz`` file."""
    arrays = read_arrays(name)
    parts = [pick(arrays, names, ending) for names in (X_NAMES, Y_NAMES)
             for ending in ("", "_train", "_test")]  # fmt: skip
    x, x_train, x_test, y, y_train, y_test = parts
    x, y = (x if x_train is None else x_train), (y if y_train is None else y_train)
    if x is None or y is None:
        raise damaged(
            name,
            f"it holds the arrays {' '.join(arrays) or 'none'}; x (inputs) and y (targets) "
            "are needed",
            "numpy.savez(path, x=inputs, y=targets)",
        )
    if x_test is None or y_test is None:
        return source_of(name, as_inputs(x, name), y, None)
    return source_of(name, as_inputs(x, name), y, [as_inputs(x_test, name), y_test])


def pick(arrays: dict[str, Array], names: tuple[str, ...], ending: str) -> Array | None:
    """The array under the first of the names that is there."""
    return next((arrays[n + ending] for n in names if n + ending in arrays), None)


def source_of(name: str, x: Array, y: Array, test: list[Array] | None) -> Source:
    """The source of checked inputs and raw targets."""
    both = y if test is None else np.concatenate([y, test[1]])
    targets, classes = read_targets(both, name)
    for inputs, labels in ((x, y), test or (x, y)):
        if len(inputs) != len(labels) or inputs.shape[1:] != x.shape[1:]:
            raise damaged(
                name,
                f"it has {len(inputs)} inputs {list(inputs.shape[1:])} and {len(labels)} targets",
                "one target for each input, and inputs of one shape",
            )
    held = None if test is None else (test[0], targets[len(y) :])
    return Source(name, x, targets[: len(y)], classes, held)


def as_inputs(x: Array, name: str) -> Array:
    """Inputs as float32 ``[N, features]`` or ``[N, channels, H, W]``.

    Bytes are taken as pixels and divided by 255; ``[N, H, W]`` gets a channel, and channels that
    come last (1, 3 or 4 of them) go to dimension 1.
    """
    if x.dtype.kind not in "fiub" or x.ndim not in (1, 2, 3, 4) or not len(x):
        raise damaged(name, f"its inputs are {x.dtype}{list(x.shape)}",
                      "numbers [N, features], [N, H, W] or [N, channels, H, W]")  # fmt: skip
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise damaged(name, f"{bad} of its inputs are NaN or infinite",
                      "numpy.nan_to_num(x), or leave these rows out")  # fmt: skip
    pixels = x.dtype == np.uint8 and x.ndim > 2
    x = x.astype(np.float32) / np.float32(255) if pixels else x.astype(np.float32)
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return x[:, None] if x.ndim in (1, 3) else x


def read_targets(y: Array, name: str) -> tuple[Array, list[str] | None]:
    """Targets as int64 classes with their names, or as float32 ``[N, values]`` without."""
    if y.dtype.kind in "US":
        names, y = np.unique(y.reshape(-1), return_inverse=True)
        return y.astype(np.int64), [str(n) for n in names]
    if y.dtype.kind == "f":
        if y.ndim > 2 or not np.isfinite(y).all():
            raise damaged(name, "its targets are not finite numbers [N] or [N, values]")
        return y.reshape(len(y), -1).astype(np.float32), None
    low, high = (int(y.min()), int(y.max())) if y.size else (-1, -1)
    if y.size != len(y) or low < 0 or high > max(len(y), 1000):
        raise damaged(
            name,
            f"its targets are whole numbers {list(y.shape)} in {low}..{high}, no classes",
            "classes 0, 1, 2 ... [N], or floats for numbers to predict: y.astype(float)",
        )
    return y.reshape(-1).astype(np.int64), [str(i) for i in range(high + 1)]


# ---- parts -------------------------------------------------------------------------------------


def split(source: Source, test: float, validation: float) -> Parts:
    """Train, validation and test part, with the same share of each class in all of them."""
    if not 0 < test < 1 or not 0 < validation < 1:
        raise ArgumentError(
            lesson(f"the parts must be in (0, 1), received test={test}, validation={validation}",
                   fix="test=0.2, validation=0.1")
        )  # fmt: skip
    rest, held = (source.x, source.y), source.test
    if held is None:
        rest, held = divide(*rest, test)
    train, checked = divide(*rest, validation)
    if not min(len(train[0]), len(checked[0]), len(held[0])):
        raise ArgumentError(
            lesson(
                f"{len(source.x)} samples are too few to hold parts of them out",
                [("train", len(train[0])), ("validation", len(checked[0])), ("test", len(held[0]))],
                "more samples, or larger parts: test=0.3, validation=0.3",
            )
        )
    return Parts(train, checked, held)


def divide(x: Array, y: Array, part: float) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Two parts; classes keep their shares in both."""
    if y.dtype.kind == "i":
        chosen = stratified(y, part, SPLIT_SEED)
    else:
        order = stream(Generator().manual_seed(SPLIT_SEED)).permutation(len(y))
        chosen = np.sort(order[: round(part * len(y))])
    kept = np.setdiff1d(np.arange(len(y)), chosen)
    return (x[kept], y[kept]), (x[chosen], y[chosen])


# ---- single inputs -----------------------------------------------------------------------------


def read_inputs(text: str, shape: list[int]) -> Any:
    """The inputs for a prediction, as a batch in the shape that a model was made for.

    Args:
        text: numbers ``"5.1,3.5,1.4,0.2"``, a sample of a set ``"digits:17"``, or the path of an
            ``.npy`` or ``.npz`` file with one sample or a batch of them.
        shape: the shape of one sample.

    Raises:
        ArgumentError, FileError: for what cannot be read, or has another shape.
    """
    array = read_text(text)
    count = int(np.prod(shape))
    batch = array.reshape(-1, *shape) if array.size and array.size % count == 0 else None
    fits = batch is not None and (array.size == count or array.shape[0] == len(batch))
    if not fits:
        raise ArgumentError(
            lesson(
                f"the model takes inputs of shape {shape}",
                [("received", f"{array.dtype}{list(array.shape)}")],
                f"one sample {shape}, or a batch {['N', *shape]}".replace("'", ""),
            )
        )
    return make(np.ascontiguousarray(batch, np.float32))


def read_text(text: str) -> Array:
    """The array that a text, a sample of a set or a file stands for."""
    set_name, colon, index = text.partition(":")
    if colon and (set_name in SETS or not Path(text).exists()):
        source = open_source(set_name)
        if not index.isdigit() or int(index) >= len(source.x):
            raise ArgumentError(
                lesson(f"there is no sample {index!r} in {set_name}",
                       fix=f"{set_name}:0 to {set_name}:{len(source.x) - 1}")
            )  # fmt: skip
        return source.x[int(index)][None]
    if Path(text).suffix in (".npy", ".npz"):
        return open_array(text)
    try:
        numbers = np.array([float(part) for part in text.replace(",", " ").split()], np.float32)
    except ValueError:
        numbers = np.empty(0, np.float32)
    if not numbers.size or not np.isfinite(numbers).all():
        raise ArgumentError(
            lesson(
                f"{text!r} is no input",
                [("numbers", "5.1,3.5,1.4,0.2"), ("a sample", "digits:17"), ("a file", "x.npy")],
                "one of these",
            )
        )
    return numbers[None]


def open_array(path: str) -> Array:
    """The inputs in a file."""
    if Path(path).suffix == ".npz":
        x = pick(read_arrays(path), X_NAMES, "")
        if x is None:
            raise damaged(path, "it holds no array x", "numpy.savez(path, x=inputs)")
        return as_inputs(x, path)
    return as_inputs(read_npy(path).numpy(), path)
