"""float16 as eager computes with it: each op in float32, its result rounded back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.dtypes import float16, float32, float64
from contraflow.compiler.views import VIEWS
from contraflow.graph.ir import Equation
from contraflow.ops.cast import convert
from contraflow.ops.creation import iota
from contraflow.ops.record import Op
from contraflow.tensor.tensor import Tensor

__all__ = ["as_a_whole", "halves", "one_by_one"]

# Eager rounds these once, at their end, whatever they are composed of.
WIDE = frozenset((
    "mean", "var", "std", "logsumexp", "channel_dot", "channel_blend", "channel_affine", "row_dot",
    "batch_norm", "layer_norm", "avg_pool", "avg_pool_spread", "resample", "sinc", "erf", "erfc",
    "lgamma", "erfinv", "digamma", "polygamma",
))  # fmt: skip
# These move numbers, or are written for any width.
STORAGE = frozenset((
    *VIEWS, "full", "convert", "cat", "pad", "view_put", "gather", "index_select", "scatter",
    "scatter_add", "scatter_reduce", "index_add", "index_copy", "cumsum", "cumprod", "overwrite",
    "random_uniform", "random_normal",
))  # fmt: skip
Rule = Callable[..., Any]


def halves(e: Equation) -> bool:
    """Whether float16 is among the operands or results."""
    return any(v.dtype.char == "e" for v in (*e.values, *e.outputs))


def as_a_whole(e: Equation) -> Rule | None:
    """How an op that eager computes in float32 throughout is done."""
    return widened(e.op) if e.op.name in WIDE and halves(e) else None


def one_by_one(e: Equation) -> Rule | None:
    """How any other op is done, if it computes with float16."""
    if e.op.name in STORAGE or not halves(e):
        return None
    return in_steps if e.op.name == "iota" else widened(e.op)


def in_steps(dtype: Any, **attrs: Any) -> Any:
    """A range is computed in float64 and rounded once."""
    return convert(iota(dtype=float64, **attrs), dtype=dtype)


def widened(record: Op) -> Rule:
    """The op on float32 operands; numbers take the dtype of the tensor that they meet, first."""

    def wide(x: Any) -> Any:
        if isinstance(x, Tensor):
            return convert(x, dtype=float32) if x.dtype is float16 else x
        return float(np.float16(x)) if isinstance(x, float) else x

    def narrow(x: Any) -> Any:
        return convert(x, dtype=float16) if x.dtype is float32 else x

    def rule(*args: Any, **attrs: Any) -> Any:
        found = record(*map(wide, args), **attrs)
        return tuple(map(narrow, found)) if isinstance(found, tuple) else narrow(found)

    return rule
