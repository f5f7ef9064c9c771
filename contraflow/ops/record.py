"""One record per op: everything a graph may ask of an op stands in its record.

A record is written as mathematics::

    exp = op(
        "exp",
        "x",
        forward=np.exp,
        shape=same,
        promote="float",
        grad=lambda g, y: g * y,
        samples=unary(-3, 3),
    )

* ``forward`` is the meaning, on NumPy arrays: the eager engine and the oracle of every test.
* ``shape`` maps the operands' ``Aval`` (shape and dtype) and the attributes to the result's.
* ``grad`` is the chain rule. For several operands it is a dict, one line per operand. The names of
  the rule's parameters say what backward needs, and so what is kept: ``g`` (the gradient of the
  result), an operand's name, ``y`` (the result; ``y1`` is the second of several, and then the others
  are not kept), ``x_aval`` (only shape and dtype of operand x), ``y_aval``, or an attribute. One function that returns a tuple may serve all operands
  (``needs`` then tells it which ones are wanted). Rules are written in ops, so they can be
  captured and differentiated again. A rule may ignore broadcasting: the engine sums a gradient
  back to its operand's shape and dtype.
* ``definition`` writes a fused op in plain ops; a test proves that both agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType
from contraflow.base.errors import DTypeError, lesson
from contraflow.base.modes import Modes, local
from contraflow.base.shapes import Shape
from contraflow.ops.spelling import into

__all__ = [
    "NUMBERS", "OPS", "Aval", "GradRule", "Op", "Operand", "Plan", "Sample", "bind", "op", "set_eager",
]  # fmt: skip

Array = np.ndarray[Any, Any]


NUMBERS = frozenset((bool, int, float))  # Python numbers, which are operands as they are


class Operand:
    """What an op takes besides Python numbers: the base class of ``Tensor``."""

    __slots__ = ()


class Aval:
    """The abstract value of a tensor: its shape and dtype, no numbers."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: DType) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aval) and self.shape == other.shape and self.dtype is other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype.name))

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


class Sample:
    """One test case of an op: operands (arrays or numbers) and attributes.

    ``smooth=False`` marks a point where finite differences do not apply; ``error`` is the class
    of the error that the op must raise instead of giving a value.
    """

    __slots__ = ("args", "attrs", "error", "smooth")

    def __init__(
        self,
        *args: Any,
        smooth: bool = True,
        error: type[Exception] | None = None,
        **attrs: Any,
    ) -> None:
        self.args, self.attrs, self.smooth, self.error = args, attrs, smooth, error

    def __repr__(self) -> str:
        args = [f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else a for a in self.args]
        attrs = [f"{k}={v!r}" for k, v in self.attrs.items()]
        return f"({', '.join(map(str, [*args, *attrs]))})"


class GradRule:
    """A gradient function and where each of its parameters comes from."""

    __slots__ = ("args", "call", "fn", "results", "sources")

    def __init__(
        self, fn: Callable[..., Any], operands: Sequence[str], variadic: bool, outputs: int
    ) -> None:
        self.fn = fn
        code = fn.__code__
        # call(node, g, args, y, i): the rule with its parameters filled in from a tape node
        self.call: Callable[..., Any] = self.compile
        self.sources: list[str] = []  # an expression for each parameter of the rule
        self.args: set[int] = set()  # operands whose values must be kept
        self.results: set[int] = set()  # results whose values must be kept
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            stem = name.removesuffix("_aval")
            if name == "y":
                self.results.update(range(outputs))
            if name[0] == "y" and name[1:].isdigit():
                self.results.add(int(name[1:]))
                self.sources.append(f"y[{name[1:]}]")
            elif name in ("g", "y", "i"):
                self.sources.append(name)
            elif name == "needs":
                self.sources.append("node.plan.mask")
            elif name == "y_aval":
                self.sources.append("node.y_aval()")
            elif variadic and name == operands[0]:
                self.sources.append("args")
                self.args.add(-1)
            elif variadic and name == operands[0] + "_avals":
                self.sources.append("node.avals()")
            elif name in operands:
                self.sources.append(f"args[{operands.index(name)}]")
                self.args.add(operands.index(name))
            elif name != stem and stem in operands:
                self.sources.append(f"node.aval({operands.index(stem)})")
            else:
                self.sources.append(f"node.attrs[{name!r}]")

    def compile(self, *values: Any) -> Any:
        """Stands in for ``call`` until its first use: imports need not build what nobody calls."""
        code = f"lambda node, g, args, y, i: fn({', '.join(self.sources)})"
        self.call = eval(code, {"fn": self.fn})  # every name in it comes from the record itself
        return self.call(*values)


