"""Initial values of weights: each function writes into a tensor and returns it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from math import erf, prod, sqrt
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.blend import clamp
from contraflow.ops.creation import full
from contraflow.ops.special import erfinv
from contraflow.tensor.create import constant
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.rng import rand, randn
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]  # fmt: skip


skipping: ContextVar[bool] = ContextVar("skipping", default=False)  # see nn.utils.skip_init


def initializer(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes new values, as one that writes them into the tensor."""

    @wraps(compute)
    def run(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, Tensor):
            raise DTypeError(
                lesson(f"init.{compute.__name__} takes a tensor, not {type(tensor).__name__}",
                       fix=f"nn.init.{compute.__name__}(layer.weight)")
            )  # fmt: skip
        if skipping.get():
            return tensor
        with no_grad():
            return write(tensor, compute(tensor, *args, **kwargs))

    return run


def drawn(draw: Any, tensor: Any, generator: Any) -> Any:
    """Random numbers of the tensor's shape and dtype."""
    if not tensor.dtype.is_floating_point:
        raise DTypeError(
            lesson("random initial values need a floating-point tensor", [("tensor", tensor.aval)])
        )
    return draw(tuple(tensor.shape), generator=generator, dtype=tensor.dtype)


@initializer
def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Uniform numbers between a and b.

    >>> import contraflow as cf
    >>> w = cf.nn.init.uniform_(cf.empty(3, 4), -1, 1)
    >>> bool((w.abs() <= 1).all())
    True
    """
    if a > b:
        raise ArgumentError(lesson(f"uniform_: from a={a} to b={b} there is no interval",
                                   fix=f"uniform_(w, {b}, {a})"))  # fmt: skip
    return a + (b - a) * drawn(rand, tensor, generator)


@initializer
def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Normal numbers with this mean and standard deviation.

    >>> import contraflow as cf
    >>> w = cf.nn.init.normal_(cf.empty(100, 100), std=0.1)
    >>> abs(float(w.std()) - 0.1) < 0.01
    True
    """
    if std < 0:
        raise ArgumentError(lesson(f"normal_: std must not be negative, received {std}",
                                   fix=f"std={-std}"))  # fmt: skip
    return mean + std * drawn(randn, tensor, generator)


@initializer
def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Any = None,
) -> Any:  # fmt: skip
    """Normal numbers, drawn again (in effect) while outside [a, b].

    Computed from uniform numbers through the inverse of the normal distribution function.

    >>> import contraflow as cf
    >>> w = cf.nn.init.trunc_normal_(cf.empty(100, 100), std=0.02, a=-0.04, b=0.04)
    >>> bool((w.abs() <= 0.04).all())
    True
    """
    if std <= 0 or a >= b:
        raise ArgumentError(
            lesson(f"trunc_normal_ needs std > 0 and a < b, received std={std}, a={a}, b={b}",
                   fix="trunc_normal_(w, std=0.02)")
        )  # fmt: skip
    low, high = (erf((bound - mean) / (std * sqrt(2))) for bound in (a, b))
    u = low + (high - low) * drawn(rand, tensor, generator)
    edge = 1.0 - float(np.finfo(tensor.dtype.np).epsneg)  # the inverse is infinite at 1
    return clamp(mean + std * sqrt(2) * erfinv(clamp(u, -edge, edge)), a, b)


