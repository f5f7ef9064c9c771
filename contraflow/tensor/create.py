"""Making tensors from data and from sizes."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np

from contraflow.base.dtypes import as_dtype, default_dtype, int64, scalar_dtype
from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.base.modes import current
from contraflow.base.shapes import read_shape
from contraflow.ops.cast import convert
from contraflow.ops.creation import full as full_op
from contraflow.ops.creation import iota
from contraflow.tensor.arrays import as_value
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of

__all__ = [
    "arange", "as_tensor", "asarray", "empty", "empty_like", "eye", "from_numpy", "full",
    "full_like", "linspace", "logspace", "ones", "ones_like", "scalar_tensor", "tensor",
    "tril_indices", "triu_indices", "zeros", "zeros_like",
]  # fmt: skip


def finish(t: Any, requires_grad: bool) -> Any:
    """Switch gradient recording on, if asked for."""
    return t.requires_grad_() if requires_grad else t


def constant(array: Any) -> Any:
    """A tensor on an array; under capture, a constant of the graph."""
    interpreter = current().interpreter
    return make(array if interpreter is None else interpreter.constant(array))


def shared(source: Any, array: Any) -> Any:
    """A tensor on an array; if that is ``source`` itself its owner may look at it, and write to it,
    at any time."""
    made = constant(array)
    if array is source:
        version_of(made).share(lambda: source)
    return made


def read_device(device: Any) -> None:
    """Accept the CPU, explain anything else."""
    if device is not None and str(device).split(":")[0] != "cpu":
        raise ArgumentError(
            lesson(
                f"there is no device {str(device)!r} here: contraflow computes on the CPU",
                fix="leave device out, or device='cpu'",
            )
        )


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A new tensor that copies ``data``: a number, nested lists, an array, or a tensor.

    Python floats become the default dtype (float32), integers int64, bools bool; an array keeps
    its dtype.

    Raises:
        ShapeError: for nested lists of unequal lengths.
        DTypeError: for data that is not numeric.

    >>> import contraflow as cf
    >>> cf.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    read_device(device)
    array = as_value(data, None if dtype is None else as_dtype(dtype))
    # order="C": a tensor made from data is contiguous
    return finish(constant(np.array(array, order="C")), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """A tensor of ``data``, sharing memory with an array or tensor of the same dtype."""
    read_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        return data if wanted is None or data.dtype is wanted else convert(data, dtype=wanted)
    return shared(data, np.asarray(as_value(data, wanted)))


def asarray(
    obj: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Any:
    """A tensor of anything that holds numbers: shares memory where it can, unless ``copy=True``.

    >>> import contraflow as cf
    >>> cf.asarray([1, 2])
    tensor([1, 2])
    """
    made = as_tensor(obj, dtype, device)
    if copy is False and not np.shares_memory(as_value(made), np.asarray(obj)):
        rule = "asarray: these data cannot be shared without a copy"
        raise ArgumentError(lesson(rule, [("received", repr(obj)[:60])], "copy=None"))
    return finish(made.clone() if copy else made, requires_grad)


def scalar_tensor(
    s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A 0-d tensor of one number, in the default floating dtype unless one is given.

    >>> import contraflow as cf
    >>> cf.scalar_tensor(3)
    tensor(3.)
    """
    return full((), s, dtype=dtype or default_dtype(), device=device, requires_grad=requires_grad)


