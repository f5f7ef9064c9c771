"""Modules that hold parameters: in a list, in a dict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter, index
from typing import Any

from contraflow.base.errors import DTypeError, IndexOutOfRange, StateError, lesson
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.tensor.constructors import typename
from contraflow.tensor.tensor import Tensor

__all__ = ["ParameterDict", "ParameterList"]


def read_pairs(what: str, source: Any) -> list[tuple[str, Any]]:
    """The entries of a mapping, or of pairs."""
    if isinstance(source, Mapping) or (isinstance(source, Module) and hasattr(source, "items")):
        return list(source.items())
    pairs = list(source) if isinstance(source, Iterable) else None
    if pairs is None or any(not isinstance(p, Iterable) or len(list(p)) != 2 for p in pairs):
        raise DTypeError(
            lesson(f"{what} takes a dict or pairs (name, value), received {type(source).__name__}")
        )
    return [tuple(pair) for pair in pairs]


def as_parameter(value: Any) -> Any:
    """A plain tensor becomes a parameter; everything else stays what it is."""
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        return Parameter(value, requires_grad=value.dtype.is_floating_point)
    return value


def shown(key: Any, value: Any, name_of: Callable[[Any], Any]) -> str:
    """The line of an entry in the text of a ParameterList or ParameterDict."""
    if not isinstance(value, Tensor):
        return f"  ({key}): Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    size = "x".join(map(str, value.shape))
    return f"  ({key}): {kind} containing: [{name_of(value)} of size {size}]"


class ParameterList(Module):
    """A list of parameters; tensors put into it become parameters.

    >>> import contraflow as cf
    >>> scales = cf.nn.ParameterList([cf.ones(2), cf.ones(3)])
    >>> [tuple(p.shape) for p in scales]
    [(2,), (3,)]
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name(self, position: Any) -> str:
        i = index(position)
        if not -self._size <= i < self._size:
            raise IndexOutOfRange(
                lesson(f"index {i} does not exist in a ParameterList of {self._size}")
            )
        return str(i % self._size)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return type(self)(self[i] for i in range(*position.indices(self._size)))
        return getattr(self, self._name(position))

    def __setitem__(self, position: Any, value: Any) -> None:
        setattr(self, self._name(position), as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter(self[i] for i in range(self._size))

    def append(self, value: Any) -> Any:
        """Add one at the end; returns the list."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add several at the end; returns the list."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise DTypeError(
                lesson(f"ParameterList.extend takes a list, not {type(values).__name__}",
                       fix="params.append(value)")
            )  # fmt: skip
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def extra_repr(self) -> str:
        """One line an entry."""
        return "\n".join(shown(i, value, attrgetter("dtype")) for i, value in enumerate(self))


class ParameterDict(Module):
    """A dict of parameters by name; tensors put into it become parameters.

    >>> import contraflow as cf
    >>> params = cf.nn.ParameterDict({"scale": cf.ones(2)})
    >>> list(params)
    ['scale']
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, name: str) -> Any:
        if name not in self._keys:
            raise StateError(
                lesson(f"ParameterDict has no parameter {name!r}",
                       [("parameters", " ".join(self._keys) or "none")])
            )  # fmt: skip
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._keys[name] = None
        setattr(self, name, as_parameter(value))

    def __delitem__(self, name: str) -> None:
        del self._keys[name]
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, name: Any) -> bool:
        return name in self._keys

    def keys(self) -> Any:
        """The names."""
        return self._keys.keys()

    def items(self) -> Any:
        """Names and parameters."""
        return [(name, self[name]) for name in self._keys]

    def values(self) -> Any:
        """The parameters."""
        return [self[name] for name in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """A parameter, or ``default``."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """A parameter; if there is none, ``default`` takes its place."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take a parameter out and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last parameter out; returns its name and it."""
        if not self._keys:
            raise StateError(lesson("ParameterDict.popitem: there is no parameter left"))
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Drop all."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> Any:
        """Another dict of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> Any:
        """Another dict with these names, and ``default`` for each."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Any) -> Any:
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Any) -> Any:
        joined = ParameterDict(other)
        joined.update(self)
        return joined

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def update(self, parameters: Any) -> None:
        """Add parameters from an ordered dict, another ParameterDict, or pairs; those of a plain
        dict in the order of their names, as in PyTorch."""
        pairs = read_pairs("ParameterDict.update", parameters)
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs.sort(key=lambda pair: pair[0])
        for name, value in pairs:
            self[name] = value

    def extra_repr(self) -> str:
        """One line an entry."""
        return "\n".join(shown(name, value, typename) for name, value in self.items())
