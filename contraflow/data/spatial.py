"""Transforms that move pixels: flips, crops, rotations and other affine maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import read_pair
from contraflow.data.transforms import Transform, probability, span
from contraflow.data.warp import affine_matrices, warp

__all__ = [
    "CenterCrop", "RandomAffine", "RandomCrop", "RandomHorizontalFlip", "RandomRotation",
    "RandomVerticalFlip", "positive_size",
]  # fmt: skip

Array = np.ndarray[Any, Any]


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
