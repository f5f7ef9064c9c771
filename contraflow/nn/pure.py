"""Whether a module or a function does nothing but compute, read from its bytecode.

``forward`` may print, count, draw from Python's own random numbers: then it must run at every call.
Most do nothing of the kind. They use their arguments, the module's layers, numbers and
parameters, and this package's functions; called again with the same, they do the same. Here the
instructions of ``forward`` are held against a short list of what such code is made of. Whatever is
not on it makes the answer no, which costs time and nothing else.
"""

from __future__ import annotations

import builtins
import dis
import math
from collections.abc import Iterator
from sys import modules as loaded
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from contraflow.base.dtypes import DType
from contraflow.ops.record import Op
from contraflow.tensor.tensor import Tensor

__all__ = ["code_of"]

Dependency = tuple[Any, str, Any]  # a namespace, a name in it, and its value
Instructions = list[dis.Instruction]

OWN = __name__.partition(".")[0]
# What moves something else than tensors, by the name that it has in the package.
ACTING = frozenset((
    "manual_seed", "seed", "initial_seed", "set_rng_state", "get_rng_state", "set_default_dtype",
    "set_default_mode", "set_grad_enabled", "set_num_threads", "set_printoptions", "save", "load",
    "compile", "explain", "backward", "register_hook", "retain_grad", "grad", "grad_fn", "data",
    "data_ptr",
))  # fmt: skip
COMPUTING = tuple(f"{OWN}.{name}." for name in ("ops", "tensor", "nn", "linalg"))
BUILTINS = frozenset((
    "abs", "bool", "enumerate", "float", "int", "isinstance", "len", "list", "max", "min", "range",
    "reversed", "round", "str", "sum", "tuple", "zip", "NotImplementedError", "RuntimeError",
    "TypeError", "ValueError",
))  # fmt: skip
PLAIN = (bool, int, float, str, type(None), DType)
TENSOR = frozenset(name for name in dir(Tensor) if not name.startswith("_") and name[-1] != "_")
NAMES = (TENSOR | {"append", "items", "keys", "values"}) - ACTING
LOCAL = ("LOAD_FAST", "STORE_FAST", "DELETE_FAST")
ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
PASSING = frozenset((
    "RESUME", "COPY_FREE_VARS", "NOP", "CACHE", "EXTENDED_ARG", "PUSH_NULL", "POP_TOP", "COPY",
    "SWAP", "NOT_TAKEN",
    "LOAD_CONST", "LOAD_SMALL_INT", "RETURN_VALUE", "RETURN_CONST",
    "PRECALL", "CALL", "CALL_KW", "KW_NAMES", "CALL_FUNCTION_EX",
    "BINARY_OP", "BINARY_SUBSCR", "BINARY_SLICE", "BUILD_SLICE", "COMPARE_OP", "IS_OP",
    "CONTAINS_OP", "TO_BOOL", "UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_NOT", "UNARY_INVERT",
    "BUILD_TUPLE", "BUILD_LIST", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "LIST_EXTEND", "LIST_APPEND",
    "LIST_TO_TUPLE", "UNPACK_SEQUENCE", "UNPACK_EX", "GET_ITER", "FOR_ITER", "END_FOR", "POP_ITER",
    "FORMAT_VALUE", "FORMAT_SIMPLE", "BUILD_STRING", "LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT",
    "RAISE_VARARGS",
))  # fmt: skip
HARMLESS = frozenset((
    "__init__", "__repr__", "__str__", "__doc__", "__module__", "__qualname__", "__annotations__",
    "__dict__", "__weakref__", "__parameters__", "__orig_bases__", "__static_attributes__",
    "__firstlineno__", "__annotate__", "__annotate_func__", "__annotations_cache__",
))  # fmt: skip


class Acts(Exception):
    """It may do something else than compute."""


def code_of(part: Any) -> list[Dependency] | None:
    """What the code of a function, or of a module and of all below it, depends on: names with
    their values; None if it may do something else than compute."""
    reader = Reader()
    try:
        if is_module(part):
            for module in part.modules():
                reader.module(module)
        else:
            reader.call(part)
    except Acts:
        return None
    return list(reader.found.values())


class Cell:
    """The variable of a function around, as a namespace with one name."""

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    def get(self, name: str) -> Any:
        """What it holds; None if it was deleted."""
        try:
            return self.cell.cell_contents
        except ValueError:
            return None


class Reader:
    """Reads code, and collects the names that it depends on."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], Dependency] = {}
        self.read: set[Any] = set()

    def depend(self, space: Any, name: str, value: Any) -> None:
        self.found[id(space), name] = space, name, value

    def module(self, module: Any) -> None:
        """A module's forward, and what its class makes of Python's own operations."""
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            raise Acts
        if module._backward_hooks or module._backward_pre_hooks:
            raise Acts
        cls = type(module)
        owner, forward = found_in(cls, "forward")
        self.depend(vars(owner), "forward", forward)
        for base in cls.__mro__:
            if not ours(base) and base is not object:
                special = {n for n in vars(base) if n.startswith("__") and n.endswith("__")}
                if special - HARMLESS:
                    raise Acts
        if not ours(owner):
            self.function(forward, module)

    def call(self, function: Any) -> None:
        """A function that is called: the package's own are trusted, if they only compute."""
        home = getattr(function, "__module__", None) or ""
        if not home.startswith(COMPUTING):
            self.function(function, None)
        elif not isinstance(function, Op) and (
            function.__name__[-1] == "_" or function.__name__ in ACTING
        ):
            raise Acts

    def function(self, function: Any, module: Any) -> None:
        """A function of the user's; ``module`` is its first argument if it is a method."""
        if type(function) is not FunctionType:
            raise Acts
        key = function, id(module)
        code = function.__code__
        if key in self.read:
            return
        self.read.add(key)
        if code.co_cellvars or code.co_flags & (32 | 128 | 256 | 512):
            raise Acts  # functions within, generators and coroutines
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        if not all(map(is_plain, defaults)):
            raise Acts
        Body(self, function, code, module).check()


