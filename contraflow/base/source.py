"""Finds the user's own line: the innermost frame that does not belong to contraflow."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType

__all__ = ["Place", "line_at", "name_in_caller", "user_frame", "user_line", "user_place"]

Place = tuple[str, int]  # a file and a line in it

# os.path, because pathlib alone would be a tenth of the import of contraflow
LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep  # Python's own modules
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep
INSIDE = (PACKAGE, contextlib.__file__)  # a context manager of ours is entered through contextlib
MANY = 100  # containers with more entries than this are not searched for a name


def user_frame() -> FrameType | None:
    """The innermost frame outside the package, or None when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame = frame.f_back
    outside = frame  # unless there is a frame that is not of Python's library, such as copy.py
    while frame is not None and not_users(frame.f_code.co_filename):
        frame = frame.f_back
    return outside if frame is None else frame


def not_users(path: str) -> bool:
    """Whether a file is ours or Python's own: the library may have called us again."""
    return path.startswith(INSIDE) or of_library(path)


def of_library(path: str) -> bool:
    """Whether a file belongs to Python itself."""
    if not path.startswith(LIBRARY):
        return path.startswith("<frozen ")
    return "-packages" + os.sep not in path


def user_place() -> Place | None:
    """Where the user called into contraflow: cheap, to be shown by ``line_at`` if need be."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str | None:
    """``file.py:41: the code on that line``, where the user called into contraflow."""
    return line_at(user_place())


def line_at(place: Place | None) -> str | None:
    """``file.py:41: the code on that line``."""
    if place is None:
        return None
    path, line = place
    code = linecache.getline(path, line).strip()
    where = f"{os.path.basename(path)}:{line}"
    return f"{where}: {code}" if code else where


def name_in_caller(value: object) -> str | None:
    """How the user's frame reaches this very object, for messages: ``x``, ``batch['x']``,
    ``self.scale``, ``params[0]``.

    Looks at variables first, then one level into lists, tuples, dicts and instances. Compares by
    identity and calls nothing of the user's: no property, no ``__eq__``.
    """
    frame = user_frame()
    if frame is None:
        return None
    scopes = [public(frame.f_locals), public(frame.f_globals)]
    for scope in scopes:
        for name, candidate in scope:
            if candidate is value:
                return name
    for scope in scopes:
        for name, candidate in scope:
            for suffix, part in parts(candidate):
                if part is value:
                    return name + suffix
    return None


def public(scope: dict[str, object]) -> list[tuple[str, object]]:
    """The variables of a scope, without those whose names start with an underscore."""
    return [(name, v) for name, v in list(scope.items()) if not name.startswith("_")]


def parts(holder: object) -> Iterator[tuple[str, object]]:
    """What a container or an instance holds, with the code that reaches it."""
    if isinstance(holder, type | ModuleType):
        return
    if isinstance(holder, list | tuple):
        if len(holder) <= MANY:
            yield from ((f"[{i}]", item) for i, item in enumerate(holder))
    elif isinstance(holder, dict):
        if len(holder) <= MANY:
            yield from ((f"[{key!r}]", v) for key, v in list(holder.items()) if type(key) is str)
    else:
        try:
            held = vars(holder)
        except TypeError:
            return  # a number, a string, an object with slots
        yield from ((f".{name}", v) for name, v in public(held))
