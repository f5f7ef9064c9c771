"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from contraflow.base.errors import DTypeError, ShapeError, lesson
from contraflow.ops.join import cat
from contraflow.ops.view import reshape_to, slice_dims
from contraflow.tensor.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """The parameters, flattened and joined.

    >>> import contraflow as cf
    >>> cf.nn.utils.parameters_to_vector(cf.nn.Linear(3, 2).parameters()).shape
    contraflow.Size([8])
    """
    return cat([reshape_to(p, shape=(prod(p.shape),)) for p in parameters], 0)


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Let the parameters show the parts of a vector, in their order and shapes.

    >>> import contraflow as cf
    >>> layer = cf.nn.Linear(1, 2)
    >>> cf.nn.utils.vector_to_parameters(cf.arange(4.0), layer.parameters())
    >>> layer.bias.detach()
    tensor([2., 3.])

    Raises:
        ShapeError: if the vector has fewer or more elements than the parameters.
    """
    if not isinstance(vec, Tensor):
        raise DTypeError(lesson(f"vector_to_parameters takes a tensor, not {type(vec).__name__}"))
    params = list(parameters)
    count = sum(prod(p.shape) for p in params)
    if tuple(vec.shape) != (count,):
        raise ShapeError(
            lesson(f"vector_to_parameters: the parameters have {count} elements",
                   [("vec", vec.aval)], "parameters_to_vector(model.parameters())")
        )  # fmt: skip
    start = 0
    for p in params:
        stop = start + prod(p.shape)
        part = slice_dims(vec, bounds=((start, stop, 1),))
        p.data = reshape_to(part, shape=tuple(p.shape)).data
        start = stop
