"""Nested containers (lists, tuples, named tuples, dicts, dataclasses) as a flat list of leaves and
back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["flatten", "is_record", "map_tree", "parts_of"]


def is_record(value: Any) -> bool:
    """Whether it is an instance of a dataclass that only holds its fields: it cannot be called."""
    return is_dataclass(value) and not isinstance(value, type) and not callable(value)


def parts_of(record: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that were set, with their names."""
    for field in fields(record):
        if hasattr(record, field.name):
            yield field.name, getattr(record, field.name)


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers with ``function`` applied to every leaf."""
    if isinstance(tree, dict):
        parts = {key: map_tree(function, value) for key, value in tree.items()}
        if type(tree) is dict:
            return parts
        twin = copy(tree)  # its other arguments, such as a default, are its own affair
        twin.update(parts)
        return twin
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tree(function, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)([map_tree(function, value) for value in tree])
    if is_record(tree):
        twin = copy(tree)
        for name, value in parts_of(tree):
            object.__setattr__(twin, name, map_tree(function, value))  # also where it is frozen
        return twin
    return function(tree)


def flatten(tree: Any) -> list[Any]:
    """The leaves, in order."""
    leaves: list[Any] = []
    map_tree(leaves.append, tree)
    return leaves