@initializer
def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere.

    >>> import contraflow as cf
    >>> cf.nn.init.constant_(cf.empty(2), 0.3)
    tensor([0.3000, 0.3000])
    """
    return full(shape=tuple(tensor.shape), value=val, dtype=tensor.dtype)


@initializer
def ones_(tensor: Any) -> Any:
    """Ones.

    >>> import contraflow as cf
    >>> cf.nn.init.ones_(cf.empty(2))
    tensor([1., 1.])
    """
    return full(shape=tuple(tensor.shape), value=1, dtype=tensor.dtype)


@initializer
def zeros_(tensor: Any) -> Any:
    """Zeros.

    >>> import contraflow as cf
    >>> cf.nn.init.zeros_(cf.empty(2))
    tensor([0., 0.])
    """
    return full(shape=tuple(tensor.shape), value=0, dtype=tensor.dtype)


@initializer
def eye_(tensor: Any) -> Any:
    """The identity matrix.

    >>> import contraflow as cf
    >>> cf.nn.init.eye_(cf.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    matrix_only("eye_", tensor)
    return constant(np.eye(*tensor.shape, dtype=tensor.dtype.np))


def matrix_only(name: str, tensor: Any) -> None:
    if tensor.ndim != 2:
        raise ShapeError(lesson(f"{name} takes a matrix", [("tensor", tensor.aval)],
                                "w.view(w.shape[0], -1)"))  # fmt: skip


@initializer
def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution weight that copies channels: one in the middle of kernel i of channel i.

    >>> import contraflow as cf
    >>> w = cf.nn.init.dirac_(cf.empty(3, 3, 5))
    >>> x = cf.randn(1, 3, 8)
    >>> bool((cf.nn.functional.conv1d(x, w, padding=2) == x).all())
    True
    """
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(lesson("dirac_ takes a convolution weight of 3 to 5 dimensions",
                                [("tensor", tensor.aval)]))  # fmt: skip
    out, inner, *kernel = tensor.shape
    if groups < 1 or out % groups:
        raise ArgumentError(lesson(f"dirac_: groups={groups} must divide {out} channels",
                                   fix="groups=1"))  # fmt: skip
    value = np.zeros(tuple(tensor.shape), tensor.dtype.np)
    middle = tuple(k // 2 for k in kernel)
    per_group = out // groups
    for g in range(groups):
        for d in range(min(per_group, inner)):
            value[(g * per_group + d, d, *middle)] = 1
    return constant(value)


# ---- scaled by the number of connections ---------------------------------------------------

GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3,
    "relu": sqrt(2.0), "selu": 3.0 / 4,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations through a nonlinearity.

    ``param`` is the slope of ``leaky_relu``.

    >>> import contraflow as cf
    >>> cf.nn.init.calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        if isinstance(param, bool) or not isinstance(param, int | float):
            raise ArgumentError(lesson(f"the slope of leaky_relu is a number, received {param!r}",
                                       fix="calculate_gain('leaky_relu', 0.2)"))  # fmt: skip
        return sqrt(2.0 / (1 + param**2))
    if nonlinearity not in GAINS:
        raise ArgumentError(
            lesson(f"no gain is known for {nonlinearity!r}",
                   [("known", " ".join([*GAINS, "leaky_relu"]))], "calculate_gain('relu')")
        )  # fmt: skip
    return GAINS[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Any) -> tuple[int, int]:
    """How many inputs and outputs each unit of a weight has."""
    if tensor.ndim < 2:
        raise ShapeError(
            lesson("fan in and fan out need a weight of at least 2 dimensions",
                   [("tensor", tensor.aval)],
                   "for a bias: nn.init.zeros_(layer.bias) or nn.init.uniform_(layer.bias, -b, b)")
        )  # fmt: skip
    field = prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Any, mode: str) -> int:
    modes = ("fan_in", "fan_out")
    if str(mode).lower() not in modes:
        raise ArgumentError(lesson(f"unknown mode {mode!r}", [("known", "fan_in fan_out")],
                                   "mode='fan_in'"))  # fmt: skip
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode.lower())]


def glorot(tensor: Any, gain: float) -> float:
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return gain * sqrt(2.0 / max(fan_in + fan_out, 1))


@initializer
def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform in ±gain √(6 / (fan_in + fan_out)). Source: Glorot and Bengio (2010).

    >>> import contraflow as cf
    >>> w = cf.nn.init.xavier_uniform_(cf.empty(3, 5), gain=cf.nn.init.calculate_gain("relu"))
    """
    bound = sqrt(3.0) * glorot(tensor, gain)
    return bound * (2 * drawn(rand, tensor, generator) - 1)


@initializer
def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal with std gain √(2 / (fan_in + fan_out)). Source: Glorot and Bengio (2010).

    >>> import contraflow as cf
    >>> w = cf.nn.init.xavier_normal_(cf.empty(100, 100))
    >>> abs(float(w.std()) - 0.1) < 0.01
    True
    """
    return glorot(tensor, gain) * drawn(randn, tensor, generator)


def he(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / sqrt(max(fan, 1))


@initializer
def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Any:  # fmt: skip
    """Uniform in ±gain √(3 / fan). Source: He, Zhang, Ren, Sun (2015).

    Args:
        a: slope of the leaky ReLU that follows (0: a ReLU).
        mode: ``fan_in`` keeps the variance forward, ``fan_out`` backward.

    >>> import contraflow as cf
    >>> w = cf.nn.init.kaiming_uniform_(cf.empty(3, 6), nonlinearity="relu")
    >>> bool((w.abs() <= 1).all())
    True
    """
    bound = sqrt(3.0) * he(tensor, a, mode, nonlinearity)
    return bound * (2 * drawn(rand, tensor, generator) - 1)


@initializer
def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Any:  # fmt: skip
    """Normal with std gain / √fan. Source: He, Zhang, Ren, Sun (2015).

    >>> import contraflow as cf
    >>> w = cf.nn.init.kaiming_normal_(cf.empty(100, 200))
    >>> abs(float(w.std()) - 0.1) < 0.01
    True
    """
    return he(tensor, a, mode, nonlinearity) * drawn(randn, tensor, generator)


@initializer
def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """Rows (or columns, if fewer) that are orthonormal, times gain. Source: Saxe et al. (2013).

    Dimensions after the first count as one.

    >>> import contraflow as cf
    >>> w = cf.nn.init.orthogonal_(cf.empty(3, 5))
    >>> cf.allclose(w @ w.T, cf.eye(3), atol=1e-6)
    True
    """
    if tensor.ndim < 2:
        raise ShapeError(lesson("orthogonal_ needs at least 2 dimensions",
                                [("tensor", tensor.aval)]))  # fmt: skip
    if 0 in tensor.shape:
        return tensor.detach()
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    size = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(drawn_array(size, generator))
    q = q * np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    q = q.T if rows < columns else q
    return constant((gain * q).reshape(tuple(tensor.shape)).astype(tensor.dtype.np))


def drawn_array(size: tuple[int, ...], generator: Any) -> Any:
    return randn(size, generator=generator).numpy().astype(np.float64)


@initializer
def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """Normal numbers, of which a share ``sparsity`` in each column is 0. Source: Martens (2010).

    >>> import contraflow as cf
    >>> w = cf.nn.init.sparse_(cf.empty(10, 3), sparsity=0.7)
    >>> (w == 0).sum(0)
    tensor([7, 7, 7])
    """
    matrix_only("sparse_", tensor)
    if not 0 <= sparsity <= 1:
        raise ArgumentError(lesson(f"sparse_: sparsity is a share between 0 and 1, not {sparsity}",
                                   fix="sparsity=0.9"))  # fmt: skip
    rows, columns = tensor.shape
    zeros = int(np.ceil(sparsity * rows))
    value = std * drawn_array((rows, columns), generator)
    order = np.argsort(rand((rows, columns), generator=generator).numpy(), axis=0)
    np.put_along_axis(value, order[:zeros], 0.0, axis=0)
    return constant(value.astype(tensor.dtype.np))
