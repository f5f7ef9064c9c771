"""Transforms that overwrite a part of each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.data.spatial import positive_size
from contraflow.data.transforms import Transform, probability, span

__all__ = ["Cutout", "RandomErasing", "box"]

Array = np.ndarray[Any, Any]


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
