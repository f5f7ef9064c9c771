"""Counters that move whenever something is set that a compiled step takes for granted.

A compiled step would have to look at every tensor and module that it uses before each call. It
compares two integers instead, and looks only when they have moved. Whoever sets such a thing
counts *after* it, so that nobody who sees the new count can miss it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ["Changes", "CountedDict", "CountedList", "CountedState", "Registry", "changes"]


class Changes:
    """How often something was set.

    Attributes:
        tensors: a tensor's memory was replaced, its ``requires_grad``, hooks or ``.grad`` set, or
            its ``.grad`` handed out (who holds it may keep it).
        modules: an attribute, a parameter, a submodule or a hook of a module was set, or a hook
            of an optimiser.
        options: an option of an optimiser's groups, its lists of parameters or its states.
        memory: a tensor shows other memory from now on (``.data = ...``).
    """

    __slots__ = ("memory", "modules", "options", "tensors")

    def __init__(self) -> None:
        self.tensors = self.modules = self.options = self.memory = 0


changes = Changes()


# ---- containers that count -----------------------------------------------------------------------


class CountedDict(dict[Any, Any]):
    """A dict that counts when something in it is set."""


class CountedList(list[Any]):
    """A list that counts when something in it is set."""


class CountedState(CountedDict):
    """What an optimiser keeps for each parameter: a dict of its own, made when it is asked for."""

    def __missing__(self, key: Any) -> Any:
        self[key] = CountedDict()
        return self[key]


class Registry(dict[str, Any]):
    """What a module holds by name (parameters, buffers, submodules, hooks): a dict that counts when
    something in it is set."""


def counted(method: Callable[..., Any], count: str) -> Callable[..., Any]:
    """A method that changes a container, and counts that."""

    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        finally:
            setattr(changes, count, getattr(changes, count) + 1)

    return run


OF_DICTS = "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update"
OF_LISTS = (
    "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort"
)
for _class, _names, _count in (
    (CountedDict, OF_DICTS, "options"),
    (CountedList, OF_LISTS, "options"),
    (Registry, OF_DICTS, "modules"),
):
    for _name in _names.split():
        setattr(_class, _name, counted(getattr(_class, _name), _count))
