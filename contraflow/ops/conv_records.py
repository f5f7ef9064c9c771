"""Convolution in 1 to 3 spatial dimensions: three records closed under differentiation.

A convolution is linear in the image x and in the weight w. With ``T(x, w, g)`` the sum of
``g * conv(x, w)``, the three records are the derivatives of T by g, by x and by w, so the gradients
of each are the other two::

    conv(x, w) = dT/dg      conv_input(g, w) = dT/dx      conv_weight(x, g) = dT/dw

Attributes of all: ``stride`` and ``dilation`` (one number a spatial dimension), ``padding`` (a pair
(before, after) for each; a negative one crops), ``groups``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import Shape
from contraflow.ops.arith import add_op
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.rules import rand
from contraflow.ops.view import reshape_to

__all__: list[str] = []

Array = np.ndarray[Any, Any]
Pads = tuple[tuple[int, int], ...]
# Work on so many bytes of unfolded image at a time: they stay in the cache until the product.
CHUNK = 2 << 20


def out_sizes(size: Shape, kernel: Shape, stride: Shape, padding: Pads, dilation: Shape) -> Shape:
    """How many positions a window has in each dimension."""
    return tuple(
        (n + lo + hi - d * (k - 1) - 1) // s + 1
        for n, k, s, (lo, hi), d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def windows(x: Array, kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> Array:
    """Every window of the padded ``x[a, b, *size]``, as a view ``[a, *kernel, b, *out]``."""
    a, b, *steps = x.strides
    inner = [n * d for n, d in zip(steps, dilation, strict=True)]
    outer = [n * s for n, s in zip(steps, stride, strict=True)]
    shape = (x.shape[0], *kernel, x.shape[1], *out)
    return as_strided(x, shape, (a, *inner, b, *outer))


class Columns:
    """Unfolds images, a few at a time, into matrices ``[channels * kernel, positions]``.

    The positions run over the images of the chunk and the places of the window in each.
    """

    def __init__(
        self, x: Array, kernel: Shape, stride: Shape, padding: Pads, dilation: Shape, out: Shape
    ) -> None:
        self.x, self.kernel, self.stride, self.dilation, self.out = x, kernel, stride, dilation, out
        n, c, *size = x.shape
        image = c * prod(kernel) * prod(out) * x.itemsize
        self.step = max(1, min(n, CHUNK // max(image, 1)))
        padded = tuple(m + lo + hi for m, (lo, hi) in zip(size, padding, strict=True))
        self.padded = np.zeros((c, self.step, *padded), x.dtype)
        # where the image lies in the padded one, and what of it (negative padding crops)
        self.inside = tuple(
            slice(max(lo, 0), m - max(hi, 0)) for m, (lo, hi) in zip(padded, padding, strict=True)
        )
        self.used = tuple(
            slice(max(-lo, 0), m - max(-hi, 0)) for m, (lo, hi) in zip(size, padding, strict=True)
        )
        self.columns = np.empty((c, *kernel, self.step, *out), x.dtype)

    def chunks(self) -> Iterator[slice]:
        """The images of each chunk."""
        count = len(self.x)
        for start in range(0, count, self.step):
            yield slice(start, min(start + self.step, count))

    def of(self, chunk: slice) -> Array:
        """The columns of a chunk, ``[channels, *kernel, images, *out]``."""
        count = chunk.stop - chunk.start
        padded, columns = self.padded[:, :count], self.columns
        if count != self.step:  # the last chunk: its columns must lie together
            columns = np.empty(
                (*columns.shape[: 1 + len(self.kernel)], count, *self.out), columns.dtype
            )
        padded[(slice(None), slice(None), *self.inside)] = self.x[
            (chunk, slice(None), *self.used)
        ].swapaxes(0, 1)
        columns[...] = windows(padded, self.kernel, self.stride, self.dilation, self.out)
        return columns


def is_pointwise(kernel: Shape, stride: Shape, padding: Pads) -> bool:
    """A 1x1 convolution is a product of matrices for each image: nothing to unfold."""
    return all(k == s == 1 and p == (0, 0) for k, s, p in zip(kernel, stride, padding, strict=True))


def _conv(
    x: Array, weight: Array, stride: Shape, padding: Pads, dilation: Shape, groups: int
) -> Array:
    return _conv_bias(x, weight, 0, stride, padding, dilation, groups)


def _conv_bias(
    x: Array, weight: Array, bias: Any,
    stride: Shape, padding: Pads, dilation: Shape, groups: int,
) -> Array:  # fmt: skip
    n, o, kernel = len(x), len(weight), weight.shape[2:]
    out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
    if 0 in x.shape or 0 in weight.shape:
        return np.zeros((n, o, *out), x.dtype)
    y = np.empty((n, o, *out), x.dtype)
    w = weight.reshape(groups, o // groups, -1)
    biased = isinstance(bias, np.ndarray)
    if is_pointwise(kernel, stride, padding):
        np.matmul(
            w,
            x.reshape(n, groups, x.shape[1] // groups, -1),
            out=y.reshape(n, groups, o // groups, -1),
        )
        if biased:
            y += bias.reshape(-1, *(1,) * len(out))
        return y
    columns = Columns(x, kernel, stride, padding, dilation, out)
    for chunk in columns.chunks():
        unfolded = columns.of(chunk)
        part = (w @ unfolded.reshape(groups, w.shape[2], -1)).reshape(o, -1, *out)
        if biased:
            np.add(part.swapaxes(0, 1), bias.reshape(-1, *(1,) * len(out)), out=y[chunk])
        else:
            y[chunk] = part.swapaxes(0, 1)
    return y


def turned(weight: Array, groups: int) -> Array:
    """The weight of the adjoint convolution: in and out channels swapped, the kernel mirrored."""
    o, c, *kernel = weight.shape
    w = weight.reshape(groups, o // groups, c, *kernel).swapaxes(1, 2)
    return w.reshape(groups * c, o // groups, *kernel)[
        (slice(None), slice(None), *(slice(None, None, -1) for _ in kernel))
    ]


def _conv_input(
    dy: Array, weight: Array, size: Shape,
    stride: Shape, padding: Pads, dilation: Shape, groups: int,
) -> Array:  # fmt: skip
    n, o, *out = dy.shape
    kernel = weight.shape[2:]
    c = weight.shape[1] * groups
    if 0 in dy.shape or 0 in weight.shape:
        return np.zeros((n, c, *size), dy.dtype)
    if all(s == 1 for s in stride) and o <= 4 * c:
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, padding, strict=True))
        return _conv(dy, turned(weight, groups), stride, pads, dilation, groups)
    # Otherwise: columns of the gradient, each added back to the places it was taken from.
    w = weight.reshape(groups, o // groups, -1).swapaxes(1, 2)
    padded = tuple(m + max(lo, 0) + max(hi, 0) for m, (lo, hi) in zip(size, padding, strict=True))
    inside = tuple(
        slice(max(lo, 0), max(lo, 0) + m) for m, (lo, hi) in zip(size, padding, strict=True)
    )
    x = np.empty((n, c, *size), dy.dtype)
    step = max(1, min(n, CHUNK // (c * prod(kernel) * prod(out) * dy.itemsize)))
    for start in range(0, n, step):
        part = dy[start : start + step].swapaxes(0, 1).reshape(groups, o // groups, -1)
        columns = (w @ part).reshape(c, *kernel, -1, *out)
        sums = np.zeros((c, columns.shape[1 + len(kernel)], *padded), dy.dtype)
        for offset in product(*map(range, kernel)):
            places = tuple(
                slice(i * d + max(-lo, 0), i * d + max(-lo, 0) + s * (m - 1) + 1, s)
                for i, d, s, m, (lo, _) in zip(offset, dilation, stride, out, padding, strict=True)
            )
            there: Any = (slice(None), slice(None), *places)
            here: Any = (slice(None), *offset)
            sums[there] += columns[here]
        x[start : start + step] = sums[(slice(None), slice(None), *inside)].swapaxes(0, 1)
    return x


def _conv_weight(
    x: Array, dy: Array, kernel: Shape,
    stride: Shape, padding: Pads, dilation: Shape, groups: int,
) -> Array:  # fmt: skip
    c, o, out = x.shape[1], dy.shape[1], dy.shape[2:]
    shape = (o, c // groups, *kernel)
    if 0 in x.shape or 0 in dy.shape:
        return np.zeros(shape, x.dtype)
    total = np.zeros((groups, prod(shape[1:]), o // groups), x.dtype)
    columns = Columns(x, kernel, stride, padding, dilation, out)
    for chunk in columns.chunks():
        part = dy[chunk].swapaxes(0, 1).reshape(groups, o // groups, -1)
        unfolded = columns.of(chunk).reshape(groups, total.shape[1], -1)
        total += unfolded @ part.swapaxes(1, 2)
    return np.ascontiguousarray(total.swapaxes(1, 2)).reshape(shape)


# ---- shape rules ---------------------------------------------------------------------------


def _conv_shape(
    x: Aval, weight: Aval, stride: Shape, padding: Pads, dilation: Shape, groups: int
) -> Aval:
    check_images("conv", x, weight, groups)
    out = out_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    check_room("conv", x, weight.shape[2:], padding, dilation, out)
    return Aval((x.shape[0], weight.shape[0], *out), x.dtype)


def check_images(what: str, x: Any, weight: Any, groups: int) -> None:
    """Channels, groups and the number of dimensions fit together."""
    o, c = weight.shape[:2]
    if groups < 1 or o % groups:
        raise ShapeError(
            lesson(
                f"{what}: groups={groups} must divide the {o} output channels",
                [("weight", weight)],
                f"groups={np.gcd(o, max(groups, 1))}, "
                f"or a multiple of {max(groups, 1)} output channels",
            )
        )
    if x.ndim != weight.ndim or x.shape[1] != c * groups:
        have = x.shape[1] if x.ndim > 1 else 0
        n = weight.ndim - 2
        groups_text = f" (weight.shape[1] * groups = {c} * {groups})" if groups > 1 else ""
        fix = f"nn.Conv{n}d({have}, {o}, ...)"
        if x.ndim == weight.ndim and x.shape[-1] == c * groups:
            fix = f"x.movedim(-1, 1): the channels come before the image; or {fix}"
        raise ShapeError(
            lesson(
                f"{what}: the input has {have} channels, the layer expects {c * groups}"
                f"{groups_text}",
                [("input", x), ("weight", weight)],
                fix,
            )
        )


def check_room(
    what: str, x: Any, kernel: Shape, padding: Pads, dilation: Shape, out: Shape
) -> None:
    """The window must fit into the padded input at least once."""
    if all(n > 0 for n in out):
        return
    padded = [n + lo + hi for n, (lo, hi) in zip(x.shape[-len(kernel) :], padding, strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    need = [
        -(-max(r - m, 0) // 2) + lo for r, m, (lo, _) in zip(reach, padded, padding, strict=True)
    ]
    raise ShapeError(
        lesson(
            f"{what}: a window of {reach} does not fit into the input of {padded} "
            "(padding included)",
            [("input", x), ("kernel_size", list(kernel)), ("dilation", list(dilation))],
            f"padding={tuple(need)}, a smaller kernel, or fewer poolings and strides before",
        )
    )


def _conv_input_shape(dy: Aval, weight: Aval, size: Shape, groups: int, **_: Any) -> Aval:
    if dy.ndim != weight.ndim or dy.shape[1] != weight.shape[0]:
        raise ShapeError(
            lesson(
                f"conv_input: the gradient has {dy.shape[1]} channels, "
                f"the weight gives {weight.shape[0]}",
                [("dy", dy), ("weight", weight)],
            )
        )
    return Aval((dy.shape[0], weight.shape[1] * groups, *size), dy.dtype)


def _conv_weight_shape(x: Aval, dy: Aval, kernel: Shape, groups: int, **_: Any) -> Aval:
    if x.shape[0] != dy.shape[0] or x.ndim != dy.ndim:
        raise ShapeError(
            lesson("conv_weight: input and gradient differ in their batch", [("x", x), ("dy", dy)])
        )
    return Aval((dy.shape[1], x.shape[1] // groups, *kernel), x.dtype)


# ---- the records ---------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1),
                         "groups": 1}  # fmt: skip
UNEVEN: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (1, 2)), "dilation": (1, 2),
                          "groups": 2}  # fmt: skip
LINE: dict[str, Any] = {"stride": (2,), "padding": ((1, 1),), "dilation": (1,), "groups": 1}


def _like_conv(g: Any, weight: Any, x_aval: Aval, **how: Any) -> Any:
    return conv_input(g, weight, size=tuple(x_aval.shape[2:]), **how)


conv = op(
    "conv", "x weight",
    forward=_conv, shape=_conv_shape, promote="arith",
    grad={
        "x": lambda g, weight, x_aval, stride, padding, dilation, groups: _like_conv(
            g, weight, x_aval, stride=stride, padding=padding, dilation=dilation, groups=groups),
        "weight": lambda g, x, weight_aval, stride, padding, dilation, groups: conv_weight(
            x, g, kernel=tuple(weight_aval.shape[2:]),
            stride=stride, padding=padding, dilation=dilation, groups=groups),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4, 5), rand(rng, 2, 3, 2, 3), **PLAIN),
        Sample(rand(rng, 2, 4, 5, 5), rand(rng, 2, 2, 3, 2), **UNEVEN),
        Sample(rand(rng, 2, 3, 3, 2), rand(rng, 4, 3, 1, 1), **PLAIN),
        Sample(rand(rng, 2, 2, 6), rand(rng, 3, 2, 3), **LINE),
        Sample(rand(rng, 1, 2, 3, 3, 3), rand(rng, 2, 1, 2, 2, 2), stride=(1, 2, 1),
               padding=((0, 0), (1, 0), (0, 1)), dilation=(1, 1, 1), groups=2),
        Sample(rand(rng, 0, 3, 4, 4), rand(rng, 2, 3, 2, 2), **PLAIN),
        Sample(rand(rng, 2, 3, 4, 4), rand(rng, 2, 2, 2, 2), error=ShapeError, **PLAIN),
        Sample(rand(rng, 2, 3, 2, 2), rand(rng, 2, 3, 3, 3), error=ShapeError, **PLAIN),
        Sample(rand(rng, 2, 3, 4, 4), rand(rng, 4, 1, 2, 2), error=ShapeError,
               **{**PLAIN, "groups": 3}),
    ],
)  # fmt: skip

conv_bias = op(
    "conv_bias", "x weight bias",
    forward=_conv_bias, promote="arith",
    shape=lambda x, weight, bias, **how: _conv_shape(x, weight, **how),
    definition=lambda x, weight, bias, **how: add_op(
        conv(x, weight, **how), reshape_to(bias, shape=(*bias.shape, *(1,) * (x.ndim - 2)))),
    grad={
        "x": lambda g, weight, x_aval, stride, padding, dilation, groups: _like_conv(
            g, weight, x_aval, stride=stride, padding=padding, dilation=dilation, groups=groups),
        "weight": lambda g, x, weight_aval, stride, padding, dilation, groups: conv_weight(
            x, g, kernel=tuple(weight_aval.shape[2:]),
            stride=stride, padding=padding, dilation=dilation, groups=groups),
        "bias": lambda g: sum_channels(g),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4, 5), rand(rng, 2, 3, 2, 3), rand(rng, 2), **PLAIN),
        Sample(rand(rng, 2, 4, 5, 5), rand(rng, 2, 2, 3, 2), rand(rng, 2), **UNEVEN),
        Sample(rand(rng, 2, 3, 3, 2), rand(rng, 4, 3, 1, 1), rand(rng, 4), **PLAIN),
        Sample(rand(rng, 2, 2, 6), rand(rng, 3, 2, 3), rand(rng, 3), **LINE),
    ],
)  # fmt: skip

conv_input = op(
    "conv_input", "dy weight",
    forward=_conv_input, shape=_conv_input_shape, promote="arith",
    grad={
        "dy": lambda g, weight, stride, padding, dilation, groups: conv(
            g, weight, stride=stride, padding=padding, dilation=dilation, groups=groups),
        "weight": lambda g, dy, weight_aval, stride, padding, dilation, groups: conv_weight(
            g, dy, kernel=tuple(weight_aval.shape[2:]),
            stride=stride, padding=padding, dilation=dilation, groups=groups),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 2, 3, 3), rand(rng, 2, 3, 2, 3), size=(4, 5), **PLAIN),
        Sample(rand(rng, 2, 2, 2, 6), rand(rng, 2, 2, 3, 2), size=(5, 5), **UNEVEN),
        Sample(rand(rng, 2, 3, 3), rand(rng, 3, 2, 3), size=(6,), **LINE),
        Sample(rand(rng, 2, 3, 3, 3), rand(rng, 2, 3, 2, 2), size=(4, 4), error=ShapeError,
               **PLAIN),
    ],
)  # fmt: skip

conv_weight: Op = op(
    "conv_weight", "x dy",
    forward=_conv_weight, shape=_conv_weight_shape, promote="arith",
    grad={
        "x": lambda g, dy, x_aval, stride, padding, dilation, groups: _like_conv(
            dy, g, x_aval, stride=stride, padding=padding, dilation=dilation, groups=groups),
        "dy": lambda g, x, stride, padding, dilation, groups: conv(
            x, g, stride=stride, padding=padding, dilation=dilation, groups=groups),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4, 5), rand(rng, 2, 2, 3, 3), kernel=(2, 3), **PLAIN),
        Sample(rand(rng, 2, 4, 5, 5), rand(rng, 2, 2, 2, 6), kernel=(3, 2), **UNEVEN),
        Sample(rand(rng, 2, 2, 6), rand(rng, 2, 3, 3), kernel=(3,), **LINE),
    ],
)  # fmt: skip


def sum_channels(g: Any) -> Any:
    """The sum over everything but the channels: the gradient of a bias."""
    n, c, *size = g.shape
    return reduce_sum(reshape_to(g, shape=(n, c, prod(size))), dims=(0, 2), keepdim=False)
