"""Activation functions but GELU and softmax (``gelu``, ``softmax``); ``nn.functional`` has all.

The frequent ones are fused records, each with a `definition` in plain ops. The backward of a fused
op is one op too: ``relu_grad`` takes the gradient that arrives (``up``) and the
result (``out``); ``silu_slope`` and ``softplus_slope`` are derivatives in x.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import abs, ge, gt, le, minimum, mul, where_op
from contraflow.ops.blend import clamp_max
from contraflow.ops.record import Op, Sample, op
from contraflow.ops.rules import binary, pointwise, rand, same, unary
from contraflow.ops.transcendental import exp, expm1, log1p, sigmoid, tanh
from contraflow.ops.view import reshape_to, slice_dims

__all__ = [
    "celu", "hardshrink", "prelu", "relu", "rrelu", "selu", "threshold",
]  # fmt: skip
METHODS = ("hardshrink", "prelu", "relu")
INPLACE = ("relu",)

# ---- rectifiers ----------------------------------------------------------------------------

relu = op(
    "relu", "x",
    forward=lambda x: np.maximum(x, 0), definition=lambda x: where_op(le(x, 0), 0, x),
    shape=same, promote="number", samples=unary(),
    grad=lambda g, y: relu_grad(g, y),
)  # fmt: skip

BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def _relu_grad(up: Any, out: Any) -> Any:
    if up.size < 4096 or up.shape != out.shape or up.dtype.kind != "f":
        return np.where(out <= 0, 0, up)
    # the same without branches, which nobody can predict here: where out <= 0, all bits become 0
    bits = BITS[up.dtype.itemsize]
    mask = np.less_equal(out, 0).astype(bits)
    mask -= 1
    mask &= up.view(bits)
    return mask.view(up.dtype)


relu_grad: Op = op(
    "relu_grad", "up out",
    forward=_relu_grad,
    definition=lambda up, out: where_op(le(out, 0), 0.0, up),
    shape=pointwise, promote="float",
    samples=lambda rng: [*binary()(rng), Sample(rand(rng, 64, 65), rand(rng, 64, 65))],
    grad={"up": lambda g, out: relu_grad(g, out)},
)  # fmt: skip


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6).

    >>> import contraflow as cf
    >>> cf.nn.functional.relu6(cf.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    return hardtanh(x, 0, 6)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where x > 0, negative_slope * x elsewhere.

    >>> import contraflow as cf
    >>> cf.nn.functional.leaky_relu(cf.tensor([-1.0, 3.0]), 0.1)
    tensor([-0.1000,  3.0000])
    """
    return where_op(gt(x, 0), x, mul(x, negative_slope))


def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, weight * x elsewhere; ``weight`` holds one slope, or one for each channel.

    Shapes: x is [N, C, ...], weight [C], [1] or 0-d. Source: He et al. 2015.

    >>> import contraflow as cf
    >>> cf.prelu(cf.tensor([-1.0, 3.0]), cf.tensor([0.25]))
    tensor([-0.2500,  3.0000])

    Raises:
        ShapeError: if the number of slopes is neither 1 nor the number of channels.
    """
    count = weight.shape[0] if weight.ndim == 1 else 1
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or count not in (1, channels):
        raise ShapeError(
            lesson(
                f"prelu: weight needs 1 slope or {channels}, one for each channel",
                [("input", input), ("weight", weight)],
                f"cf.full(({channels},), 0.25)",
            )
        )
    shape = (1, count, *(1,) * (input.ndim - 2)) if input.ndim > 1 else (1,) * input.ndim
    return where_op(gt(input, 0), input, mul(reshape_to(weight, shape=shape), input))


def rrelu(input: Any, lower: float = 1 / 8, upper: float = 1 / 3) -> Any:
    """Randomised leaky ReLU as it is used after training: the slope (lower + upper) / 2.

    Source: Xu et al. 2015.

    >>> import contraflow as cf
    >>> cf.rrelu(cf.tensor([-1.0, 3.0]), 0.25, 0.75)
    tensor([-0.5000,  3.0000])
    """
    return leaky_relu(input, (lower + upper) / 2)


def threshold(input: Any, threshold: float, value: float) -> Any:
    """x where x > threshold, ``value`` elsewhere.

    >>> import contraflow as cf
    >>> cf.threshold(cf.tensor([0.1, 3.0]), 0.5, 20.0)
    tensor([20.,  3.])
    """
    if not input.dtype.is_floating_point:  # an integer tensor keeps its dtype
        threshold, value = int(threshold), int(value)
    return where_op(le(input, threshold), value, input)


# ---- exponential units ---------------------------------------------------------------------


def _bent(x: Any, alpha: float, width: float) -> Any:
    # x above 0, alpha (e^(x/width) - 1) below; the bound keeps e^x finite where x is taken
    low = clamp_max(x, 0)
    return where_op(gt(x, 0), x, expm1(low if width == 1 else low / width) * alpha)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, alpha (exp(x) - 1) elsewhere. Source: Clevert et al. 2016.

    >>> import contraflow as cf
    >>> cf.nn.functional.elu(cf.tensor([-1.0, 3.0]))
    tensor([-0.6321,  3.0000])
    """
    return _bent(x, alpha, 1)


