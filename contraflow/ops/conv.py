"""Convolution and transposed convolution in 1 to 3 spatial dimensions (names of nn.functional)."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_pair
from contraflow.ops.arith import add_op
from contraflow.ops.checks import check_tensors
from contraflow.ops.conv_records import (
    Pads,
    check_images,
    check_room,
    conv,
    conv_bias,
    conv_input,
    out_sizes,
)
from contraflow.ops.view import reshape_to

__all__: list[str] = []


def read_padding(what: str, padding: Any, kernel: Shape, stride: Shape, dilation: Shape) -> Pads:
    """An int, one for each dimension, ``"valid"`` (none) or ``"same"`` (keep the size)."""
    n = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding != "same":
            raise ArgumentError(
                lesson(
                    f"{what}: unknown padding {padding!r}",
                    fix="padding='same', 'valid', or integers",
                )
            )
        if any(s != 1 for s in stride):
            raise ArgumentError(
                lesson(
                    f"{what}: padding='same' keeps the size only with stride 1",
                    [("stride", list(stride))],
                    f"padding={kernel[0] // 2}",
                )
            )
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((r // 2, r - r // 2) for r in reach)
    amounts = read_pair(padding, n, "padding")
    if min(amounts) < 0:
        raise ArgumentError(
            lesson(
                f"{what}: padding must not be negative, received {padding}",
                fix="x[..., 1:-1, 1:-1] crops",
            )
        )
    return tuple((p, p) for p in amounts)


def read_positive(what: str, name: str, value: Any, n: int) -> Shape:
    """An int or ``n`` of them, each at least 1."""
    sizes = read_pair(value, n, name)
    if min(sizes) < 1:
        raise ArgumentError(
            lesson(f"{what}: {name} must be at least 1, received {value}", fix=f"{name}=1")
        )
    return sizes


def batched(what: str, input: Any, n: int) -> tuple[Any, bool]:
    """``[C, *size]`` as a batch of one; anything but n + 1 or n + 2 dimensions is an error."""
    shape = tuple(input.shape)
    if len(shape) == n + 2:
        return input, False
    if len(shape) == n + 1:
        return reshape_to(input, shape=(1, *shape)), True
    names = ", ".join(("length",) if n == 1 else ("depth", "height", "width")[3 - n :])
    if len(shape) == n:
        fix = "x.unsqueeze(0).unsqueeze(0) for one image of one channel, x.unsqueeze(1) for a batch"
    else:
        fix = f"x.reshape(-1, channels, {names})"
    raise ShapeError(
        lesson(
            f"{what}: the input must be [batch, channels, {names}] or [channels, {names}], "
            f"it has {len(shape)} dimensions",
            [("input", input)],
            fix,
        )
    )


def check_operands(what: str, input: Any, weight: Any, bias: Any, n: int, outputs: int) -> None:
    """Tensors of one floating dtype, a weight of n spatial dimensions, a bias for each output."""
    operands = {"input": input, "weight": weight}
    if bias is not None:
        operands["bias"] = bias
    check_tensors(what, **operands)
    if weight.ndim != n + 2:
        raise ShapeError(
            lesson(
                f"{what}: the weight must have {n + 2} dimensions, it has {weight.ndim}",
                [("weight", weight)],
                "[out_channels, in_channels / groups, *kernel_size]",
            )
        )
    for name, t in operands.items():
        if t.dtype is not weight.dtype:
            raise DTypeError(
                lesson(
                    f"{what}: {name} is {t.dtype.name}, the weight is {weight.dtype.name}",
                    list(operands.items()),
                    f"{name}.to({weight.dtype})".replace("contraflow", "cf"),
                )
            )
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise ShapeError(
            lesson(
                f"{what}: the bias must be [{outputs}], one number for each output channel",
                list(operands.items()),
                f"cf.zeros({outputs})",
            )
        )


def convolve(
    n: int, input: Any, weight: Any, bias: Any,
    stride: Any, padding: Any, dilation: Any, groups: int,
) -> Any:  # fmt: skip
    """Convolution in n spatial dimensions."""
    what = f"conv{n}d"
    check_operands(what, input, weight, bias, n, weight.shape[0] if weight.ndim else 0)
    x, single = batched(what, input, n)
    kernel = tuple(weight.shape[2:])
    steps = read_positive(what, "stride", stride, n)
    spread = read_positive(what, "dilation", dilation, n)
    pads = read_padding(what, padding, kernel, steps, spread)
    check_images(what, x, weight, groups)
    check_room(what, x, kernel, pads, spread, out_sizes(x.shape[2:], kernel, steps, pads, spread))
    how = {"stride": steps, "padding": pads, "dilation": spread, "groups": groups}
    y = conv(x, weight, **how) if bias is None else conv_bias(x, weight, bias, **how)
    return reshape_to(y, shape=tuple(y.shape[1:])) if single else y


def convolve_transpose(
    n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Any:  # fmt: skip
    """Transposed convolution in n spatial dimensions: the adjoint of convolution."""
    what = f"conv_transpose{n}d"
    outputs = weight.shape[1] * groups if weight.ndim > 1 else 0
    check_operands(what, input, weight, bias, n, outputs)
    x, single = batched(what, input, n)
    kernel = tuple(weight.shape[2:])
    steps = read_positive(what, "stride", stride, n)
    spread = read_positive(what, "dilation", dilation, n)
    pads = read_padding(what, padding, kernel, steps, spread)
    extra = read_pair(output_padding, n, "output_padding")
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise ArgumentError(
            lesson(
                f"{what}: output_padding must be smaller than the stride or the dilation",
                [("output_padding", list(extra)), ("stride", list(steps))],
                f"output_padding={max(steps[0] - 1, 0)}",
            )
        )
    if groups < 1 or weight.shape[0] % groups or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            lesson(
                f"{what}: the input has {x.shape[1]} channels, the layer expects "
                f"{weight.shape[0]}, which groups={groups} must divide",
                [("input", input), ("weight", weight)],
                f"nn.ConvTranspose{n}d({x.shape[1]}, {outputs}, ...)",
            )
        )
    size = tuple(
        (m - 1) * s - lo - hi + d * (k - 1) + e + 1
        for m, s, (lo, hi), d, k, e in zip(
            x.shape[2:], steps, pads, spread, kernel, extra, strict=True
        )
    )
    if min(size) < 1:
        raise ShapeError(
            lesson(
                f"{what}: the output would have the size {list(size)}",
                [("input", input), ("padding", padding)],
                "less padding",
            )
        )
    # The convolution that leads back must see exactly this input: the rows that output_padding
    # adds are cropped there.
    ends = tuple((lo, hi - e) for (lo, hi), e in zip(pads, extra, strict=True))
    y = conv_input(x, weight, size=size, stride=steps, padding=ends, dilation=spread, groups=groups)
    if bias is not None:
        y = add_op(y, reshape_to(bias, shape=(*bias.shape, *(1,) * n)))
    return reshape_to(y, shape=tuple(y.shape[1:])) if single else y


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Slide ``weight`` along a sequence: y[n, o, t] = b[o] + sum_ci w[o, c, i] x[n, c, s t + d i].

    Shapes: input ``[batch, channels, length]`` (or without batch), weight
    ``[out_channels, channels / groups, kernel]``. ``padding``: an int, ``"same"``, ``"valid"``.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv1d
    >>> conv1d(cf.tensor([[1.0, 2.0, 4.0]]), cf.tensor([[[-1.0, 1.0]]]))
    tensor([[1., 2.]])

    Raises:
        ShapeError: channels or groups that do not fit, an input smaller than the window.
    """
    return convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Slide ``weight`` over images: each output is the product of the weight with one window.

    Shapes: input ``[batch, channels, height, width]`` (or without batch), weight
    ``[out_channels, channels / groups, kh, kw]``, bias ``[out_channels]``; the height becomes
    ``(height + 2 padding - dilation (kh - 1) - 1) // stride + 1``.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv2d
    >>> conv2d(cf.ones(1, 3, 5, 5), cf.ones(2, 3, 3, 3)).shape
    contraflow.Size([1, 2, 3, 3])

    Raises:
        ShapeError: channels or groups that do not fit, an input smaller than the window.
    """
    return convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Slide ``weight`` through volumes ``[batch, channels, depth, height, width]``; see conv2d.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv3d
    >>> conv3d(cf.ones(1, 2, 4, 4, 4), cf.ones(5, 2, 3, 3, 3), padding="same").shape
    contraflow.Size([1, 5, 4, 4, 4])
    """
    return convolve(3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv1d: each input number adds a scaled copy of the kernel to the output.

    Shapes: input ``[batch, in_channels, length]``, weight
    ``[in_channels, out_channels / groups, kernel]``.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv_transpose1d
    >>> conv_transpose1d(cf.tensor([[1.0, 2.0]]), cf.tensor([[[1.0, 10.0]]]), stride=2)
    tensor([[ 1., 10.,  2., 20.]])
    """
    return convolve_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv2d, which makes images larger; the height becomes
    ``(height - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1``.

    Shapes: input ``[batch, in_channels, height, width]``, weight
    ``[in_channels, out_channels / groups, kh, kw]``.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv_transpose2d
    >>> conv_transpose2d(cf.ones(1, 3, 4, 4), cf.ones(3, 2, 2, 2), stride=2).shape
    contraflow.Size([1, 2, 8, 8])
    """
    return convolve_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv3d, for volumes; see conv_transpose2d.

    >>> import contraflow as cf
    >>> from contraflow.ops.conv import conv_transpose3d
    >>> conv_transpose3d(cf.ones(1, 1, 2, 2, 2), cf.ones(1, 1, 3, 3, 3)).shape
    contraflow.Size([1, 1, 4, 4, 4])
    """
    return convolve_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
