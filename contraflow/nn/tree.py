"""The tree of modules: what an attribute becomes, and how everything below is found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from contraflow.base.changes import changes
from contraflow.base.errors import ArgumentError, AttributeMissing, DTypeError, lesson
from contraflow.base.modes import capturing, current
from contraflow.nn.parameter import Buffer, Parameter
from contraflow.tensor.tensor import Tensor

__all__ = ["Tree"]

HOLDERS = ("_parameters", "_buffers", "_modules")


def no_init(module: Any, what: str) -> AttributeMissing:
    """The subclass did not call ``super().__init__()``."""
    name = type(module).__name__
    return AttributeMissing(
        lesson(f"{name}: cannot assign {what} before Module.__init__() was called",
               fix=f"call super().__init__() first in {name}.__init__")
    )  # fmt: skip


class Tree:
    """Parameters, buffers and submodules by name; the part of Module that finds them."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    # ---- attributes ------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # reached only when the usual lookup fails, so what is found here was registered
        held = self.__dict__
        for holder in HOLDERS:
            if holder in held and name in held[holder]:
                if capturing():
                    current().interpreter.given(self)  # type: ignore[union-attr]
                return held[holder][name]
        own = type(self).__name__
        text = f"{own!r} object has no attribute {name!r}"
        if "_parameters" not in held and name in {*HOLDERS, "training", "_hooked"}:
            raise no_init(self, "anything, or call it,")
        error = AttributeMissing(text)
        error.name, error.obj = name, self
        raise error

    def __setattr__(self, name: str, value: Any) -> None:
        self._assign(name, value)
        changes.modules += 1

    def _assign(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._require_init("parameters")
            self._forget(name, keep="_parameters")
            self.register_parameter(name, value)
            return
        if isinstance(value, Tree):
            self._require_init("modules")
            self._forget(name, keep="_modules")
            self._modules[name] = value
            return
        if isinstance(value, Buffer):
            self._require_init("buffers")
            self._forget(name, keep="_buffers")
            self.register_buffer(name, value, value.persistent)
            return
        held = self.__dict__
        if name in held.get("_parameters", ()):
            self._set_parameter(name, value)
        elif name in held.get("_modules", ()):
            if value is not None:
                raise DTypeError(
                    lesson(f"cannot assign {type(value).__name__} as child module {name!r}",
                           [("expected", "nn.Module or None")],
                           f"del module.{name} first, to use the name for something else")
                )  # fmt: skip
            self._modules[name] = None
        elif name in held.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise DTypeError(
                    lesson(f"cannot assign {type(value).__name__} as buffer {name!r}",
                           [("expected", "a tensor or None")], "cf.tensor(value)")
                )  # fmt: skip
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def _set_parameter(self, name: str, value: Any) -> None:
        if value is not None:
            raise DTypeError(
                lesson(f"cannot assign {type(value).__name__} as parameter {name!r}",
                       [("expected", "nn.Parameter or None")],
                       f"module.{name} = nn.Parameter(value), or "
                       f"with cf.no_grad(): module.{name}.copy_(value)")
            )  # fmt: skip
        self._parameters[name] = None

    def __delattr__(self, name: str) -> None:
        for holder in HOLDERS:
            if name in self.__dict__.get(holder, ()):
                del self.__dict__[holder][name]
                self._non_persistent_buffers_set.discard(name)
                break
        else:
            object.__delattr__(self, name)
        changes.modules += 1

    def __dir__(self) -> list[str]:
        names = set(object.__dir__(self))
        for holder in HOLDERS:
            names.update(self.__dict__.get(holder, ()))
        return sorted(name for name in names if not name[:1].isdigit())

    def _require_init(self, what: str) -> None:
        if "_parameters" not in self.__dict__:
            raise no_init(self, what)

    def _forget(self, name: str, keep: str) -> None:
        """Drop what the name meant before, except in the holder that takes it now."""
        self.__dict__.pop(name, None)
        for holder in HOLDERS:
            if holder != keep:
                self.__dict__[holder].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    # ---- registration ----------------------------------------------------------------------

    def _free_name(self, name: Any, kind: str, holder: str) -> None:
        self._require_init(f"a {kind}")
        if not isinstance(name, str):
            raise DTypeError(
                lesson(f"the name of a {kind} is a string, not {type(name).__name__}",
                       fix=f"module.register_{kind}('name', value)")
            )  # fmt: skip
        if not name or "." in name:
            raise ArgumentError(
                lesson(f"the name of a {kind} must not be empty or contain a dot: {name!r}",
                       fix=name.replace(".", "_") or "'weight'")
            )  # fmt: skip
        if name not in self.__dict__[holder] and hasattr(self, name):
            raise ArgumentError(
                lesson(f"{type(self).__name__} already has an attribute {name!r}",
                       fix=f"another name, or del module.{name} first")
            )  # fmt: skip

    def register_parameter(self, name: str, param: Any) -> None:
        """Add a parameter, or None to keep the name for one.

        Raises:
            DTypeError: if ``param`` is not an ``nn.Parameter``.
            ArgumentError: if the name is taken, empty or has a dot, or ``param`` was computed.
        """
        self._free_name(name, "parameter", "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise DTypeError(
                    lesson(f"cannot assign {type(param).__name__} as parameter {name!r}",
                           [("expected", "nn.Parameter or None")], "nn.Parameter(value)")
                )  # fmt: skip
            if param._node is not None:
                raise ArgumentError(
                    lesson(f"parameter {name!r} was computed: a parameter must be a leaf",
                           fix="nn.Parameter(value.detach())")
                )  # fmt: skip
            param.__dict__.setdefault("_label", name)
        self._parameters[name] = param
        changes.modules += 1

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not learned.

        ``persistent=False`` leaves it out of ``state_dict``.

        >>> import contraflow as cf
        >>> m = cf.nn.Module()
        >>> m.register_buffer("scale", cf.ones(2))
        >>> list(m.state_dict())
        ['scale']
        """
        self._free_name(name, "buffer", "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise DTypeError(
                lesson(f"cannot assign {type(tensor).__name__} as buffer {name!r}",
                       [("expected", "a tensor or None")], "cf.tensor(value)")
            )  # fmt: skip
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)
        changes.modules += 1

    def add_module(self, name: str, module: Any) -> None:
        """Add a child module under a name, or None to keep the name for one."""
        self._free_name(name, "module", "_modules")
        if module is not None and not isinstance(module, Tree):
            raise DTypeError(
                lesson(f"{module!r:.60} is not an nn.Module", [("name", name)],
                       "an instance of a layer: nn.ReLU(), not nn.ReLU or F.relu")
            )  # fmt: skip
        self._modules[name] = module
        changes.modules += 1

    def register_module(self, name: str, module: Any) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    # ---- finding by name -------------------------------------------------------------------

    def get_submodule(self, target: str) -> Any:
        """The module at a dotted path; the empty path is the module itself."""
        found: Any = self
        for name in target.split(".") if target else ():
            if name not in found._modules:
                raise AttributeMissing(
                    lesson(f"{type(found).__name__} has no submodule {name!r}",
                           [("path", target), ("children", " ".join(found._modules) or "none")])
                )  # fmt: skip
            found = found._modules[name]
        return found

    def _get_leaf(self, target: str, holder: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        held = getattr(owner, holder)
        if name not in held:
            raise AttributeMissing(
                lesson(f"{type(owner).__name__} has no {kind} {name!r}",
                       [("path", target), (f"{kind}s", " ".join(held) or "none")])
            )  # fmt: skip
        return held[name]

    def get_parameter(self, target: str) -> Any:
        """The parameter at a dotted path."""
        return self._get_leaf(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Any:
        """The buffer at a dotted path."""
        return self._get_leaf(target, "_buffers", "buffer")

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put a module at a dotted path; with ``strict`` there must already be one."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if strict and name not in owner._modules:
            owner.get_submodule(name)  # says what there is
        if not isinstance(module, Tree) or not name:
            raise ArgumentError(
                lesson(
                    "set_submodule takes a path and an nn.Module",
                    fix="model.set_submodule('head', nn.Linear(8, 2))",
                )
            )
        owner._modules[name] = module
        changes.modules += 1

    # ---- walking ---------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The direct children with their names, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Any]:
        """The direct children, each once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all below it with their dotted paths, each once.

        >>> import contraflow as cf
        >>> net = cf.nn.Sequential(cf.nn.Flatten(), cf.nn.Sequential(cf.nn.Identity()))
        >>> [name for name, _ in net.named_modules()]
        ['', '0', '1', '1.0']
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """This module and all below it, each once."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Any],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in owners:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The parameters with their dotted paths, a shared one once.

        >>> import contraflow as cf
        >>> [name for name, p in cf.nn.Linear(3, 2).named_parameters()]
        ['weight', 'bias']
        """
        return self._named_members(
            lambda module: module._parameters.items(), prefix, recurse, remove_duplicate
        )

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """The parameters, a shared one once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The buffers with their dotted paths, a shared one once."""
        return self._named_members(
            lambda module: module._buffers.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """The buffers, a shared one once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer
