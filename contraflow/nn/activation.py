"""Activations as modules; those whose numbers sum to 1 are in ``softmax``."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.nn import functional as F
from contraflow.nn.checks import check_choice, check_size
from contraflow.nn.init import constant_
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.tensor.create import empty

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh",
    "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid",
    "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


class _InPlace(Module):
    """An activation without numbers, perhaps in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """``inplace=True``, if so."""
        return "inplace=True" if self.inplace else ""

    def _tail(self) -> str:
        return ", inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """max(x, 0).

    >>> import contraflow as cf
    >>> cf.nn.ReLU()(cf.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Any) -> Any:
        return F.relu(input, self.inplace)


class SELU(_InPlace):
    """The ELU that keeps mean 0 and variance 1. Source: Klambauer et al. (2017).

    >>> import contraflow as cf
    >>> cf.nn.SELU()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-1.5202, -0.6918,  1.0507])
    """

    def forward(self, input: Any) -> Any:
        return F.selu(input, self.inplace)


class SiLU(_InPlace):
    """x sigmoid(x), also called swish.

    >>> import contraflow as cf
    >>> cf.nn.SiLU()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.2384, -0.1888,  0.7311])
    """

    def forward(self, input: Any) -> Any:
        return F.silu(input, self.inplace)


class Mish(_InPlace):
    """x tanh(softplus(x)).

    >>> import contraflow as cf
    >>> cf.nn.Mish()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.2525, -0.2207,  0.8651])
    """

    def forward(self, input: Any) -> Any:
        return F.mish(input, self.inplace)


class Hardswish(_InPlace):
    """x relu6(x + 3) / 6.

    >>> import contraflow as cf
    >>> cf.nn.Hardswish()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.3333, -0.2083,  0.6667])
    """

    def extra_repr(self) -> str:
        """Nothing, as in PyTorch."""
        return ""

    def forward(self, input: Any) -> Any:
        return F.hardswish(input, self.inplace)


class Hardsigmoid(_InPlace):
    """relu6(x + 3) / 6.

    >>> import contraflow as cf
    >>> cf.nn.Hardsigmoid()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([0.1667, 0.4167, 0.6667])
    """

    def extra_repr(self) -> str:
        """Nothing, as in PyTorch."""
        return ""

    def forward(self, input: Any) -> Any:
        return F.hardsigmoid(input, self.inplace)


class LeakyReLU(_InPlace):
    """x, or ``negative_slope`` x below 0.

    >>> import contraflow as cf
    >>> cf.nn.LeakyReLU(0.1)(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.2000, -0.0500,  1.0000])
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}{self._tail()}"

    def forward(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class ELU(_InPlace):
    """x, or alpha (e^x - 1) below 0.

    >>> import contraflow as cf
    >>> cf.nn.ELU()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.8647, -0.3935,  1.0000])
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def extra_repr(self) -> str:
        """alpha."""
        return f"alpha={self.alpha}{self._tail()}"

    def forward(self, input: Any) -> Any:
        return F.elu(input, self.alpha, self.inplace)


class CELU(ELU):
    """x, or alpha (e^(x / alpha) - 1) below 0: its slope at 0 is 1 for every alpha.

    >>> import contraflow as cf
    >>> cf.nn.CELU(alpha=2.0)(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-1.2642, -0.4424,  1.0000])
    """

    def forward(self, input: Any) -> Any:
        return F.celu(input, self.alpha, self.inplace)


