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
from contraflow.base.shapes import read_pair
from contraflow.data.stream import stream
from contraflow.data.warp import affine_matrices, warp
from contraflow.tensor.tensor import Tensor, as_value, make

__all__ = [
    "CenterCrop", "Compose", "Cutout", "GaussianNoise", "Normalize", "RandomAffine", "RandomCrop",
    "RandomErasing", "RandomHorizontalFlip", "RandomRotation", "RandomVerticalFlip", "Transform",
    "probability", "span",
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

    def __call__(self, x: Any, y: Any = None, generator: Any = None) -> Any:
        for t in self.transforms:
            if y is None:
                x = t(x, generator=generator)
            else:
                x, y = t(x, y, generator=generator)
        return x if y is None else (x, y)


class _Flip(Transform):
    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(p)

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """Reverse one axis of the chosen samples."""
        out = x.copy()
        chosen = random.random(len(x)) < self.p
        out[chosen] = np.flip(x[chosen], self.axis)
        return out


class RandomHorizontalFlip(_Flip):
    """Mirror each image left to right with probability p.

    >>> import contraflow as cf
    >>> cf.data.RandomHorizontalFlip(p=1.0)(cf.tensor([[[1, 2], [3, 4]]]))
    tensor([[[2, 1],
             [4, 3]]])
    """


class RandomVerticalFlip(_Flip):
    """Mirror each image top to bottom with probability p."""

    axis = -2


def room(x: Array, size: tuple[int, ...], name: str) -> tuple[int, int]:
    """How many rows and columns a crop leaves over."""
    height, width = x.shape[-2] - size[0], x.shape[-1] - size[1]
    if height < 0 or width < 0:
        raise ShapeError(
            lesson(
                f"{name}: a crop of {list(size)} does not fit into images of "
                f"{list(x.shape[-2:])} pixels",
                fix=f"{name}(({min(x.shape[-2], size[0])}, {min(x.shape[-1], size[1])})), "
                "or padding=",
            )
        )
    return height, width


def positive_size(size: Any, name: str) -> tuple[int, ...]:
    """A height and a width above 0."""
    pair = read_pair(size, 2, f"{name}: size")
    if min(pair) <= 0:
        raise ArgumentError(lesson(f"{name}: size must be above 0, received {size!r}"))
    return pair


class RandomCrop(Transform):
    """A window of ``size`` at a random place of each image, after padding with ``fill``.

    >>> import contraflow as cf
    >>> cf.data.RandomCrop(6)(cf.rand(4, 3, 8, 8)).shape
    contraflow.Size([4, 3, 6, 6])
    """

    def __init__(self, size: Any, padding: Any = None, fill: float = 0) -> None:
        self.size = positive_size(size, "RandomCrop")
        self.padding = None if padding is None else read_pair(padding, 2, "RandomCrop: padding")
        self.fill = fill
        if self.padding is not None and min(self.padding) < 0:
            raise ArgumentError(lesson(f"padding must be >= 0, received {padding!r}"))

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """Pick one of all windows for each sample."""
        if self.padding is not None:
            edges = [(0, 0)] * (x.ndim - 2) + [(p, p) for p in self.padding]
            x = np.pad(x, edges, constant_values=self.fill)
        height, width = room(x, self.size, "RandomCrop")
        top = random.integers(0, height + 1, len(x))
        left = random.integers(0, width + 1, len(x))
        # windows[n, ..., i, j] is the crop at (i, j): a view, so only the chosen ones are copied
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, axis=(-2, -1))
        windows = np.moveaxis(windows, (-4, -3), (1, 2))
        return windows[np.arange(len(x)), top, left]


class CenterCrop(Transform):
    """The middle ``size`` pixels of each image."""

    def __init__(self, size: Any) -> None:
        self.size = positive_size(size, "CenterCrop")

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """One window for all samples."""
        height, width = room(x, self.size, "CenterCrop")
        top, left = round(height / 2), round(width / 2)
        return x[..., top : top + self.size[0], left : left + self.size[1]].copy()


