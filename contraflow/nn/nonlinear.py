"""Activations as functions, element by element, with PyTorch's names and ``inplace`` argument.

All give a result of the input's shape. ``inplace=True``, and the names that end in ``_``, write it
into the input. Activations that draw random numbers are in ``noise``, the softmaxes in ``shares``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.base.dtypes import bool_
from contraflow.base.errors import DTypeError, lesson
from contraflow.base.modes import current
from contraflow.ops import activation as ops
from contraflow.ops import gelu as normal
from contraflow.ops import transcendental
from contraflow.ops.checks import check_floating, check_tensors
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "selu", "selu_", "sigmoid", "silu", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip


def floating(what: str, input: Any) -> Any:
    """The input, which must be floating point: an activation gives the dtype that it takes."""
    if not isinstance(input, Tensor) or input._value.dtype.kind != "f":
        check_floating(what, input=input)
    return input


def number(what: str, input: Any) -> Any:
    """The input, which may be of any dtype but bool."""
    check_tensors(what, input=input)
    if input.dtype is bool_:
        raise DTypeError(
            lesson(f"{what}: the input is bool, which is no number", [("input", input)],
                   "input.float()")
        )  # fmt: skip
    return input


def fitting(input: Any, *numbers: float) -> tuple[float, ...]:
    """The numbers in a form that leaves an input of integers its dtype."""
    return numbers if input.dtype.is_floating_point else tuple(int(n) for n in numbers)


def placed(compute: Callable[..., Any], input: Any, inplace: bool, *args: Any) -> Any:
    """compute(input), perhaps written into the input, whose old value backward may still need."""
    if not inplace:
        return compute(input, *args)
    kept = input.clone() if input.requires_grad and current().grad else input
    return write(input, compute(kept, *args))


# ---- rectifiers ------------------------------------------------------------------------------


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0). Source: Nair and Hinton (2010).

    >>> import contraflow as cf
    >>> cf.nn.functional.relu(cf.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return placed(ops.relu, input, inplace)


def relu_(input: Any) -> Any:
    """``relu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 2.0])
    >>> _ = cf.nn.functional.relu_(x)
    >>> x
    tensor([0., 2.])
    """
    return relu(input, inplace=True)


def relu6(input: Any, inplace: bool = False) -> Any:
    """min(max(x, 0), 6).

    >>> import contraflow as cf
    >>> cf.nn.functional.relu6(cf.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    return placed(ops.relu6, number("relu6", input), inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x above 0, ``negative_slope`` x below. Source: Maas, Hannun, Ng (2013).

    >>> import contraflow as cf
    >>> cf.nn.functional.leaky_relu(cf.tensor([-1.0, 3.0]), 0.1)
    tensor([-0.1000,  3.0000])
    """
    return placed(ops.leaky_relu, floating("leaky_relu", input), inplace, negative_slope)


def leaky_relu_(input: Any, negative_slope: float = 0.01) -> Any:
    """``leaky_relu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 3.0])
    >>> _ = cf.nn.functional.leaky_relu_(x, 0.1)
    >>> x
    tensor([-0.1000,  3.0000])
    """
    return leaky_relu(input, negative_slope, inplace=True)


def prelu(input: Any, weight: Any) -> Any:
    """x above 0, weight x below, with learned slopes. Source: He, Zhang, Ren, Sun (2015).

    Shapes: input [N, C, ...]; weight [C], one slope for each channel, or [1], one for all.

    >>> import contraflow as cf
    >>> cf.nn.functional.prelu(cf.tensor([-1.0, 3.0]), cf.tensor([0.25]))
    tensor([-0.2500,  3.0000])

    Raises:
        ShapeError: if the number of slopes is neither 1 nor the number of channels.
    """
    return ops.prelu(floating("prelu", input), weight)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above ``threshold``, else ``value``.

    >>> import contraflow as cf
    >>> cf.nn.functional.threshold(cf.tensor([0.1, 3.0]), 0.5, 20.0)
    tensor([20.,  3.])
    """
    numbers = fitting(number("threshold", input), threshold, value)
    return placed(ops.threshold, input, inplace, *numbers)