class Plan:
    """What one call of an op keeps for backward, given which operands require a gradient.

    ``pick(args)`` gives the operands with None for those that nobody will need.
    """

    __slots__ = ("joint", "keep", "keep_y", "mask", "pick", "rules")

    keep_y: tuple[int, ...]

    def __init__(self, record: Op, mask: tuple[bool, ...]) -> None:
        self.mask = mask
        self.joint = record.joint
        rules = record.rules
        if self.joint is not None:
            self.rules: tuple[GradRule | None, ...] = ()
            used = [self.joint]
        else:
            names = record.operands
            self.rules = tuple(
                rules.get(names[0] if record.variadic else names[i]) if wanted else None
                for i, wanted in enumerate(mask)
            )
            used = [rule for rule in self.rules if rule is not None]
        kept = set().union(*(rule.args for rule in used)) if used else set()
        self.keep = tuple(range(len(mask))) if -1 in kept else tuple(sorted(kept))
        self.keep_y = tuple(sorted(set().union(*(rule.results for rule in used))))
        self.pick = picker(self.keep, len(mask))


def picker(keep: tuple[int, ...], count: int) -> Callable[[tuple[Any, ...]], Sequence[Any]]:
    """A function that replaces the operands not kept by None."""
    if len(keep) == count:
        return lambda args: args
    if not keep:
        nothing = (None,) * count
        return lambda args: nothing
    if count == 2:
        return (lambda args: (args[0], None)) if keep == (0,) else (lambda args: (None, args[1]))
    return lambda args: [a if i in keep else None for i, a in enumerate(args)]


OPS: dict[str, Op] = {}


