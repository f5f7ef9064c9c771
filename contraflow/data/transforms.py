"""Augmentation of whole batches: every sample makes its own random choice, in one NumPy call.

A transform is a pure function of a batch and a generator: ``t(x, generator=g)``, or with labels
``t(x, y, generator=g)``, which gives ``(x, y)``. Images are ``[N, C, H, W]`` or ``[N, H, W]``; the
result is a new tensor of the same dtype. Without a generator, ``cf.manual_seed`` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.data.stream import stream
from contraflow.tensor.arrays import as_value
from contraflow.tensor.tensor import Tensor, make

__all__ = [
    "Compose", "GaussianNoise", "Normalize", "Transform", "array_of", "probability", "span",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def array_of(x: Any) -> Array:
    """The memory of a batch."""
    return x.detach().numpy() if isinstance(x, Tensor) else as_value(x)


def probability(p: Any, name: str = "p") -> float:
    """A number in [0, 1]."""
    if not isinstance(p, Real) or not 0 <= p <= 1:
        raise ArgumentError(lesson(f"{name} must be in [0, 1], received {p!r}", fix=f"{name}=0.5"))
    return float(p)


def span(value: Any, name: str, symmetric: bool = True) -> tuple[float, float]:
    """``(low, high)``; one number d means (-d, d)."""
    if isinstance(value, Real) and symmetric:
        value = (-value, value)
    pair = tuple(value) if isinstance(value, Iterable) else ()
    if len(pair) != 2 or not all(isinstance(v, Real) and np.isfinite(v) for v in pair):
        raise ArgumentError(
            lesson(f"{name} takes (low, high), received {value!r}", fix=f"{name}=(-10, 10)")
        )
    if pair[0] > pair[1]:
        raise ArgumentError(
            lesson(f"{name}: low {pair[0]} is above high {pair[1]}", fix=f"{name}={pair[::-1]}")
        )
    return float(pair[0]), float(pair[1])


class Transform:
    """A function of a batch and a random stream: subclasses define ``apply(x, random)``."""

    images = True  # works on [N, C, H, W] or [N, H, W]

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """The transformed batch, a new array."""
        return x.copy()

    def __call__(self, x: Any, y: Any = None, generator: Any = None) -> Any:
        batch = array_of(x)
        if self.images and batch.ndim not in (3, 4):
            raise ShapeError(
                lesson(
                    f"{type(self).__name__} takes a batch of images, [N, C, H, W] or [N, H, W]",
                    [("received", list(batch.shape))],
                    "x.unsqueeze(0) for a single image, x.reshape(-1, 1, 28, 28) for flat rows",
                )
            )
        out = make(np.ascontiguousarray(self.apply(batch, stream(generator))))
        return out if y is None else (out, y)

    def __repr__(self) -> str:
        shown = [f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_")]
        return f"{type(self).__name__}({', '.join(shown)})"


class Compose(Transform):
    """Several transforms, one after the other.

    >>> import contraflow as cf
    >>> augment = cf.data.Compose([cf.data.RandomCrop(8, padding=1), cf.data.GaussianNoise(0.1)])
    >>> augment(cf.zeros(32, 1, 8, 8)).shape
    contraflow.Size([32, 1, 8, 8])
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = list(transforms)
        for t in self.transforms:
            if not isinstance(t, Transform):
                raise DTypeError(
                    lesson(
                        f"Compose takes transforms, not {type(t).__name__}",
                        fix="class Mine(cf.data.Transform): def apply(self, x, random): return x",
                    )
                )

    def __call__(self, x: Any, y: Any = None, generator: Any = None) -> Any:
        for t in self.transforms:
            if y is None:
                x = t(x, generator=generator)
            else:
                x, y = t(x, y, generator=generator)
        return x if y is None else (x, y)


class GaussianNoise(Transform):
    """Add normal noise; works on batches of any shape.

    Args:
        sigma: standard deviation of the noise.
    """

    images = False

    def __init__(self, sigma: float = 0.1, mean: float = 0.0) -> None:
        if not isinstance(sigma, Real) or not 0 <= sigma < np.inf:
            raise ArgumentError(lesson(f"sigma must be >= 0, received {sigma!r}", fix="sigma=0.1"))
        self.sigma, self.mean = float(sigma), float(mean)

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """x + mean + sigma * noise."""
        if x.dtype.kind != "f":
            raise DTypeError(
                lesson(f"noise cannot be added to {x.dtype} values", fix="x.float() / 255")
            )
        wide = np.float64 if x.dtype == np.float64 else np.float32
        noise = random.standard_normal(x.shape, dtype=wide)
        return (x + (self.mean + self.sigma * noise)).astype(x.dtype, copy=False)


class Normalize(Transform):
    """(x - mean) / std for each channel (images) or each feature (tables).

    ``mean`` and ``std`` are numbers, or one for each entry of dimension 1. ``Normalize.fit(train)``
    measures them: fit on the training data only, and use the same numbers everywhere.

    >>> import contraflow as cf
    >>> x = cf.tensor([[1.0, 10.0], [3.0, 30.0]])
    >>> scale = cf.data.Normalize.fit(x)
    >>> scale(x)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """

    images = False

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        finite = np.isfinite(self.mean).all() and np.isfinite(self.std).all()
        if not finite or (self.std <= 0).any() or max(self.mean.ndim, self.std.ndim) > 1:
            raise ArgumentError(
                lesson(
                    "Normalize takes finite numbers (or lists of them), std above 0",
                    [("mean", mean), ("std", std)],
                    "cf.data.Normalize.fit(train_x)",
                )
            )

    @classmethod
    def fit(cls, x: Any) -> Normalize:
        """Mean and standard deviation over all dimensions but 1; a constant feature keeps its
        scale (std 1)."""
        batch = array_of(x).astype(np.float64)
        if batch.ndim < 2 or batch.size == 0:
            raise ShapeError(
                lesson("Normalize.fit takes a batch with at least 2 dimensions",
                       [("received", list(batch.shape))], "x.reshape(len(x), -1)")
            )  # fmt: skip
        axes = (0, *range(2, batch.ndim))
        std = batch.std(axis=axes)
        return cls(batch.mean(axis=axes), np.where(std > 0, std, 1.0))

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """(x - mean) / std in the dtype of x (integers become float32)."""
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        per = max(self.mean.size, self.std.size)
        if per > 1 and (x.ndim < 2 or x.shape[1] != per):
            raise ShapeError(
                lesson(
                    f"Normalize has {per} means, the batch has another size in dimension 1",
                    [("received", list(x.shape))],
                    "cf.data.Normalize.fit(train_x)",
                )
            )
        tail = (-1,) + (1,) * (x.ndim - 2)
        mean, std = (v.reshape(tail) if v.ndim else v for v in (self.mean, self.std))
        return ((x - mean) / std).astype(dtype)
