"""``cf.compile``: a step function becomes one native call, with PyTorch's state around it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import update_wrapper
from itertools import count
from operator import length_hint
from threading import RLock
from time import perf_counter
from types import MethodType
from typing import Any

import numpy as np

from contraflow.base.dtypes import default_dtype
from contraflow.base.errors import CaptureError, lesson
from contraflow.base.memory import collected_later
from contraflow.base.modes import Modes, at_once, capturing, current, local
from contraflow.base.tree import is_record, parts_of
from contraflow.capture.names import Names
from contraflow.capture.step import CapturedStep, capture, named
from contraflow.compiler.epoch import run_epoch
from contraflow.compiler.explain import report
from contraflow.compiler.llvm import NOTICE, available
from contraflow.compiler.results import Results
from contraflow.compiler.steady import MISSED, Again
from contraflow.compiler.version import Version
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.views import fresh

__all__ = ["Compiled", "Version", "compile"]

LIMIT = 16  # versions of one step before a warning says that something keeps changing
MOST = 64  # versions that are kept
NAMED = 3  # reasons that the warning names
PYTORCH = {"fullgraph", "dynamic", "backend", "mode"}
_compiling = RLock()  # while a step is captured, the tensors that it uses hold symbols
_numbers = count()


def compile(function: Any = None, *, check_finite: bool = False, **options: Any) -> Any:
    """Turn a step function into one native call that leaves the same numbers and the same state.

    The function is run once on symbols for each combination of shapes, dtypes and modes: forward,
    backward, clipping and the optimiser's update become one graph, fused and compiled. Learning
    rates and whatever else an optimiser reads as a number may change between calls.

    Args:
        function: a step, ``step(x, y) -> loss``; everything in it happens inside the native call.
        check_finite: look for NaN and infinities in results, gradients and new state after each
            call, before anything has changed. Costs a copy of the state; nothing when it is off.
        options: PyTorch's ``fullgraph``, ``dynamic``, ``backend`` and ``mode`` are accepted.

    Raises:
        CaptureError: at the first call, if the function looks at a value (``item``, ``if``).
        NonFiniteError: with ``check_finite``, naming the op that made the first such number.

    >>> import contraflow as cf
    >>> from contraflow import nn
    >>> _ = cf.manual_seed(0)
    >>> model = nn.Linear(3, 1)
    >>> optimizer = cf.optim.Adam(model.parameters(), lr=0.1)
    >>> @cf.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x, y = cf.randn(8, 3), cf.randn(8, 1)
    >>> first, *_, last = [step(x, y).item() for _ in range(50)]
    >>> last < first
    True
    """
    unknown = set(options) - PYTORCH
    if unknown:
        raise CaptureError(
            lesson(f"compile does not take {', '.join(sorted(unknown))}", fix="cf.compile(step)")
        )
    kind = Compiled if available() else Eager

    def made(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(made(function.__func__))
        return kind(checked(function), check_finite)

    return made if function is None else made(function)


def checked(function: Any) -> Any:
    """The function, if it is one that can run at once."""
    if not callable(function):
        rule = f"compile takes a function, not {type(function).__name__}"
    elif inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        rule = "compile takes a plain function: this one would stop in the middle"
    else:
        return function
    raise CaptureError(lesson(rule, fix="cf.compile(step) for def step(x, y): ... return loss"))


class Compiled:
    """A function that runs natively; each combination of shapes and modes has its own version."""

    def __init__(self, function: Callable[..., Any], check_finite: bool = False) -> None:
        self.function, self.check_finite = function, check_finite
        self.versions: dict[Any, list[Version]] = {}
        self.last: tuple[list[Any], Version] | None = None  # the form of the last call
        self.again: Again | None = None  # serves calls like the last one
        self.last_epoch = ""  # how its batches went through
        if hasattr(function, "__name__"):
            update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """In a class it is a method, as the function would be."""
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        """What it does not have itself is the function's: ``compiled.parameters()`` of a module."""
        if name == "function":  # not there yet
            raise AttributeError(name)
        return getattr(self.function, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        """A copy compiles for itself."""
        return type(self)(deepcopy(self.function, memo), self.check_finite)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        modes = local.modes
        if modes.interpreter is not None:
            if not modes.interpreter.deferred:  # inside another captured step: part of it
                return self.function(*args, **kwargs)
            with at_once():
                return self(*args, **kwargs)
        again = self.again
        if again is not None and not kwargs:
            result = again(args, modes)
            if result is not MISSED:
                return result
        given: list[Tensor] = []
        key = signature(args, kwargs, given, modes)
        last = self.last
        if last is not None and last[0] == key and last[1].guards.hold(given):
            version = last[1]
        else:
            version = self.serving(key, args, kwargs, given)
        result = version(given)
        if not kwargs:
            self.again = version.serves_again(args, modes)
        return result

    def version_for(self, args: Any, kwargs: Any, given: list[Tensor]) -> tuple[Version, Any]:
        """What serves a call, compiled if need be, with the tensors behind its externals; collects
        the tensors among the arguments."""
        key = signature(args, kwargs, given, current())
        version = self.serving(key, args, kwargs, given)
        return version, version.held(given)

    def serving(self, key: list[Any], args: Any, kwargs: Any, given: list[Tensor]) -> Version:
        """The version for a call of this form, compiled if need be."""
        form = tuple(key)
        version = self.found(form, given)
        if version is None:
            with _compiling, collected_later():
                version = self.found(form, given) or self.new_version(form, args, kwargs, given)
        self.last = key, version
        return version

    def found(self, form: tuple[Any, ...], given: list[Tensor]) -> Version | None:
        """The version that was compiled for this form, if what it takes for granted still holds."""
        for version in self.versions.get(form, ()):
            if version.guards.hold(given):
                return version
        return None

    def epoch(self, batches: Any, *, progress: Callable[[int, Any], None] | None = None) -> Any:
        """``step(*batch)`` for every batch of a loader: the same batches in the same order, the
        same bits, and one row a batch of what the step returned.

        Data in memory (a ``DataLoader`` over a ``TensorDataset``, also shuffled, weighted or split)
        are gathered by native code, many batches in one call; what has to ask Python in between
        (a ``collate_fn``, samples that are made one by one) goes batch by batch, as ``explain``
        says. Ctrl-C and errors leave everything as after the last batch that was finished.

        Args:
            batches: a loader, or any collection of batches, each the arguments of one call.
            progress: ``progress(done, results)`` is called some thirty times a second with the
                number of batches that are done and their results.

        Returns:
            What the step returns, with the tensors of all batches stacked along a new first
            dimension. A tensor with another shape in the last batch becomes a list.

        >>> import contraflow as cf
        >>> w = cf.zeros(2)
        >>> @cf.compile
        ... def step(x):
        ...     w.add_(x.sum(0))
        ...     return x.mean()
        >>> data = cf.data.TensorDataset(cf.arange(6.0).reshape(3, 2))
        >>> step.epoch(cf.data.DataLoader(data))
        tensor([0.5000, 2.5000, 4.5000])
        >>> w
        tensor([6., 9.])
        """
        if capturing():
            raise CaptureError(
                lesson(
                    "an epoch is many calls of a step: it cannot be part of another compiled step",
                    fix="call step.epoch(loader) from plain Python",
                )
            )
        with at_once():
            return run_epoch(self, batches, progress)

    # ---- compiling -----------------------------------------------------------------------------

    def new_version(
        self, form: tuple[Any, ...], args: Any, kwargs: Any, given: list[Tensor]
    ) -> Version:
        """Capture and compile for what these arguments and the present modes ask for."""
        passed = list(leaves(self.function, args, kwargs))
        described = describe(passed)
        reason = self.reason(form, described, given)
        start = perf_counter()
        names = Names(self.function, [value for _, value in passed])
        captured = capture(
            lambda args, kwargs: self.function(*args, **kwargs), args, kwargs,
            name=named(self.function), locate=self.check_finite,
        )  # fmt: skip
        refuse_unfinished(captured)
        captured.names = names.settled()
        tensors = [name for name, value in passed if isinstance(value, Tensor)]
        version = Version(captured, described, tensors, reason, self.check_finite)
        version.number, version.seconds = next(_numbers), perf_counter() - start
        self.versions.setdefault(form, []).append(version)
        self.keep_few()
        return version

    def all_versions(self) -> list[Version]:
        """All that are kept, the oldest first."""
        found = [version for versions in self.versions.values() for version in versions]
        return sorted(found, key=lambda version: version.number)

    def reason(self, form: tuple[Any, ...], described: Any, given: list[Tensor]) -> str:
        """Why no version serves a call, in words."""
        same = self.versions.get(form)
        if same:
            return same[-1].guards.broken(given) or "something that it took for granted changed"
        if not self.versions:
            return "the first call"
        return change(self.all_versions()[-1].form, described)

    def keep_few(self) -> None:
        """Drop the oldest version when there are too many; warn before."""
        versions = self.all_versions()
        if len(versions) > MOST:
            oldest = versions.pop(0)
            for form, kept in list(self.versions.items()):
                if oldest in kept:
                    kept.remove(oldest)
                    if not kept:
                        del self.versions[form]
        if len(versions) == LIMIT:
            reasons = dict.fromkeys(version.reason for version in versions[-NAMED:])
            warnings.warn(
                f"this step was compiled {LIMIT} times; the last reasons: {'; '.join(reasons)}. "
                "Pad the last batch, or drop it (DataLoader(drop_last=True)), and pass changing "
                "numbers as tensors",
                stacklevel=5,
            )

    def explain(self, *, times: bool = True) -> str:
        """What became of the step: why it was compiled, kernels with their sizes and speed, memory,
        and what is not native.

        Args:
            times: measure each kernel, on copies of everything: no state changes. It takes about a
                second; without, the columns of times are left out.
        """
        versions = self.all_versions()
        if not versions:
            return "not compiled yet: call it once"
        parts = [report(version, times) for version in versions]
        return "\n\n".join(parts + [self.last_epoch] * bool(self.last_epoch))


class Eager(Compiled):
    """What ``compile`` gives where there is no LLVM: the function, called as it is."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def epoch(self, batches: Any, *, progress: Callable[[int, Any], None] | None = None) -> Any:
        """``step(*batch)`` for every batch of a loader, with the results stacked."""
        results = Results(length_hint(batches, 0))
        for done, batch in enumerate(batches, 1):
            results.add(self.function(*(batch if isinstance(batch, list | tuple) else [batch])))
            if progress is not None:
                progress(done, results.stacked())
        return results.stacked()

    def explain(self, *, times: bool = True) -> str:
        """Why nothing is compiled."""
        return NOTICE


def refuse_unfinished(captured: CapturedStep) -> None:
    """A result that still needs backward cannot leave a compiled function."""
    if captured.unfinished and current().grad:
        raise CaptureError(
            lesson(
                f"{captured.graph.name}: a result requires a gradient, but backward could not "
                "reach into the compiled function",
                [("result", captured.unfinished[0])],
                "compile the whole step, loss.backward() included; or return y.detach(); "
                "or call it within cf.no_grad()",
            )
        )


# ---- the form of a call ------------------------------------------------------------------------


def signature(
    args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor], modes: Modes
) -> list[Any]:
    """What decides which version serves a call; collects the tensors among the arguments."""
    key: list[Any] = [modes.grad, modes.inference, default_dtype()]
    for a in args:
        if isinstance(a, Tensor):
            if a._parent is not None:
                fresh(a)
            value = a._value
            key += (value.shape, value.dtype, a._requires_grad)
            given.append(a)
        else:
            add_form(a, key, given)
    if kwargs:
        add_form(kwargs, key, given)
    return key


def add_form(value: Any, key: list[Any], given: list[Tensor]) -> None:
    """Add what decides about one argument: of a container its structure, then its leaves."""
    if isinstance(value, Tensor):
        key += signature((value,), {}, given, current())
    elif isinstance(value, dict):
        key += (type(value), tuple(value))
        for part in value.values():
            add_form(part, key, given)
    elif isinstance(value, tuple | list):
        key += (type(value), len(value))
        for part in value:
            add_form(part, key, given)
    elif isinstance(value, float):
        key += (float, value.hex())  # -0.0 is not 0.0, and NaN is itself
    elif isinstance(value, np.generic):
        key += (type(value), value.tobytes())
    elif value is None or isinstance(value, bool | int | str | bytes | complex | range | frozenset):
        key += (type(value), value)
    elif isinstance(value, slice):
        add_form((slice, value.start, value.stop, value.step), key, given)
    elif isinstance(value, set):
        key += (set, frozenset(value))
    elif is_record(value):
        key.append(type(value))
        add_form(dict(parts_of(value)), key, given)
    else:
        key.append(Same(value))


class Same:
    """An object that is passed: only itself is the same. Holding it keeps its identity its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def leaves(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What is passed, with the names that the function has for it: ``x``, ``batch['y']``."""
    try:
        passed: dict[str, Any] = {**inspect.signature(function).bind_partial(*args).arguments}
    except (TypeError, ValueError):  # the call itself will complain
        passed = {f"argument {k}": a for k, a in enumerate(args)}

    def walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, part in value.items():
                yield from walk(f"{name}[{key!r}]", part)
        elif isinstance(value, tuple | list):
            for k, part in enumerate(value):
                yield from walk(f"{name}[{k}]", part)
        elif is_record(value):
            for key, part in parts_of(value):
                yield from walk(f"{name}.{key}", part)
        else:
            yield name, value

    for name, value in (passed | kwargs).items():
        yield from walk(name, value)


def describe(passed: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """The arguments and modes of a call in words: names, and what stands there.

    Raises:
        CaptureError: for a NumPy array, which would be taken as it is now for ever.
    """
    found: list[tuple[str, str]] = []
    for name, value in passed:
        if isinstance(value, np.ndarray):
            raise CaptureError(
                lesson(
                    "a compiled step takes tensors; what is in a NumPy array would be taken once "
                    "and for all",
                    [(name, f"array of {value.dtype}{list(value.shape)}")],
                    f"cf.from_numpy({name})",
                )
            )
        if isinstance(value, Tensor):
            found.append((name, f"{value.aval}{', requires_grad' * value._requires_grad}"))
        else:
            found.append((name, f"{value!r:.40}"))
    modes = current()
    found.append(("grad mode", "on" if modes.grad else "off"))
    found.append(("inference mode", "on" if modes.inference else "off"))
    found.append(("the default dtype", default_dtype().name))
    return found


def change(before: list[tuple[str, str]], now: list[tuple[str, str]]) -> str:
    """The first difference between two calls, in words."""
    known = dict(before)
    for name, text in now:
        if name not in known:
            return f"{name} was passed: {text}"
        if known[name] != text:
            return f"{name}: {known[name]} -> {text}"
    gone = [name for name, _ in before if name not in dict(now)]
    return f"{gone[0]} was not passed" if gone else "the structure of the arguments changed"
