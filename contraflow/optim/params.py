"""Reading what users give as parameters, with errors that say what to give instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.tensor.tensor import Tensor

__all__ = ["read_params", "read_tensors"]


def read_params(params: Any, name: str) -> list[dict[str, Any]]:
    """What a user gives as parameters, as a list of groups."""
    if isinstance(params, Tensor):
        raise DTypeError(
            lesson(
                f"{name} takes an iterable of parameters, not one tensor",
                [("received", params)],
                f"cf.optim.{name}([p], ...)",
            )
        )
    if hasattr(params, "parameters"):
        raise DTypeError(
            lesson(
                f"{name} takes parameters, not a {type(params).__name__}",
                fix=f"cf.optim.{name}(model.parameters(), ...)",
            )
        )
    given = read_items(params, name)
    if not given:
        raise ArgumentError(
            lesson(
                f"{name} got an empty list of parameters",
                fix="params = list(model.parameters()): a generator is empty after its first use; "
                "layers in a plain list are not seen, nn.ModuleList([...]) registers them",
            )
        )
    return given if isinstance(given[0], Mapping) else [{"params": given}]


def read_items(params: Any, name: str) -> list[Any]:
    """Parameters in a certain order, as a list."""
    if isinstance(params, set | frozenset):
        raise DTypeError(
            lesson(
                f"{name}: a set has no order, so a state dict would not fit the next run",
                fix="a list of parameters",
            )
        )
    try:
        return list(params)
    except TypeError:
        raise DTypeError(
            lesson(
                f"{name} takes an iterable of parameters, not {type(params).__name__}",
                fix=f"cf.optim.{name}(model.parameters(), ...)",
            )
        ) from None


def read_tensors(params: Any, name: str) -> dict[str, Any]:
    """The ``params`` of a group (and ``param_names``, if they came as pairs), checked."""
    items = [params] if isinstance(params, Tensor) else read_items(params, name)
    pairs = [item for item in items if isinstance(item, tuple) and len(item) == 2]
    if pairs and len(pairs) != len(items):
        raise ArgumentError(
            lesson(
                f"{name}: all parameters of a group are named, or none is",
                fix="model.named_parameters()",
            )
        )
    tensors = [item[1] for item in pairs] if pairs else items
    for p in tensors:
        if not isinstance(p, Tensor):
            raise DTypeError(
                lesson(
                    f"{name} optimises tensors, not {type(p).__name__}",
                    [("received", f"{p!r:.60}")],
                    "model.parameters()",
                )
            )
        if not p.is_leaf:
            raise ArgumentError(
                lesson(
                    f"{name}: this tensor was computed; only a leaf can be a parameter",
                    [("tensor", p)],
                    "p = x.detach().clone().requires_grad_()",
                )
            )
    return (
        {"params": tensors, "param_names": [n for n, _ in pairs]} if pairs else {"params": tensors}
    )