def threshold_(input: Any, threshold: float, value: float) -> Any:
    """``threshold``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([0.1, 3.0])
    >>> _ = cf.nn.functional.threshold_(x, 0.5, 20.0)
    >>> x
    tensor([20.,  3.])
    """
    numbers = fitting(number("threshold", input), threshold, value)
    return placed(ops.threshold, input, True, *numbers)


# ---- exponential units -----------------------------------------------------------------------


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x above 0, alpha (e^x - 1) below. Source: Clevert, Unterthiner, Hochreiter (2016).

    >>> import contraflow as cf
    >>> cf.nn.functional.elu(cf.tensor([-1.0, 3.0]))
    tensor([-0.6321,  3.0000])
    """
    return placed(ops.elu, floating("elu", input), inplace, alpha)


def elu_(input: Any, alpha: float = 1.0) -> Any:
    """``elu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 3.0])
    >>> _ = cf.nn.functional.elu_(x)
    >>> x
    tensor([-0.6321,  3.0000])
    """
    return elu(input, alpha, inplace=True)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x above 0, alpha (e^(x / alpha) - 1) below: the slope at 0 is 1. Source: Barron (2017).

    >>> import contraflow as cf
    >>> cf.nn.functional.celu(cf.tensor([-1.0, 3.0]), alpha=2.0)
    tensor([-0.7869,  3.0000])

    Raises:
        ArgumentError: if alpha is 0.
    """
    return placed(ops.celu, floating("celu", input), inplace, alpha)


def celu_(input: Any, alpha: float = 1.0) -> Any:
    """``celu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 3.0])
    >>> _ = cf.nn.functional.celu_(x, 2.0)
    >>> x
    tensor([-0.7869,  3.0000])
    """
    return celu(input, alpha, inplace=True)


def selu(input: Any, inplace: bool = False) -> Any:
    """The scaled ELU that keeps mean 0 and variance 1. Source: Klambauer et al. (2017).

    >>> import contraflow as cf
    >>> cf.nn.functional.selu(cf.tensor([-1.0, 3.0]))
    tensor([-1.1113,  3.1521])
    """
    return placed(ops.selu, floating("selu", input), inplace)


def selu_(input: Any) -> Any:
    """``selu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 3.0])
    >>> _ = cf.nn.functional.selu_(x)
    >>> x
    tensor([-1.1113,  3.1521])
    """
    return selu(input, inplace=True)


# ---- smooth units ----------------------------------------------------------------------------


def sigmoid(input: Any) -> Any:
    """1 / (1 + e^-x), between 0 and 1.

    >>> import contraflow as cf
    >>> cf.nn.functional.sigmoid(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([0.2689, 0.5000, 0.7311])
    """
    return transcendental.sigmoid(input)


def logsigmoid(input: Any) -> Any:
    """log(1 / (1 + e^-x)), exact also where the sigmoid rounds to 0 or 1.

    >>> import contraflow as cf
    >>> cf.nn.functional.logsigmoid(cf.tensor([-1000.0, 0.0]))
    tensor([-1000.0000,    -0.6931])
    """
    return ops.logsigmoid(floating("logsigmoid", input))


def tanh(input: Any) -> Any:
    """The hyperbolic tangent, between -1 and 1.

    >>> import contraflow as cf
    >>> cf.nn.functional.tanh(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.7616,  0.0000,  0.7616])
    """
    return transcendental.tanh(input)


def tanhshrink(input: Any) -> Any:
    """x - tanh(x).

    >>> import contraflow as cf
    >>> cf.nn.functional.tanhshrink(cf.tensor([0.0, 1.0]))
    tensor([0.0000, 0.2384])
    """
    return ops.tanhshrink(number("tanhshrink", input))


