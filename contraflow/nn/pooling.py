"""Pooling layers: the largest or the mean of each window."""

from __future__ import annotations

from typing import Any

from contraflow.base.shapes import read_pair
from contraflow.nn import functional as F
from contraflow.nn.checks import check_window
from contraflow.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]  # fmt: skip


class _Window(Module):
    n: int

    def _check(self, kernel_size: Any, stride: Any, padding: Any = 0, dilation: Any = 1) -> None:
        name = type(self).__name__
        check_window(name, "kernel_size", kernel_size, self.n)
        if stride is not None:
            check_window(name, "stride", stride, self.n)
        check_window(name, "padding", padding, self.n, 0)
        check_window(name, "dilation", dilation, self.n)


class _MaxPool(_Window):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self._check(kernel_size, stride, padding, dilation)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def extra_repr(self) -> str:
        """The window."""
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")  # fmt: skip

    def forward(self, input: Any) -> Any:
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.n - 1]
        return pool(input, self.kernel_size, self.stride, self.padding, self.dilation,
                    ceil_mode=self.ceil_mode, return_indices=self.return_indices)  # fmt: skip


class MaxPool1d(_MaxPool):
    """The largest of each window of ``[N, C, L]``; the stride is the window unless given.

    >>> import contraflow as cf
    >>> cf.nn.MaxPool1d(2)(cf.arange(6.0).reshape(1, 1, 6))
    tensor([[[1., 3., 5.]]])
    """

    n = 1


class MaxPool2d(_MaxPool):
    """The largest of each window of ``[N, C, H, W]``; the stride is the window unless given.

    >>> import contraflow as cf
    >>> cf.nn.MaxPool2d(2)(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[4.]]])
    """

    n = 2


class MaxPool3d(_MaxPool):
    """The largest of each window of ``[N, C, D, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.MaxPool3d(2)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 2, 4, 4, 4])
    """

    n = 3


class AvgPool1d(_Window):
    """The mean of each window of ``[N, C, L]``.

    >>> import contraflow as cf
    >>> cf.nn.AvgPool1d(2)(cf.arange(6.0).reshape(1, 1, 6))
    tensor([[[0.5000, 2.5000, 4.5000]]])
    """

    n = 1

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self._check(kernel_size, stride, padding)
        self.kernel_size = read_pair(kernel_size, 1, "kernel_size")
        self.stride = self.kernel_size if stride is None else read_pair(stride, 1, "stride")
        self.padding = read_pair(padding, 1, "padding")
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, input: Any) -> Any:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad)  # fmt: skip


class _AvgPool(_Window):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._check(kernel_size, stride, padding)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, input: Any) -> Any:
        pool = F.avg_pool2d if self.n == 2 else F.avg_pool3d
        return pool(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                    self.count_include_pad, self.divisor_override)  # fmt: skip


class AvgPool2d(_AvgPool):
    """The mean of each window of ``[N, C, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.AvgPool2d(2)(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[2.5000]]])
    """

    n = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of ``[N, C, D, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.AvgPool3d(2)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 2, 4, 4, 4])
    """

    n = 3


class _LPPool(_Window):
    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self._check(kernel_size, stride)
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def extra_repr(self) -> str:
        """The window."""
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}, ceil_mode={self.ceil_mode}")  # fmt: skip

    def forward(self, input: Any) -> Any:
        pool = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.n - 1]
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """The p-norm of each window of ``[N, C, L]`` (without the absolute value, as PyTorch).

    >>> import contraflow as cf
    >>> cf.nn.LPPool1d(2, 2)(cf.arange(6.0).reshape(1, 1, 6))
    tensor([[[1.0000, 3.6056, 6.4031]]])
    """

    n = 1


class LPPool2d(_LPPool):
    """The p-norm of each window of ``[N, C, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.LPPool2d(2, 2)(cf.ones(1, 2, 8, 8)).shape
    contraflow.Size([1, 2, 4, 4])
    """

    n = 2


class LPPool3d(_LPPool):
    """The p-norm of each window of ``[N, C, D, H, W]``.

    >>> import contraflow as cf
    >>> cf.nn.LPPool3d(2, 2)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 2, 4, 4, 4])
    """

    n = 3


class _Adaptive(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The size of the result."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Means of windows chosen so that the result has ``output_size`` places.

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveAvgPool1d(3)(cf.arange(6.0).reshape(1, 1, 6))
    tensor([[[0.5000, 2.5000, 4.5000]]])
    """

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """Means of windows chosen so that the image becomes ``output_size`` (None keeps a size).

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveAvgPool2d(1)(cf.ones(2, 8, 5, 7)).shape
    contraflow.Size([2, 8, 1, 1])
    """

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_Adaptive):
    """Means of windows chosen so that the volume becomes ``output_size``.

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveAvgPool3d(3)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 2, 3, 3, 3])
    """

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMax(_Adaptive):
    n: int

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Any) -> Any:
        pools = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
        return pools[self.n - 1](input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """Maxima of windows chosen so that the result has ``output_size`` places.

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveMaxPool1d(3)(cf.arange(6.0).reshape(1, 1, 6))
    tensor([[[1., 3., 5.]]])
    """

    n = 1


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Maxima of windows chosen so that the image becomes ``output_size``.

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveMaxPool2d(3)(cf.ones(1, 2, 8, 8)).shape
    contraflow.Size([1, 2, 3, 3])
    """

    n = 2


class AdaptiveMaxPool3d(_AdaptiveMax):
    """Maxima of windows chosen so that the volume becomes ``output_size``.

    >>> import contraflow as cf
    >>> cf.nn.AdaptiveMaxPool3d(3)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 2, 3, 3, 3])
    """

    n = 3
