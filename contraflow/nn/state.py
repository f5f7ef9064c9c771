"""``state_dict`` and ``load_state_dict``: everything is checked before one weight changes."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.errors import DTypeError, StateError, lesson
from contraflow.nn.parameter import Parameter, is_lazy
from contraflow.nn.tree import Tree
from contraflow.tensor.create import from_numpy
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.hooks import RemovableHandle
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = ["Stateful"]

EXTRA = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` did not find, and what it did not need."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class Load:
    """One call of ``load_state_dict``: what was found wrong, and the writes to do if nothing is."""

    def __init__(self, root: Any, assign: bool) -> None:
        self.root, self.assign = root, assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self.writes: list[tuple[Any, str, Any]] = []  # (module, name, value)
        self.extras: list[tuple[Any, Any]] = []

    def visit(self, module: Any, state: Any, metadata: Any, prefix: str, strict: bool) -> None:
        """Plan the writes of a module and of all below it."""
        local = dict(metadata.get(prefix[:-1], {}), assign_to_params_buffers=self.assign, load=self)
        for hook in list(module._load_state_dict_pre_hooks.values()):
            hook(module, state, prefix, local, strict, self.missing, self.unexpected, self.errors)
        module._load_from_state_dict(
            state, prefix, local, strict, self.missing, self.unexpected, self.errors
        )
        for name, child in module._modules.items():
            if child is not None:
                path = f"{prefix}{name}."
                below = {key: value for key, value in state.items() if key.startswith(path)}
                self.visit(child, below, metadata, path, strict)

    def commit(self) -> None:
        """Do the planned writes."""
        with no_grad():
            for module, name, value in self.writes:
                put(module, name, value, self.assign)
        for module, value in self.extras:
            module.set_extra_state(value)

    def wrong(self, strict: bool) -> StateError | None:
        """One error that lists everything that does not fit, or None."""
        problems = list(self.errors)
        if strict and self.unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {quoted(self.unexpected)}.")
        if strict and self.missing:
            problems.insert(0, f"Missing key(s) in state_dict: {quoted(self.missing)}.")
        if not problems:
            return None
        title = type(self.root).__name__
        text = [f"Error(s) in loading state_dict for {title}; no weight was changed:", *problems]
        fix = "build the same architecture as the one that was saved"
        if strict and not self.errors:
            fix += ", or load_state_dict(state, strict=False) to load what matches"
        return StateError(lesson("\n    ".join(text), fix=fix))


def quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def put(module: Any, name: str, value: Any, assign: bool) -> None:
    """Copy a value into a module's parameter or buffer, or let it take its place."""
    holder = module._parameters if name in module._parameters else module._buffers
    held = holder[name]
    if not assign:
        if is_lazy(held):
            held.materialize(value.shape)
        write(held, value)
    elif holder is module._parameters:
        if not isinstance(value, Parameter):
            value = Parameter(value, requires_grad=held.requires_grad)
        module._parameters[name] = value.requires_grad_(held.requires_grad)
    else:
        module._buffers[name] = value
    changes.modules += 1


