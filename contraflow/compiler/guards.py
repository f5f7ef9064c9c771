"""What a compiled version takes for granted: checked before each call, told in words when broken.

Modes of modules and the plain attributes of those that were used, an optimiser's flags and lists,
parameters that require a gradient or not, gradients that are there or not. Looking at all of it
costs more than a small step, so it is done only when ``base.changes`` has moved. What nobody
counts (an optimiser's groups are plain dicts) is glanced at every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter, is_
from typing import Any

from contraflow.base.changes import changes
from contraflow.capture.step import CapturedStep

__all__ = ["Guards", "alike", "name_of", "path_of"]

value_of, tracked_of, hooks_of = map(attrgetter, ("_value", "_requires_grad", "_hooks"))
PLAIN = (bool, int, float, str, bytes, type(None))


class Guards:
    """Everything that one captured step takes for granted, besides the form of its arguments."""

    def __init__(self, captured: CapturedStep) -> None:
        self.captured = captured
        self.tensors = self.modules = -1  # the counts at which all was found as it should be
        self.moves = 0  # how often an optimiser's numbers may have changed
        self.hooks = [tuple(e.tensor._hooks or ()) for e in captured.externals]
        self.arrays: list[Any] = []  # those that had the right shapes
        self.holders = [Holder(holder) for holder in captured.holders]
        self.optimisers = [h for h in self.holders if hasattr(h.holder, "param_groups")]
        self.names = captured.names
        self.options = -1
        self.counting = all(holder.counts for holder in self.optimisers)
        self.fixed: list[Any] = []  # the tensors behind the externals, if they stay the same ones
        if all(e.owner is None for e in captured.externals):
            self.fixed = [e.tensor for e in captured.externals]
        handles = set(map(id, captured.arguments))
        about = [*captured.without_grad, *(e.owner for e in captured.externals)]
        self.steady = not handles & set(map(id, about))  # nothing depends on the arguments

    def hold(self, given: list[Any]) -> bool:
        """Whether all is still so, for a call with these tensors."""
        if self.names and not self.same_names():
            return False
        if self.modules != changes.modules:
            return self.broken(given) is None
        if self.tensors != changes.tensors or not self.steady:
            tensors = changes.tensors
            if self.other_tensors(given) is not None:
                return False
            self.tensors = tensors
        if self.options == changes.options and self.counting:
            return True
        return self.same_options()

    def same_names(self) -> bool:
        """Whether the numbers and tensors that the step reaches by name are the same."""
        return all(name.stays() for name in self.names)

    def same_options(self) -> bool:
        """Whether the optimisers still decide in the same way."""
        options = changes.options
        for holder in self.optimisers:
            if not holder.stays():
                return False
        self.counting = all(holder.counts for holder in self.optimisers)
        self.options = options
        self.moves += 1
        return True

    def broken(self, given: list[Any]) -> str | None:
        """What has changed, in words; None if nothing has."""
        tensors, modules = changes.tensors, changes.modules
        self.moves += 1
        other = next((name.change() for name in self.names if not name.stays()), None)
        words = other or self.other_tensors(given) or self.other_holders()
        if words is None:
            self.tensors, self.modules = tensors, modules
        return words

    def other_tensors(self, given: list[Any]) -> str | None:
        """The first tensor that is not as it was."""
        captured = self.captured
        for t in captured.without_grad:
            if captured.passed(t, given)._grad is not None:
                return f"{name_of(t)}.grad is there: the step adds to it"
        held = self.fixed or [captured.actual(e, given) for e in captured.externals]
        if (self.fixed or not any(t is None for t in held)) and self.known(held):
            return None
        pairs = zip(held, captured.externals, captured.tracked, self.hooks, strict=True)
        for t, external, tracked, hooks in pairs:
            if t is None:
                return f"{name_of(external.owner)}.grad is None"
            value, known = t._value, external.input
            if value.shape != known.shape or value.dtype != known.dtype:
                return f"{name_of(external.tensor)} is another tensor: {known.aval} -> {t.aval}"
            if t._requires_grad is not tracked:
                return f"requires_grad of {name_of(t)}: {tracked} -> {t._requires_grad}"
            if tuple(t._hooks or ()) != hooks:
                return f"the hooks of {name_of(t)} changed"
        self.arrays = list(map(value_of, held))
        return None

    def known(self, held: list[Any]) -> bool:
        """Whether they are just as when they were last looked at one by one."""
        return (
            len(self.arrays) == len(held)
            and all(map(is_, map(value_of, held), self.arrays))
            and list(map(tracked_of, held)) == self.captured.tracked
            and not any(map(hooks_of, held))
        )

    def other_holders(self) -> str | None:
        """The first module or optimiser that decides by something else now."""
        for holder in self.holders:
            if not holder.stays():
                return holder.words(path_of(holder.holder, self.captured.holders))
        return None


def path_of(module: Any, holders: list[Any]) -> str:
    """``Dropout '2'``: a module's class, and where it is in the largest model around it."""
    paths = [
        path
        for root in holders
        for path, found in getattr(root, "named_modules", list)()
        if found is module
    ]
    path = max(paths, key=len, default="")
    return f"{type(module).__name__} {path!r}" if path else type(module).__name__


class Holder:
    """A module or an optimiser, with what it held when the step was captured.

    Attributes:
        counts: whether all that it holds is counted by ``changes`` when it is set.
    """

    def __init__(self, holder: Any) -> None:
        self.holder = holder
        self.glance, self.facts = holder._glance(), holder._facts()
        self.counts: bool = holder._counts()

    def stays(self) -> bool:
        """Whether it still says the same; looks closely only if other objects are there."""
        now, glance = self.holder._glance(), self.glance
        if len(now) == len(glance):
            if all(map(is_, now, glance)):
                return True
            if self.only_rates(now):
                self.glance = now
                return True
        if self.other() is not None:
            return False
        self.glance, self.counts = now, self.holder._counts()
        return True

    def only_rates(self, now: list[Any]) -> bool:
        """Whether all that moved are numbers that are read anew before each run."""
        first = len(now) - self.holder._live()
        moved = [k for k, (a, b) in enumerate(zip(now, self.glance, strict=True)) if a is not b]
        return moved[0] >= first and all(
            type(a) is float and a > 0.0 for k in moved for a in (now[k], self.glance[k])
        )

    def other(self) -> tuple[str, Any, Any] | None:
        """The first fact that is another one: its name, what it was and what it is."""
        return difference(self.facts, self.holder._facts())

    def words(self, name: str) -> str:
        """What changed."""
        found = self.other()
        assert found is not None
        what, before, now = found
        if what == "training":
            return f"{name} is in {'train' if now else 'eval'}() mode"
        if isinstance(before, PLAIN) and isinstance(now, PLAIN):
            return f"{name}: {what} {before!r} -> {now!r}"
        return f"{name}: {what} changed"


MISSING = object()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first entry in which two mappings differ."""
    for key, value in now.items():
        old = before.get(key, MISSING)
        if old is not value and not alike(old, value):
            return key, old, value
    for key, old in before.items():
        if key not in now:
            return key, old, MISSING
    return None


def alike(a: Any, b: Any) -> bool:
    """Whether two facts say the same: equal plain values, containers of such, or one object."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and (all(map(is_, a, b)) or all(map(alike, a, b)))
    if isinstance(a, dict):
        return difference(a, b) is None
    return isinstance(a, PLAIN) and a == b


def name_of(t: Any) -> str:
    """A tensor's name, for messages."""
    return str(getattr(t, "_label", None) or t.aval)