def celu(input: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, alpha (exp(x / alpha) - 1) elsewhere. Source: Barron 2017.

    >>> import contraflow as cf
    >>> cf.celu(cf.tensor([-1.0, 3.0]), alpha=2.0)
    tensor([-0.7869,  3.0000])

    Raises:
        ArgumentError: if alpha is 0.
    """
    if alpha == 0:
        raise ArgumentError(lesson("celu divides by alpha, which is 0", fix="alpha=1.0"))
    return _bent(input, alpha, alpha)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(input: Any) -> Any:
    """scale * elu(x, alpha), constants that keep mean 0 and variance 1. Source: Klambauer 2017.

    >>> import contraflow as cf
    >>> cf.selu(cf.tensor([-1.0, 3.0]))
    tensor([-1.1113,  3.1521])
    """
    return _bent(input, SELU_ALPHA, 1) * SELU_SCALE


# ---- smooth units --------------------------------------------------------------------------


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _silu_slope(x: Any) -> Any:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


def _grad_silu_slope(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s)))


# x * sigmoid(x) (Elfwing et al. 2018, also called swish)
silu = op(
    "silu", "x",
    forward=lambda x: x / (1 + np.exp(-x)), definition=lambda x: x * sigmoid(x),
    shape=same, promote="float", samples=unary(-4, 4), grad=lambda g, x: g * silu_slope(x),
)  # fmt: skip

silu_slope: Op = op(
    "silu_slope", "x",
    forward=_silu_slope,
    definition=lambda x: sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    shape=same, promote="float", samples=unary(-4, 4), grad=_grad_silu_slope,
)  # fmt: skip


def _softplus(x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    curve = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    return np.where(z > threshold, x, curve / beta)


def _softplus_definition(x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    curve = log1p(exp(-abs(z))) - minimum(-z, 0.0)
    return where_op(gt(z, threshold), x, curve / beta)


def _softplus_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *unary(-4, 4, beta=1.0, threshold=20.0)(rng),
        Sample(rand(rng, 3, 4), beta=2.5, threshold=1.3),
    ]


softplus_op = op(
    "softplus", "x",
    forward=_softplus, definition=_softplus_definition,
    shape=same, promote="float", samples=_softplus_samples,
    grad=lambda g, x, beta, threshold: g * softplus_slope(x, beta=beta, threshold=threshold),
)  # fmt: skip

softplus_slope: Op = op(
    "softplus_slope", "x",
    forward=lambda x, beta, threshold: np.where(x * beta > threshold, 1, _sigmoid(x * beta)),
    definition=lambda x, beta, threshold: where_op(
        gt(x * beta, threshold), 1.0, sigmoid(x * beta)
    ),
    shape=same, promote="float", samples=_softplus_samples,
    grad=lambda g, x, y, beta: g * (y * (1.0 - y) * beta),
)  # fmt: skip


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold.

    >>> import contraflow as cf
    >>> cf.nn.functional.softplus(cf.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0.0000e+00, 6.9315e-01, 1.0000e+03])

    Raises:
        ArgumentError: if beta is 0.
    """
    if beta == 0:
        raise ArgumentError(lesson("softplus divides by beta, which is 0", fix="beta=1.0"))
    return softplus_op(x, beta=float(beta), threshold=float(threshold))


# log(sigmoid(x)), exact also where sigmoid rounds to 0 or 1
logsigmoid = op(
    "logsigmoid", "x",
    forward=lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    definition=lambda x: minimum(x, 0.0) - log1p(exp(-abs(x))),
    shape=same, promote="float", samples=unary(-4, 4), grad=lambda g, x: g * sigmoid(-x),
)  # fmt: skip


def mish(x: Any) -> Any:
    """x * tanh(softplus(x)). Source: Misra 2019.

    >>> import contraflow as cf
    >>> cf.nn.functional.mish(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.0000,  0.8651])
    """
    return x * tanh(softplus(x))


def softsign(x: Any) -> Any:
    """x / (1 + |x|).

    >>> import contraflow as cf
    >>> cf.nn.functional.softsign(cf.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return x / (abs(x) + 1.0)


def tanhshrink(x: Any) -> Any:
    """x - tanh(x).

    >>> import contraflow as cf
    >>> cf.nn.functional.tanhshrink(cf.tensor([0.0, 1.0]))
    tensor([0.0000, 0.2384])
    """
    return x - tanh(x)


# ---- units made of straight lines ----------------------------------------------------------


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x between ``min_val`` and ``max_val``, which bound it; on them the gradient is 0.

    >>> import contraflow as cf
    >>> cf.nn.functional.hardtanh(cf.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0000,  0.5000,  1.0000])

    Raises:
        ArgumentError: if min_val > max_val.
    """
    if min_val > max_val:
        raise ArgumentError(
            lesson(
                f"hardtanh: min_val={min_val} is above max_val={max_val}",
                fix=f"hardtanh(x, {max_val}, {min_val})",
            )
        )
    return where_op(le(x, min_val), min_val, where_op(ge(x, max_val), max_val, x))


def hardsigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6.

    >>> import contraflow as cf
    >>> cf.nn.functional.hardsigmoid(cf.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return relu6(x + 3.0) / 6.0


def hardswish(x: Any) -> Any:
    """x * relu6(x + 3) / 6. Source: Howard et al. 2019.

    >>> import contraflow as cf
    >>> cf.nn.functional.hardswish(cf.tensor([-4.0, 1.0, 4.0]))
    tensor([0.0000, 0.6667, 4.0000])
    """
    return x * relu6(x + 3.0) / 6.0


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x, and 0 where |x| <= lambd.

    >>> import contraflow as cf
    >>> cf.hardshrink(cf.tensor([-1.0, 0.3, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    return where_op(le(abs(input), lambd), 0, input)


def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by ``lambd``, and 0 where |x| <= lambd.

    >>> import contraflow as cf
    >>> cf.nn.functional.softshrink(cf.tensor([-1.0, 0.3, 2.0]))
    tensor([-0.5000,  0.0000,  1.5000])

    Raises:
        ArgumentError: if lambd is negative.
    """
    if lambd < 0:
        raise ArgumentError(lesson(f"softshrink: lambd must be >= 0, received {lambd}"))
    return where_op(le(abs(x), lambd), 0.0, where_op(gt(x, 0), x - lambd, x + lambd))


def glu(x: Any, dim: int = -1) -> Any:
    """a * sigmoid(b) for the two halves a, b of x along ``dim``. Source: Dauphin et al. 2017.

    >>> import contraflow as cf
    >>> cf.nn.functional.glu(cf.tensor([2.0, 0.0]))
    tensor([1.])

    Raises:
        ShapeError: if the size of ``dim`` is odd, or x is 0-d.
    """
    axis = read_dim(dim, x.ndim)
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ShapeError(
            lesson(
                f"glu halves dimension {dim}, whose size must be even",
                [("x", x)],
                "a layer before it with 2 * features outputs",
            )
        )
    half = x.shape[axis] // 2
    return _part(x, axis, 0, half) * sigmoid(_part(x, axis, half, 2 * half))


def _part(x: Any, axis: int, start: int, stop: int) -> Any:
    bounds = tuple((start, stop, 1) if d == axis else (0, n, 1) for d, n in enumerate(x.shape))
    return slice_dims(x, bounds=bounds)
