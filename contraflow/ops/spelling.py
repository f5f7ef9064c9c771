"""PyTorch's second spelling of arguments: NumPy's names, sizes by name, and ``out=``.

Put on at the doors where users come in (the functions of ``cf``, the methods of Tensor): what the
floors call among themselves has one spelling and pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import CO_VARARGS
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current

__all__ = ["into", "spelled"]

NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}


def spelled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with NumPy's names for its arguments as well, and with ``out=``.

    >>> import contraflow as cf
    >>> cf.ones(2, 3).sum(axis=1, keepdims=True)
    tensor([[3.],
            [3.]])
    >>> y = cf.zeros(2)
    >>> _ = cf.add(cf.ones(2), 1, out=y)
    >>> y
    tensor([2., 2.])
    """
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:count]
    several = code.co_varnames[count] if code.co_flags & CO_VARARGS else None  # *size, *dims
    second = {new: old for new, old in NUMPY.items() if old in names and new not in names}

    def rename(named: dict[str, Any]) -> dict[str, Any]:
        for new in second.keys() & named.keys():
            if second[new] in named:
                rule = f"{function.__name__}: {new} is NumPy's name for {second[new]}: give one"
                raise ArgumentError(lesson(rule, fix=f"{second[new]}={named[second[new]]!r}"))
            named[second[new]] = named.pop(new)
        return named

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if not named:
            return function(*args)
        if several in named:
            before = [name for name in names[len(args) : code.co_argcount] if name in named]
            args = (*args, *map(named.pop, before), named.pop(several))
        if "out" in named:
            out = named.pop("out")
            result = function(*args, **rename(named))
            return result if out is None else into(out, result)
        return function(*args, **rename(named))

    return call


def into(out: Any, result: Any) -> Any:
    """``out=``: write the result into tensors that exist, and return them.

    Raises:
        GradError: while gradients are recorded for the result.
        ShapeError: if ``out`` has another shape; a tensor without elements takes any.
        DTypeError: if ``out`` is no tensor, or cannot hold the result's dtype.
    """
    if isinstance(result, tuple):
        if not isinstance(out, tuple | list) or len(out) != len(result):
            rule = f"out takes {len(result)} tensors here, one for each result"
            raise ArgumentError(lesson(rule, fix="out=(values, indices)"))
        for one, value in zip(out, result, strict=True):
            into(one, value)
        return out
    if not hasattr(out, "copy_"):
        raise DTypeError(lesson(f"out takes a tensor, not {type(out).__name__}"))
    rows = [("out", out), ("result", result)]
    if current().grad and (result.requires_grad or out.requires_grad):
        rule = "out= writes where backward cannot see, but a gradient is being recorded"
        raise GradError(lesson(rule, rows, "y = f(x), or with cf.no_grad(): ..."))
    if result.dtype.category > out.dtype.category:
        rule = f"a {result.dtype.name} result cannot be stored into a {out.dtype.name} tensor"
        raise DTypeError(lesson(rule, rows, f"out = cf.empty(0, dtype=cf.{result.dtype.name})"))
    if out.shape != result.shape:
        if out.numel():
            rule = "out has another shape than the result"
            raise ShapeError(lesson(rule, rows, f"out = cf.empty({tuple(result.shape)})"))
        out.data = result.to(out.dtype)
        return out
    return out.copy_(result)
