"""Nested containers (lists, tuples, named tuples, dicts) as a flat list of leaves and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["flatten", "map_tree"]


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers with ``function`` applied to every leaf."""
    if isinstance(tree, dict):
        return type(tree)((key, map_tree(function, value)) for key, value in tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tree(function, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)([map_tree(function, value) for value in tree])
    return function(tree)


def flatten(tree: Any) -> list[Any]:
    """The leaves, in order."""
    leaves: list[Any] = []
    map_tree(leaves.append, tree)
    return leaves