def from_numpy(array: Any) -> Any:
    """A tensor that shares memory with a NumPy array.

    >>> import contraflow as cf, numpy as np
    >>> a = np.zeros(2)
    >>> cf.from_numpy(a).add_(1)
    tensor([1., 1.], dtype=contraflow.float64)
    >>> a
    array([1., 1.])
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(
            lesson(f"from_numpy takes an array, not {type(array).__name__}", fix="cf.tensor(data)")
        )
    return shared(array, as_value(array))


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """A tensor of shape ``size`` filled with one number.

    >>> import contraflow as cf
    >>> cf.full((2,), 3.5)
    tensor([3.5, 3.5])
    """
    read_device(device)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    chosen = scalar_dtype(fill_value) if dtype is None else as_dtype(dtype)
    t = full_op(shape=read_shape((size,)), value=fill_value, dtype=chosen)
    return finish(t, requires_grad)


def _filled(name: str, value: Any) -> Callable[..., Any]:
    def make_filled(
        *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        read_device(device)
        chosen = default_dtype() if dtype is None else as_dtype(dtype)
        return finish(full_op(shape=read_shape(size), value=value, dtype=chosen), requires_grad)

    make_filled.__name__ = make_filled.__qualname__ = name
    make_filled.__doc__ = f"""A tensor of ``{name}``; sizes as ``cf.{name}(2, 3)`` or a tuple."""
    return make_filled


def _filled_like(name: str, value: Any) -> Callable[..., Any]:
    def make_like(
        input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        read_device(device)
        chosen = input.dtype if dtype is None else as_dtype(dtype)
        return finish(full_op(shape=tuple(input.shape), value=value, dtype=chosen), requires_grad)

    make_like.__name__ = make_like.__qualname__ = f"{name}_like"
    make_like.__doc__ = f"""A tensor of ``{name}`` with the shape and dtype of ``input``."""
    return make_like


zeros, zeros_like = _filled("zeros", 0), _filled_like("zeros", 0)
ones, ones_like = _filled("ones", 1), _filled_like("ones", 1)
# Memory is never handed out with whatever it held: an `empty` tensor is zeros.
empty, empty_like = _filled("empty", 0), _filled_like("empty", 0)


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """A tensor with the shape and dtype of ``input`` filled with one number."""
    chosen = input.dtype if dtype is None else as_dtype(dtype)
    return full(
        tuple(input.shape), fill_value, dtype=chosen, device=device, requires_grad=requires_grad
    )


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The numbers from ``start`` up to, not including, ``end`` in steps of ``step``.

    >>> import contraflow as cf
    >>> cf.arange(3)
    tensor([0, 1, 2])
    """
    read_device(device)
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise ArgumentError(
            lesson(
                f"arange: a step of {step} does not lead from {start} to {end}",
                fix="a step that is not 0 and has the sign of end - start",
            )
        )
    whole = all(isinstance(v, int) for v in (start, end, step))
    chosen = (int64 if whole else default_dtype()) if dtype is None else as_dtype(dtype)
    size = ceil((end - start) / step)
    return finish(iota(size=size, start=start, step=step, dtype=chosen), requires_grad)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    read_device(device)
    if steps < 0:
        raise ArgumentError(lesson(f"linspace: steps must be >= 0, received {steps}"))
    chosen = default_dtype() if dtype is None else as_dtype(dtype)
    values = np.linspace(float(start), float(end), steps).astype(chosen.np)
    return finish(constant(values), requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """``steps`` numbers from base^start to base^end, each the same multiple of the one before.

    >>> import contraflow as cf
    >>> cf.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    read_device(device)
    if steps < 0:
        raise ArgumentError(
            lesson(f"logspace: steps must be >= 0, received {steps}", fix="steps=5")
        )
    chosen = default_dtype() if dtype is None else as_dtype(dtype)
    values = np.float64(base) ** np.linspace(float(start), float(end), steps)
    return finish(constant(values.astype(chosen.np)), requires_grad)


def _triangle(name: str, inside: Callable[..., Any]) -> Callable[..., Any]:
    def indices(
        row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = None
    ) -> Any:
        read_device(device)
        if row < 0 or col < 0:
            rule = f"{name}: sizes must not be negative, received {row} and {col}"
            raise ArgumentError(lesson(rule, fix=f"cf.{name}(3, 3)"))
        found = np.nonzero(inside(np.ones((row, col), bool), offset))
        return constant(np.stack(found).astype(as_dtype(dtype).np))

    indices.__name__ = indices.__qualname__ = name
    where = "lower" if name.startswith("tril") else "upper"
    indices.__doc__ = f"""The rows and columns of the {where} triangle of a matrix: ``[2, n]``."""
    return indices


tril_indices, triu_indices = _triangle("tril_indices", np.tril), _triangle("triu_indices", np.triu)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The n x m matrix with ones on its diagonal."""
    read_device(device)
    if n < 0 or (m is not None and m < 0):
        raise ArgumentError(
            lesson(f"eye: sizes must not be negative, received {n}, {m}", fix="n=3")
        )
    chosen = default_dtype() if dtype is None else as_dtype(dtype)
    return finish(constant(np.eye(n, m, dtype=chosen.np)), requires_grad)
