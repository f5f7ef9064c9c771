"""Linear layers and changes of shape."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.base.shapes import read_dim, resolve_size
from contraflow.nn import functional as F
from contraflow.nn.checks import check_size
from contraflow.nn.init import kaiming_uniform_, uniform_
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.ops.view import reshape_to
from contraflow.tensor.create import empty

__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Unflatten"]


class Identity(Module):
    """Returns its input; takes any arguments and ignores them.

    >>> import contraflow as cf
    >>> cf.nn.Identity()(cf.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Linear(Module):
    """y = x Wᵀ + b.

    Shapes: input ``[..., in_features]``, output ``[..., out_features]``, ``weight``
    ``[out_features, in_features]``; weight and bias start uniform in ±1/√in_features.

    >>> import contraflow as cf
    >>> cf.nn.Linear(3, 2)(cf.ones(5, 3)).shape
    contraflow.Size([5, 2])

    Raises:
        ShapeError: if the last size of the input is not ``in_features``.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features = check_size("Linear", "in_features", in_features, 0)
        self.out_features = check_size("Linear", "out_features", out_features, 0)
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features) if self.in_features else 0.0
            uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")  # fmt: skip


class Bilinear(Module):
    """y_k = x1 W_k x2 + b_k.

    Shapes: ``[..., in1_features]`` and ``[..., in2_features]`` give ``[..., out_features]``.

    >>> import contraflow as cf
    >>> cf.nn.Bilinear(3, 4, 2)(cf.ones(5, 3), cf.ones(5, 4)).shape
    contraflow.Size([5, 2])
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in1_features = check_size("Bilinear", "in1_features", in1_features)
        self.in2_features = check_size("Bilinear", "in2_features", in2_features)
        self.out_features = check_size("Bilinear", "out_features", out_features)
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        bound = 1 / sqrt(self.in1_features)
        uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            uniform_(self.bias, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Any:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")  # fmt: skip


class Flatten(Module):
    """Joins the dimensions from ``start_dim`` to ``end_dim`` into one.

    >>> import contraflow as cf
    >>> cf.nn.Flatten()(cf.ones(5, 3, 4)).shape
    contraflow.Size([5, 12])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        shape = tuple(input.shape)
        first = read_dim(self.start_dim, len(shape), "start_dim")
        last = read_dim(self.end_dim, len(shape), "end_dim")
        if first > last:
            raise ArgumentError(
                lesson(f"Flatten: start_dim={self.start_dim} comes after end_dim={self.end_dim}",
                       [("input", input.aval)], "nn.Flatten(start_dim=1, end_dim=-1)")
            )  # fmt: skip
        size = prod(shape[first : last + 1])
        return reshape_to(input, shape=(*shape[:first], size, *shape[last + 1 :]))

    def extra_repr(self) -> str:
        """The dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits dimension ``dim`` into several sizes, of which one may be -1.

    >>> import contraflow as cf
    >>> cf.nn.Unflatten(1, (3, 4))(cf.ones(5, 12)).shape
    contraflow.Size([5, 3, 4])
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise DTypeError(lesson(f"Unflatten: dim must be an integer, not {dim!r}",
                                    fix="nn.Unflatten(1, (3, 4))"))  # fmt: skip
        if not isinstance(unflattened_size, tuple | list) or not all(
            isinstance(size, int) for size in unflattened_size
        ):
            raise DTypeError(
                lesson(f"Unflatten: the sizes are a tuple of integers, not {unflattened_size!r}",
                       fix="nn.Unflatten(1, (3, 4))")
            )  # fmt: skip
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Any) -> Any:
        shape = tuple(input.shape)
        dim = read_dim(self.dim, len(shape))
        sizes = resolve_size(self.unflattened_size, shape[dim], "Unflatten")
        return reshape_to(input, shape=(*shape[:dim], *sizes, *shape[dim + 1 :]))

    def extra_repr(self) -> str:
        """The dimension and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
