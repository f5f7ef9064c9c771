"""Padding layers: sizes as (left, right, top, bottom, front, back), or one number for all."""

from __future__ import annotations

from typing import Any

from contraflow.base.shapes import read_pair
from contraflow.nn import functional as F
from contraflow.nn.module import Module

__all__ = [
    f"{kind}Pad{n}d"
    for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
    for n in (1, 2, 3)
]


class _Pad(Module):
    n: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = read_pair(padding, 2 * self.n, f"{type(self).__name__}: padding")

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The sizes and the value."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.padding}"


class ConstantPad1d(_ConstantPad):
    """Pads the last dimension with a constant."""

    n = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last two dimensions with a constant."""

    n = 2


class ConstantPad3d(_ConstantPad):
    """Pads the last three dimensions with a constant."""

    n = 3


class ZeroPad1d(_ZeroPad):
    """Pads the last dimension with zeros."""

    n = 1


class ZeroPad2d(_ZeroPad):
    """Pads the last two dimensions with zeros.

    >>> import contraflow as cf
    >>> cf.nn.ZeroPad2d((1, 0, 0, 1))(cf.ones(1, 1, 1))
    tensor([[[0., 1.],
             [0., 0.]]])
    """

    n = 2


class ZeroPad3d(_ZeroPad):
    """Pads the last three dimensions with zeros."""

    n = 3


class ReflectionPad1d(_Pad):
    """Pads the last dimension with its mirror image, without the edge."""

    n, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pads the last two dimensions with their mirror image, without the edge."""

    n, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Pads the last three dimensions with their mirror image, without the edge."""

    n, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Pads the last dimension with the values at its edge."""

    n, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pads the last two dimensions with the values at their edges."""

    n, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Pads the last three dimensions with the values at their edges."""

    n, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Pads the last dimension with what stands at its other end."""

    n, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pads the last two dimensions with what stands at their other ends."""

    n, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Pads the last three dimensions with what stands at their other ends."""

    n, mode = 3, "circular"
