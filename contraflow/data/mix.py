"""Mixing samples of a batch, and their labels with them."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.data.erase import box
from contraflow.data.stream import permutation, stream
from contraflow.data.transforms import Transform, array_of
from contraflow.tensor.tensor import make

__all__ = ["CutMix", "MixUp"]

Array = np.ndarray[Any, Any]


def soft_labels(y: Any, num_classes: int | None, dtype: Any) -> Array:
    """Labels as probabilities [N, classes]; class indices become one-hot rows."""
    labels = array_of(y)
    if labels.ndim == 2 and labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DTypeError(
            lesson(
                "labels are class indices [N], or probabilities [N, classes]",
                [("received", f"{labels.dtype}{list(labels.shape)}")],
                "y.long()",
            )
        )
    if num_classes is None:
        raise ArgumentError(
            lesson(
                "mixing class indices needs the number of classes",
                fix="cf.data.MixUp(num_classes=10)",
            )
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise IndexOutOfRange(
            lesson(
                f"labels are in {labels.min()}..{labels.max()}, "
                f"{num_classes} classes are 0..{num_classes - 1}"
            )
        )
    return np.eye(num_classes, dtype=dtype)[labels]


class MixUp(Transform):
    """Blend each sample, and its label, with another one of the batch.

    ``x = lam * x_i + (1 - lam) * x_j`` and the same for the labels, lam ~ Beta(alpha, alpha) for
    each sample. Class indices become probabilities [N, num_classes], which cross entropy takes.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018).

    >>> import contraflow as cf
    >>> x, y = cf.data.MixUp(num_classes=3)(cf.rand(4, 2), cf.tensor([0, 1, 2, 0]))
    >>> x.shape, y.shape
    (contraflow.Size([4, 2]), contraflow.Size([4, 3]))
    """

    images = False

    def __init__(self, alpha: float = 0.2, num_classes: int | None = None) -> None:
        if not isinstance(alpha, Real) or not 0 < alpha < np.inf:
            raise ArgumentError(lesson(f"alpha must be above 0, received {alpha!r}", fix="0.2"))
        self.alpha, self.num_classes = float(alpha), num_classes

    def __call__(self, x: Any, y: Any = None, generator: Any = None) -> Any:
        if y is None:
            raise ArgumentError(
                lesson(f"{type(self).__name__} mixes labels too", fix="x, y = mix(x, y)")
            )
        batch = array_of(x)
        if batch.dtype.kind != "f" or batch.ndim < 2:
            raise DTypeError(lesson("mixing takes floating-point samples", fix="x.float() / 255"))
        labels = soft_labels(y, self.num_classes, batch.dtype)
        if len(labels) != len(batch):
            raise ShapeError(lesson(f"{len(batch)} samples, but {len(labels)} labels"))
        random = stream(generator)
        partner = permutation(random, len(batch))
        lam = random.beta(self.alpha, self.alpha, len(batch))
        mixed, lam = self.mix(batch, batch[partner], lam, random)
        part = lam.astype(labels.dtype)[:, None]
        return make(mixed), make(part * labels + (1 - part) * labels[partner])

    def mix(
        self, a: Array, b: Array, lam: Array, random: np.random.Generator
    ) -> tuple[Array, Array]:
        """The mixed samples, and the share of ``a`` in each."""
        part = lam.astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1))
        return part * a + (1 - part) * b, lam


class CutMix(MixUp):
    """Paste a rectangle of another image of the batch; labels mix by the area.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features" (ICCV 2019).
    """

    def __init__(self, alpha: float = 1.0, num_classes: int | None = None) -> None:
        super().__init__(alpha, num_classes)

    def mix(
        self, a: Array, b: Array, lam: Array, random: np.random.Generator
    ) -> tuple[Array, Array]:
        """Rectangles that cover 1 - lam of the picture, cut at the border."""
        if a.ndim not in (3, 4):
            raise ShapeError(
                lesson("CutMix takes images, [N, C, H, W] or [N, H, W]",
                       [("received", list(a.shape))], "cf.data.MixUp() for tables")
            )  # fmt: skip
        n, (height, width) = len(a), a.shape[-2:]
        side = np.sqrt(1 - lam)
        tall, wide = np.rint(side * height).astype(int), np.rint(side * width).astype(int)
        top = random.integers(0, height, n) - tall // 2
        left = random.integers(0, width, n) - wide // 2
        pasted = box(top, top + tall, height, 1) & box(left, left + wide, width, 0)
        share = 1 - pasted.mean(axis=(1, 2))
        return np.where(pasted if a.ndim == 3 else pasted[:, None], b, a), share