class Hardtanh(_InPlace):
    """x, bounded to [min_val, max_val].

    >>> import contraflow as cf
    >>> cf.nn.Hardtanh()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-1.0000, -0.5000,  1.0000])
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if min_val >= max_val:
            raise ArgumentError(
                lesson(f"Hardtanh: min_val={min_val} must be below max_val={max_val}",
                       fix=f"nn.Hardtanh({max_val}, {min_val})")
            )  # fmt: skip
        self.min_val, self.max_val = min_val, max_val

    def extra_repr(self) -> str:
        """The bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}{self._tail()}"

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(Hardtanh):
    """min(max(x, 0), 6).

    >>> import contraflow as cf
    >>> cf.nn.ReLU6()(cf.tensor([-2.0, 1.0, 9.0]))
    tensor([0., 1., 6.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """``inplace=True``, if so."""
        return "inplace=True" if self.inplace else ""


class RReLU(_InPlace):
    """x, or a x below 0: a is random in [lower, upper] in training, their mean in evaluation.

    >>> import contraflow as cf
    >>> cf.nn.RReLU(0.25, 0.75).eval()(cf.tensor([-2.0, 1.0]))
    tensor([-1.,  1.])
    """

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__(inplace)
        self.lower, self.upper = lower, upper

    def extra_repr(self) -> str:
        """The bounds of the slope."""
        return f"lower={self.lower}, upper={self.upper}{self._tail()}"

    def forward(self, input: Any) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class Threshold(_InPlace):
    """x where it is above ``threshold``, else ``value``.

    >>> import contraflow as cf
    >>> cf.nn.Threshold(0.1, 20.0)(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([20., 20.,  1.])
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def extra_repr(self) -> str:
        """The threshold and the value."""
        return f"threshold={self.threshold}, value={self.value}{self._tail()}"

    def forward(self, input: Any) -> Any:
        return F.threshold(input, self.threshold, self.value, self.inplace)


class Sigmoid(Module):
    """1 / (1 + e^-x).

    >>> import contraflow as cf
    >>> cf.nn.Sigmoid()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([0.1192, 0.3775, 0.7311])
    """

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent.

    >>> import contraflow as cf
    >>> cf.nn.Tanh()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.9640, -0.4621,  0.7616])
    """

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class LogSigmoid(Module):
    """log(1 / (1 + e^-x)).

    >>> import contraflow as cf
    >>> cf.nn.LogSigmoid()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-2.1269, -0.9741, -0.3133])
    """

    def forward(self, input: Any) -> Any:
        return F.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|).

    >>> import contraflow as cf
    >>> cf.nn.Softsign()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.6667, -0.3333,  0.5000])
    """

    def forward(self, input: Any) -> Any:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> import contraflow as cf
    >>> cf.nn.Tanhshrink()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-1.0360, -0.0379,  0.2384])
    """

    def forward(self, input: Any) -> Any:
        return F.tanhshrink(input)


class GELU(Module):
    """x times the normal distribution function of x; ``approximate="tanh"`` is quicker.

    Source: Hendrycks and Gimpel (2016).

    >>> import contraflow as cf
    >>> cf.nn.GELU()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-0.0455, -0.1543,  0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        check_choice("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate = approximate

    def extra_repr(self) -> str:
        """Which form."""
        return f"approximate={self.approximate!r}"

    def forward(self, input: Any) -> Any:
        return F.gelu(input, approximate=self.approximate)


class Softplus(Module):
    """log(1 + e^(beta x)) / beta, and x where beta x is above ``threshold``.

    >>> import contraflow as cf
    >>> cf.nn.Softplus()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([0.1269, 0.4741, 1.3133])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def extra_repr(self) -> str:
        """beta and threshold."""
        return f"beta={self.beta}, threshold={self.threshold}"

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)


class _Shrink(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """lambda."""
        return str(self.lambd)


class Hardshrink(_Shrink):
    """x, and 0 within lambd of 0.

    >>> import contraflow as cf
    >>> cf.nn.Hardshrink()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-2.,  0.,  1.])
    """

    def forward(self, input: Any) -> Any:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """x moved by lambd towards 0, and 0 within lambd of 0.

    >>> import contraflow as cf
    >>> cf.nn.Softshrink()(cf.tensor([-2.0, -0.5, 1.0]))
    tensor([-1.5000,  0.0000,  0.5000])
    """

    def forward(self, input: Any) -> Any:
        return F.softshrink(input, self.lambd)


class GLU(Module):
    """a sigmoid(b), with a and b the halves of x along ``dim``.

    >>> import contraflow as cf
    >>> cf.nn.GLU()(cf.tensor([2.0, 0.0]))
    tensor([1.])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"

    def forward(self, input: Any) -> Any:
        return F.glu(input, self.dim)


class PReLU(Module):
    """x, or a learned slope times x below 0: one slope, or one for each channel.

    >>> import contraflow as cf
    >>> cf.nn.PReLU()(cf.tensor([-2.0, 1.0])).detach()
    tensor([-0.5000,  1.0000])
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = check_size("PReLU", "num_parameters", num_parameters)
        self.init = init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All slopes to ``init``."""
        constant_(self.weight, self.init)

    def extra_repr(self) -> str:
        """The number of slopes."""
        return f"num_parameters={self.num_parameters}"

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)
