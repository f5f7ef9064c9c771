"""Parametrisations: a parameter that is computed, by modules, from others that are learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.nn.container import ModuleDict, ModuleList
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.nn.utils.computed import class_before, compute, held, stop_computing
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "type_before_parametrizations",
]  # fmt: skip


class ParametrizationList(ModuleList):
    """The modules that compute one parameter, in a row, and what they compute it from.

    That is ``original``, or ``original0``, ``original1``, ... if the first module takes several.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> [name for name, _ in layer.parametrizations.weight.named_parameters()]
    ['original0', 'original1']
    """

    def __init__(self, modules: Any, original: Any, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            parts = self._inverse(original.detach(), must=False)
            self.is_tensor = isinstance(parts, Tensor)
            check_fit(self._forward((parts,) if self.is_tensor else parts), original, unsafe)
        if self.is_tensor:  # stays the same object, which an optimiser may know
            original.data = parts.clone().contiguous()  # memory of its own, to be written
            self._take("original", original)
            return
        self.ntensors = len(parts)
        for i, part in enumerate(parts):
            part = part.clone().contiguous()
            if isinstance(original, Parameter):
                part = Parameter(part, original.requires_grad)
            self._take(f"original{i}", part)

    def _take(self, name: str, value: Any) -> None:
        register = self.register_parameter if isinstance(value, Parameter) else self.register_buffer
        register(name, value)

    def _originals(self) -> list[Any]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def _forward(self, originals: Any) -> Any:
        first, *others = self
        value = first(*originals)
        for module in others:
            value = module(value)
        return value

    def forward(self) -> Any:
        return self._forward(self._originals())

    def _inverse(self, value: Any, must: bool = True) -> Any:
        for module in reversed(list(self)):
            try:  # a module may lack it, or say for some of its options that there is none
                value = getattr(module, "right_inverse", no_inverse)(value)
            except NotImplementedError:
                if must:
                    raise ArgumentError(
                        lesson(f"{module._get_name()} has no right_inverse, so the parameter that "
                               "it computes cannot be assigned",
                               fix="def right_inverse(self, value): ..., "
                               "with forward(right_inverse(value)) == value")
                    ) from None  # fmt: skip
        return value

    def right_inverse(self, value: Any) -> None:
        """Change the originals so that ``forward`` gives this value."""
        with no_grad():
            parts = self._inverse(value.detach())
            parts = [parts] if self.is_tensor else parts
            for original, part in zip(self._originals(), parts, strict=True):
                write(original, part)


def no_inverse(value: Any) -> Any:
    """Stands for the ``right_inverse`` of a module that has none."""
    raise NotImplementedError


def check_fit(value: Any, original: Any, unsafe: bool) -> None:
    """What is computed must be able to stand where the parameter stood."""
    if not isinstance(value, Tensor):
        raise DTypeError(
            lesson(f"a parametrization gives a tensor, not {type(value).__name__}",
                   fix="def forward(self, original): return ...")
        )  # fmt: skip
    if not unsafe and (value.shape != original.shape or value.dtype is not original.dtype):
        raise ShapeError(
            lesson("a parametrization keeps the shape and dtype of the parameter",
                   [("parameter", original.aval), ("computed", value.aval)],
                   "register_parametrization(..., unsafe=True), if that is meant")
        )  # fmt: skip


class Parametrized:
    """The rule of an attribute that a ``ParametrizationList`` computes."""

    prefix = "Parametrized"
    kept: dict[tuple[int, str], Any] | None = None  # the values inside of ``cached()``

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self, module: Any) -> Any:
        parametrization = module.parametrizations[self.name]
        kept = Parametrized.kept
        if kept is None:
            return parametrization()
        key = (id(module), self.name)
        if key not in kept:
            kept[key] = parametrization()
        return kept[key]

    def assign(self, module: Any, value: Any) -> None:
        if Parametrized.kept is not None:
            Parametrized.kept.pop((id(module), self.name), None)
        module.parametrizations[self.name].right_inverse(value)


@contextmanager
def cached() -> Iterator[None]:
    """Compute every parametrised tensor once within the block, however often it is read.

    >>> import contraflow as cf
    >>> from contraflow.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> with parametrize.cached():
    ...     layer.weight is layer.weight
    True
    """
    before, Parametrized.kept = Parametrized.kept, Parametrized.kept or {}
    try:
        yield
    finally:
        Parametrized.kept = before


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Whether a parameter of the module (or, without a name, any) is parametrised.

    >>> import contraflow as cf
    >>> from contraflow.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> parametrize.is_parametrized(layer, "weight"), parametrize.is_parametrized(layer, "bias")
    (True, False)
    """
    lists = module._modules.get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def register_parametrization(
    module: Any, tensor_name: str, parametrization: Any, *, unsafe: bool = False
) -> Any:
    """Let a module compute a parameter of another: ``layer.weight`` is ``f(original)`` from now on.

    The state dict holds ``parametrizations.weight.original`` instead of ``weight``. Several
    parametrizations of one parameter are applied in the order of their registration. Assigning to
    the parameter goes through ``right_inverse``, if the parametrization has one.

    Args:
        parametrization: a module from a tensor to one of the same shape and dtype.
        unsafe: do not check that.

    >>> import contraflow as cf
    >>> class Symmetric(cf.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = cf.nn.Linear(3, 3)
    >>> _ = cf.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True

    Raises:
        ArgumentError: if the module has no such parameter.
        ShapeError: if the computed tensor has another shape or dtype; nothing is changed.
    """
    if not isinstance(parametrization, Module):
        raise DTypeError(
            lesson(f"a parametrization is an nn.Module, not {type(parametrization).__name__}",
                   fix="class Symmetric(nn.Module): def forward(self, x): ...")
        )  # fmt: skip
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        there = module.parametrizations[tensor_name]
        with no_grad():
            value = getattr(module, tensor_name)
            check_fit(parametrization(value), value, unsafe)
        there.append(parametrization)
        there.unsafe |= unsafe
        return module
    original = held("register_parametrization", module, tensor_name)
    made = ParametrizationList([parametrization], original, unsafe)
    compute(module, tensor_name, Parametrized(tensor_name))
    if "parametrizations" not in module._modules:
        module.add_module("parametrizations", ModuleDict())
    module.parametrizations[tensor_name] = made
    return module


