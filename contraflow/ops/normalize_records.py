"""Standardising channels: the fused core of batch, layer, group, instance and RMS normalisation.

All are one computation on ``x[n, c, *size]``, with statistics for each channel c over the rest:
layer and group normalisation see their rows or groups as the channels of a batch of one.

The backward pass is built of two more records, a weighted sum and a weighted mixture for each
channel, whose gradients are plain: so any derivative of normalisation is right.

Source: Ioffe and Szegedy, "Batch normalization" (2015), section 3, for the gradient.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import Shape
from contraflow.ops.arith import rsqrt, square
from contraflow.ops.creation import full
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.reduce import reduce_sum, total
from contraflow.ops.rules import rand
from contraflow.ops.view import reshape_to

__all__: list[str] = []

Array = np.ndarray[Any, Any]


# ---- channels in ops ----------------------------------------------------------------------------


def column(v: Any, x: Any) -> Any:
    """A vector with a number for each channel, shaped to broadcast over x."""
    if not hasattr(v, "shape"):
        return v
    return reshape_to(v, shape=(1, v.shape[0], *(1,) * (x.ndim - 2)))


def channel_sum(x: Any) -> Any:
    """The sum over everything but the channels."""
    n, c, *size = x.shape
    return reduce_sum(reshape_to(x, shape=(n, c, prod(size))), dims=(0, 2), keepdim=False)


def count(shape: Shape) -> int:
    """How many values a channel has; 1 for none, so that nothing is divided by 0."""
    return max(prod(shape) // max(shape[1], 1), 1)


def others(x: Any) -> Shape:
    """All dimensions but that of the channels."""
    return (0, *range(2, x.ndim))


# ---- channels in NumPy --------------------------------------------------------------------------


def _rows(x: Array) -> Array:
    """x as [n, c, the rest]; half precision is computed in single."""
    x = x.astype(np.float32) if x.dtype.char == "e" else x
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def _sum(x: Array) -> Any:
    """The sum for each channel of [n, c, k], pairwise: a mean far from 0 must keep its digits."""
    return total(np.add.reduce(x, axis=2) if x.shape[2] != 1 else x[:, :, 0], (0,), False)


def _dot(a: Array, b: Array) -> Any:
    """The sum of products for each channel of a and b, [n, c, k]."""
    if a.shape[2] == 1:
        return total(a[:, :, 0] * b[:, :, 0], (0,), False)
    return total(np.vecdot(a, b), (0,), False)


def _column(v: Any) -> Any:
    return v[:, None] if isinstance(v, np.ndarray) and v.ndim else v


# ---- sums and mixtures for each channel ---------------------------------------------------------


def _channel_dot(a: Array, x: Array, shift: Any) -> Any:
    rows = _rows(x)
    if isinstance(shift, np.ndarray) or shift != 0:
        rows = rows - _column(shift)
    return _dot(_rows(a), rows).astype(x.dtype, copy=False)


def _channel_blend(a: Array, x: Array, shift: Any, p: Any, q: Any, r: Any) -> Any:
    y = _rows(x) - _column(shift)
    y *= _column(q)
    y += _rows(a) * _column(p)
    y += _column(r)
    return y.reshape(x.shape).astype(x.dtype, copy=False)


def _vector_shape(x: Aval, *vectors: Aval) -> None:
    if x.ndim < 2 or any(v.shape not in ((), (x.shape[1],)) for v in vectors):
        raise ShapeError(
            lesson(
                "a normalisation takes one number for each channel (dimension 1)",
                [("x", x), *(("vector", v) for v in vectors)],
            )
        )


def _dot_shape(a: Aval, x: Aval, shift: Aval) -> Aval:
    _vector_shape(x, shift)
    return Aval((x.shape[1],), x.dtype)


def _blend_shape(a: Aval, x: Aval, *vectors: Aval) -> Aval:
    _vector_shape(x, *vectors)
    return x


# sum of a (x - shift)
channel_dot: Op = op(
    "channel_dot", "a x shift",
    forward=_channel_dot, shape=_dot_shape, promote="float",
    definition=lambda a, x, shift: reduce_sum(
        a * (x - column(shift, x)), dims=others(x), keepdim=False),
    grad={
        "a": lambda g, x, shift: (x - column(shift, x)) * column(g, x),
        "x": lambda g, a: a * column(g, a),
        "shift": lambda g, a: -g * channel_sum(a),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4), rand(rng, 2, 3, 4), rand(rng, 3)),
        Sample(rand(rng, 4, 3), rand(rng, 4, 3), rand(rng, 3)),
        Sample(rand(rng, 2, 3, 2, 2), rand(rng, 2, 3, 2, 2), 0.0),
        Sample(np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), rand(rng, 3)),
        Sample(rand(rng, 2, 3, 4), rand(rng, 2, 3, 4), rand(rng, 4), error=ValueError),
    ],
)  # fmt: skip

# a p + (x - shift) q + r
channel_blend: Op = op(
    "channel_blend", "a x shift p q r",
    forward=_channel_blend, shape=_blend_shape, promote="float",
    definition=lambda a, x, shift, p, q, r: (
        a * column(p, x) + (x - column(shift, x)) * column(q, x) + column(r, x)),
    grad={
        "a": lambda g, p: g * column(p, g),
        "x": lambda g, q: g * column(q, g),
        "shift": lambda g, q: -q * channel_sum(g),
        "p": lambda g, a: channel_dot(g, a, 0.0),
        "q": lambda g, x, shift: channel_dot(g, x, shift),
        "r": lambda g: channel_sum(g),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4), rand(rng, 2, 3, 4), *(rand(rng, 3) for _ in range(4))),
        Sample(rand(rng, 4, 3), rand(rng, 4, 3), *(rand(rng, 3) for _ in range(4))),
        Sample(np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), *(rand(rng, 3) for _ in range(4))),
        Sample(rand(rng, 2, 3), rand(rng, 2, 3), *(rand(rng, 2) for _ in range(4)),
               error=ValueError),
    ],
)  # fmt: skip


def _channel_affine(x: Array, weight: Array, bias: Array) -> Any:
    y = _rows(x) * _column(weight)
    if bias.any():
        y += _column(bias)
    return y.reshape(x.shape).astype(x.dtype, copy=False)


def _affine_shape(x: Aval, weight: Aval, bias: Aval) -> Aval:
    _vector_shape(x, weight, bias)
    return x


# x weight + bias
channel_affine: Op = op(
    "channel_affine", "x weight bias",
    forward=_channel_affine, shape=_affine_shape, promote="float",
    definition=lambda x, weight, bias: x * column(weight, x) + column(bias, x),
    grad={
        "x": lambda g, weight: g * column(weight, g),
        "weight": lambda g, x: channel_dot(g, x, 0.0),
        "bias": lambda g: channel_sum(g),
    },
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4), rand(rng, 3), rand(rng, 3)),
        Sample(rand(rng, 4, 3), rand(rng, 3), np.zeros(3)),
        Sample(np.zeros((0, 3, 2)), rand(rng, 3), rand(rng, 3)),
        Sample(rand(rng, 2, 3), rand(rng, 2), rand(rng, 2), error=ValueError),
    ],
)  # fmt: skip


# ---- the core -----------------------------------------------------------------------------------
# Results: y, and the mean and variance (with 1/n) of each channel. Without `centred` nothing is
# subtracted: the mean is given as 0 and the variance is the mean square.


def _batch_norm(
    x: Array, weight: Array, bias: Array, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    rows = _rows(x)
    n = rows.dtype.type(count(x.shape))
    weight, bias = (v.astype(rows.dtype, copy=False) for v in (weight, bias))
    if centred:
        mean = _sum(rows) / n
        y = rows - mean[:, None]
    else:
        mean = np.zeros(x.shape[1], rows.dtype)
        y = rows.copy()
    var = _dot(y, y) / n
    y *= (weight / np.sqrt(var + rows.dtype.type(eps)))[:, None]
    if bias.any():
        y += bias[:, None]
    y, mean, var = (r.astype(x.dtype, copy=False) for r in (y.reshape(x.shape), mean, var))
    return y, mean, var


def _batch_norm_in_ops(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> Any:
    dims, n = others(x), float(count(tuple(x.shape)))
    if centred:
        mean = reduce_sum(x, dims=dims, keepdim=False) * (1.0 / n)
    else:
        mean = full(shape=(x.shape[1],), value=0, dtype=x.dtype)
    centre = x - column(mean, x)
    var = reduce_sum(square(centre), dims=dims, keepdim=False) * (1.0 / n)
    y = centre * column(weight * rsqrt(var + eps), x) + column(bias, x)
    return y, mean, var


def _batch_norm_shape(x: Aval, weight: Aval, bias: Aval, **_: Any) -> tuple[Aval, Aval, Aval]:
    _vector_shape(x, weight, bias)
    vector = Aval((x.shape[1],), x.dtype)
    return x, vector, vector


def _standard_grad(
    g: Any, x: Any, mean: Any, var: Any, weight: Any, eps: float, centred: bool
) -> tuple[Any, Any]:
    """The gradient of x, and the sum of g (x - mean) / √(var + eps) for each channel.

    With s = weight / √(var + eps): dx = s (g - mean(g)) - s (x - mean) mean(g (x - mean)) /
    (var + eps), and what arrives at the mean and the variance themselves.
    """
    g_y, g_mean, g_var = g
    n = float(count(tuple(x.shape)))
    scale = rsqrt(var + eps)
    dot = channel_dot(g_y, x, mean) * scale
    scaled = scale if weight is None else scale * weight
    of_x = g_var * (2.0 / n) - scaled * scale * dot * (1.0 / n)
    rest: Any = (g_mean - scaled * channel_sum(g_y)) * (1.0 / n) if centred else 0.0
    return channel_blend(g_y, x, mean, scaled, of_x, rest), dot


def _batch_norm_grad(
    g: Any, x: Any, weight: Any, y1: Any, y2: Any, eps: float, centred: bool,
    needs: tuple[bool, ...],
) -> Any:  # fmt: skip
    of_bias = channel_sum(g[0]) if needs[2] else None
    if needs[0]:
        return *_standard_grad(g, x, y1, y2, weight, eps, centred), of_bias
    of_weight = channel_dot(g[0], x, y1) * rsqrt(y2 + eps) if needs[1] else None
    return None, of_weight, of_bias


def _norm_samples(rng: np.random.Generator) -> list[Sample]:
    plain: dict[str, Any] = {"eps": 1e-5, "centred": True}
    return [
        Sample(rand(rng, 3, 2, 4), rand(rng, 2), rand(rng, 2), **plain),
        Sample(rand(rng, 5, 2), rand(rng, 2), rand(rng, 2), eps=0.1, centred=True),
        Sample(rand(rng, 2, 2, 2, 2), rand(rng, 2), np.zeros(2), **plain),
        Sample(rand(rng, 1, 3, 5), rand(rng, 3), rand(rng, 3), eps=1e-3, centred=False),
        Sample(rand(rng, 4, 2), rand(rng, 2), rand(rng, 2), eps=1e-3, centred=False),
        Sample(np.zeros((0, 2, 3)), rand(rng, 2), rand(rng, 2), **plain),
        Sample(rand(rng, 3, 2, 4), rand(rng, 3), rand(rng, 3), **plain, error=ShapeError),
    ]


batch_norm: Op = op(
    "batch_norm", "x weight bias",
    forward=_batch_norm, definition=_batch_norm_in_ops, shape=_batch_norm_shape,
    promote="float", outputs=3, grad=_batch_norm_grad, samples=_norm_samples,
)  # fmt: skip


# ---- rows with a weight for each element ---------------------------------------------------------
# The same for x[rows, elements], with statistics for each row, and a weight and a bias for each
# element of it: layer and RMS normalisation.


def _layer_norm(
    x: Array, weight: Array, bias: Array, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    ones = np.ones(len(x), wide.dtype)
    rows, mean, var = _batch_norm(wide[None], ones, np.zeros_like(ones), eps, centred)
    y = rows[0]
    y *= weight
    if bias.any():
        y += bias
    y, mean, var = (r.astype(x.dtype, copy=False) for r in (y, mean, var))
    return y, mean, var


def _layer_norm_in_ops(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> Any:
    rows = reshape_to(x, shape=(1, *x.shape))
    ones = full(shape=(x.shape[0],), value=1, dtype=x.dtype)
    y, mean, var = _batch_norm_in_ops(rows, ones, ones * 0.0, eps, centred)
    return reshape_to(y, shape=tuple(x.shape)) * weight + bias, mean, var


def _layer_norm_shape(x: Aval, weight: Aval, bias: Aval, **_: Any) -> tuple[Aval, Aval, Aval]:
    if x.ndim != 2 or weight.shape != x.shape[1:] or bias.shape != x.shape[1:]:
        raise ShapeError(
            lesson("layer_norm takes rows, and a weight and a bias for each element of a row",
                   [("x", x), ("weight", weight), ("bias", bias)])
        )  # fmt: skip
    vector = Aval(x.shape[:1], x.dtype)
    return x, vector, vector


def _layer_norm_grad(
    g: Any, x: Any, weight: Any, y1: Any, y2: Any, eps: float, centred: bool,
    needs: tuple[bool, ...],
) -> Any:  # fmt: skip
    g_y, g_mean, g_var = g
    mean, var = y1, y2
    of_x = of_weight = None
    if needs[0]:
        rows = (1, *x.shape)
        passed = reshape_to(g_y * weight, shape=rows), g_mean, g_var
        of_x, _ = _standard_grad(passed, reshape_to(x, shape=rows), mean, var, None, eps, centred)
        of_x = reshape_to(of_x, shape=tuple(x.shape))
    if needs[1]:
        of_weight = row_dot(g_y, x, mean, rsqrt(var + eps))
    return of_x, of_weight, reduce_sum(g_y, dims=(0,), keepdim=False) if needs[2] else None


def _row_dot(a: Array, x: Array, shift: Array, scale: Array) -> Any:
    wide = np.result_type(x.dtype, np.float32)
    part = x.astype(wide, copy=False) - shift[:, None]
    part *= a
    return (scale.astype(wide, copy=False) @ part).astype(x.dtype, copy=False)


def _row_dot_shape(a: Aval, x: Aval, shift: Aval, scale: Aval) -> Aval:
    if not (a.shape == x.shape and shift.shape == scale.shape == x.shape[:1]):
        raise ShapeError(lesson("row_dot takes rows, and two numbers for each row",
                                [("x", x), ("shift", shift)]))  # fmt: skip
    return Aval(x.shape[1:], x.dtype)


def _upright(v: Any) -> Any:
    return reshape_to(v, shape=(v.shape[0], 1))


# sum over the rows of a (x - shift) scale
row_dot: Op = op(
    "row_dot", "a x shift scale",
    forward=_row_dot, shape=_row_dot_shape, promote="float",
    definition=lambda a, x, shift, scale: reduce_sum(
        a * (x - _upright(shift)) * _upright(scale), dims=(0,), keepdim=False),
    grad={
        "a": lambda g, x, shift, scale: (x - _upright(shift)) * _upright(scale) * g,
        "x": lambda g, a, scale: a * _upright(scale) * g,
        "shift": lambda g, a, scale: -scale * reduce_sum(a * g, dims=(1,), keepdim=False),
        "scale": lambda g, a, x, shift: reduce_sum(
            a * (x - _upright(shift)) * g, dims=(1,), keepdim=False),
    },
    samples=lambda rng: [
        Sample(rand(rng, 4, 3), rand(rng, 4, 3), rand(rng, 4), rand(rng, 4)),
        Sample(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)),
        Sample(rand(rng, 4, 3), rand(rng, 4, 3), rand(rng, 3), rand(rng, 3), error=ValueError),
    ],
)  # fmt: skip

layer_norm_rows: Op = op(
    "layer_norm", "x weight bias",
    forward=_layer_norm, definition=_layer_norm_in_ops, shape=_layer_norm_shape,
    promote="float", outputs=3, grad=_layer_norm_grad,
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 4), rand(rng, 4), eps=1e-5, centred=True),
        Sample(rand(rng, 2, 5), rand(rng, 5), np.zeros(5), eps=0.1, centred=False),
        Sample(np.zeros((0, 4)), rand(rng, 4), rand(rng, 4), eps=1e-5, centred=True),
        Sample(rand(rng, 3, 4), rand(rng, 3), rand(rng, 3), eps=1e-5, centred=True,
               error=ShapeError),
    ],
)  # fmt: skip
