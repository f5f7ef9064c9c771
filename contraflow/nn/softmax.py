"""The softmaxes as modules."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.nn import functional as F
from contraflow.nn.module import Module

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class _Softmax(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class Softmax(_Softmax):
    """Exponentials that sum to 1 along ``dim``.

    >>> import contraflow as cf
    >>> cf.nn.Softmax(dim=-1)(cf.zeros(2))
    tensor([0.5000, 0.5000])
    """

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)


class LogSoftmax(_Softmax):
    """The logarithm of softmax, computed without overflow.

    >>> import contraflow as cf
    >>> cf.nn.LogSoftmax(dim=-1)(cf.tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)


class Softmin(_Softmax):
    """The softmax of -x.

    >>> import contraflow as cf
    >>> cf.nn.Softmin(dim=-1)(cf.tensor([0.0, 1.0]))
    tensor([0.7311, 0.2689])
    """

    def forward(self, input: Any) -> Any:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of ``[N, C, H, W]`` or ``[C, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.Softmax2d()(cf.zeros(1, 4, 2, 2)).sum(1)
    tensor([[[1., 1.],
             [1., 1.]]])
    """

    def forward(self, input: Any) -> Any:
        if input.ndim not in (3, 4):
            raise ShapeError(lesson("Softmax2d takes [N, C, H, W] or [C, H, W]",
                                    [("input", input.aval)], "nn.Softmax(dim=1)"))  # fmt: skip
        return F.softmax(input, -3)