def remove_parametrizations(module: Any, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Make a parametrised tensor a plain parameter again.

    Args:
        leave_parametrized: it keeps the computed value; otherwise that of ``original``.

    >>> import contraflow as cf
    >>> from contraflow.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> _ = parametrize.remove_parametrizations(layer, "weight")
    >>> list(layer.state_dict())
    ['bias', 'weight']

    Raises:
        ArgumentError: if it is not parametrised, or there is no single original to go back to.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(
            lesson(f"remove_parametrizations: {tensor_name!r} is not parametrised",
                   [("module", module._get_name())],
                   "check parametrize.is_parametrized(module, name) first")
        )  # fmt: skip
    lists = module.parametrizations
    parts = lists[tensor_name]
    if parts.is_tensor:
        value = parts.original
        if leave_parametrized:
            value.data = getattr(module, tensor_name).detach()
    elif leave_parametrized:
        value = Parameter(getattr(module, tensor_name).detach())
    else:
        raise ArgumentError(
            lesson(f"remove_parametrizations: {tensor_name!r} is computed from {parts.ntensors} "
                   "tensors, none of which can take its place",
                   fix="leave_parametrized=True")
        )  # fmt: skip
    del lists[tensor_name]
    if not lists:
        del module.parametrizations
    stop_computing(module, tensor_name, value)
    return module


def type_before_parametrizations(module: Any) -> type:
    """The class of a module, without what its parametrizations made of it.

    >>> import contraflow as cf
    >>> from contraflow.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> type(layer).__name__, parametrize.type_before_parametrizations(layer).__name__
    ('ParametrizedLinear', 'Linear')
    """
    return class_before(module)