def softsign(input: Any) -> Any:
    """x / (1 + |x|), between -1 and 1.

    >>> import contraflow as cf
    >>> cf.nn.functional.softsign(cf.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return ops.softsign(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta, and x itself where beta x is above ``threshold``.

    >>> import contraflow as cf
    >>> cf.nn.functional.softplus(cf.tensor([-1.0, 0.0, 50.0]))
    tensor([ 0.3133,  0.6931, 50.0000])

    Raises:
        ArgumentError: if beta is 0.
    """
    return ops.softplus(floating("softplus", input), beta, threshold)


def silu(input: Any, inplace: bool = False) -> Any:
    """x sigmoid(x), also called swish. Source: Elfwing, Uchibe, Doya (2018).

    >>> import contraflow as cf
    >>> cf.nn.functional.silu(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """
    return placed(ops.silu, floating("silu", input), inplace)


def mish(input: Any, inplace: bool = False) -> Any:
    """x tanh(softplus(x)). Source: Misra (2019).

    >>> import contraflow as cf
    >>> cf.nn.functional.mish(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.0000,  0.8651])
    """
    return placed(ops.mish, floating("mish", input), inplace)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x P(Z <= x) for a standard normal Z; ``approximate="tanh"`` is its form with tanh.

    Source: Hendrycks and Gimpel (2016).

    >>> import contraflow as cf
    >>> cf.nn.functional.gelu(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])

    Raises:
        ArgumentError: for another ``approximate``.
    """
    return normal.gelu(floating("gelu", input), approximate)


def glu(input: Any, dim: int = -1) -> Any:
    """a sigmoid(b) for the two halves a, b of x along ``dim``. Source: Dauphin et al. (2017).

    >>> import contraflow as cf
    >>> cf.nn.functional.glu(cf.tensor([2.0, 0.0]))
    tensor([1.])

    Raises:
        ShapeError: if the size of ``dim`` is odd, or the input is 0-d.
    """
    return ops.glu(floating("glu", input), dim)


# ---- units made of straight lines ------------------------------------------------------------


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x, bounded to [min_val, max_val].

    >>> import contraflow as cf
    >>> cf.nn.functional.hardtanh(cf.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0000,  0.5000,  1.0000])

    Raises:
        ArgumentError: if min_val > max_val.
    """
    bounds = fitting(number("hardtanh", input), min_val, max_val)
    return placed(ops.hardtanh, input, inplace, *bounds)


def hardtanh_(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``hardtanh``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-2.0, 0.5, 2.0])
    >>> _ = cf.nn.functional.hardtanh_(x)
    >>> x
    tensor([-1.0000,  0.5000,  1.0000])
    """
    return hardtanh(input, min_val, max_val, inplace=True)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """relu6(x + 3) / 6.

    >>> import contraflow as cf
    >>> cf.nn.functional.hardsigmoid(cf.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return placed(ops.hardsigmoid, floating("hardsigmoid", input), inplace)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x relu6(x + 3) / 6. Source: Howard et al. (2019).

    >>> import contraflow as cf
    >>> cf.nn.functional.hardswish(cf.tensor([-4.0, 1.0, 4.0]))
    tensor([0.0000, 0.6667, 4.0000])
    """
    return placed(ops.hardswish, floating("hardswish", input), inplace)


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x, and 0 where |x| <= lambd.

    >>> import contraflow as cf
    >>> cf.nn.functional.hardshrink(cf.tensor([-1.0, 0.3, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    return ops.hardshrink(floating("hardshrink", input), lambd)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved by ``lambd`` towards 0, and 0 where |x| <= lambd.

    >>> import contraflow as cf
    >>> cf.nn.functional.softshrink(cf.tensor([-1.0, 0.3, 2.0]))
    tensor([-0.5000,  0.0000,  1.5000])

    Raises:
        ArgumentError: if lambd is negative.
    """
    return ops.softshrink(floating("softshrink", input), lambd)
