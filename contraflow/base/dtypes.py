"""The dtypes, PyTorch's promotion rules and the default floating dtype."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, lesson

__all__ = [
    "DTYPES",
    "DType",
    "as_dtype",
    "bool_",
    "default_dtype",
    "float16",
    "float32",
    "float64",
    "from_numpy_dtype",
    "get_default_dtype",
    "int8",
    "int16",
    "int32",
    "int64",
    "promote_types",
    "result_type",
    "scalar_dtype",
    "set_default_dtype",
    "uint8",
]


class DType:
    """A dtype of a tensor, such as ``cf.float32``. There is one object for each dtype.

    ``np`` is NumPy's dtype, ``itemsize`` the bytes of one element.
    """

    __slots__ = ("category", "is_floating_point", "is_signed", "itemsize", "name", "np")

    def __init__(self, name: str, numpy_dtype: Any, category: int) -> None:
        self.name: Final[str] = name
        self.np: Final[np.dtype[Any]] = np.dtype(numpy_dtype)
        self.category: Final[int] = category  # 0 bool, 1 integer, 2 floating
        self.is_floating_point: Final[bool] = category == 2
        self.is_signed: Final[bool] = self.np.kind in "if"
        self.itemsize: Final[int] = self.np.itemsize

    def __repr__(self) -> str:
        return f"contraflow.{self.name}"

    def __str__(self) -> str:
        return f"contraflow.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


bool_ = DType("bool", np.bool_, 0)
uint8 = DType("uint8", np.uint8, 1)
int8 = DType("int8", np.int8, 1)
int16 = DType("int16", np.int16, 1)
int32 = DType("int32", np.int32, 1)
int64 = DType("int64", np.int64, 1)
float16 = DType("float16", np.float16, 2)
float32 = DType("float32", np.float32, 2)
float64 = DType("float64", np.float64, 2)

DTYPES: Final[dict[str, DType]] = {
    d.name: d for d in (bool_, uint8, int8, int16, int32, int64, float16, float32, float64)
}
_FROM_NUMPY: Final[dict[Any, DType]] = {d.np: d for d in DTYPES.values()}
_PYTHON: Final[dict[Any, DType]] = {bool: bool_, int: int64}
_default: DType = float32


def from_numpy_dtype(dtype: np.dtype[Any]) -> DType:
    """The DType of a NumPy dtype; an error that names the ones that exist otherwise."""
    found = _FROM_NUMPY.get(dtype)
    if found is None:
        native = _FROM_NUMPY.get(dtype.newbyteorder("="))
        if native is not None:
            return native
        raise DTypeError(
            lesson(
                f"no tensor can hold NumPy dtype {dtype}",
                [("dtypes", " ".join(DTYPES))],
                "convert the array first, e.g. array.astype(numpy.float32)",
            )
        )
    return found


def as_dtype(value: Any) -> DType:
    """Read a dtype: a DType, its name, NumPy's dtype or type, or ``float``/``int``/``bool``."""
    if isinstance(value, DType):
        return value
    if value is float:
        return _default
    if value in _PYTHON:
        return _PYTHON[value]
    if isinstance(value, str) and value in DTYPES:
        return DTYPES[value]
    try:
        return from_numpy_dtype(np.dtype(value))
    except TypeError as error:
        raise DTypeError(
            lesson(f"{value!r} is not a dtype", [("dtypes", " ".join(DTYPES))], "cf.float32")
        ) from error


def default_dtype() -> DType:
    """The dtype of floating tensors made from Python numbers (float32 unless set)."""
    return _default


def get_default_dtype() -> DType:
    """The dtype of floating tensors made from Python numbers (float32 unless set).

    >>> import contraflow as cf
    >>> cf.get_default_dtype()
    contraflow.float32
    """
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that Python floats become in ``cf.tensor(1.5)``, ``cf.zeros(3)``, ...

    Raises:
        ArgumentError: if ``dtype`` is not floating point.
    """
    global _default
    chosen = as_dtype(dtype)
    if not chosen.is_floating_point:
        raise ArgumentError(
            lesson(
                f"the default dtype must be floating point, not {chosen.name}",
                fix="cf.set_default_dtype(cf.float64)",
            )
        )
    _default = chosen


def promote_types(a: DType, b: DType) -> DType:
    """The dtype two tensors meet in: PyTorch's table, so int64 with float32 is float32.

    >>> import contraflow as cf
    >>> cf.promote_types(cf.int64, cf.float32)
    contraflow.float32
    """
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    return _FROM_NUMPY[np.promote_types(a.np, b.np)]


def scalar_dtype(number: Any) -> DType:
    """The dtype a Python number stands for when no tensor is there to decide."""
    if isinstance(number, bool):
        return bool_
    return int64 if isinstance(number, int) else _default


def result_type(*operands: Any) -> DType:
    """The dtype of an operation over tensors and Python numbers, as in PyTorch.

    Tensors with dimensions come first; a 0-d tensor or a Python number only raises the category
    (bool < integer < floating), never the width.

    >>> import contraflow as cf
    >>> cf.result_type(cf.ones(3), 2.5)
    contraflow.float32
    >>> cf.result_type(cf.ones(3, dtype=cf.int8), cf.tensor(1.0))
    contraflow.float32
    """
    ranked: list[DType | None] = [None, None, None]  # with dimensions, 0-d, Python numbers
    for operand in operands:
        if isinstance(operand, bool | int | float):
            rank, dtype = 2, scalar_dtype(operand)
        else:
            rank, dtype = (0 if operand.ndim else 1), operand.dtype
        known = ranked[rank]
        ranked[rank] = dtype if known is None else promote_types(known, dtype)
    result: DType | None = None
    for dtype_or_none in ranked:
        if dtype_or_none is None:
            continue
        if result is None:
            result = dtype_or_none
        elif dtype_or_none.category > result.category:
            result = promote_types(result, dtype_or_none)
    return result if result is not None else _default
