"""Reading state dicts: everything is checked and copied before anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from contraflow.base.changes import CountedDict
from contraflow.base.errors import StateError, lesson
from contraflow.optim.rule import concrete
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.writing import write

__all__ = ["adopt", "adopt_group", "read_array", "read_group", "read_state", "read_values"]


def read_values(
    name: str, saved: Mapping[str, Any], groups: list[dict[str, Any]]
) -> tuple[list[Any], list[list[Any]]]:
    """The groups of a state dict and the indices of their parameters, checked against ours."""
    if not isinstance(saved.get("state"), Mapping) or not _is_list(saved.get("param_groups")):
        raise StateError(
            lesson(
                f"{name}: a state dict holds 'state' and 'param_groups'",
                [("received", sorted(map(str, saved)))],
                "optimizer.load_state_dict(other.state_dict())",
            )
        )
    given = saved["param_groups"]
    if len(given) != len(groups):
        raise StateError(
            lesson(
                f"{name}: the state dict has {len(given)} parameter groups, "
                f"the optimiser {len(groups)}",
                fix="make the optimiser with the same groups as when it was saved",
            )
        )
    indices = [g.get("params") if isinstance(g, Mapping) else None for g in given]
    for i, (ids, group) in enumerate(zip(indices, groups, strict=True)):
        if not _is_list(ids) or len(ids) != len(group["params"]):
            count = len(ids) if _is_list(ids) else "no list of"
            raise StateError(
                lesson(
                    f"{name}: parameter group {i} has {count} parameters in the state dict, "
                    f"{len(group['params'])} in the optimiser",
                    fix="load it into an optimiser of the same model",
                )
            )
    known = [i for ids in indices for i in ids]
    if len(set(known)) != len(known) or not set(saved["state"]) <= set(known):
        raise StateError(
            lesson(
                f"{name}: the state dict has state for parameters that are in no group",
                [("state of", list(saved["state"])), ("groups", indices)],
            )
        )
    return list(given), indices


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def read_group(saved: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a saved group, in the form that ours have."""
    return {
        key: _read_option(value, own.get(key)) for key, value in saved.items() if key != "params"
    }


def _read_option(value: Any, own: Any) -> Any:
    if isinstance(own, Tensor):  # a learning rate in a tensor
        return make(np.array(float(value), own.dtype.np).reshape(tuple(own.shape)))
    if isinstance(value, list) and isinstance(own, tuple):
        return tuple(value)
    if isinstance(value, list | dict):
        return type(value)(value)
    single = hasattr(value, "item") and getattr(value, "ndim", 1) == 0
    return value.item() if single else value


def read_array(name: str, key: str, value: Any) -> Any:
    """The values of a tensor, an array, a number, or a tensor of PyTorch, as an own array."""
    source = value.detach().numpy() if hasattr(value, "detach") else value
    try:
        array = np.array(source)
    except (TypeError, ValueError, RuntimeError):
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        raise StateError(
            lesson(
                f"{name}: the state {key!r} is not made of numbers",
                [("received", f"{type(value).__name__} {value!r:.60}")],
            )
        )
    return array


def read_state(
    name: str, p: Any, saved: Any, expected: Mapping[str, Any] | None = None,
    absent: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The state of one parameter, copied; with ``expected``, names and shapes must agree.

    Without, floating tensors take the parameter's dtype, all but ``step``, as in PyTorch.
    """
    if not isinstance(saved, Mapping):
        raise StateError(
            lesson(f"{name}: the state of a parameter is a dict", [("received", f"{saved!r:.60}")])
        )
    given = {key: value for key, value in saved.items() if value is not None}
    if expected is None:
        return {key: _copy(name, key, value, p) for key, value in given.items()}
    missing = set(expected) - set(given) - set(absent or {})
    unknown = set(given) - set(expected)
    if missing or unknown:
        raise StateError(
            lesson(
                f"{name}: the state dict is of another optimiser, or of other options",
                [("parameter", p), ("expected", sorted(expected)), ("received", sorted(given))],
                "load it into an optimiser of the class and options that saved it",
            )
        )
    state = {}
    for key, own in expected.items():
        array = read_array(name, key, given[key] if key in given else (absent or {})[key])
        if array.shape != tuple(own.shape) and array.size == own.shape.numel() == 1:
            array = array.reshape(tuple(own.shape))
        if array.shape != tuple(own.shape):
            raise StateError(
                lesson(
                    f"{name}: the state {key!r} does not fit its parameter",
                    [
                        ("parameter", p),
                        ("expected", list(own.shape)),
                        ("received", list(array.shape)),
                    ],
                    "load it into an optimiser of the same model",
                )
            )
        state[key] = make(array.astype(own.dtype.np))
    return state


def _copy(name: str, key: Any, value: Any, p: Any) -> Any:
    """A copy of one entry; containers are copied with what is in them."""
    if isinstance(value, Mapping):
        return {k: _copy(name, k, v, p) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_copy(name, None, v, p) for v in value])
    if not isinstance(value, np.ndarray) and not hasattr(value, "detach"):
        return value
    array = read_array(name, key, value)
    if key != "step" and array.dtype.kind == "f" and p.dtype.is_floating_point:
        array = array.astype(p.dtype.np)
    return make(array)


def adopt_group(own: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Give a group new options; a learning rate in a tensor is filled in place."""
    for key, value in new.items():
        held = own.get(key)
        if isinstance(held, Tensor) and isinstance(value, Tensor):
            with no_grad(), concrete():
                write(held, value)
        else:
            own[key] = value


def adopt(states: dict[Any, dict[str, Any]], p: Any, new: dict[str, Any]) -> None:
    """Give a parameter the state ``new``, in the tensors that it already has where they fit."""
    own = states.get(p, {})
    for key, value in new.items():
        held = own.get(key)
        if (
            isinstance(held, Tensor) and isinstance(value, Tensor)
            and held.shape == value.shape and held.dtype is value.dtype
        ):  # fmt: skip
            with no_grad(), concrete():
                write(held, value)
            new[key] = held
    if new:
        states[p] = CountedDict(new)
    else:
        states.pop(p, None)
