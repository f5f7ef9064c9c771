"""Windows of images as columns, and back (``unfold`` and ``fold`` of nn.functional)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_pair
from contraflow.ops.checks import check_tensors
from contraflow.ops.pool_records import Axis, axis_of
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand
from contraflow.ops.view import reshape_to

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _axes(size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> list[Axis]:
    """The windows along both dimensions."""
    axes = [
        axis_of(*numbers, False)
        for numbers in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    if min(axis.out for axis in axes) < 1:
        raise ShapeError(
            lesson(
                f"unfold, fold: a window of {list(kernel)} does not fit on {list(size)}",
                [("image", list(size)), ("kernel_size", list(kernel)), ("padding", list(padding)),
                 ("dilation", list(dilation))],
                f"kernel_size={min(*kernel, *size)}, or more padding",
            )
        )  # fmt: skip
    return axes


def _places(axes: list[Axis]) -> Iterator[tuple[Any, Any]]:
    """For each offset in the window: where its rows stand in the columns, and in the image."""
    for taps in product(*(axis.taps for axis in axes)):
        offsets, outs, reads = zip(*taps, strict=True)
        yield (slice(None), slice(None), *offsets, *outs), (slice(None), slice(None), *reads)


def _unfold(x: Array, kernel: Shape, **window: Any) -> Array:
    n, c, *size = x.shape
    axes = _axes(tuple(size), kernel, **window)
    out = [axis.out for axis in axes]
    columns = np.zeros((n, c, *kernel, *out), x.dtype)
    for stand, read in _places(axes):
        columns[stand] = x[read]
    return columns.reshape(n, c * prod(kernel), prod(out))


def _fold(x: Array, size: Shape, kernel: Shape, **window: Any) -> Array:
    n, rows, _ = x.shape
    axes = _axes(size, kernel, **window)
    columns = x.reshape(n, rows // prod(kernel), *kernel, *(axis.out for axis in axes))
    image = np.zeros((n, rows // prod(kernel), *size), x.dtype)
    for stand, read in _places(axes):
        image[read] += columns[stand]
    return image


def _unfold_shape(x: Aval, kernel: Shape, **window: Any) -> Aval:
    n, c, *size = x.shape
    places = prod(axis.out for axis in _axes(tuple(size), kernel, **window))
    return Aval((n, c * prod(kernel), places), x.dtype)


def _fold_shape(x: Aval, size: Shape, kernel: Shape, **window: Any) -> Aval:
    expected = prod(axis.out for axis in _axes(size, kernel, **window))
    n, rows, places = x.shape
    if rows % prod(kernel) or places != expected:
        raise ShapeError(
            lesson(
                f"fold: windows of {list(kernel)} on an image of {list(size)} have {expected} "
                f"places, and columns of a multiple of {prod(kernel)} rows",
                [("input", x)],
                f"input of [batch, channels * {prod(kernel)}, {expected}]",
            )
        )
    return Aval((n, rows // prod(kernel), *size), x.dtype)


PLAIN: dict[str, Any] = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
UNEVEN: dict[str, Any] = {"kernel": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}

columns_of: Op = op(
    "im2col", "x",
    forward=_unfold, shape=_unfold_shape,
    grad=lambda g, x_aval, kernel, stride, padding, dilation: image_of(
        g, size=tuple(x_aval.shape[2:]), kernel=kernel, stride=stride, padding=padding,
        dilation=dilation),
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4, 3), **PLAIN),
        Sample(rand(rng, 2, 1, 3, 4), **UNEVEN),
        Sample(np.zeros((0, 2, 4, 4)), **PLAIN),
        Sample(rand(rng, 1, 1, 1, 4), **PLAIN, error=ShapeError),
    ],
)  # fmt: skip

# Each number of a column added at the place in the image that it was taken from.
image_of: Op = op(
    "col2im", "x",
    forward=_fold, shape=_fold_shape,
    grad=lambda g, kernel, stride, padding, dilation: columns_of(
        g, kernel=kernel, stride=stride, padding=padding, dilation=dilation),
    samples=lambda rng: [
        Sample(rand(rng, 2, 12, 6), size=(4, 3), **PLAIN),
        Sample(rand(rng, 2, 6, 8), size=(3, 4), **UNEVEN),
        Sample(rand(rng, 2, 12, 5), size=(4, 3), **PLAIN, error=ShapeError),
        Sample(rand(rng, 2, 11, 6), size=(4, 3), **PLAIN, error=ShapeError),
    ],
)  # fmt: skip


def _window(what: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    window = {
        "kernel": read_pair(kernel_size, 2, f"{what}: kernel_size"),
        "stride": read_pair(stride, 2, f"{what}: stride"),
        "padding": read_pair(padding, 2, f"{what}: padding"),
        "dilation": read_pair(dilation, 2, f"{what}: dilation"),
    }
    for name, sizes in window.items():
        least = 0 if name == "padding" else 1
        if min(sizes) < least:
            said = "kernel_size" if name == "kernel" else name
            raise ArgumentError(
                lesson(f"{what}: {said} must be at least {least}, received {list(sizes)}",
                       fix=f"{said}={least}")
            )  # fmt: skip
    return window


def _batched(what: str, x: Any, dims: int, layout: str) -> tuple[Any, bool]:
    """The input with a batch, and whether it came without."""
    check_tensors(what, input=x)
    if x.ndim == dims:
        return x, False
    if x.ndim != dims - 1:
        raise ShapeError(
            lesson(f"{what}: the input must be [batch, {layout}] or [{layout}]", [("input", x)],
                   "x.unsqueeze(0) for a batch of one")
        )  # fmt: skip
    return reshape_to(x, shape=(1, *x.shape)), True


def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """The windows of images as columns: what a convolution multiplies its weight by.

    Shapes: ``[N, C, H, W]`` (or without N) to ``[N, C * kernel height * kernel width, places]``.

    >>> import contraflow as cf
    >>> image = cf.arange(9.0).reshape(1, 3, 3)
    >>> cf.nn.functional.unfold(image, 2)
    tensor([[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]])

    Raises:
        ShapeError: for other dimensions, or a window larger than the image.
    """
    window = _window("unfold", kernel_size, dilation, padding, stride)
    x, single = _batched("unfold", input, 4, "channels, height, width")
    y = columns_of(x, **window)
    return reshape_to(y, shape=tuple(y.shape[1:])) if single else y


def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Any:  # fmt: skip
    """Columns added back to images, each number at the place ``unfold`` would take it from.

    Shapes: ``[N, C * kernel height * kernel width, places]`` (or without N) to ``[N, C, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.functional.fold(cf.ones(4, 4), (3, 3), 2)  # how many windows hold each place
    tensor([[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]])

    Raises:
        ShapeError: if the columns are not those of such windows on such an image.
    """
    window = _window("fold", kernel_size, dilation, padding, stride)
    x, single = _batched("fold", input, 3, "channels * kernel, places")
    y = image_of(x, size=read_pair(output_size, 2, "fold: output_size"), **window)
    return reshape_to(y, shape=tuple(y.shape[1:])) if single else y
