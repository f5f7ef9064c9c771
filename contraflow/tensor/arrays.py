"""Arrays: the one behind a tensor, and the one for data from outside."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from contraflow.base.dtypes import DType, default_dtype
from contraflow.base.errors import CaptureError, DTypeError, ShapeError, lesson
from contraflow.base.modes import local, symbols
from contraflow.ops.record import Operand
from contraflow.tensor.pending import Pending
from contraflow.tensor.versions import version_of
from contraflow.tensor.views import fresh

__all__ = ["Array", "array_of", "as_value", "given_away", "look"]

Array = np.ndarray[Any, Any]


# ---- behind a tensor ---------------------------------------------------------------------------


def look(t: Any, what: str) -> Array:
    """The array behind a tensor; under capture the interpreter explains or decides."""
    fresh(t)
    interpreter = local.modes.interpreter
    if interpreter is not None:
        return interpreter.look(t, what)  # type: ignore[no-any-return]
    value = t._value
    return value if type(value) is np.ndarray else array_of(t, what)


def array_of(t: Any, what: str = "an op") -> Array:
    """The array behind a tensor, which knows it from now on; computed now if it was put off."""
    value = t._value
    if type(value) is Pending:
        array = value.settled()
        if t._value is value:  # a view shows the memory of its base by now
            t._value = array
        value = t._value
    if type(value) is not np.ndarray:
        with symbols:  # another thread may be capturing a step that uses it
            value = t._value
    if type(value) is not np.ndarray:
        raise CaptureError(
            lesson(
                f"{what} of a tensor that has no value: it was made while a compiled step was "
                "captured, and kept outside of it",
                [("tensor", t.aval)],
                "return it from the step, and keep what the call returns",
            )
        )
    return value


class Given:
    """What an array that was given away is made of: it lives as long as somebody has that array, or
    a part of it."""

    __slots__ = ("__array_interface__", "__weakref__", "array")

    def __init__(self, array: Array) -> None:
        self.array, self.__array_interface__ = array, array.__array_interface__


def given_away(t: Any, what: str) -> Array:
    """An array on the memory of a tensor, for the user."""
    given = Given(look(t, what))
    version_of(t).share(ref(given))
    return np.asarray(given)


# ---- from outside ------------------------------------------------------------------------------


def as_value(data: Any, dtype: DType | None = None) -> Array:
    """An array for data from outside: numbers, nested lists, arrays, sequences of tensors.

    Raises:
        ShapeError: for nested lists of unequal lengths.
        DTypeError: for data that is no numbers.
    """
    if isinstance(data, Operand):
        array = look(data, "tensor()")
    elif isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
    else:
        array = from_sequence(data)
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
        raise unreadable(data, array)
    numbers = not isinstance(data, np.ndarray | np.generic | Operand)
    if dtype is None and numbers and array.dtype.kind == "f":
        array = array.astype(default_dtype().np)
    if dtype is not None and array.dtype != dtype.np:
        with np.errstate(all="ignore"):
            array = array.astype(dtype.np)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def from_sequence(data: Any) -> Array:
    """An array of (nested lists of) numbers and tensors."""
    try:
        array = np.asarray(plain(data))
    except ValueError:
        raise ShapeError(
            lesson(
                "tensor(): nested lists must have equal lengths",
                [("found", words) for words in uneven(plain(data)) or ()],
                "pad the short ones: row + [0.0] * (longest - len(row))",
            )
        ) from None
    except OverflowError:
        raise DTypeError(lesson("tensor(): an integer does not fit into int64")) from None
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(default_dtype().np)
    return array


def plain(item: Any) -> Any:
    """Nested lists with numbers in place of the tensors in them."""
    if isinstance(item, Operand):
        return look(item, "tensor()").tolist()
    return [plain(i) for i in item] if isinstance(item, list | tuple) else item


def uneven(data: Any, where: str = "data") -> tuple[str, str] | None:
    """Two neighbours of different lengths in nested lists, in words."""
    sizes = [len(item) if isinstance(item, list | tuple) else None for item in data]
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            words = [
                "a number" if n is None else f"{n} element{'s' * (n != 1)}"
                for n in (sizes[0], size)
            ]
            return f"{where}[0] has {words[0]}", f"{where}[{i}] has {words[1]}"
    parts = [uneven(x, f"{where}[{i}]") for i, x in enumerate(data) if isinstance(x, list | tuple)]
    return next((part for part in parts if part), None)


def unreadable(data: Any, array: Array) -> DTypeError:
    """The error of data that is no numbers."""
    kind, fix = f"{array.dtype} data", "array.astype(numpy.float32)"
    if array.dtype.kind in "US":
        kind, fix = "text", "a number for each word: [names.index(word) for word in words]"
    elif array.dtype.kind == "O":
        kind = "Python objects"
        fix = "numbers or bools, in lists, tuples or arrays; for a table, df.to_numpy()"
    return DTypeError(
        lesson(
            f"a tensor holds numbers, not {kind}",
            [("received", f"{type(data).__name__} {data!r:.60}")],
            fix,
        )
    )
