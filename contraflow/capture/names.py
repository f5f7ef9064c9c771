"""The numbers and tensors that a step reaches by name: globals, closures, attributes, entries.

A captured step has taken them as they were. The names are read from the bytecode of the step and
of the user's functions that it calls, so that a version can notice when one of them means another
thing: ``beta`` of a loss that a loop changes, or ``self.scale``. What ``contraflow`` itself and
Python's library do is not looked at; modules and optimisers say themselves what they depend on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from os import sep
from sys import modules
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from contraflow.base.errors import CaptureError, lesson
from contraflow.base.source import INSIDE, of_library
from contraflow.graph import Value
from contraflow.tensor.tensor import Tensor

__all__ = ["Name", "Names"]

PLAIN = (bool, int, float, str, bytes, type(None))
MISSING = object()
MOST = 200  # functions and objects that are looked at


class Name:
    """A name in a namespace (a dict, or the cell of a closure), with what it meant."""

    __slots__ = ("key", "place", "value", "words")

    def __init__(self, place: Any, key: Any, words: str) -> None:
        self.place, self.key, self.words = place, key, words
        self.value = self.now()

    def now(self) -> Any:
        """What it means now."""
        if isinstance(self.place, dict):
            return self.place.get(self.key, MISSING)
        try:
            return self.place.cell_contents
        except ValueError:  # deleted
            return MISSING

    def stays(self) -> bool:
        """Whether it still means the same: an equal number, or the same object."""
        now, value = self.now(), self.value
        return now is value or (type(now) is type(value) and type(now) in PLAIN and now == value)

    def put_back(self) -> None:
        """Let it mean what it meant."""
        if isinstance(self.place, dict):
            self.place[self.key] = self.value
        else:
            self.place.cell_contents = self.value

    def change(self) -> str:
        """What it meant and means, in words."""
        now, value = self.now(), self.value
        if type(now) in PLAIN and type(value) in PLAIN:
            return f"{self.words}: {value!r} -> {now!r}"
        return f"{self.words} is another {'tensor' if isinstance(now, Tensor) else 'object'}"


class Names:
    """All names that a function and what it calls may read.

    Args:
        function: the step; given: what is passed to it besides tensors and containers.

    Attributes:
        found: those that mean a number, a text or a tensor.
    """

    def __init__(self, function: Any, given: Iterable[Any]) -> None:
        self.found: dict[tuple[int, Any], Name] = {}
        self.functions: dict[int, FunctionType] = {}
        self.words: set[str] = set()  # all names in the code, and texts that may be keys
        self.holders: dict[int, tuple[Any, str]] = {}  # objects and dicts that the code reaches
        self.modules: dict[type, None] = {}  # classes of the modules that it reaches
        self.lists: dict[int, tuple[list[Any], int, str]] = {}
        self.meet(function, "")
        for value in given:
            self.meet(value, type(value).__name__)
        known = -1
        while known != (known := sum(map(len, (self.words, self.holders, self.modules)))):
            for holder, name in list(self.holders.values()):
                self.look_into(holder, name)
            for kind in list(self.modules):
                self.look_into_class(kind)

    # ---- what the code reaches -------------------------------------------------------------------

    def meet(self, value: Any, name: str) -> None:
        """Something that the code reaches by a name."""
        if isinstance(value, FunctionType):
            self.read(value)
        elif isinstance(value, MethodType):
            self.meet(value.__func__, name)
            self.meet(value.__self__, type(value.__self__).__name__)
        elif isinstance(value, partial):
            self.meet(value.func, name)
        elif isinstance(value, list):
            self.lists.setdefault(id(value), (value, len(value), name))
        elif isinstance(value, staticmethod | classmethod):
            self.meet(value.__func__, name)
        elif isinstance(value, property):
            self.meet(value.fget, name)
        elif hasattr(type(value), "_facts"):  # a module; of an optimiser there is nothing to read
            for _, module in getattr(value, "named_modules", list)():
                self.modules.setdefault(type(module), None)
        elif "__wrapped__" in getattr(value, "__dict__", ()):  # a compiled function, for one
            self.meet(value.__wrapped__, name)
        elif self.is_holder(value) and len(self.holders) < MOST:
            self.holders.setdefault(id(value), (value, name))

    def is_holder(self, value: Any) -> bool:
        """Whether numbers may be found in it by name: an object of the user's, a module, a dict."""
        if isinstance(value, ModuleType):
            return is_users(getattr(value, "__file__", None) or "<frozen ")
        if isinstance(value, dict):
            return True
        return hasattr(value, "__dict__") and not isinstance(value, type | Tensor)

    def read(self, function: FunctionType) -> None:
        """Take in the names that a function of the user's uses."""
        code = function.__code__
        if len(self.functions) >= MOST or not is_users(code.co_filename):
            return
        if id(function) in self.functions:
            return
        self.functions[id(function)] = function
        inner = list(codes(code))
        for part in inner:
            self.words.update(part.co_names)
            self.words.update(text for text in part.co_consts if isinstance(text, str))
        scope = function.__globals__
        for name in {name for part in inner for name in part.co_names}:
            if name in scope:
                self.name(scope, name, name)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self.name(cell, name, name)

    def look_into(self, holder: Any, name: str) -> None:
        """The names in an object that the code mentions."""
        held = holder if isinstance(holder, dict) else vars(holder)
        for word in [word for word in self.words if word in held]:
            path = f"{name}[{word!r}]" if holder is held else f"{name}.{word}"
            self.name(held, word, path)
        if holder is not held and not isinstance(holder, ModuleType):
            self.look_into_class(type(holder))

    def look_into_class(self, kind: type) -> None:
        """The methods and properties that the code mentions."""
        for base in kind.__mro__:
            if is_users(getattr(modules.get(base.__module__), "__file__", None) or ""):
                for word in {"forward", *self.words} & vars(base).keys():
                    self.meet(vars(base)[word], word)

    def name(self, place: Any, key: str, words: str) -> None:
        """One name: kept if it means a number or a tensor, otherwise followed."""
        if (id(place), key) in self.found:
            return
        name = Name(place, key, words)
        if isinstance(name.value, (*PLAIN, Tensor)):
            self.found[id(place), key] = name
        elif name.value is not MISSING:
            self.meet(name.value, words)

    # ---- what the step left there ----------------------------------------------------------------

    def settled(self) -> list[Name]:
        """The names to watch, once the step was captured. Those that it has changed itself are not:
        a warning says that this happened once.
        """
        self.refuse_kept()
        changed = [name for name in self.found.values() if not name.stays()]
        if changed:
            warnings.warn(
                f"the step changes what it reads ({'; '.join(n.change() for n in changed)}): that "
                "happens once, while it is captured. Do it outside of the step",
                stacklevel=5,
            )
        return [name for name in self.found.values() if name not in changed]

    def refuse_kept(self) -> None:
        """Refuse tensors that were put into names while the step was captured, and take them out.

        Raises:
            CaptureError: naming where a tensor was put.
        """
        kept: list[tuple[Tensor, str]] = []
        for name in self.found.values():
            if is_symbol(now := name.now()) and now is not name.value:
                kept.append((now, name.words))
                name.put_back()
        for holder, words in self.holders.values():
            held = holder if isinstance(holder, dict) else vars(holder)
            for key in [key for key, value in held.items() if is_symbol(value)]:
                kept.append((held.pop(key), f"{words}: {key}"))
        for items, count, words in self.lists.values():
            kept += [(item, f"the list {words}") for item in items[count:] if is_symbol(item)]
            items[count:] = [item for item in items[count:] if not is_symbol(item)]
        if kept:
            tensor, where = kept[0]
            raise CaptureError(
                lesson(
                    f"the step keeps a tensor in {where}: that would happen once, while it is "
                    "captured, and the tensor has no value then",
                    [("tensor", tensor.aval)],
                    "return it from the step, and keep it outside: kept.append(step(x, y))",
                )
            )


def is_symbol(value: Any) -> bool:
    """Whether it is a tensor without a value."""
    return isinstance(value, Tensor) and isinstance(value._value, Value)


def is_users(path: str) -> bool:
    """Whether code of this file is neither ours, nor of Python's library, nor installed."""
    return not (path.startswith(INSIDE) or of_library(path) or f"-packages{sep}" in path)


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those that are written in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from codes(part)