class Body:
    """The instructions of one function."""

    def __init__(self, reader: Reader, function: Any, code: CodeType, module: Any) -> None:
        self.reader, self.module = reader, module
        self.globals = function.__globals__
        self.around = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        self.me = code.co_varnames[0] if module is not None and code.co_argcount else None
        self.rest: Iterator[dis.Instruction] = iter(dis.get_instructions(code))
        self.next = next(self.rest, None)

    def take(self) -> dis.Instruction | None:
        """The next instruction."""
        now, self.next = self.next, next(self.rest, None)
        return now

    def check(self) -> None:
        """All of them."""
        while (now := self.take()) is not None:
            name = now.opname
            if name.startswith(LOCAL):
                self.local(now)
            elif name == "LOAD_GLOBAL":
                self.chain(*self.known(now.argval))
            elif name == "LOAD_DEREF":
                self.chain(*self.captured(now.argval))
            elif name in ATTRIBUTE:
                safe(now.argval)
            elif name not in PASSING and "JUMP" not in name:
                raise Acts

    def local(self, now: dis.Instruction) -> None:
        """A local variable; the module itself may only be asked for an attribute."""
        names = now.argval if isinstance(now.argval, tuple) else (now.argval,)
        if self.me not in names:
            return
        asked = self.next is not None and self.next.opname in ATTRIBUTE
        if names.index(self.me) < len(names) - 1 or "STORE" in now.opname or not asked:
            raise Acts
        self.chain(self.module, True)

    def known(self, name: str) -> tuple[Any, bool]:
        """A global name's value, and whether its attributes are looked up here."""
        if name in self.globals:
            value = not_hidden(self.globals[name])
            self.reader.depend(self.globals, name, value)
        elif name in BUILTINS:
            value = getattr(builtins, name)
            self.reader.depend(self.globals, name, None)
            return value, False
        else:
            raise Acts
        return value, isinstance(value, ModuleType)

    def captured(self, name: str) -> tuple[Any, bool]:
        """The value of a function around, and whether its attributes are looked up here."""
        cell = Cell(self.around[name])
        value = not_hidden(cell.get(name))
        self.reader.depend(cell, name, value)
        return value, isinstance(value, ModuleType)

    def chain(self, value: Any, deeper: bool) -> None:
        """Attributes of what is known already, as far as they can be looked up now."""
        while deeper and self.next is not None and self.next.opname in ATTRIBUTE:
            now = self.take()
            assert now is not None
            value = self.attribute(value, now.argval)
            if value is SETTLED:
                return
            deeper = isinstance(value, ModuleType) or is_module(value)
        self.use(value)

    def attribute(self, holder: Any, name: str) -> Any:
        """An attribute of a package or of a module."""
        if isinstance(holder, ModuleType):
            own = holder is math or holder.__name__.partition(".")[0] == OWN
            if not own or name in ACTING:
                raise Acts
            value = getattr(holder, name, None)
            self.reader.depend(vars(holder), name, vars(holder).get(name))
            return value
        for registry in (holder._parameters, holder._buffers, holder._modules):
            if name in registry:
                return registry[name]
        held = vars(holder)
        if name in held:
            self.reader.depend(held, name, not_hidden(held[name]))  # also if it is set in there
            return held[name]
        owner, value = found_in(type(holder), name)
        self.reader.depend(vars(owner), name, not_hidden(value))
        if isinstance(value, FunctionType):
            if ours(owner):
                raise Acts
            self.reader.function(value, holder)
            return SETTLED
        return value

    def use(self, value: Any) -> None:
        """A value that is computed with."""
        if is_plain(value) or isinstance(value, Tensor) or is_module(value):
            return
        if isinstance(value, type):
            if not ours(value) and getattr(builtins, value.__name__, None) is not value:
                raise Acts
            return
        home = getattr(value, "__module__", None) or ""
        if home == "math" or any(value is getattr(builtins, name) for name in BUILTINS):
            return
        self.reader.call(value)


SETTLED = object()  # nothing more is to be said about it


def is_module(value: Any) -> bool:
    return hasattr(value, "_modules") and not isinstance(value, type | ModuleType)


def not_hidden(value: Any) -> Any:
    """A value, unless it is a module that is not registered: nobody would see it change."""
    if is_module(value):
        raise Acts
    return value


def safe(name: str) -> None:
    """An attribute of something unknown: a tensor's, or a list's."""
    if name not in NAMES:
        raise Acts


def is_plain(value: Any) -> bool:
    return isinstance(value, PLAIN) or (type(value) is tuple and all(map(is_plain, value)))


def ours(cls: type) -> bool:
    """Whether a class is this package's own."""
    home = cls.__module__
    return home.startswith(f"{OWN}.") and getattr(loaded[home], cls.__name__, None) is cls


def found_in(cls: type, name: str) -> tuple[type, Any]:
    """The class of the MRO that has an attribute, and the attribute."""
    for base in cls.__mro__:
        if name in vars(base):
            return base, vars(base)[name]
    raise Acts
