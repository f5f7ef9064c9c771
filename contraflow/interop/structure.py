"""The nesting around tensors as JSON, and back, by a closed schema.

A JSON string, integer, finite number, bool or null stands for itself. Everything else is an object
with exactly one key: ``tensor`` (its name), ``dict`` (pairs of key and value), ``list``, ``tuple``
or ``float`` (``inf``, ``-inf``, ``nan``, which JSON numbers cannot say).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np

from contraflow.base.dtypes import DTYPES
from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.tensor.tensor import Tensor

__all__ = ["decode", "encode", "read_json"]

DEPTH = 100
BITS = 4096  # integers: JSON has no limit, Python reads no more than 4300 digits
FIX = "tensors, numbers, texts, None, and dicts, lists and tuples of them"
NATIVE = {dtype.np for dtype in DTYPES.values()}
FLOATS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def encode(value: Any, tensors: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
    """The JSON of a value; its tensors are put into ``tensors`` under the path that leads there.

    Raises:
        DTypeError: for a value that a file cannot hold; the message names its path.
    """
    if len(path) > DEPTH:
        raise ArgumentError(lesson(f"more than {DEPTH} levels of nesting", fix="a flatter object"))
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        if not can_hold(array.dtype):
            raise unsavable(f"an array of {array.dtype}", path)
        name = free_name(path, tensors)
        tensors[name] = array
        return {"tensor": name}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if value.bit_length() > BITS:
            raise unsavable(f"an integer of {value.bit_length()} bits", path)
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"float": str(value)}
    if isinstance(value, Mapping):
        return {"dict": [[key_of(k, path), encode(v, tensors, (*path, str(k)))]
                         for k, v in value.items()]}  # fmt: skip
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [encode(v, tensors, (*path, str(i))) for i, v in enumerate(value)]}
    fix = FIX
    if callable(getattr(value, "state_dict", None)):
        fix = "save its state: cf.save(x.state_dict(), path)"
    raise unsavable(f"an object of type {type(value).__name__}", path, fix)


def unsavable(what: str, path: tuple[str, ...], fix: str = FIX) -> DTypeError:
    """Say what cannot be saved, where it is, and what to save instead."""
    where = "".join(f"[{part!r}]" for part in path)
    return DTypeError(
        lesson(f"a file cannot hold {what}", [("found", f"obj{where}")] if path else [], fix)
    )


def can_hold(dtype: np.dtype[Any]) -> bool:
    """Whether tensors have this dtype, in whatever byte order."""
    return dtype.newbyteorder("=") in NATIVE


def key_of(key: Any, path: tuple[str, ...]) -> Any:
    """A dict key: text or an integer."""
    if type(key) is int:
        return key
    if not isinstance(key, str):
        raise unsavable(f"a key of type {type(key).__name__}", path, "text or integers as keys")
    if any("\ud800" <= letter <= "\udfff" for letter in key):
        raise unsavable(f"the key {key!r}, which is not valid Unicode", path, "another name")
    return key


def free_name(path: tuple[str, ...], tensors: dict[str, Any]) -> str:
    """``model.layers.0.weight``, made unique should another path read the same."""
    base = name = ".".join(path) or "tensor"
    number = 1
    while name in tensors or name == "__metadata__":
        number += 1
        name = f"{base}#{number}"
    return name


def decode(node: Any, tensor: Callable[[str], Any], depth: int = 0) -> Any:
    """The value of a JSON node; ``tensor(name)`` gives its tensors.

    Raises:
        ValueError: for a node that is not of the schema.
    """
    if depth > DEPTH + 1:
        raise ValueError(f"more than {DEPTH} levels of nesting")
    if node is None or type(node) in (bool, int, float, str):
        return node
    if type(node) is not dict or len(node) != 1:
        raise ValueError(f"unknown node {str(node)[:60]!r}")
    ((kind, inner),) = node.items()
    if kind == "tensor" and type(inner) is str:
        return tensor(inner)
    if kind == "float" and type(inner) is str and inner in FLOATS:
        return FLOATS[inner]
    if kind in ("list", "tuple") and type(inner) is list:
        items = [decode(item, tensor, depth + 1) for item in inner]
        return items if kind == "list" else tuple(items)
    if kind == "dict" and type(inner) is list:
        return decode_dict(inner, tensor, depth)
    raise ValueError(f"unknown node {str(node)[:60]!r}")


def decode_dict(pairs: list[Any], tensor: Callable[[str], Any], depth: int) -> dict[Any, Any]:
    """Pairs of key and value; a key may come once."""
    result: dict[Any, Any] = {}
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) not in (str, int):
            raise ValueError(f"not a pair of key and value: {str(pair)[:60]!r}")
        if pair[0] in result:
            raise ValueError(f"the key {pair[0]!r} comes twice")
        result[pair[0]] = decode(pair[1], tensor, depth + 1)
    return result


def read_json(text: str) -> Any:
    """JSON with finite numbers only, and no name twice in an object."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name comes twice")
        return dict(pairs)

    def finite(number: str) -> float:
        value = float(number)
        return value if isfinite(value) else refuse(number)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once, parse_float=finite)