def as_entry(value: Any) -> Any:
    """A tensor for what a state dict holds: ours, an array, or another framework's tensor."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return from_numpy(np.asarray(value))
    return None


def misfit(key: str, held: Any, value: Any, assign: bool) -> str | None:
    """Why a value cannot be loaded into a parameter or buffer, or None."""
    if value is None:
        return f"{key}: expected a tensor, received something else"
    if is_lazy(held):
        return None
    if is_lazy(value):
        return f"{key}: the state_dict was taken before the lazy layer had seen its first input"
    if tuple(value.shape) != tuple(held.shape):
        return (
            f"size mismatch for {key}: the state_dict has {list(value.shape)}, "
            f"the model {list(held.shape)}"
        )
    if not assign and value.dtype.category > held.dtype.category:
        return (
            f"dtype mismatch for {key}: the state_dict has {value.dtype.name}, "
            f"the model {held.dtype.name}"
        )
    return None


def snapshot(load: Load) -> list[tuple[dict[str, Any], str, Any, Any]]:
    """The values that the planned writes will replace."""
    kept = []
    for module, name, _ in load.writes:
        holder = module._parameters if name in module._parameters else module._buffers
        kept.append((holder, name, holder[name], holder[name].detach().clone()))
    return kept


class Stateful(Tree):
    """The part of Module that saves and loads its state."""

    _version = 1
    _state_dict_hooks: dict[int, Any]
    _state_dict_pre_hooks: dict[int, Any]
    _load_state_dict_pre_hooks: dict[int, Any]
    _load_state_dict_post_hooks: dict[int, Any]

    def get_extra_state(self) -> Any:
        """Override, with ``set_extra_state``, to save more than tensors under ``_extra_state``."""
        raise StateError(
            lesson(f"{type(self).__name__} has no extra state",
                   fix="override get_extra_state and set_extra_state, both")
        )  # fmt: skip

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` gave."""
        raise StateError(
            lesson(f"{type(self).__name__} has no extra state",
                   fix="override get_extra_state and set_extra_state, both")
        )  # fmt: skip

    def _has_extra(self) -> bool:
        return type(self).get_extra_state is not Stateful.get_extra_state

    # ---- saving ----------------------------------------------------------------------------

    def _persistent(self) -> dict[str, Any]:
        """The module's own parameters and persistent buffers."""
        state = {name: p for name, p in self._parameters.items() if p is not None}
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                state[name] = buffer
        return state

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self._persistent().items():
            destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if self._has_extra():
            destination[prefix + EXTRA] = self.get_extra_state()

    def state_dict(
        self, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by dotted path; the tensors share the module's memory.

        ``keep_vars`` gives the parameters themselves, with their gradients.

        >>> import contraflow as cf
        >>> list(cf.nn.Linear(3, 2).state_dict())
        ['weight', 'bias']
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local
        for before in list(self._state_dict_pre_hooks.values()):
            before(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                  keep_vars=keep_vars)  # fmt: skip
        for after in list(self._state_dict_hooks.values()):
            replaced = after(self, destination, prefix, local)
            if replaced is not None:
                destination = replaced
        return destination  # type: ignore[no-any-return]

    # ---- loading ---------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Check the module's own entries and plan their writes; children come by themselves."""
        load: Load = local_metadata["load"]
        own = self._persistent()
        for name, held in own.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            value = as_entry(state_dict[key])
            problem = misfit(key, held, value, load.assign)
            if problem is not None:
                error_msgs.append(problem)
            elif not is_lazy(value):
                load.writes.append((self, name, value))
        if self._has_extra():
            if prefix + EXTRA in state_dict:
                load.extras.append((self, state_dict[prefix + EXTRA]))
            else:
                missing_keys.append(prefix + EXTRA)
            own[EXTRA] = None
        for key in state_dict:
            if key.startswith(prefix):
                head, dot, _ = key[len(prefix) :].partition(".")
                if head not in (self._modules if dot else own):
                    unexpected_keys.append(key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state dict into the module; if anything is wrong, nothing changes.

        Args:
            state_dict: tensors (or arrays) by dotted path.
            strict: keys that are missing or not needed are an error.
            assign: the tensors take the place of the parameters, instead of being copied.

        Returns:
            A named tuple of ``missing_keys`` and ``unexpected_keys``.

        Raises:
            StateError: one message with every missing, unexpected and wrongly sized entry.

        >>> import contraflow as cf
        >>> a, b = cf.nn.Linear(3, 2), cf.nn.Linear(3, 2)
        >>> b.load_state_dict(a.state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise DTypeError(
                lesson(f"load_state_dict takes a dict, not {type(state_dict).__name__}",
                       fix="model.load_state_dict(other.state_dict())")
            )  # fmt: skip
        load = Load(self, assign)
        load.visit(self, dict(state_dict), getattr(state_dict, "_metadata", {}), "", strict)
        hooked = [m for m in self.modules() if m._load_state_dict_post_hooks]
        kept = snapshot(load) if hooked and (load.missing or load.unexpected) else []
        keys = _IncompatibleKeys(load.missing, load.unexpected)
        if hooked and not load.errors:  # hooks see loaded values, and may forgive keys
            load.commit()
            for module in reversed(hooked):  # children first
                for hook in list(module._load_state_dict_post_hooks.values()):
                    hook(module, keys)
        error = load.wrong(strict)
        if error is not None:
            with no_grad():
                for holder, name, held, value in kept:
                    holder[name] = held
                    write(held, value)
            changes.modules += 1
            raise error
        if not hooked:
            load.commit()
        return keys

    # ---- hooks -----------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict``."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after ``state_dict``."""
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after ``state_dict``."""
        return add_hook(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected,
        errors)`` before loading; it may change the dict, which is a copy."""
        return add_hook(self._load_state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)
        return self.register_load_state_dict_pre_hook(lambda module, *args: hook(*args))

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; clearing a list forgives it."""
        return add_hook(self._load_state_dict_post_hooks, hook)


def add_hook(hooks: dict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
    """Register a hook, last or first."""
    handle = RemovableHandle(hooks)
    others = list(hooks.items()) if prepend else []
    if prepend:
        hooks.clear()
    hooks[handle.id] = hook
    hooks.update(others)
    changes.modules += 1
    return handle
