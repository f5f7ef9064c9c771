"""Convolution layers."""

from __future__ import annotations

from math import sqrt
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.nn import functional as F
from contraflow.nn.checks import check_choice, check_divides, check_size, check_window
from contraflow.nn.init import _calculate_fan_in_and_fan_out, kaiming_uniform_, uniform_
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.tensor.create import empty

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
]  # fmt: skip

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What convolutions and their adjoints keep."""

    n: int  # spatial dimensions
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        output_padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
        device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self.n
        self.in_channels = check_size(name, "in_channels", in_channels)
        self.out_channels = check_size(name, "out_channels", out_channels)
        self.groups = check_size(name, "groups", groups)
        check_divides(name, "groups", groups, "in_channels", in_channels)
        check_divides(name, "groups", groups, "out_channels", out_channels)
        self.kernel_size = check_window(name, "kernel_size", kernel_size, n)
        self.stride = check_window(name, "stride", stride, n)
        self.dilation = check_window(name, "dilation", dilation, n)
        self.output_padding = check_window(name, "output_padding", output_padding, n, 0)
        check_choice(name, "padding_mode", padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        self.padding = self._read_padding(padding)
        shape = [out_channels, in_channels // groups]
        if self.transposed:
            shape = [in_channels, out_channels // groups]
        weight = empty((*shape, *self.kernel_size), device=device, dtype=dtype)
        self.weight = Parameter(weight)
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _read_padding(self, padding: Any) -> Any:
        name = type(self).__name__
        if not isinstance(padding, str):
            return check_window(name, "padding", padding, self.n, 0)
        check_choice(name, "padding", padding, ("valid", "same"))
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ArgumentError(
                lesson(f"{name}: padding='same' cannot keep the size with stride={self.stride}",
                       fix=f"padding={tuple(k // 2 for k in self.kernel_size)}, or stride=1")
            )  # fmt: skip
        return padding

    def reset_parameters(self) -> None:
        """Draw the initial weights: uniform in ±1/√fan_in."""
        kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            fan_in, _ = _calculate_fan_in_and_fan_out(self.weight)
            uniform_(self.bias, -1 / sqrt(fan_in), 1 / sqrt(fan_in))

    def extra_repr(self) -> str:
        """The sizes, and what is not the default."""
        text = (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")  # fmt: skip
        for name, plain in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (plain,) * len(value):
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _ConvForward(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, 0, dilation,
                         groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _sides(self) -> tuple[int, ...]:
        """The padding as ``F.pad`` takes it: (before, after), the last dimension first."""
        sides: list[int] = []
        for d in reversed(range(self.n)):
            if self.padding == "same":
                total = self.dilation[d] * (self.kernel_size[d] - 1)
                sides += [total // 2, total - total // 2]
            else:
                before = 0 if self.padding == "valid" else self.padding[d]
                sides += [before, before]
        return tuple(sides)

    def forward(self, input: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), mode=self.padding_mode), 0
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.n - 1]
        return convolve(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_ConvForward):
    """Slides learned kernels over a sequence: ``[N, C_in, L]`` to ``[N, C_out, L_out]``.

    ``padding="same"`` keeps the length. Weight and bias start uniform in ±1/√fan_in.

    >>> import contraflow as cf
    >>> cf.nn.Conv1d(2, 4, 3)(cf.ones(1, 2, 8)).shape
    contraflow.Size([1, 4, 6])
    """

    n = 1


class Conv2d(_ConvForward):
    """Slides learned kernels over images: ``[N, C_in, H, W]`` to ``[N, C_out, H', W']`` with
    H' = ⌊(H + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1.

    ``padding="same"`` keeps the size; ``groups=in_channels`` is a depthwise convolution.

    >>> import contraflow as cf
    >>> cf.nn.Conv2d(3, 8, 3, padding=1)(cf.ones(2, 3, 6, 6)).shape
    contraflow.Size([2, 8, 6, 6])

    Raises:
        ArgumentError: if ``groups`` does not divide the channels, at construction.
        ShapeError: if the input has other channels, or is smaller than the kernel.
    """

    n = 2


class Conv3d(_ConvForward):
    """Slides learned kernels over volumes: ``[N, C_in, D, H, W]``; see ``Conv2d``.

    >>> import contraflow as cf
    >>> cf.nn.Conv3d(2, 4, 3)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 4, 6, 6, 6])
    """

    n = 3


class _ConvTranspose(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ArgumentError(
                lesson(f"{name} takes zeros and numbers for its padding",
                       [("padding", repr(padding)), ("padding_mode", repr(padding_mode))],
                       "padding_mode='zeros', padding=1")
            )  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding,
                         dilation, groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _output_padding(self, input: Any, output_size: Any) -> Any:
        """The output padding that leads to a wanted size."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.n :]
        if len(wanted) != self.n:
            raise ShapeError(lesson(f"output_size takes {self.n} sizes, received {output_size}"))
        extra = []
        for d, size in enumerate(input.shape[-self.n :]):
            least = ((size - 1) * self.stride[d] - 2 * self.padding[d]
                     + self.dilation[d] * (self.kernel_size[d] - 1) + 1)  # fmt: skip
            if not 0 <= wanted[d] - least < self.stride[d]:
                raise ShapeError(
                    lesson(
                        f"output_size={list(wanted)} cannot be reached",
                        [
                            ("input", input),
                            (f"dimension {d - self.n}", f"{least} to {least + self.stride[d] - 1}"),
                        ],
                    )
                )
            extra.append(wanted[d] - least)
        return tuple(extra)

    def forward(self, input: Any, output_size: Any = None) -> Any:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.n - 1]
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding,
            self._output_padding(input, output_size), self.groups, self.dilation,
        )  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of ``Conv1d``: makes sequences longer.

    >>> import contraflow as cf
    >>> cf.nn.ConvTranspose1d(2, 4, 3)(cf.ones(1, 2, 8)).shape
    contraflow.Size([1, 4, 10])
    """

    n = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of ``Conv2d``: makes images larger, H' = (H - 1) stride - 2 padding +
    dilation (kernel_size - 1) + output_padding + 1.

    >>> import contraflow as cf
    >>> cf.nn.ConvTranspose2d(8, 3, 2, stride=2)(cf.ones(1, 8, 5, 5)).shape
    contraflow.Size([1, 3, 10, 10])
    """

    n = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of ``Conv3d``: makes volumes larger.

    >>> import contraflow as cf
    >>> cf.nn.ConvTranspose3d(2, 4, 3)(cf.ones(1, 2, 8, 8, 8)).shape
    contraflow.Size([1, 4, 10, 10, 10])
    """

    n = 3
