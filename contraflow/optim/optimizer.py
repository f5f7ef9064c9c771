"""The base of all optimisers: parameter groups, state, state dicts, hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, ClassVar

from contraflow.base.changes import CountedDict, CountedList, CountedState, changes
from contraflow.base.errors import ArgumentError, ContraflowError, DTypeError, lesson
from contraflow.base.memory import overlap
from contraflow.base.modes import RIPE, at_once, capturing, current, policy
from contraflow.optim.params import read_params, read_tensors
from contraflow.optim.rule import COMMON, Domain, Rule, advance, begin, check, real, zeros
from contraflow.optim.state import adopt, adopt_group, read_group, read_state, read_values
from contraflow.tensor.arrays import array_of
from contraflow.tensor.grad_mode import enable_grad, no_grad
from contraflow.tensor.hooks import RemovableHandle
from contraflow.tensor.pending import Pending
from contraflow.tensor.tensor import Tensor, forget_grads
from contraflow.tensor.writing import write

__all__ = ["Optimizer", "RuleOptimizer"]

Hooks = dict[int, Callable[..., Any]]
grad_of = attrgetter("_grad")
BUSY = ("_stepping", "_stepped", "_steps", "_plain", "_known", "_shared")  # set by every step


class Saved(dict[str, Any]):
    """A state dict that also knows how many steps were made, whatever the optimiser."""

    steps: int


def steps_of(saved: Mapping[str, Any]) -> int:
    """How many steps a state dict is after: as it says, or as the states of Adam and others count
    them."""
    if isinstance(saved, Saved):
        return saved.steps
    counted = [float(state["step"]) for state in saved["state"].values() if "step" in state]
    return int(max(counted, default=0))


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` with the hooks around it."""

    @wraps(step)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:  # a subclass called super().step()
            return step(self, *args, **kwargs)
        if capturing():
            current().interpreter.given(self)  # type: ignore[union-attr]
        for hook in list(self._step_pre_hooks.values()):
            replaced = hook(self, args, kwargs)
            if replaced is not None:
                args, kwargs = read_hook(replaced)
        self._stepping = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        self._stepped = True
        for hook in list(self._step_post_hooks.values()):
            hook(self, args, kwargs)
        interpreter = current().interpreter
        if interpreter is not None:
            interpreter.stepped(self)
        elif self._steps + 1 >= RIPE and policy.start is not None and not self._plain:
            policy.start(self)
        self._steps += 1
        return result

    return run


