"""The four real data sets that ship with the package; sources and licences in ``bundled/``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.data.dataset import TensorDataset
from contraflow.data.readers import read_arrays
from contraflow.data.stream import stream
from contraflow.data.transforms import Normalize
from contraflow.tensor.rng import Generator
from contraflow.tensor.tensor import make

__all__ = [
    "SETS",
    "About",
    "Bundle",
    "load_breast_cancer",
    "load_digits",
    "load_iris",
    "load_wine",
    "stratified",
]

FOLDER = Path(__file__).parent / "bundled"
LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"


@dataclass(frozen=True)
class About:
    """What a bundled set is, where it comes from and under which terms."""

    name: str
    rows: int
    description: str
    source: str
    licence: str = LICENCE


SETS = {
    about.name: about
    for about in (
        About(
            "digits",
            1797,
            "Handwritten digits of 13 people, 8 x 8 pixels with 17 grey values, 10 classes.",
            "Alpaydin, E. & Kaynak, C. (1998). Optical Recognition of Handwritten Digits. "
            "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49",
        ),
        About(
            "iris",
            150,
            "Sepal and petal length and width in cm of 50 flowers each of 3 species of iris.",
            "Fisher, R. A. (1936). Iris. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C56C76",
        ),
        About(
            "wine",
            178,
            "13 chemical measurements of wines of 3 cultivars, on very different scales.",
            "Aeberhard, S. & Forina, M. (1992). Wine. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C5PC7J",
        ),
        About(
            "breast_cancer",
            569,
            "30 properties of cell nuclei in images of a breast mass, benign or malignant.",
            "Wolberg, W., Mangasarian, O., Street, N. & Street, W. (1993). Breast Cancer "
            "Wisconsin (Diagnostic). UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C5DW2B",
        ),
    )
}


class Bundle(TensorDataset):
    """A bundled set: a ``TensorDataset`` of features and targets that knows where it is from.

    ``features`` is float32, ``targets`` int64 ``[rows]``; ``feature_names`` and ``class_names`` are
    lists of text; ``about`` holds ``name``, ``description``, ``source`` and ``licence``.
    """

    def __init__(
        self, about: About, features: Any, targets: Any, feature_names: Any, class_names: Any
    ) -> None:
        super().__init__(features, targets)
        self.about, self.feature_names, self.class_names = about, feature_names, class_names

    @property
    def features(self) -> Any:
        """float32: [rows, 1, 8, 8] in [0, 1] for digits, [rows, features] otherwise."""
        return self.tensors[0]

    @property
    def targets(self) -> Any:
        """int64 [rows]: indices into ``class_names``."""
        return self.tensors[1]

    @property
    def name(self) -> str:
        """The name of the set."""
        return self.about.name

    @property
    def description(self) -> str:
        """What the set is."""
        return self.about.description

    @property
    def source(self) -> str:
        """Who made it and where it was published."""
        return self.about.source

    @property
    def licence(self) -> str:
        """The terms under which it may be passed on."""
        return self.about.licence

    def train_test_split(
        self, test: float = 0.2, seed: int = 0, standardize: bool = False
    ) -> tuple[TensorDataset, TensorDataset]:
        """Two ``TensorDataset`` parts, with the same share of each class in both.

        Args:
            test: the part that is held out, in (0, 1).
            seed: decides who is held out; the global generator is not touched.
            standardize: bring every feature (channel) to mean 0 and standard deviation 1, with
                numbers measured on the training part alone.

        >>> import contraflow as cf
        >>> train, test = cf.data.load_iris().train_test_split(test=0.2, seed=0)
        >>> len(train), len(test), test.tensors[1].tolist().count(2)
        (120, 30, 10)
        """
        held = stratified(self.targets.numpy(), test, seed)
        kept = np.setdiff1d(np.arange(len(self)), held)
        parts = [
            [make(array.take(rows, axis=0)) for array in self.arrays()] for rows in (kept, held)
        ]
        if standardize:
            scale = Normalize.fit(parts[0][0])
            parts = [[scale(x), y] for x, y in parts]
        return TensorDataset(*parts[0]), TensorDataset(*parts[1])

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.features.shape[1:]))
        return f"<{self.name}: {len(self)} x {shape}, {len(self.class_names)} classes>"


def stratified(targets: Any, test: float, seed: int) -> Any:
    """Sorted indices of a test part: ``round(test * n)`` samples of each class with n samples."""
    if not 0 < test < 1:
        raise ArgumentError(lesson(f"test must be in (0, 1), received {test!r}", fix="test=0.2"))
    draw = stream(Generator().manual_seed(seed))
    chosen = []
    for label in np.unique(targets):
        rows = draw.permutation(np.flatnonzero(targets == label))
        chosen.append(rows[: round(test * len(rows))])
    return np.sort(np.concatenate(chosen))


@cache
def _read(name: str) -> dict[str, Any]:
    return read_arrays(FOLDER / f"{name}.npz")


def load(name: str) -> Bundle:
    """One of the bundled sets by its name."""
    if name not in SETS:
        raise ArgumentError(
            lesson(f"there is no bundled set {name!r}", [("sets", " ".join(SETS))], "load('iris')")
        )
    arrays = _read(name)
    features = arrays["features"].astype(np.float32)
    if name == "digits":
        features = features[:, None] / np.float32(16)
    return Bundle(
        SETS[name],
        make(features),
        make(arrays["targets"].astype(np.int64)),
        arrays["feature_names"].reshape(-1).tolist(),
        arrays["class_names"].tolist(),
    )


def load_digits() -> Bundle:
    """The 1,797 handwritten digits: features [1797, 1, 8, 8] in [0, 1], targets 0..9.

    >>> import contraflow as cf
    >>> cf.data.load_digits()
    <digits: 1797 x 1x8x8, 10 classes>
    """
    return load("digits")


def load_iris() -> Bundle:
    """The 150 iris flowers: features [150, 4] in cm. The rows are sorted by class."""
    return load("iris")


def load_wine() -> Bundle:
    """The 178 wines: features [178, 13] in mixed units. The rows are sorted by class."""
    return load("wine")


def load_breast_cancer() -> Bundle:
    """The 569 diagnoses: features [569, 30] in mixed units, 0 malignant and 1 benign."""
    return load("breast_cancer")
