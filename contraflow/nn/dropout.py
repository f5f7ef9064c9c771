"""Dropout as modules: active in training mode only. Source: Srivastava et al. (2014)."""

from __future__ import annotations

from typing import Any

from contraflow.nn import functional as F
from contraflow.nn.checks import check_probability
from contraflow.nn.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = check_probability(type(self).__name__, p)
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, sets elements to 0 with probability p and scales the others by 1 / (1 - p).

    >>> import contraflow as cf
    >>> layer = cf.nn.Dropout(0.5)
    >>> layer.eval()(cf.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Drops whole channels of ``[N, C, L]``.

    >>> import contraflow as cf
    >>> y = cf.nn.Dropout1d()(cf.ones(2, 3, 50))
    >>> bool((y == y[:, :, :1]).all())
    True
    """

    def forward(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Drops whole channels of ``[N, C, H, W]``.

    >>> import contraflow as cf
    >>> y = cf.nn.Dropout2d()(cf.ones(2, 3, 4, 4))
    >>> bool((y == y[:, :, :1, :1]).all())
    True
    """

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Drops whole channels of ``[N, C, D, H, W]``.

    >>> import contraflow as cf
    >>> y = cf.nn.Dropout3d()(cf.ones(2, 3, 2, 2, 2))
    >>> bool((y == y[:, :, :1, :1, :1]).all())
    True
    """

    def forward(self, input: Any) -> Any:
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout for SELU networks: keeps the mean 0 and the variance 1.

    >>> import contraflow as cf
    >>> cf.nn.AlphaDropout()(cf.zeros(1000)).unique()
    tensor([-0.7792,  0.7792])
    """

    def forward(self, input: Any) -> Any:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Dropout):
    """Alpha dropout of whole channels.

    >>> import contraflow as cf
    >>> y = cf.nn.FeatureAlphaDropout()(cf.zeros(2, 3, 4))
    >>> bool((y == y[:, :, :1]).all())
    True
    """

    def forward(self, input: Any) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
