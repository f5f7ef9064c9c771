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
    """Pads the last dimension with a constant.

    >>> import contraflow as cf
    >>> cf.nn.ConstantPad1d((2, 1), 7.0)(cf.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[7., 7., 1., 2., 3., 7.]]])
    """

    n = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last two dimensions with a constant.

    >>> import contraflow as cf
    >>> cf.nn.ConstantPad2d((1, 0, 0, 1), 7.0)(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[7., 1., 2.],
             [7., 3., 4.],
             [7., 7., 7.]]])
    """

    n = 2


class ConstantPad3d(_ConstantPad):
    """Pads the last three dimensions with a constant.

    >>> import contraflow as cf
    >>> cf.nn.ConstantPad3d(1, 7.0)(cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 5, 5, 5])
    """

    n = 3


class ZeroPad1d(_ZeroPad):
    """Pads the last dimension with zeros.

    >>> import contraflow as cf
    >>> cf.nn.ZeroPad1d((2, 1))(cf.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[0., 0., 1., 2., 3., 0.]]])
    """

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
    """Pads the last three dimensions with zeros.

    >>> import contraflow as cf
    >>> cf.nn.ZeroPad3d(1)(cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 5, 5, 5])
    """

    n = 3


class ReflectionPad1d(_Pad):
    """Pads the last dimension with its mirror image, without the edge.

    >>> import contraflow as cf
    >>> cf.nn.ReflectionPad1d((2, 1))(cf.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[3., 2., 1., 2., 3., 2.]]])
    """

    n, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pads the last two dimensions with their mirror image, without the edge.

    >>> import contraflow as cf
    >>> cf.nn.ReflectionPad2d((1, 0, 0, 1))(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[2., 1., 2.],
             [4., 3., 4.],
             [2., 1., 2.]]])
    """

    n, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Pads the last three dimensions with their mirror image, without the edge.

    >>> import contraflow as cf
    >>> cf.nn.ReflectionPad3d(1)(cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 5, 5, 5])
    """

    n, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Pads the last dimension with the values at its edge.

    >>> import contraflow as cf
    >>> cf.nn.ReplicationPad1d((2, 1))(cf.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[1., 1., 1., 2., 3., 3.]]])
    """

    n, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pads the last two dimensions with the values at their edges.

    >>> import contraflow as cf
    >>> cf.nn.ReplicationPad2d((1, 0, 0, 1))(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[1., 1., 2.],
             [3., 3., 4.],
             [3., 3., 4.]]])
    """

    n, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Pads the last three dimensions with the values at their edges.

    >>> import contraflow as cf
    >>> cf.nn.ReplicationPad3d(1)(cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 5, 5, 5])
    """

    n, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Pads the last dimension with what stands at its other end.

    >>> import contraflow as cf
    >>> cf.nn.CircularPad1d((2, 1))(cf.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[2., 3., 1., 2., 3., 1.]]])
    """

    n, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pads the last two dimensions with what stands at their other ends.

    >>> import contraflow as cf
    >>> cf.nn.CircularPad2d((1, 0, 0, 1))(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[2., 1., 2.],
             [4., 3., 4.],
             [2., 1., 2.]]])
    """

    n, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Pads the last three dimensions with what stands at their other ends.

    >>> import contraflow as cf
    >>> cf.nn.CircularPad3d(1)(cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 5, 5, 5])
    """

    n, mode = 3, "circular"