class RandomAffine(Transform):
    """Rotate, move, scale and shear each image at random, with bilinear interpolation.

    Args:
        degrees: angles in (-degrees, degrees), or a range; positive turns counter-clockwise.
        translate: largest move as fractions (horizontal, vertical) of width and height.
        scale: range of the factor.
        shear: range of horizontal shear angles, in degrees.
        fill: value of what comes in from outside.

    >>> import contraflow as cf
    >>> wobble = cf.data.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1))
    >>> wobble(cf.rand(4, 1, 8, 8)).shape
    contraflow.Size([4, 1, 8, 8])
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        fill: float = 0.0,
    ) -> None:
        self.degrees = span(degrees, "degrees")
        self.translate = (0.0, 0.0) if translate is None else tuple(map(float, translate))
        self.scale = (1.0, 1.0) if scale is None else span(scale, "scale", symmetric=False)
        self.shear = (0.0, 0.0) if shear is None else span(shear, "shear")
        self.fill = fill
        for fraction in self.translate:
            probability(fraction, "translate")
        if len(self.translate) != 2:
            raise ArgumentError(lesson("translate takes two fractions", fix="(0.1, 0.1)"))
        if self.scale[0] <= 0:
            raise ArgumentError(lesson("scale must be above 0", fix="scale=(0.9, 1.1)"))

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """One affine map a sample."""
        n, (height, width) = len(x), x.shape[-2:]
        angle = np.deg2rad(random.uniform(*self.degrees, n))
        factor = random.uniform(*self.scale, n)
        shear = np.deg2rad(random.uniform(*self.shear, n))
        dx = random.uniform(-1, 1, n) * self.translate[0] * width
        dy = random.uniform(-1, 1, n) * self.translate[1] * height
        return warp(x, affine_matrices(angle, factor, shear), dx, dy, self.fill)


class RandomRotation(RandomAffine):
    """Turn each image by a random angle about its centre, with bilinear interpolation."""

    def __init__(self, degrees: Any, fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)


class GaussianNoise(Transform):
    """Add normal noise; works on batches of any shape.

    Args:
        sigma: standard deviation of the noise.
    """

    images = False

    def __init__(self, sigma: float = 0.1, mean: float = 0.0) -> None:
        if not isinstance(sigma, Real) or sigma < 0:
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


class RandomErasing(Transform):
    """Overwrite a random rectangle of each image, with probability p.

    Args:
        scale: range of the rectangle's share of the area.
        ratio: range of height / width (drawn evenly in its logarithm).
        value: what is written; "random" writes normal noise.

    Source: Zhong et al., "Random Erasing Data Augmentation" (AAAI 2020).
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: float | str = 0.0,
    ) -> None:
        self.p, self.value = probability(p), value
        self.scale = span(scale, "scale", symmetric=False)
        self.ratio = span(ratio, "ratio", symmetric=False)
        if self.scale[0] < 0 or self.scale[1] > 1 or self.ratio[0] <= 0:
            raise ArgumentError(
                lesson("scale must be within [0, 1], ratio above 0", fix="scale=(0.02, 0.33)")
            )
        if isinstance(value, str) and value != "random":
            raise ArgumentError(lesson(f"value takes a number or 'random', not {value!r}"))

    def boxes(self, x: Array, random: np.random.Generator) -> Array:
        """Which pixels to erase: bool [N, H, W]."""
        n, (height, width) = len(x), x.shape[-2:]
        area = random.uniform(*self.scale, n) * height * width
        ratio = np.exp(random.uniform(*np.log(self.ratio), n))
        tall = np.clip(np.rint(np.sqrt(area * ratio)), 1, height).astype(int)
        wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width).astype(int)
        top = random.integers(0, height - tall + 1)
        left = random.integers(0, width - wide + 1)
        return box(top, top + tall, height, 1) & box(left, left + wide, width, 0)

    def apply(self, x: Array, random: np.random.Generator) -> Array:
        """Write the rectangles."""
        erased = self.boxes(x, random) & (random.random(len(x)) < self.p)[:, None, None]
        erased = erased if x.ndim == 3 else erased[:, None]
        value = random.standard_normal(x.shape) if self.value == "random" else self.value
        return np.where(erased, np.asarray(value).astype(x.dtype), x)


def box(begin: Array, end: Array, size: int, axis: int) -> Array:
    """Which of 0..size-1 lie in [begin, end), for each sample, along the last or last but one."""
    at = np.arange(size)
    inside = (at >= begin[:, None]) & (at < end[:, None])
    return inside[:, :, None] if axis else inside[:, None, :]


class Cutout(RandomErasing):
    """Overwrite a square of ``size`` pixels about a random centre of each image.

    The square may reach over the border, as in DeVries and Taylor, "Improved Regularization of
    Convolutional Neural Networks with Cutout" (2017).
    """

    def __init__(self, size: int, value: float = 0.0) -> None:
        super().__init__(p=1.0, value=value)
        self.size = positive_size(size, "Cutout")

    def boxes(self, x: Array, random: np.random.Generator) -> Array:
        """Squares about random centres."""
        n, (height, width) = len(x), x.shape[-2:]
        top = random.integers(0, height, n) - self.size[0] // 2
        left = random.integers(0, width, n) - self.size[1] // 2
        rows = box(top, top + self.size[0], height, 1)
        return rows & box(left, left + self.size[1], width, 0)
