"""The recording interpreter: each op becomes an equation, each tensor met on the way an input.

What existed before and is read becomes an input; what existed before and is written becomes an
in-place output. While recording, the handles of such tensors hold symbols; ``close`` gives all of
them their arrays back, so that recording changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraflow.base.dtypes import default_dtype, float64, from_numpy_dtype
from contraflow.base.errors import CaptureError, lesson
from contraflow.base.modes import current
from contraflow.base.source import user_place
from contraflow.graph.ir import Equation, Value
from contraflow.ops.record import Aval, Op
from contraflow.tensor.operands import coerce, promote
from contraflow.tensor.tape import record
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.views import fresh, mark_view

__all__ = ["External", "Recorder"]

CONTIGUOUS = ("reshape", "alias")
OUTSIDE = (
    "return the tensor from the step and look at it outside; choose with cf.where(condition, a, b) "
    "instead of `if`"
)
SAME_SHAPE = (
    "the shape of the result would depend on values: keep it, as in cf.where(mask, x, 0.0) or "
    "(x * mask).sum() / mask.sum(), or do it outside the step"
)
INSTEAD = {  # of what looks at a value: what to write
    "tensor()": "cf.stack([a, b]) for numbers that are tensors, x.clone() for a copy",
    "copy.deepcopy": "x.clone()",
    "copy.copy": "x.clone()",
    "bincount()": "F.one_hot(x, num_classes).sum(0), or do it outside the step",
    "histogram()": "cf.histc(x, bins, min, max), or do it outside the step",
    "nonzero() or a mask that is read": SAME_SHAPE,
    "a mask that is read": SAME_SHAPE,
    "masked_select()": SAME_SHAPE,
    "unique()": SAME_SHAPE,
    "unique_consecutive()": SAME_SHAPE,
}


@dataclass(eq=False)
class External:
    """A tensor that existed before: its array, its symbol, and the owner if it is a ``.grad``."""

    tensor: Any
    array: Any
    input: Value
    owner: Any
    history: tuple[Any, int, bool]


class Recorder:
    """Stands behind the door while a step is captured (see ``base.modes.Interpreter``)."""

    deferred = False

    def __init__(self, locate: bool = False) -> None:
        self.equations: list[Equation] = []
        self.constants: dict[Value, Any] = {}
        self.arguments: list[External] = []
        self.externals: dict[int, External] = {}
        self.scalars: list[tuple[Value, Callable[[], float]]] = []
        self.grads: dict[int, tuple[Any, Any]] = {}  # tensors whose .grad slot was replaced
        self.without_grad: dict[int, Any] = {}  # tensors that were seen to have no .grad
        self.holders: dict[int, Any] = {}  # modules and optimisers that decide (see `given`)
        # for each equation its module, the user's line, and what it computes the gradient of
        self.places: dict[Equation, tuple[Any, Any, Equation | None]] | None = None
        if locate:
            self.places = {}
        self.refused: CaptureError | None = None  # why a value was not shown
        self._made: dict[Any, Equation] = {}  # nodes of the tape, by what they are the record of
        self._node: Any = None  # the node that backward is at
        self._refreshed: list[tuple[Any, Any]] = []
        self._grad_owner: dict[int, Any] = {}

    def argument(self, t: Tensor) -> Tensor:
        """A handle that stands for a tensor that each call passes."""
        symbol = Value(t.aval, f"argument {len(self.arguments)}")
        handle: Tensor = make(symbol)
        handle._requires_grad, handle._grad = t._requires_grad, t._grad
        self.arguments.append(External(handle, None, symbol, None, (None, 0, t._requires_grad)))
        return handle

    # ---- the interpreter ---------------------------------------------------------------------

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        args = coerce(op, args)
        if op.promote is not None:
            args = promote(op, args) or args
        values = [self.symbol(a) if isinstance(a, Tensor) else a for a in args]
        dtype = next(
            (v.aval.dtype for v in reversed(values) if isinstance(v, Value)), default_dtype()
        )
        avals = [v.aval if isinstance(v, Value) else Aval((), dtype) for v in values]
        found = op.shape(*avals, **attrs)
        equation = Equation(op, values, attrs, found if isinstance(found, tuple) else (found,))
        self.equations.append(equation)
        if self.places is not None:
            self.locate(equation)
        outs = tuple(make(value) for value in equation.outputs)
        if op.view and isinstance(args[0], Tensor) and shows(op, attrs, args[0]):
            mark_view(outs[0], op, attrs, args[0])
        tracked = any(isinstance(a, Tensor) and a._requires_grad for a in args)
        if tracked and current().grad and op.differentiable:
            record(op, args, attrs, values, outs)
            if self.places is not None and outs[0]._node is not None:
                self._made[outs[0]._node] = equation
        return outs if op.outputs > 1 else outs[0]

    def locate(self, equation: Equation) -> None:
        """Remember where an equation comes from."""
        modules = current().modules
        module = modules[-1] if modules else None
        self.places[equation] = module, user_place(), self._made.get(self._node)  # type: ignore[index]

    def walking(self, node: Any) -> None:
        """Backward is at a node of the tape; None: it is over."""
        self._node = node

    def symbol(self, t: Tensor) -> Value:
        """The symbol of a tensor; a tensor that existed before becomes an input."""
        fresh(t)
        value = t._value
        if isinstance(value, Value):
            return value
        if t._parent is not None:
            op, attrs = t._view  # type: ignore[misc]
            self.rebind(t, op(t._parent, **attrs)._value)
            return t._value  # type: ignore[no-any-return]
        aval = Aval(tuple(value.shape), from_numpy_dtype(value.dtype))
        owner = self._grad_owner.get(id(t))
        label = getattr(t if owner is None else owner, "_label", None)
        symbol = Value(aval, f"{label}.grad" if label and owner is not None else label)
        history = (t._node, t._index, t._requires_grad)
        self.externals[id(t)] = External(t, value, symbol, owner, history)
        t._value = symbol
        return symbol

    def write(self, tensor: Any, new: Any) -> None:
        value = self.symbol(new)
        self.symbol(tensor)
        tensor._value = value

    def rebind(self, tensor: Any, value: Any) -> None:
        if type(tensor._value) is np.ndarray:
            self._refreshed.append((tensor, tensor._value))
        tensor._value = value

    def constant(self, array: Any) -> Value:
        value = Value(Aval(tuple(array.shape), from_numpy_dtype(array.dtype)))
        self.constants[value] = array
        return value

    def look(self, tensor: Any, what: str) -> Any:
        value = tensor._value
        if isinstance(value, Value) and value in self.constants:
            return self.constants[value]
        self.refused = CaptureError(
            lesson(
                f"{what} looks at a value while the step is being captured; "
                "the step runs later, so there is no value yet",
                [("tensor", tensor.aval)],
                INSTEAD.get(what, OUTSIDE),
            )
        )
        raise self.refused

    def checked(self, tensor: Any) -> None:
        """There are no numbers to look at."""

    def read_grad(self, tensor: Any) -> None:
        held = tensor._grad
        if held is None and id(tensor) not in self.grads and self.outside(tensor):
            self.without_grad[id(tensor)] = tensor
        if held is not None and type(held._value) is np.ndarray:
            self._grad_owner[id(held)] = tensor

    def write_grad(self, tensor: Any) -> None:
        if self.outside(tensor):
            self.grads.setdefault(id(tensor), (tensor, tensor._grad))

    def outside(self, tensor: Any) -> bool:
        """Whether others can see the tensor: it existed before, or is an argument."""
        if type(tensor._value) is np.ndarray or id(tensor) in self.externals:
            return True
        return tensor._parent is None and any(tensor is e.tensor for e in self.arguments)

    def scalar(self, read: Callable[[], float], label: str) -> Any:
        value = Value(Aval((), float64), label)
        self.scalars.append((value, read))
        return make(value)

    def given(self, holder: Any) -> None:
        self.holders.setdefault(id(holder), holder)

    def call(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
    ) -> Any:
        self.given(module)
        return run(*args, **kwargs)

    def settle(self) -> None:
        """Nothing is put off: there are no values."""

    def backward(self, root: Any, retain: bool, run: Callable[[], None]) -> None:
        run()

    def update(self, optimizer: Any, run: Callable[[], None]) -> None:
        run()

    def stepped(self, optimizer: Any) -> None:
        """The step goes on: others may follow."""

    # ---- the end -----------------------------------------------------------------------------

    def written(self) -> list[tuple[External, Value]]:
        """The tensors from outside that were written, with their new values."""
        known = (*self.arguments, *self.externals.values())
        return [(e, e.tensor._value) for e in known if e.tensor._value is not e.input]

    def replaced_grads(self) -> list[tuple[Any, Value | None]]:
        """The tensors whose ``.grad`` was replaced, with the new gradient's symbol."""
        return [
            (t, None if t._grad is None else self.symbol(t._grad))
            for t, before in self.grads.values()
            if t._grad is not before
        ]

    def close(self) -> None:
        """Give every tensor that existed before its array, history and gradient back."""
        for external in self.externals.values():
            t = external.tensor
            t._value = external.array
            t._node, t._index, t._requires_grad = external.history
        for tensor, array in reversed(self._refreshed):
            tensor._value = array
        for tensor, before in self.grads.values():
            tensor._grad = before
        for argument in self.arguments:
            argument.tensor._grad = None  # that of the tensor for which it stood


def shows(op: Op, attrs: dict[str, Any], source: Tensor) -> bool:
    """Whether a view op shows memory: a reshape of a rearranged view may be a copy. NumPy knows;
    memory that is not there yet will be contiguous."""
    if op.name != "reshape":
        return True
    chain: list[Any] = []
    while source._parent is not None:
        chain.append(source._view)
        source = source._parent
    array: Any = source._value
    if type(array) is not np.ndarray:
        if all(view.name in CONTIGUOUS for view, _ in chain):
            return True
        array = np.empty(array.shape, np.bool_)
    for view, how in reversed(chain):
        array = view.forward(array, **how)
    try:
        np.reshape(array, attrs["shape"], copy=False)
    except ValueError:
        return False
    return True
