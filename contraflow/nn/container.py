"""Modules that hold modules: in a row, in a list, in a dict, around a shortcut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from operator import index as as_index
from typing import Any

from contraflow.base.changes import changes
from contraflow.base.errors import DTypeError, IndexOutOfRange, ShapeError, StateError, lesson
from contraflow.nn.module import Module, indented
from contraflow.nn.parameters import read_pairs

__all__ = ["ModuleDict", "ModuleList", "Residual", "Sequential"]


class _Row(Module):
    """Children numbered from 0, that can be used as a list."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __contains__(self, module: Any) -> bool:
        return any(m is module for m in self._modules.values())

    def _place(self, position: Any) -> int:
        """An index as 0..len-1."""
        try:
            i = as_index(position)
        except TypeError:
            raise DTypeError(
                lesson(f"{self._get_name()} takes integers and slices as index, "
                       f"not {type(position).__name__}")
            ) from None  # fmt: skip
        if not -len(self) <= i < len(self):
            raise IndexOutOfRange(
                lesson(f"index {i} does not exist in a {self._get_name()} of {len(self)} modules")
            )
        return i % len(self)

    def _fill(self, modules: Iterable[Any]) -> None:
        """Hold just these, numbered from 0."""
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)
        changes.modules += 1

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return self._of(list(self._modules.items())[position])
        return list(self._modules.values())[self._place(position)]

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        raise DTypeError(lesson(f"{self._get_name()} cannot be sliced"))

    def __setitem__(self, position: Any, module: Any) -> None:
        name = list(self._modules)[self._place(position)]
        setattr(self, name, module)

    def __delitem__(self, position: Any) -> None:
        names = list(self._modules)
        chosen = names[position] if isinstance(position, slice) else [names[self._place(position)]]
        left = [m for name, m in self._modules.items() if name not in chosen]
        if all(name.isdigit() for name in names):
            self._fill(left)
        else:
            for name in chosen:
                del self._modules[name]
            changes.modules += 1

    def append(self, module: Any) -> Any:
        """Add a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Any]) -> Any:
        """Add several modules at the end; returns the container."""
        if not isinstance(modules, Iterable):
            raise DTypeError(
                lesson(f"extend takes several modules, not {type(modules).__name__}",
                       fix="layers.append(module)")
            )  # fmt: skip
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Add a module before the one at an index; returns the container."""
        modules = list(self._modules.values())
        if not -len(modules) <= index <= len(modules):
            raise IndexOutOfRange(
                lesson(f"insert: index {index} does not exist in {len(modules)} modules")
            )
        modules.insert(index, module)
        self._fill(modules)
        return self

    def pop(self, key: Any) -> Any:
        """Take the module at an index out and return it."""
        module = self[key]
        del self[key]
        return module


class Sequential(_Row):
    """Calls its modules one after the other, each on the result of the one before.

    Takes modules, or one ``OrderedDict`` of names and modules.

    >>> import contraflow as cf
    >>> net = cf.nn.Sequential(cf.nn.Linear(4, 8), cf.nn.ReLU(), cf.nn.Linear(8, 2))
    >>> net(cf.ones(5, 4)).shape
    contraflow.Size([5, 2])
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
            return
        if len(args) == 1 and isinstance(args[0], list | tuple):
            raise DTypeError(
                lesson("Sequential takes modules, not a list of them",
                       fix="nn.Sequential(*layers)")
            )  # fmt: skip
        for i, module in enumerate(args):
            self.add_module(str(i), module)

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(OrderedDict(items))

    def forward(self, input: Any) -> Any:
        """The result of the last module."""
        for module in self._modules.values():
            input = module(input)
        return input

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, Sequential):
            return NotImplemented
        return self.extend(other)

    def __mul__(self, times: int) -> Any:
        if not isinstance(times, int) or times < 1:
            raise DTypeError(lesson("Sequential * n takes a positive integer", fix="block * 2"))
        return Sequential(*(list(self) * times))

    __rmul__ = __mul__


class ModuleList(_Row):
    """A list of modules, whose parameters are found; it has no ``forward``.

    >>> import contraflow as cf
    >>> layers = cf.nn.ModuleList(cf.nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules: Iterable[Any] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(module for _, module in items)

    def __add__(self, other: Iterable[Any]) -> Any:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Any]) -> Any:
        return self.extend(other)

    def insert(self, index: int, module: Any) -> None:
        """Add a module before the one at an index."""
        super().insert(index, module)

    def __repr__(self) -> str:
        if not len(self):
            return f"{self._get_name()}()"
        runs: list[list[Any]] = []  # [first, last, text]: equal neighbours are shown once
        for i, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [
            f"({first}): {text}" if first == last
            else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]  # fmt: skip
        body = "\n  ".join(indented(line) for line in lines)
        return f"{self._get_name()}(\n  {body}\n)"


class ModuleDict(Module):
    """A dict of modules by name, whose parameters are found; it has no ``forward``.

    >>> import contraflow as cf
    >>> heads = cf.nn.ModuleDict({"a": cf.nn.Linear(4, 2), "b": cf.nn.Linear(4, 3)})
    >>> heads["b"](cf.ones(1, 4)).shape
    contraflow.Size([1, 3])
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, name: str) -> Any:
        if name not in self._modules:
            raise StateError(
                lesson(f"ModuleDict has no module {name!r}",
                       [("modules", " ".join(self._modules) or "none")])
            )  # fmt: skip
        return self._modules[name]

    def __setitem__(self, name: str, module: Any) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        changes.modules += 1

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: Any) -> bool:
        return name in self._modules

    def clear(self) -> None:
        """Drop all."""
        self._modules.clear()
        changes.modules += 1

    def pop(self, key: str) -> Any:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add modules from a dict, another ModuleDict, or pairs."""
        for name, module in read_pairs("ModuleDict.update", modules):
            self[name] = module


class Residual(Module):
    """A skip connection: y = f(x) + shortcut(x), with f the layers in a row.

    Not in PyTorch. ``shortcut`` is the identity unless given; give a layer (a 1x1 convolution, a
    Linear) when f changes the shape. Source: He, Zhang, Ren, Sun, "Deep residual learning" (2015).

    >>> import contraflow as cf
    >>> block = cf.nn.Residual(cf.nn.Linear(4, 4), cf.nn.Tanh())
    >>> block(cf.ones(2, 4)).shape
    contraflow.Size([2, 4])

    Raises:
        ShapeError: if f(x) and shortcut(x) differ in shape.
    """

    def __init__(self, *layers: Any, shortcut: Any = None) -> None:
        super().__init__()
        self.layers = Sequential(*layers)
        self.shortcut = shortcut

    def forward(self, input: Any) -> Any:
        """f(x) + shortcut(x)."""
        y = self.layers(input)
        skip = input if self.shortcut is None else self.shortcut(input)
        if y.shape != skip.shape:
            raise ShapeError(
                lesson(f"Residual: the layers give {list(y.shape)}, the shortcut "
                       f"{list(skip.shape)}; their sum needs one shape",
                       [("layers(x)", y.aval), ("shortcut(x)", skip.aval)], matching(skip, y))
            )  # fmt: skip
        return y + skip


def matching(skip: Any, y: Any) -> str:
    """A shortcut that would bring the two shapes together."""
    if skip.ndim == y.ndim and skip.ndim >= 3:
        a, b = skip.shape[1], y.shape[1]
        stride = max(1, round(skip.shape[2] / max(y.shape[2], 1)))
        return f"shortcut=nn.Conv{skip.ndim - 2}d({a}, {b}, 1, stride={stride})"
    if skip.ndim == y.ndim and skip.ndim and skip.shape[:-1] == y.shape[:-1]:
        return f"shortcut=nn.Linear({skip.shape[-1]}, {y.shape[-1]})"
    return "layers that keep the shape, or a shortcut that changes it the same way"
