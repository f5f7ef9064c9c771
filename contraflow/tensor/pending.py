"""A value that will be computed when somebody looks (see ``compiler.lazy``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.ops.record import Aval

__all__ = ["Pending"]


class Pending:
    """Stands where a tensor's array will be. Shape and dtype are known; whatever else is asked of
    it is asked of the array, which is computed then.

    Attributes:
        value: its symbol in the graph of what is pending.
        owner: the interpreter that will compute it.
        array: what was computed; None before.
    """

    __slots__ = ("array", "dtype", "owner", "shape", "value")

    def __init__(self, value: Any, owner: Any) -> None:
        self.value, self.owner = value, owner
        self.shape, self.dtype = value.shape, value.dtype
        self.array: Any = None

    @property
    def aval(self) -> Aval:
        return self.value.aval  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.value.size  # type: ignore[no-any-return]

    def settled(self) -> np.ndarray[Any, Any]:
        """The array, computed now if it was not."""
        if self.array is None:
            self.owner.settle()
        return self.array  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.settled(), dtype, copy=copy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settled(), name)

    def __repr__(self) -> str:
        return f"<pending {self.aval}>"
