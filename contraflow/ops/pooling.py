"""Pooling functions (names of nn.functional): the largest, the mean or a norm of each window."""

from __future__ import annotations

from typing import Any

from contraflow.base.dtypes import bool_
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_pair
from contraflow.ops.activation import relu
from contraflow.ops.arith import abs, minimum, mul, pow, sign, sub_op
from contraflow.ops.checks import check_floating, check_tensors
from contraflow.ops.pool_records import avg_pool, max_pool, max_pool_index
from contraflow.ops.resample import resample
from contraflow.ops.rounding import floor_divide

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
]  # fmt: skip

NAMES = ("depth", "height", "width")


def check_image(what: str, x: Any, n: int) -> None:
    """[batch, channels, *size] or [channels, *size]; only the batch may be empty."""
    check_tensors(what, input=x)
    names = "length" if n == 1 else ", ".join(NAMES[3 - n :])
    if x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            lesson(
                f"{what}: the input must be [batch, channels, {names}] or [channels, {names}], "
                f"it has {x.ndim} dimensions",
                [("input", x)],
                "x.unsqueeze(0) adds a dimension, x.flatten(0, 1) joins two",
            )
        )
    if 0 in x.shape[x.ndim - n - 1 :]:
        raise ShapeError(
            lesson(
                f"{what}: only the batch may be empty, the input has no channels or no {names}",
                [("input", x)],
                "check what the layers before leave of the image",
            )
        )


def read_window(what: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                n: int) -> dict[str, Shape]:  # fmt: skip
    """The window as tuples, checked; the stride is the window unless given."""
    kernel = read_pair(kernel_size, n, f"{what}: kernel_size")
    if stride is None or (isinstance(stride, tuple | list) and not stride):
        stride = kernel
    window = {
        "kernel": kernel,
        "stride": read_pair(stride, n, f"{what}: stride"),
        "padding": read_pair(padding, n, f"{what}: padding"),
        "dilation": read_pair(dilation, n, f"{what}: dilation"),
    }
    for name, sizes in window.items():
        least = 0 if name == "padding" else 1
        if min(sizes) < least:
            said = "kernel_size" if name == "kernel" else name
            raise ArgumentError(
                lesson(f"{what}: {said} must be at least {least}, received {list(sizes)}",
                       fix=f"{said}={max(least, 2 - len(name) % 2) if least else 0}")
            )  # fmt: skip
    for k, p, d in zip(kernel, window["padding"], window["dilation"], strict=True):
        if 2 * p > d * (k - 1) + 1:
            raise ArgumentError(
                lesson(
                    f"{what}: padding {p} is more than half of the window of {d * (k - 1) + 1}: "
                    "some windows would hold padding only",
                    [("kernel_size", kernel_size), ("padding", padding), ("dilation", dilation)],
                    f"padding={(d * (k - 1) + 1) // 2}, or F.pad(x, ...) before pooling",
                )
            )
    return window


# ---- the largest ---------------------------------------------------------------------------------


def _largest(what: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
             ceil_mode: bool, return_indices: bool, n: int) -> Any:  # fmt: skip
    check_image(what, x, n)
    if x.dtype is bool_:
        raise DTypeError(lesson(f"{what}: bool has no order", [("input", x)], "x.float()"))
    window = read_window(what, kernel_size, stride, padding, dilation, n)
    y = max_pool(x, **window, ceil=bool(ceil_mode))
    if not return_indices:
        return y
    return y, max_pool_index(x, **window, ceil=bool(ceil_mode))