def read_hook(replaced: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a step pre-hook returned: new arguments for ``step``."""
    if isinstance(replaced, tuple) and len(replaced) == 2:
        args, kwargs = replaced
        if isinstance(args, tuple) and isinstance(kwargs, dict):
            return args, kwargs
    raise DTypeError(
        lesson(
            "a step pre-hook returns None, or the new (args, kwargs)",
            [("received", repr(replaced)[:60])],
            "return args, kwargs",
        )
    )


def register(hooks: Hooks, hook: Callable[..., Any]) -> RemovableHandle:
    """Put a hook among its kind."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    changes.modules += 1
    return handle


class Optimizer:
    """Base class: holds parameters in groups and changes them in place by their gradients.

    Args:
        params: parameters, or dicts ``{"params": ..., "lr": ...}`` (groups with options of
            their own), or ``model.named_parameters()``.
        defaults: the options of groups that do not say otherwise.

    Raises:
        DTypeError: if ``params`` is one tensor, a model, a set, or holds something else.
        ArgumentError: for an empty list, a parameter that appears twice, or one that was
            computed (not a leaf).

    A rule of one's own overrides ``step``:

    >>> import contraflow as cf
    >>> class Signs(cf.optim.Optimizer):
    ...     @cf.no_grad()
    ...     def step(self, closure=None):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p -= group["lr"] * p.grad.sign()
    >>> w = cf.tensor([1.0, -1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Signs([w], {"lr": 0.5}).step()
    >>> w
    tensor([ 0.5000, -0.5000], requires_grad=True)
    """

    domain: Mapping[str, Domain] = COMMON

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.state: dict[Any, dict[str, Any]] = CountedState()
        self.param_groups: list[dict[str, Any]] = CountedList()
        self._step_pre_hooks: Hooks = {}
        self._step_post_hooks: Hooks = {}
        self._state_dict_hooks: tuple[Hooks, Hooks] = ({}, {})
        self._load_hooks: tuple[Hooks, Hooks] = ({}, {})
        self._stepping = self._stepped = False
        self._steps = 0  # outside of compiled functions
        self._plain = False  # its steps are too different to be compiled
        self._known: Any = None  # what `depends` gave, and the count at which it did
        self._shared: Any = [], -1, False  # whether parameters share memory; when it was looked at
        for group in read_params(params, type(self).__name__):
            self.add_param_group(group)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name not in BUSY:
            changes.options += 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    # ---- groups ------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, such as layers that begin to train.

        Args:
            param_group: ``{"params": parameters, "lr": 0.01, ...}``.

        Raises:
            DTypeError, ArgumentError: as the constructor; nothing has changed then.
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise DTypeError(
                lesson(
                    f"a parameter group is a dict with params, not {param_group!r:.60}",
                    fix='optimizer.add_param_group({"params": layer.parameters()})',
                )
            )
        name = type(self).__name__
        group = CountedDict(param_group, **read_tensors(param_group["params"], name))
        group["params"] = CountedList(group["params"])
        for key, value in self.defaults.items():
            group.setdefault(key, value)
        self.check_group(group)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if id(p) in known:
                raise ArgumentError(
                    lesson(
                        f"{name}: a parameter appears twice; it would be updated twice",
                        [("parameter", p)],
                        "give each parameter to one group only",
                    )
                )
            known.add(id(p))
        if any(("param_names" in g) != ("param_names" in group) for g in self.param_groups):
            raise ArgumentError(
                lesson(
                    f"{name}: all groups have named parameters, or none has",
                    fix="model.named_parameters() for each group",
                )
            )
        self.param_groups.append(group)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Check the options of a group, before it is taken in."""
        for key, domain in self.domain.items():
            if key in group:
                check(type(self).__name__, key, group[key], domain)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: ``.grad`` becomes None, or zeros with ``set_to_none=False``."""
        for group in self.param_groups:
            if set_to_none:
                forget_grads(group["params"])
                continue
            for p in group["params"]:
                if p.grad is not None:
                    if p.grad.requires_grad:
                        p.grad = p.grad.detach()
                    write(p.grad, zeros(p))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once; ``closure`` computes the loss and its gradients."""
        raise ContraflowError(
            lesson(
                f"{type(self).__name__} does not say how to step",
                fix="def step(self, closure=None): ...",
            )
        )

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += ["", f"Parameter Group {i}"] if i else [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # ---- state dicts -------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {name: tensor}}, "param_groups": [...]}``, PyTorch's layout.

        Parameters are numbered through all groups; the tensors are the optimiser's own.
        """
        before, after = self._state_dict_hooks
        for hook in list(before.values()):
            hook(self)
        index = {id(p): i for i, p in enumerate(self._all_params())}
        saved: dict[str, Any] = Saved(
            {
                "state": {index[id(p)]: dict(state) for p, state in self.state.items() if state},
                "param_groups": [
                    {**group, "params": [index[id(p)] for p in group["params"]]}
                    for group in self.param_groups
                ],
            }
        )
        saved.steps = self._steps  # type: ignore[attr-defined]
        for hook in list(after.values()):
            replaced = hook(self, saved)
            saved = saved if replaced is None else replaced
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict, also one of PyTorch's; tensors are copied.

        The optimiser's own groups and state tensors take the new values in place, so that a
        compiled step goes on working with them.

        Raises:
            StateError: if it does not fit these parameters. Nothing has changed then.
        """
        before, after = self._load_hooks
        saved: Mapping[str, Any] = dict(state_dict) if isinstance(state_dict, Mapping) else {}
        for hook in list(before.values()):
            replaced = hook(self, saved)
            saved = saved if replaced is None else replaced
        name = type(self).__name__
        groups, indices = read_values(name, saved, self.param_groups)
        fresh = [read_group(g, own) for g, own in zip(groups, self.param_groups, strict=True)]
        for group, own in zip(fresh, self.param_groups, strict=True):
            self.check_group({**own, **group})
        states: list[tuple[Any, dict[str, Any]]] = []
        for ids, group, own in zip(indices, fresh, self.param_groups, strict=True):
            for i, p in zip(ids, own["params"], strict=True):
                found = saved["state"].get(i)
                states.append((p, self.read_state(p, {**own, **group}, found) if found else {}))
        for group, own in zip(fresh, self.param_groups, strict=True):
            adopt_group(own, group)
        for p, state in states:
            adopt(self.state, p, state)
        self._steps = steps_of(state_dict)
        for hook in list(after.values()):
            hook(self)

    def read_state(self, p: Any, group: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        """One parameter's part of a state dict, checked and copied."""
        return read_state(type(self).__name__, p, saved)

    def _all_params(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    # ---- what a compiled step takes for granted (see base.modes.Interpreter.given) -------------

    def _facts(self) -> dict[str, Any]:
        facts = {
            key: value for key, value in vars(self).items()
            if key not in BUSY and (value is None or isinstance(value, bool | int | float | str))
        }  # fmt: skip
        facts["hooks"] = (*self._step_pre_hooks.values(), *self._step_post_hooks.values())
        facts["state"] = tuple(t for state in self.state.values() for t in state.values())
        for i, group in enumerate(self.param_groups):
            facts.update({f"{k} of group {i}": v for k, v in self._fixed_options(group).items()})
            facts[f"params of group {i}"] = tuple(group["params"])
        return facts

    def _fixed_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a group by which a step decides while Python runs: all of them, since
        a rule of a user's own reads them as it likes."""
        return {key: value for key, value in group.items() if key != "params"}

    def _glance(self) -> list[Any]:
        found = [*vars(self).values(), *self.state.values(), *self.param_groups]
        found += [*self._step_pre_hooks.values(), *self._step_post_hooks.values()]
        for state in self.state.values():
            found += state.values()
        for group in self.param_groups:
            found += group["params"]
        for group in self.param_groups:
            found += group.values()
        return found

    def _counts(self) -> bool:
        """Whether ``changes.options`` moves whenever a fact changes: not if somebody has put
        plain containers in."""
        found = [self.state, *self.state.values(), self.param_groups, *self.param_groups]
        found += [group["params"] for group in self.param_groups]
        return all(isinstance(each, CountedDict | CountedList) for each in found)

    def _live(self) -> int:
        """How many of the last entries of a glance are options whose numbers are read anew."""
        return 0

    # ---- hooks -------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new ones."""
        return register(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return register(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer)`` before a state dict is made."""
        return register(self._state_dict_hooks[0], hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after one was made; it may return another."""
        return register(self._state_dict_hooks[1], hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before one is loaded; it may return another."""
        return register(self._load_hooks[0], hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer)`` after a state dict was loaded."""
        return register(self._load_hooks[1], hook)


def is_number(value: Any) -> bool:
    """Whether a compiled step reads an option anew before each run (see ``rule.live``)."""
    if isinstance(value, tuple | list):
        return all(map(is_number, value))
    return real(value)


def with_formula(text: str | None, formula: str | None) -> str | None:
    """The docstring of a class with its rule's formula behind the first sentence."""
    if text is None or formula is None:  # python -OO
        return text
    head, _, rest = text.partition("\n\n")
    lines = "\n".join(f"        {line.strip()}" for line in formula.splitlines())
    return f"{head}\n\n    The rule::\n\n{lines}\n\n{rest}"


class RuleOptimizer(Optimizer):
    """An optimiser that applies one rule to each parameter by itself."""

    rule: ClassVar[Rule]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in cls.__dict__:
            cls.domain = {**COMMON, **cls.rule.domain}
            cls.__doc__ = with_formula(cls.__doc__, cls.rule.update.__doc__)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient.

        Args:
            closure: computes the loss and its gradients; its loss is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            interpreter = current().interpreter
            if interpreter is None:
                self._update()
            elif self._share_memory():
                with at_once():
                    self._update()
            else:
                interpreter.update(self, self._update)
        return loss

    def _update(self) -> None:
        apart = not self._share_memory()
        for group in self.param_groups:
            makers = self.rule.state(group)
            work = [
                (p, grad, begin(self.state[p], makers, p))
                for p in group["params"]
                if (grad := p.grad) is not None
            ]
            if apart:
                advance(self.rule, group, work)
            else:  # each starts from what the one before has left
                for item in work:
                    advance(self.rule, group, [item])

    def _share_memory(self) -> bool:
        """Whether parameters show the same memory (``b.weight.data = a.weight.data``)."""
        if capturing():  # who runs what is captured looks at that
            return False
        params = [p for group in self.param_groups for p in group["params"]]
        before, count, found = self._shared
        if count == changes.memory and len(before) == len(params) and all(map(is_, before, params)):
            return found
        if any(type(p._value) is Pending for p in params):
            with at_once():
                found = overlap(map(array_of, params))
        else:  # what is put off stays so: a step is one native call, also the first
            found = overlap(map(array_of, params))
        self._shared = params, changes.memory, found
        return found

    def depends(self) -> tuple[Any, list[Any], list[Any]]:
        """All that decides what an update does, but for numbers: what a formula fixes (flags,
        and which options there are), the parameters that have a gradient with their states, and
        the gradients."""
        known = self._known
        if known is not None and known[0] == changes.options:
            grads = list(map(grad_of, known[1]))
            if not any(map(is_, grads, repeat(None))):
                return known[2], known[3], grads
        options = changes.options
        tensors: list[Any] = []
        grads, params = [], []
        state = self.state
        for group in self.param_groups:
            for p in group["params"]:
                if (grad := p._grad) is not None:
                    grads.append(grad)
                    params.append(p)
                    tensors.append(p)
                    tensors.extend(state[p].values())
        # tuples of lists: those of iterators, freed, pile up in Python's free lists
        fixed = tuple([self._fixed(group) for group in self.param_groups])
        if len(params) == sum(map(len, self._params())) and self._counts():
            self._known = options, params, fixed, tensors
        return fixed, tensors, grads

    def _params(self) -> list[list[Any]]:
        return [group["params"] for group in self.param_groups]

    def _fixed(self, group: Mapping[str, Any]) -> Any:
        """The options of a group that are no live numbers, and the names of those that are."""
        fixed = self.rule.fixed
        return tuple([
            (key, value if key in fixed or value is None or isinstance(value, bool | str)
             else id(value) if isinstance(value, Tensor) else type(value))
            for key, value in group.items() if key != "params" and key != "param_names"
        ])  # fmt: skip

    def _fixed_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        fixed = self.rule.fixed
        options = {
            key: value for key, value in super()._fixed_options(group).items()
            if key in fixed or not is_number(value)
        }  # fmt: skip
        return {**options, "the states": tuple(self.rule.state(group))}

    def _live(self) -> int:
        return sum(map(len, self.param_groups))

    def read_state(self, p: Any, group: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        expected = begin({}, self.rule.state(group), p)
        absent = self.rule.absent
        return read_state(type(self).__name__, p, saved, expected, absent)