class Op:
    """The record of one op; calling it binds it: ``exp(x)``, ``reduce_sum(x, dims=(0,), ...)``."""

    __slots__ = (
        "_plans", "arity", "definition", "differentiable", "forward", "joint", "kinds", "name",
        "operands", "outputs", "promote", "promote_from", "random", "rules", "samples", "shape", "variadic",
        "view",
    )  # fmt: skip

    name: str
    operands: tuple[str, ...]
    arity: int
    variadic: bool
    outputs: int
    forward: Callable[..., Any]
    shape: Callable[..., Any]
    definition: Callable[..., Any] | None
    samples: Callable[[np.random.Generator], list[Sample]] | None
    promote: str | None
    promote_from: int
    kinds: str
    view: bool
    random: bool
    differentiable: bool
    joint: GradRule | None  # one rule for all operands ...
    rules: dict[str, GradRule]  # ... or one for each
    _plans: dict[tuple[int, int], Plan]

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        if "out" in attrs:
            out = attrs.pop("out")
            result = self(*args, **attrs)
            return result if out is None else into(out, result)
        if len(args) != self.arity and not self.variadic:
            args = self.named(args, attrs)
        return bind(self, args, attrs)

    def named(self, args: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[Any, ...]:
        """The operands, some of them given by PyTorch's names: ``exp(input=x)``."""
        second = "exponent" if self.name == "pow" else "other"
        names = (*(("input", second)[: self.arity]), *self.operands[2:])
        given = [attrs.pop(name) for name in names[len(args) :] if name in attrs]
        if len(args) + len(given) != self.arity:
            raise self.wrong_count((*args, *given))
        return (*args, *given)

    def wrong_count(self, args: tuple[Any, ...]) -> DTypeError:
        """The error for too many or too few operands (NumPy would take one more as ``out``)."""
        names = ", ".join(self.operands)
        return DTypeError(
            lesson(
                f"{self.name} takes {self.arity} operand{'s' * (self.arity != 1)} ({names}), "
                f"received {len(args)}",
                list(zip(self.operands, args, strict=False)),
                f"cf.{self.name}({names})",
            )
        )

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return OPS.__getitem__, (self.name,)

    def plan(self, key: tuple[int, int]) -> Plan:
        """The (cached) plan for the operands that require a gradient: (their bits, how many)."""
        found = self._plans.get(key)
        if found is None:
            bits, count = key
            mask = tuple(bool(bits >> i & 1) for i in range(count))
            found = self._plans[key] = Plan(self, mask)
        return found


# Which NumPy kinds each way of promotion computes in directly (f float, i/u integer, b bool).
KINDS = {"arith": "fiub", "float": "f", "number": "fiu", "bits": "iub", None: "fiub"}


def op(
    name: str,
    operands: str,
    *,
    forward: Callable[..., Any],
    shape: Callable[..., Any],
    grad: Callable[..., Any] | dict[str, Callable[..., Any]] | None = None,
    promote: str | None = None,
    promote_from: int = 0,
    outputs: int = 1,
    view: bool = False,
    random: bool = False,
    definition: Callable[..., Any] | None = None,
    samples: Callable[[np.random.Generator], list[Sample]] | None = None,
) -> Op:
    """Make and register the record of an op.

    Args:
        name: unique; also the op's name in printed graphs.
        operands: names, such as ``"a b"``; ``"*xs"`` takes any number of operands.
        promote: how operands of different dtypes meet. ``arith``: PyTorch's promotion. ``float``:
            the same, and integers become the default floating dtype. ``number``: ``arith`` without
            bool. ``bits``: integers and bool only. None: the op takes the dtypes as they are.
        promote_from: number of leading operands that promotion leaves alone.
        outputs: how many results; more than one come as a tuple.
        view: the result may share memory with the first operand.
        random: reads a random state (never folded or merged by passes).
    """
    record = Op.__new__(Op)
    record.name = name
    record.variadic = operands.startswith("*")
    record.operands = tuple(operands.removeprefix("*").split())
    record.arity = len(record.operands)
    record.forward, record.shape, record.definition = forward, shape, definition
    record.promote, record.promote_from, record.kinds = promote, promote_from, KINDS[promote]
    record.outputs, record.view, record.random, record.samples = outputs, view, random, samples
    record.differentiable = grad is not None
    record.joint, record.rules, record._plans = None, {}, {}
    if isinstance(grad, dict):
        record.rules = {
            key: GradRule(rule, record.operands, record.variadic, outputs)
            for key, rule in grad.items()
        }
    elif grad is not None:
        rule = GradRule(grad, record.operands, record.variadic, outputs)
        if len(record.operands) == 1 and not record.variadic:
            record.rules = {record.operands[0]: rule}
        else:
            record.joint = rule
    if name in OPS:
        raise RuntimeError(f"op {name!r} is defined twice")
    OPS[name] = record
    return record


Eager = Callable[["Op", tuple[Any, ...], dict[str, Any], Modes], Any]
_eager: Eager


def set_eager(run: Eager) -> None:
    """Install the eager interpreter (done once, by the floor above)."""
    global _eager
    _eager = run


def bind(record: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    """The one door: every operation of the library passes here, whoever interprets it."""
    modes = local.modes
    if modes.interpreter is None:
        return _eager(record, args, attrs, modes)
    return modes.interpreter.bind(record, args, attrs)