def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of each window of a sequence ``[batch, channels, length]``; see max_pool2d.

    >>> import contraflow as cf
    >>> cf.nn.functional.max_pool1d(cf.tensor([[1.0, 5.0, 2.0, 3.0]]), 2)
    tensor([[5., 3.]])
    """
    return _largest("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices, 1)  # fmt: skip


def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of each window of images, which makes them smaller: the height becomes
    ``(height + 2 padding - dilation (kernel - 1) - 1) // stride + 1``.

    Shapes: ``[batch, channels, height, width]``, or without batch. The stride is the window unless
    given. ``ceil_mode`` keeps a last window that only partly fits. With ``return_indices`` also the
    place of each maximum, ``row * width + column``. The gradient goes to the first of equal maxima.

    >>> import contraflow as cf
    >>> x = cf.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> values, places = cf.nn.functional.max_pool2d(x, 2, return_indices=True)
    >>> places
    tensor([[[3]]])

    Raises:
        ShapeError: for other dimensions, or windows larger than the image.
        ArgumentError: if the padding is more than half of the window.
    """
    return _largest("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices, 2)  # fmt: skip


def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of each window of volumes ``[batch, channels, depth, height, width]``.

    >>> import contraflow as cf
    >>> cf.nn.functional.max_pool3d(cf.ones(1, 4, 4, 4), 2).shape
    contraflow.Size([1, 2, 2, 2])
    """
    return _largest("max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices, 3)  # fmt: skip


# ---- the mean ------------------------------------------------------------------------------------


def _means(what: str, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
           count_include_pad: bool, divisor_override: int | None, n: int) -> Any:  # fmt: skip
    check_image(what, x, n)
    check_floating(what, input=x)
    window = read_window(what, kernel_size, stride, padding, 1, n)
    if divisor_override is not None and divisor_override == 0:
        raise ArgumentError(
            lesson(f"{what}: nothing is divided by 0", fix="divisor_override=None for the mean")
        )
    divisor: Any = "padded" if count_include_pad else "inside"
    if divisor_override is not None:
        divisor = divisor_override
    del window["dilation"]
    return avg_pool(x, **window, ceil=bool(ceil_mode), divisor=divisor)


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    """The mean of each window of a sequence ``[batch, channels, length]``; see avg_pool2d.

    >>> import contraflow as cf
    >>> cf.nn.functional.avg_pool1d(cf.tensor([[1.0, 5.0, 2.0, 4.0]]), 2)
    tensor([[3., 3.]])
    """
    return _means("avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                  None, 1)  # fmt: skip


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of images: sums over the window, divided by its size.

    Shapes: ``[batch, channels, height, width]``, or without batch. The stride is the window unless
    given. Padding counts as zeros unless ``count_include_pad=False``; ``divisor_override`` is what
    the sums are divided by instead.

    >>> import contraflow as cf
    >>> cf.nn.functional.avg_pool2d(cf.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2)
    tensor([[[2.5000]]])

    Raises:
        ShapeError: for other dimensions, or windows larger than the image.
        ArgumentError: if the padding is more than half of the window.
    """
    return _means("avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                  divisor_override, 2)  # fmt: skip


def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of volumes ``[batch, channels, depth, height, width]``.

    >>> import contraflow as cf
    >>> cf.nn.functional.avg_pool3d(cf.ones(1, 4, 4, 4), 2).shape
    contraflow.Size([1, 2, 2, 2])
    """
    return _means("avg_pool3d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                  divisor_override, 3)  # fmt: skip


# ---- norms ---------------------------------------------------------------------------------------


def _norms(what: str, x: Any, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool,
           n: int) -> Any:  # fmt: skip
    # |mean of x^p| times the number of elements of a whole window: what hangs over the end counts
    # as if it were like the rest, as in PyTorch
    if norm_type == 0:
        raise ArgumentError(lesson(f"{what}: there is no 0-norm", fix="norm_type=2"))
    kernel = read_pair(kernel_size, n, f"{what}: kernel_size")
    size = 1
    for k in kernel:
        size *= k
    y = _means(what, pow(x, norm_type), kernel, stride, 0, ceil_mode, True, None, n)
    return pow(sign(y) * relu(abs(y)) * float(size), 1.0 / norm_type)


def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """The norm (sum of x^p)^(1/p) of each window of a sequence, without taking absolute values.

    Shapes: ``[batch, channels, length]``, or without batch.

    >>> import contraflow as cf
    >>> cf.nn.functional.lp_pool1d(cf.tensor([[3.0, 4.0]]), 2, 2)
    tensor([[5.]])

    Raises:
        ArgumentError: if ``norm_type`` is 0.
    """
    return _norms("lp_pool1d", input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """The norm (sum of x^p)^(1/p) of each window of images, without taking absolute values.

    Shapes: ``[batch, channels, height, width]``, or without batch.

    >>> import contraflow as cf
    >>> cf.nn.functional.lp_pool2d(cf.full((1, 2, 2), 3.0), 2, 2)
    tensor([[[6.]]])
    """
    return _norms("lp_pool2d", input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """The norm (sum of x^p)^(1/p) of each window of volumes, without taking absolute values.

    >>> import contraflow as cf
    >>> cf.nn.functional.lp_pool3d(cf.ones(1, 2, 2, 2), 3, 2)
    tensor([[[[2.]]]])
    """
    return _norms("lp_pool3d", input, norm_type, kernel_size, stride, ceil_mode, 3)


# ---- a result of a given size --------------------------------------------------------------------


def read_output(what: str, x: Any, output_size: Any, n: int, least: int) -> Shape:
    """The wanted sizes; None keeps that of the input."""
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * n
    if len(sizes) == n:
        sizes = tuple(m if k is None else k for k, m in zip(sizes, x.shape[-n:], strict=True))
    output = read_pair(sizes, n, f"{what}: output_size")
    if min(output) < least:
        raise ArgumentError(
            lesson(f"{what}: output_size must be at least {least}, received {output_size}",
                   [("input", x)], "output_size=1")
        )  # fmt: skip
    return output


def _even(size: Shape, output: Shape) -> dict[str, Shape] | None:
    """The window that cuts the size evenly, if there is one."""
    if any(m == 0 or k % m for k, m in zip(size, output, strict=True)):
        return None
    window = tuple(k // m for k, m in zip(size, output, strict=True))
    return {"kernel": window, "stride": window, "padding": (0,) * len(size)}


def _adaptive_mean(what: str, x: Any, output_size: Any, n: int) -> Any:
    check_image(what, x, n)
    check_floating(what, input=x)
    output, size = read_output(what, x, output_size, n, 0), tuple(x.shape[-n:])
    window = _even(size, output)
    if window is not None:
        return avg_pool(x, **window, ceil=False, divisor="padded")
    axes = tuple(("area", k, m, False, None) for k, m in zip(size, output, strict=True))
    return resample(x, axes=axes, adjoint=False)


def _adaptive_largest(what: str, x: Any, output_size: Any, return_indices: bool, n: int) -> Any:
    check_image(what, x, n)
    check_floating(what, input=x)
    output, size = read_output(what, x, output_size, n, 1), tuple(x.shape[-n:])
    window = _even(size, output)
    if window is None:  # lay the windows, which may overlap, side by side
        axes = tuple(("windows", k, m, False, None) for k, m in zip(size, output, strict=True))
        x = resample(x, axes=axes, adjoint=False)
        window = _even(tuple(x.shape[-n:]), output) or {}
    how: dict[str, Any] = {**window, "dilation": (1,) * n, "ceil": False}
    y = max_pool(x, **how)
    if not return_indices:
        return y
    place = max_pool_index(x, **how)
    if tuple(x.shape[-n:]) != size:
        place = _original(place, size, tuple(x.shape[-n:]), output)
    return y, place


def _original(place: Any, size: Shape, wide: Shape, output: Shape) -> Any:
    """Places in the image of windows side by side as places in the image itself."""
    parts = []
    for old, laid, new in zip(reversed(size), reversed(wide), reversed(output), strict=True):
        place, at = floor_divide(place, laid), place - mul(floor_divide(place, laid), laid)
        window = floor_divide(at, laid // new)
        inside = sub_op(at, mul(window, laid // new))
        start = floor_divide(mul(window, old), new)
        end = floor_divide(mul(window, old) + (old + new - 1), new)
        parts.append(minimum(start + inside, end - 1))
    whole = parts.pop()
    for old in size[1:]:
        whole = mul(whole, old) + parts.pop()
    return whole


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """Means of windows chosen so that the result has ``output_size`` places; see
    adaptive_avg_pool2d.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_avg_pool1d(cf.tensor([[1.0, 3.0, 5.0, 7.0]]), 2)
    tensor([[2., 6.]])
    """
    return _adaptive_mean("adaptive_avg_pool1d", input, output_size, 1)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Means of windows chosen so that the image becomes ``output_size``, whatever it was.

    Result i of m over n places is the mean of the places ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉. A size
    None keeps that of the input.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_avg_pool2d(cf.ones(2, 8, 5, 7), (3, None)).shape
    contraflow.Size([2, 8, 3, 7])

    Raises:
        ShapeError: for other dimensions than ``[batch, channels, height, width]`` or one less.
    """
    return _adaptive_mean("adaptive_avg_pool2d", input, output_size, 2)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """Means of windows chosen so that the volume becomes ``output_size``.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_avg_pool3d(cf.ones(1, 5, 5, 5), 2).shape
    contraflow.Size([1, 2, 2, 2])
    """
    return _adaptive_mean("adaptive_avg_pool3d", input, output_size, 3)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows chosen so that the result has ``output_size`` places.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_max_pool1d(cf.tensor([[1.0, 3.0, 7.0, 5.0]]), 2)
    tensor([[3., 7.]])
    """
    return _adaptive_largest("adaptive_max_pool1d", input, output_size, return_indices, 1)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows chosen so that the image becomes ``output_size``; the windows are those
    of adaptive_avg_pool2d, the places those of max_pool2d.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_max_pool2d(cf.ones(2, 8, 5, 7), 2).shape
    contraflow.Size([2, 8, 2, 2])

    Raises:
        ShapeError: for other dimensions than ``[batch, channels, height, width]`` or one less.
    """
    return _adaptive_largest("adaptive_max_pool2d", input, output_size, return_indices, 2)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows chosen so that the volume becomes ``output_size``.

    >>> import contraflow as cf
    >>> cf.nn.functional.adaptive_max_pool3d(cf.ones(1, 5, 5, 5), 2).shape
    contraflow.Size([1, 2, 2, 2])
    """
    return _adaptive_largest("adaptive_max_pool3d", input, output_size, return_indices, 3)
