"""Windows as columns, and back, as modules."""

from __future__ import annotations

from typing import Any

from contraflow.nn import functional as F
from contraflow.nn.module import Module

__all__ = ["Fold", "Unfold"]


class Fold(Module):
    """Adds columns back to images: ``[N, C * kernel, places]`` to ``[N, C, H, W]``; see ``F.fold``.

    >>> import contraflow as cf
    >>> cf.nn.Fold(output_size=(3, 3), kernel_size=2)(cf.ones(1, 4, 4)).shape
    contraflow.Size([1, 1, 3, 3])
    """

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
        stride: Any = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Any) -> Any:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding,
                      self.stride)  # fmt: skip

    def extra_repr(self) -> str:
        """The sizes and the window."""
        return (f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
                f"dilation={self.dilation}, padding={self.padding}, "
                f"stride={self.stride}")  # fmt: skip


class Unfold(Module):
    """The windows of images as columns: ``[N, C, H, W]`` to ``[N, C * kernel, places]``; see
    ``F.unfold``.

    >>> import contraflow as cf
    >>> cf.nn.Unfold(kernel_size=(2, 3))(cf.ones(2, 5, 3, 4)).shape
    contraflow.Size([2, 30, 4])
    """

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, input: Any) -> Any:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The window."""
        return (f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
                f"padding={self.padding}, stride={self.stride}")  # fmt: skip
