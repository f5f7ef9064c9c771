"""One record per update rule, and the one machine that applies them all.

A rule is a formula of a parameter and its gradient, written once with the letters of its paper::

    sgd = Rule("SGD", update=lambda θ, g, s, h, t: (θ - h.lr * g, {}), ...)

``θ`` and ``g`` are the parameter and its gradient, ``s`` its state, ``h`` the hyperparameters of
its group, ``t`` the number of this step, counted from 1. The formula returns the new parameter
and the new state. In an eager step all of these are arrays and floats. While a step is captured
they are tensors, and what may change between two calls (the learning rate, the step number) is a
0-d float64 symbol: so a formula chooses by value with ``where``, and uses Python's ``if`` only
for what a compiled step may fix (flags, and whether a state exists).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from contraflow.base.dtypes import float64
from contraflow.base.errors import ArgumentError, lesson
from contraflow.base.modes import Interpreter, at_once, capturing, current
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.tensor.arrays import array_of
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.versions import version_of
from contraflow.tensor.writing import store, write

__all__ = [
    "COMMON", "Domain", "Hyper", "Rule", "advance", "begin", "between", "check", "concrete",
    "filled", "finite", "live", "nonnegative", "one_of", "positive", "scalar", "unit_pair",
    "zeros",
]  # fmt: skip

Make = Callable[[Any], Any]


# ---- the domains of hyperparameters ---------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    """Which values a hyperparameter may take: in words, as a test, and a value that is fine."""

    text: str
    holds: Callable[[Any], bool]
    example: Any


def real(x: Any) -> bool:
    """Whether x is a Python number (or NumPy's), not a bool."""
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


def between(low: float, high: float, example: Any) -> Domain:
    """The numbers in [low, high)."""
    return Domain(
        f"a number in [{low:g}, {high:g})", lambda x: real(x) and low <= x < high, example
    )


def one_of(*values: Any) -> Domain:
    """One of a few values."""
    return Domain(f"one of {', '.join(map(repr, values))}", lambda x: x in values, values[0])


nonnegative = Domain("a number >= 0", lambda x: real(x) and x >= 0, 0.01)
positive = Domain("a number > 0", lambda x: real(x) and x > 0, 1.0)
finite = Domain("a number", lambda x: real(x) and np.isfinite(x), 0.75)
unit_pair = Domain(
    "two numbers in [0, 1)",
    lambda x: len(x) == 2 and all(real(b) and 0 <= b < 1 for b in x),
    (0.9, 0.999),
)
COMMON = {
    "lr": nonnegative,
    "weight_decay": nonnegative,
    "eps": nonnegative,
    "momentum": nonnegative,
    "betas": unit_pair,
    # What PyTorch takes for speed alone is accepted (foreach, fused, capturable); this is not.
    "differentiable": Domain(
        "False: an optimiser step is not recorded for backward", lambda x: not x, False
    ),
}


def check(owner: str, key: str, value: Any, domain: Domain) -> None:
    """Refuse a hyperparameter outside its domain.

    Raises:
        ArgumentError: with the domain in words and a value that is in it.
    """
    plain = value.item() if isinstance(value, Tensor) and value.shape.numel() == 1 else value
    try:
        fits = bool(domain.holds(plain))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        first = "optimizer" if owner.startswith("lr_scheduler") else "params"
        raise ArgumentError(
            lesson(
                f"{owner}: {key} must be {domain.text}",
                [("received", repr(value))],
                f"cf.optim.{owner}({first}, {key}={domain.example!r})",
            )
        )


# ---- the record -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """Everything there is to know about an update rule.

    Attributes:
        name: the class that users call.
        paper: where the formula comes from.
        update: ``update(θ, g, s, h, t) -> (new θ, {name: new state})``.
        state: from a parameter group, how to make each state of a parameter: ``{name: make(p)}``
            with PyTorch's names; a ``make`` may return None (this parameter has no such state).
            A state named ``step`` is counted by the machine.
        domain: the hyperparameters' domains, over those that are common.
        numbers: the states that are one number, kept as 0-d float64.
        fixed: hyperparameters that a compiled step fixes: sizes and counts.
        absent: what a state is when a state dict (PyTorch's, say) does not have it.
        layerwise: the formula looks at a parameter as a whole (its norm, its rows); otherwise
            each weight is updated by itself, and small parameters can be updated together.
    """

    name: str
    paper: str
    update: Callable[[Any, Any, Any, Any, Any], tuple[Any, dict[str, Any]]]
    state: Callable[[Mapping[str, Any]], dict[str, Make]]
    domain: Mapping[str, Domain] = field(default_factory=dict)
    numbers: tuple[str, ...] = ("step",)
    fixed: tuple[str, ...] = ()
    absent: Mapping[str, float] = field(default_factory=dict)
    layerwise: bool = False


def zeros(p: Any) -> Any:
    """A state of zeros with the shape and dtype of the parameter."""
    return full(shape=tuple(p.shape), value=0, dtype=p.dtype)


def filled(value: Any) -> Make:
    """A state filled with one value, with the shape and dtype of the parameter."""
    return lambda p: full(shape=tuple(p.shape), value=float(value), dtype=p.dtype)


def scalar(value: Any) -> Make:
    """A state that is one number: 0-d, and float64, because 1 - β**t needs the digits."""
    return lambda p: full(shape=(), value=float(value), dtype=float64)


# ---- hyperparameters ------------------------------------------------------------------------


def live(group: Mapping[str, Any], key: str) -> Any:
    """A hyperparameter as a formula sees it: a float, or under capture a symbol that is read anew
    before every run (a scheduler may have changed it). Flags and names stay what they are."""
    value = group[key]
    interpreter = current().interpreter
    if isinstance(value, tuple | list):
        return tuple(
            plain(part) if interpreter is None
            else symbol(part, lambda i=i: group[key][i], f"{key}[{i}]", interpreter)  # type: ignore[misc]
            for i, part in enumerate(value)
        )  # fmt: skip
    if interpreter is None:
        return plain(value)
    return symbol(value, lambda: group[key], key, interpreter)


def plain(value: Any) -> Any:
    """A hyperparameter in an eager step."""
    if value is None or type(value) in (float, bool, str):  # NumPy's float64 would widen arrays
        return value
    return float(value.item() if isinstance(value, Tensor) else value)


def symbol(value: Any, read: Callable[[], Any], label: str, interpreter: Interpreter) -> Any:
    """A hyperparameter of a step that is being captured."""
    if isinstance(value, Tensor):
        return convert(value, dtype=float64)
    if value is None or isinstance(value, bool | str):
        return value
    return interpreter.scalar(read, label)


class Hyper:
    """The hyperparameters of a group, each read once a step: ``h.lr``, ``h.betas``."""

    def __init__(self, group: Mapping[str, Any], fixed: tuple[str, ...]) -> None:
        self.__dict__.update(
            {key: group[key] for key in fixed}, maximize=group.get("maximize", False), _group=group
        )

    def __getattr__(self, key: str) -> Any:
        value = self.__dict__[key] = live(self._group, key)
        return value


# ---- the machine ----------------------------------------------------------------------------


@contextmanager
def concrete() -> Iterator[None]:
    """Compute with NumPy inside, even while a step is captured: for states that begin now, and
    so existed before the step that is being captured."""
    if capturing():
        with aside():
            yield
    else:  # what reads the old numbers comes first
        with at_once():
            yield


@contextmanager
def aside() -> Iterator[None]:
    """Compute with NumPy inside what depends on nothing that is put off or captured."""
    modes = current()
    before, modes.interpreter = modes.interpreter, None
    try:
        yield
    finally:
        modes.interpreter = before


def begin(state: dict[str, Any], makers: Mapping[str, Make], p: Any) -> dict[str, Any]:
    """Make the states that a parameter does not have yet."""
    for name, make in makers.items():
        if name not in state:
            with aside():
                made = make(p)
            if made is not None:
                owner = getattr(p, "_label", None)
                made._label = f"{owner}.{name}" if owner else name  # in messages and graphs
                state[name] = made
    return state


Work = list[tuple[Any, Any, dict[str, Any]]]  # parameters with their gradients and states


def advance(rule: Rule, group: Mapping[str, Any], work: Work) -> None:
    """Apply a rule to parameters with their gradients and states, writing in place."""
    modes = current()
    if modes.interpreter is None:
        modes.quiet(_advance_arrays, rule, group, work)
        return
    h = Hyper(group, rule.fixed)
    for item in work:
        _apply(rule, h, *item, itself, itself, write)


def _advance_arrays(rule: Rule, group: Mapping[str, Any], work: Work) -> None:
    h = Hyper(group, rule.fixed)
    for bundle in [[item] for item in work] if rule.layerwise else bundles(rule, work):
        if len(bundle) == 1:
            _apply(rule, h, *bundle[0], plain_array, float_of, put)
        else:
            _apply_together(rule, h, bundle)


def _apply(
    rule: Rule, h: Any, p: Any, grad: Any, state: dict[str, Any], value_of: Make,
    number_of: Make, assign: Callable[[Any, Any], Any],
) -> None:  # fmt: skip
    s = {k: number_of(v) if k in rule.numbers else value_of(v) for k, v in state.items()}
    g = -value_of(grad) if h.maximize else value_of(grad)
    t = s["step"] + 1 if "step" in s else None
    new, changed = rule.update(value_of(p), g, SimpleNamespace(**s), h, t)
    if t is not None:
        assign(state["step"], t)
    for name, value in changed.items():
        assign(state[name], value)
    assign(p, new)


# ---- small parameters, together ---------------------------------------------------------------
#
# A NumPy call costs as much as the arithmetic of some thousand elements, and a formula is a dozen
# calls. So parameters of up to SMALL elements are laid end to end, as long as they fit into the
# cache, and updated by one pass of the formula. The bits are the same: each weight is by itself.

SMALL, BUNDLE = 4096, 16384


def bundles(rule: Rule, work: Work) -> list[Work]:
    """The work in bundles that one pass can update: of one dtype, with equal numbers as states."""
    done: list[Work] = []
    filling: dict[Any, tuple[Work, int]] = {}
    numbers = rule.numbers
    for item in work:
        value, state = item[0]._value, item[2]
        size = value.size
        if size > SMALL:
            done.append([item])
            continue
        key = (
            value.dtype,
            *[(k, float_of(v) if k in numbers else None) for k, v in state.items()],
        )
        bundle, filled = filling.get(key, (None, 0))
        if bundle is None or filled + size > BUNDLE:
            bundle, filled = [], 0
            done.append(bundle)
        bundle.append(item)
        filling[key] = bundle, filled + size
    return done


def _apply_together(rule: Rule, h: Any, bundle: Work) -> None:
    params, grads, states = zip(*bundle, strict=True)
    first, numbers = states[0], rule.numbers
    s = {k: float_of(v) if k in numbers else flat([x[k] for x in states])
         for k, v in first.items()}  # fmt: skip
    g = -flat(grads) if h.maximize else flat(grads)
    t = s["step"] + 1 if "step" in s else None
    new, changed = rule.update(flat(params), g, SimpleNamespace(**s), h, t)
    if t is not None:
        changed["step"] = t
    for name, value in changed.items():
        targets = [state[name] for state in states]
        if name in numbers:
            for target in targets:
                put(target, value)
        else:
            spread(targets, value)
    spread(params, new)


def flat(tensors: Sequence[Any]) -> Any:
    """The elements of all tensors, end to end in one array."""
    return np.concatenate([array_of(t) for t in tensors], axis=None)


def spread(tensors: Sequence[Any], values: Any) -> None:
    """Put an array made as ``flat`` does back into the tensors."""
    start = 0
    for t in tensors:
        value = t._value
        stop = start + value.size
        put(t, values[start:stop].reshape(value.shape))
        start = stop


def itself(t: Any) -> Any:
    """A tensor stays a tensor: the formula becomes ops."""
    return t


def plain_array(t: Any) -> Any:
    """The array behind a tensor."""
    return array_of(t)


def float_of(t: Any) -> float:
    """The number in a 0-d tensor."""
    return float(array_of(t))


def put(t: Any, value: Any) -> None:
    """Copy an array or a number into a tensor's own memory."""
    store(t, value)
    version_of(t).touch()
