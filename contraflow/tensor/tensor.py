"""The Tensor: a mutable handle on an immutable value, and the eager interpreter.

The value is a NumPy array, or a symbol of the graph being captured; everything above sees the
same handle. In-place spelling (``add_``, ``+=``, ``copy_``, ``x[i] = v``) gives the handle a new
value through ``write``. Views share memory, as in PyTorch: a write to one is seen by all, and a
version that they share tells backward that a value it kept was overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import ref

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.dtypes import DType, default_dtype, from_numpy_dtype, result_type
from contraflow.base.errors import (
    ArgumentError,
    ContraflowError,
    DTypeError,
    GradError,
    IndexOutOfRange,
    ShapeError,
    lesson,
    show,
)  # fmt: skip
from contraflow.base.modes import Modes, at_once, capturing, current
from contraflow.base.shapes import broadcast
from contraflow.base.source import user_place
from contraflow.ops.cast import convert
from contraflow.ops.record import Aval, Op, bind, set_eager
from contraflow.ops.view import alias, expand, overwrite, view_put
from contraflow.tensor import tape
from contraflow.tensor.declared import Declared
from contraflow.tensor.pending import Pending
from contraflow.tensor.tape import Version, version_of

__all__ = ["Tensor", "array_of", "as_value", "describe", "make", "write"]

Array = np.ndarray[Any, Any]
T = TypeVar("T", bound="Tensor")
NUMBERS = frozenset((bool, int, float))
_new = object.__new__
ndarray = np.ndarray


class Tensor(Declared):
    """An n-dimensional array that remembers how it was computed.

    Made by ``cf.tensor``, ``cf.zeros``, ``cf.randn``, ...

    >>> import contraflow as cf
    >>> w = cf.tensor([2.0, -1.0], requires_grad=True)
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    tensor([ 4., -2.])
    """

    __slots__ = (
        "__dict__", "__weakref__", "_grad", "_hooks", "_index", "_node", "_parent",
        "_requires_grad", "_seen", "_value", "_version", "_view",
    )  # fmt: skip
    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy arrays leave `array * tensor` to us
    __hash__ = object.__hash__

    _value: Any
    _requires_grad: bool
    _grad: Tensor | None
    _node: tape.Node | None
    _index: int
    _parent: Tensor | None
    _view: tuple[Op, dict[str, Any]] | None
    _seen: int
    _version: Version | None
    _hooks: dict[int, Callable[[Any], Any]] | None
    retains_grad: bool = False

    # ---- what it is ------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._value.shape)

    @property
    def dtype(self) -> DType:
        return from_numpy_dtype(self._value.dtype)

    @property
    def ndim(self) -> int:
        return len(self._value.shape)

    @property
    def aval(self) -> Aval:
        """Shape and dtype."""
        return Aval(tuple(self._value.shape), self.dtype)

    def __len__(self) -> int:
        if not self._value.shape:
            raise DTypeError(lesson("len() of a 0-d tensor", fix="x.numel()"))
        return int(self._value.shape[0])

    # ---- autograd --------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches this tensor."""
        fresh(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Switch gradient recording for this leaf on or off, in place.

        Raises:
            GradError: for a tensor that was computed (use ``detach``), or an integer dtype.
        """
        if self._node is not None:
            if requires_grad:
                return self
            raise GradError(
                lesson(
                    "only leaves can stop requiring a gradient; this tensor was computed",
                    [("tensor", describe(self))],
                    "x.detach()",
                )
            )
        if requires_grad and self._value.dtype.kind != "f":
            raise GradError(
                lesson(
                    "only floating-point tensors can require a gradient",
                    [("tensor", describe(self))],
                    "x.float().requires_grad_()",
                )
            )
        self._requires_grad = bool(requires_grad)
        changes.tensors += 1
        return self

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded op computed."""
        fresh(self)
        return self._node is None

    @property
    def grad_fn(self) -> tape.Node | None:
        """The tape's record of the op that computed this tensor."""
        fresh(self)
        return None if self._node is None else tape.opened(self._node)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` accumulated here, or None."""
        interpreter = current().interpreter
        if interpreter is not None:
            interpreter.read_grad(self)
        if self._grad is not None:
            changes.tensors += 1  # it is in somebody's hands now
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise DTypeError(
                    lesson(f"grad must be a tensor or None, not {type(value).__name__}")
                )
            if value._value.shape != self._value.shape or value._value.dtype != self._value.dtype:
                raise ShapeError(
                    lesson(
                        "grad must have the tensor's shape and dtype",
                        [("tensor", self.aval), ("grad", value.aval)],
                    )
                )
        set_grad(self, value)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Compute the gradient of this tensor with respect to every leaf, and add it to ``.grad``.

        Args:
            gradient: the gradient of some scalar with respect to this tensor, same shape; may be
                left out for a single element (then it is 1).
            retain_graph: keep what backward needs, so that it can run again.
            create_graph: record backward itself, for derivatives of higher order.
            inputs: accumulate only into these tensors.

        Raises:
            GradError: if nothing recorded leads here, the graph was freed by an earlier backward,
                or a value that backward needs was overwritten in place.
        """
        tape.backward((self,), (gradient,), retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """A view of the same value that backward does not pass."""
        return alias(self)  # type: ignore[no-any-return]

    @property
    def data(self) -> Tensor:
        """The value without its history; writes to it are seen by this tensor."""
        return alias(self)  # type: ignore[no-any-return]

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Tensor):
            raise DTypeError(lesson(f".data takes a tensor, not {type(new).__name__}"))
        if capturing():
            write(self.detach(), new.detach())
            return
        with at_once():
            self._value = array_of(new)
            version_of(self).touch(user_place())
        changes.tensors += 1

    # ---- looking at the value --------------------------------------------------------------

    def numpy(self) -> Array:
        """The NumPy array that holds the value (shared memory).

        Raises:
            GradError: if the tensor requires a gradient; use ``x.detach().numpy()``.
        """
        if self.requires_grad:
            raise GradError(
                lesson(
                    "numpy() of a tensor that requires a gradient would lose its history",
                    [("tensor", describe(self))],
                    "x.detach().numpy()",
                )
            )
        return look(self, "numpy()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ArgumentError(
                    lesson(
                        f"a {self.dtype.name} tensor is no {np.dtype(dtype)} array without a copy",
                        [("tensor", describe(self))],
                        "numpy.asarray(x, dtype)",
                    )
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> bool | int | float:
        """The single element as a Python number."""
        array = look(self, "item()")
        if array.size != 1:
            raise ShapeError(
                lesson(
                    f"item() needs one element, the tensor has {array.size}",
                    [("tensor", describe(self))],
                    "x.tolist(), or x.mean().item()",
                )
            )
        return array.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as (nested lists of) Python numbers."""
        return look(self, "tolist()").tolist()

    def __bool__(self) -> bool:
        array = look(self, "bool() (an `if`, `while`, `and`, `assert`...)")
        if array.size != 1:
            raise ArgumentError(
                lesson(
                    f"the truth of a tensor with {array.size} elements is ambiguous",
                    [("tensor", describe(self))],
                    "x.any() or x.all()",
                )
            )
        return bool(array.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        value = self.item()
        if not isinstance(value, int):
            raise DTypeError(lesson("only an integer tensor can be an index", fix="int(x)"))
        return value

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise DTypeError(
            lesson(
                "tensors are not pickled: a pickle can run code when it is opened",
                fix="cf.save({'x': x}, 'x.safetensors'); cf.load('x.safetensors')",
            )
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise GradError(
                lesson(
                    "only leaves can be deep-copied; this tensor was computed",
                    [("tensor", describe(self))],
                    "x.detach().clone()",
                )
            )
        copy: Tensor = make(np.array(look(self, "copy.deepcopy")), type(self))
        copy._requires_grad = self._requires_grad
        if self._grad is not None:
            copy._grad = self._grad.__deepcopy__(memo)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.pop("_earlier", None)
        memo[id(self)] = copy
        return copy

    def __copy__(self) -> Tensor:
        """Another handle on the same memory, a leaf."""
        copy: Tensor = make(look(self, "copy.copy"), type(self))
        copy._requires_grad, copy._version = self.requires_grad, version_of(self)
        copy.__dict__.update(self.__dict__)
        return copy


class Size(tuple[int, ...]):
    """A shape: a tuple that also knows ``numel``."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        count = 1
        for size in self:
            count *= size
        return count

    def __repr__(self) -> str:
        return f"contraflow.Size({list(self)})"


def make(value: Any, cls: type[Any] = Tensor) -> Any:
    """A new handle on a value, with no history."""
    t = _new(cls)
    t._value = value
    if type(value) is Pending:
        value.owner.holders.append(ref(t))
    t._requires_grad = False
    t._grad = t._node = t._parent = t._version = t._hooks = None
    t._index = 0
    return t


def describe(t: Any) -> str:
    """``float32[32, 784]`` and its name, for messages."""
    if not isinstance(t, Tensor):
        return repr(t)
    return show(t)


def as_value(data: Any, dtype: DType | None = None) -> Any:
    """An array for data from outside: numbers, nested lists, arrays, sequences of tensors."""
    if isinstance(data, Tensor):
        array = look(data, "tensor()")
    elif isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
    else:
        array = _from_sequence(data)
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
        raise unreadable(data, array)
    numbers = not isinstance(data, np.ndarray | np.generic | Tensor)
    if dtype is None and numbers and array.dtype.kind == "f":
        array = array.astype(default_dtype().np)
    if dtype is not None and array.dtype != dtype.np:
        with np.errstate(all="ignore"):
            array = array.astype(dtype.np)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


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


def _from_sequence(data: Any) -> Array:
    def plain(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.tolist()
        return [plain(i) for i in item] if isinstance(item, list | tuple) else item

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


def look(t: Tensor, what: str) -> Array:
    """The array behind a tensor; under capture the interpreter explains or decides."""
    fresh(t)
    if type(t._value) is not np.ndarray or current().interpreter is not None:
        interpreter = current().interpreter
        if interpreter is not None:
            return interpreter.look(t, what)  # type: ignore[no-any-return]
        return array_of(t, what)
    return t._value


def array_of(t: Tensor, what: str = "an op") -> Array:
    """The array behind a tensor, which knows it from now on; computed now if it was put off."""
    value = t._value
    if type(value) is Pending:
        value = t._value = value.settled()
    if type(value) is not np.ndarray:
        raise GradError(lesson(f"{what} of a value that was captured and not computed"))
    return value


def set_grad(t: Tensor, value: Tensor | None) -> None:
    """Replace ``t.grad``."""
    interpreter = current().interpreter
    if interpreter is not None:
        interpreter.write_grad(t)
    t._grad = value
    changes.tensors += 1


def forget_grads(tensors: Iterable[Tensor]) -> None:
    """``grad = None`` for all of them."""
    interpreter = current().interpreter
    for t in tensors:
        if interpreter is not None:
            interpreter.write_grad(t)
        t._grad = None
    changes.tensors += 1


# ---- the eager interpreter -----------------------------------------------------------------


def eager(op: Op, args: tuple[Any, ...], attrs: dict[str, Any], modes: Modes) -> Any:
    """Compute an op with NumPy, and record it on the tape when a gradient will be wanted."""
    values: list[Any] = []
    tracked = numbers = mixed = False
    dtype: Any = None
    for a in args:
        if isinstance(a, Tensor):
            if a._parent is not None:
                fresh(a)
            value = a._value
            if type(value) is not ndarray:
                value = array_of(a)
            if a._requires_grad:
                tracked = True
            if dtype is None:
                dtype = value.dtype
            elif value.dtype is not dtype:
                mixed = True
            values.append(value)
        elif type(a) in NUMBERS:
            numbers = True
            values.append(a)
        else:
            return bind(op, coerce(op, args), attrs)
    if op.promote is not None and (
        dtype is None or mixed or dtype.kind not in op.kinds or (numbers and dtype.kind != "f")
    ):
        promoted = promote(op, args)
        if promoted is not None:
            return bind(op, promoted, attrs)
    try:
        if attrs:
            out = modes.quiet(op.forward, *values, **attrs)
        else:
            out = modes.quiet(op.forward, *values)
    except (ValueError, TypeError, IndexError, OverflowError, np.linalg.LinAlgError) as error:
        raise diagnosis(op, args, attrs, error) from None
    if op.outputs > 1:
        outs = tuple([make(o if type(o) is np.ndarray else np.asarray(o)) for o in out])
        if tracked and modes.grad and op.differentiable:
            tape.record(op, args, attrs, values, outs)
        return outs
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    t = _new(Tensor)
    t._value = out
    t._requires_grad = False
    t._grad = t._node = t._parent = t._version = t._hooks = None
    t._index = 0
    if op.view and isinstance(args[0], Tensor):
        mark_view(t, op, attrs, args[0])
    if tracked and modes.grad and op.differentiable:
        tape.record(op, args, attrs, values, (t,))
    return t


set_eager(eager)


def coerce(op: Op, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn arrays into tensors and NumPy scalars into numbers; refuse the rest."""
    read: list[Any] = []
    for i, a in enumerate(args):
        if isinstance(a, Tensor) or type(a) in NUMBERS:
            read.append(a)
        elif isinstance(a, np.generic):
            read.append(a.item())
        elif isinstance(a, np.ndarray):
            read.append(make(as_value(a)))
        else:
            name = op.operands[0] if op.variadic else op.operands[i]
            raise DTypeError(
                lesson(
                    f"{op.name}: operand {name} must be a tensor or a number",
                    [("received", f"{type(a).__name__} {a!r:.60}")],
                    "cf.tensor(...)",
                )
            )
    return tuple(read)


def promote(op: Op, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Bring the operands to one dtype; None when they already are there."""
    first = op.promote_from
    if not any(isinstance(a, Tensor) for a in args[first:]):
        args = (*args[:first], *(make_number(a) for a in args[first:]))
    operands = args[first:]
    target = result_type(*operands)
    kind = target.np.kind
    if kind not in op.kinds:
        if op.promote != "float":
            allowed = "integers and bool" if op.promote == "bits" else "numbers, not bool"
            raise DTypeError(
                lesson(
                    f"{op.name} takes {allowed}",
                    list(zip(op.operands, map(describe, args), strict=False)),
                    "cf.logical_not(x) or x.float()",
                )
            )
        target = default_dtype()
    converted = tuple(
        convert(a, dtype=target)
        if isinstance(a, Tensor) and a._value.dtype != target.np
        else fitting(op, a, target)
        if not isinstance(a, Tensor)
        else a
        for a in operands
    )
    if all(new is old for new, old in zip(converted, operands, strict=True)):
        return None if len(args) == len(operands) + first and converted == operands else args
    return (*args[:first], *converted)


def fitting(op: Op, number: Any, target: DType) -> Any:
    """A Python number as NumPy wants it beside arrays of the target dtype."""
    if target.category == 1 and isinstance(number, bool):
        return int(number)
    if target.category == 1 and not target.np.type(0) <= number <= np.iinfo(target.np).max:
        low = int(np.iinfo(target.np).min)
        if number < low or number > int(np.iinfo(target.np).max):
            raise ArgumentError(
                lesson(
                    f"{op.name}: {number} does not fit into {target.name}",
                    fix="convert the tensor first, e.g. x.long()",
                )
            )
    return number


def make_number(a: Any) -> Any:
    return a if isinstance(a, Tensor) else make(as_value(a))


class Named(Aval):
    """Shape and dtype of an operand, with the user's name for it: what shape rules print."""

    __slots__ = ("text",)

    def __init__(self, t: Tensor) -> None:
        super().__init__(tuple(t._value.shape), t.dtype)
        self.text = show(t)

    def __repr__(self) -> str:
        return self.text


def diagnosis(op: Op, args: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> Exception:
    """Explain a failed op: the shape rule's own words if it objects, NumPy's otherwise."""
    if isinstance(error, ContraflowError):
        return error
    names = [f"{op.operands[0]}[{i}]" for i in range(len(args))] if op.variadic else op.operands
    operands = list(zip(names, args, strict=False))
    number = Aval((), default_dtype())
    try:
        op.shape(*(Named(a) if isinstance(a, Tensor) else number for a in args), **attrs)
    except ShapeError as taught:
        if str(taught).startswith("shapes do not broadcast"):
            return ShapeError(
                lesson(
                    f"{op.name}: {str(taught).splitlines()[0]}",
                    operands,
                    str(taught).rsplit("fix: ", 1)[-1],
                )
            )
        return taught
    except ContraflowError as taught:
        return taught
    except Exception:  # the rule met what forward met: all there is to tell is what forward said
        pass
    kind: type[Exception] = ArgumentError
    if isinstance(error, TypeError | IndexError):
        kind = DTypeError if isinstance(error, TypeError) else IndexOutOfRange
    rows = [*operands, *attrs.items(), ("reason", str(error))]
    return kind(lesson(f"{op.name} cannot be computed from these operands", rows))


# ---- views and writes ----------------------------------------------------------------------


def mark_view(t: Tensor, op: Op, attrs: dict[str, Any], parent: Tensor) -> None:
    """Remember that ``t`` shows (part of) the memory of ``parent``."""
    value, source = t._value, parent._value
    if type(value) is np.ndarray and type(source) is np.ndarray and op.name == "reshape":
        base = value.base  # NumPy may have had to copy, and then shows the copy
        if value is not source and base is not source and (base is None or base is not source.base):
            return
    t._parent = parent
    t._view = (op, attrs)
    t._version = version_of(parent)
    t._seen = t._version.n


def fresh(t: Tensor) -> None:
    """Bring a view whose memory was written through another handle up to date."""
    parent = t._parent
    if parent is None or t._seen == t._version.n:  # type: ignore[union-attr]
        return
    for version, before in parent.__dict__.get("_earlier", ()):
        if t._seen < version:  # the parent has become another view since: show what it was
            parent = t._parent = before
            break
    t._seen = t._version.n  # type: ignore[union-attr]
    op, attrs = t._view  # type: ignore[misc]
    again = op(parent, **attrs)
    if type(again._value) is not np.ndarray:
        current().interpreter.rebind(t, again._value)  # type: ignore[union-attr]
    if op is not alias and (again._node is not None or t._node is not None):
        t._node, t._index = again._node, again._index
        t._requires_grad = again._requires_grad


def write(t: Tensor, new: Any) -> Tensor:
    """Give ``t`` a new value in place; ``new`` broadcasts to its shape and takes its dtype.

    Raises:
        GradError: if ``t`` is a leaf that requires a gradient (or a view of one) and recording is
            on: its history could not be kept.
    """
    if not isinstance(new, Tensor):
        new = make(as_value(new))
    if new._value.dtype != t._value.dtype:
        check_cast(new, t)
        new = convert(new, dtype=t.dtype)
    if new._value.shape != t._value.shape:
        check_fits(new, t)
        new = expand(new, shape=tuple(t._value.shape))
    fresh(t)
    modes = current()
    tracked = modes.grad and (t._requires_grad or new._requires_grad)
    if tracked and t._requires_grad and t._node is None:
        raise GradError(
            lesson(
                "a leaf that requires a gradient cannot be changed in place",
                [("tensor", describe(t))],
                "with cf.no_grad(): ...",
            )
        )
    symbolic = modes.interpreter is not None
    if tracked and new._node is None:
        # A step of the graph also where the new value has no history, or is a leaf itself.
        new = overwrite(t, new)
    detached = t._parent is not None and t._view[0] is alias  # type: ignore[index]
    if t._parent is not None and (symbolic or (tracked and not detached)):
        op, attrs = t._view  # type: ignore[misc]
        before, modes.grad = modes.grad, tracked  # what was detached is written unrecorded
        try:
            write(t._parent, view_put(t._parent, new, view=op.name, attrs=freeze(attrs)))
        finally:
            modes.grad = before
        return t
    if symbolic:
        modes.interpreter.write(t, new)  # type: ignore[union-attr]
    else:
        store(t, new._value)
    version = version_of(t)
    version.touch(user_place())
    t._seen = version.n
    if tracked:
        t._node, t._index, t._requires_grad = new._node, new._index, new._requires_grad
        changes.tensors += 1
    return t


def snapshot(t: Tensor) -> Tensor:
    """Another handle with the value and the history that ``t`` has now, whatever is written."""
    fresh(t)
    value = t._value
    twin = make(value.copy() if type(value) is np.ndarray else value)
    twin._node, twin._index, twin._requires_grad = t._node, t._index, t._requires_grad
    return twin  # type: ignore[no-any-return]


def store(t: Tensor, value: Array) -> None:
    """Copy an array into the tensor's own memory."""
    try:
        np.copyto(array_of(t), value)
    except ValueError:
        raise ArgumentError(
            lesson(
                "this tensor's memory cannot be written: it is expanded, or a read-only array",
                [("tensor", describe(t))],
                "x = x.clone(), then write to it",
            )
        ) from None


def freeze(attrs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Attributes as a hashable tuple."""
    return tuple(sorted(attrs.items()))


def check_cast(new: Tensor, t: Tensor) -> None:
    if new.dtype.category > t.dtype.category:
        raise DTypeError(
            lesson(
                f"a {new.dtype.name} result cannot be stored into a {t.dtype.name} tensor",
                [("tensor", describe(t)), ("result", describe(new))],
                "x = x.float(), or use the form that is not in place",
            )
        )


def check_fits(new: Tensor, t: Tensor) -> None:
    fits = len(new._value.shape) <= t.ndim or new._value.size == 1
    if fits:
        try:
            fits = broadcast(tuple(new._value.shape), tuple(t._value.shape)) == t._value.shape
        except ShapeError:
            fits = False
    if not fits:
        raise ShapeError(
            lesson(
                "the new value does not fit into the tensor that it is written to",
                [("tensor", describe(t)), ("value", describe(new))],
                "give it the tensor's shape (or sizes 1 to repeat)",
            )
        )
