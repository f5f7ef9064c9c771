"""Module: the base class of every layer and model."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from contraflow.base.changes import Registry
from contraflow.base.dtypes import DType, as_dtype, float16, float32, float64
from contraflow.base.errors import ArgumentError, ContraflowError, DTypeError, lesson
from contraflow.base.modes import local
from contraflow.base.source import name_in_caller
from contraflow.nn.border import Border
from contraflow.nn.parameter import is_lazy
from contraflow.nn.pure import code_of
from contraflow.nn.state import Stateful, add_hook
from contraflow.ops.cast import convert
from contraflow.tensor.create import read_device
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.hooks import RemovableHandle
from contraflow.tensor.tensor import Tensor, forget_grads

__all__ = ["Module"]


class Module(Stateful):
    """The base class of layers and models: subclass it, make layers in ``__init__``, use them in
    ``forward``.

    >>> import contraflow as cf
    >>> from contraflow import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 8)
    ...         self.head = nn.Linear(8, 2)
    ...
    ...     def forward(self, x):
    ...         return self.head(cf.tanh(self.hidden(x)))
    >>> Net()(cf.ones(5, 4)).shape
    contraflow.Size([5, 2])
    """

    training: bool
    _hooked: bool  # a hook was registered at some time: calls take the slower way

    def __init__(self) -> None:
        set_ = object.__setattr__
        for name in (
            "_parameters", "_buffers", "_modules", "_forward_pre_hooks", "_forward_hooks",
            "_backward_pre_hooks", "_backward_hooks", "_state_dict_pre_hooks",
            "_state_dict_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
        ):  # fmt: skip
            set_(self, name, Registry())
        set_(self, "_non_persistent_buffers_set", set())
        set_(self, "_hooked", False)
        set_(self, "training", True)

    # ---- calling ---------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        raise ArgumentError(
            lesson(f"{type(self).__name__} has no forward: it cannot be called",
                   fix="def forward(self, x): ...")
        )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interpreter = local.modes.interpreter
        if interpreter is None:
            return self._call_impl(*args, **kwargs)
        return interpreter.call(self, args, kwargs, self._call_impl)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        stack = local.modes.modules
        stack.append(self)
        try:
            if self._hooked:
                return self._call_hooked(args, kwargs)
            return self.forward(*args, **kwargs)
        except ContraflowError as error:
            locate(error, self, args, outermost=len(stack) == 1)
            raise
        finally:
            stack.pop()

    def _call_hooked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is None:
                continue
            if with_kwargs:
                args, kwargs = read_changed(changed)
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        border = None
        if self._backward_hooks or self._backward_pre_hooks:
            border = Border(self)
            args = border.enter(args)
        result, done = None, False
        try:
            result = self.forward(*args, **kwargs)
            done = True
        finally:
            for hook, with_kwargs, always in list(self._forward_hooks.values()):
                if done or always:
                    given = (args, kwargs, result) if with_kwargs else (args, result)
                    changed = hook(self, *given)
                    result = result if changed is None else changed
        return result if border is None else border.leave(result)

    # ---- hooks -----------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns replaces the arguments.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)`` and returns both or None.
        """
        self._hooked = True
        return add_hook(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:  # fmt: skip
        """Call ``hook(module, args, output)`` after ``forward``; what it returns replaces the
        output.

        >>> import contraflow as cf
        >>> layer = cf.nn.Linear(3, 2)
        >>> handle = layer.register_forward_hook(lambda m, args, y: print(y.shape))
        >>> _ = layer(cf.ones(5, 3))
        contraflow.Size([5, 2])
        >>> handle.remove()
        """
        self._hooked = True
        return add_hook(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are known."""
        self._hooked = True
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are
        known; what it returns replaces ``grad_input``."""
        self._hooked = True
        return add_hook(self._backward_hooks, hook, prepend)

    # ---- modes -----------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Set training mode here and in everything below (dropout drops, batch norm learns)."""
        if not isinstance(mode, bool):
            raise ArgumentError(
                lesson(f"train(mode) takes a bool, received {mode!r:.60}",
                       fix="model.train(), model.eval()")
            )  # fmt: skip
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: the same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Switch gradients of all parameters on or off (frozen)."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        if set_to_none:
            forget_grads(self.parameters())
            return
        for p in self.parameters():
            if p.grad is not None:
                p.grad = p.grad.detach().zero_()

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call ``fn(module)`` on everything below, children first, and on the module itself.

        >>> import contraflow as cf
        >>> net = cf.nn.Sequential(cf.nn.Linear(3, 2), cf.nn.ReLU())
        >>> _ = net.apply(lambda m: print(type(m).__name__))
        Linear
        ReLU
        Sequential
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---- dtypes ----------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Replace every tensor's data by ``fn`` of it; parameters stay the same objects."""
        owners = self.modules() if recurse else [self]
        seen: set[int] = set()
        with no_grad():
            for module in owners:
                for holder in (module._parameters, module._buffers):
                    for name, t in holder.items():
                        if t is None or id(t) in seen:
                            continue
                        if holder is module._buffers and not is_lazy(t):
                            holder[name] = fn(t)
                            continue
                        seen.add(id(t))
                        t.data = fn(t.data)
                        if t.grad is not None:
                            t._grad.data = fn(t._grad.data)
        return self

    def _convert(self, dtype: DType) -> Any:
        def change(t: Any) -> Any:
            if not t.dtype.is_floating_point or t.dtype is dtype:
                return t
            return convert(t, dtype=dtype)

        return self._apply(change)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Convert floating parameters and buffers: ``to(dtype)``, ``to(device)``, ``to(tensor)``.

        Raises:
            DTypeError: for a dtype that is not floating point.
            ArgumentError: for a device that is not the CPU.
        """
        dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
        for option in ("non_blocking", "memory_format", "copy"):
            kwargs.pop(option, None)
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, DType) or arg in (float, int, bool):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        if kwargs:
            raise ArgumentError(lesson(f"to() does not take {', '.join(kwargs)}",
                                       fix="model.to(cf.float64)"))  # fmt: skip
        read_device(device)
        if dtype is None:
            return self
        chosen = as_dtype(dtype)
        if not chosen.is_floating_point:
            raise DTypeError(
                lesson(f"a module is converted to floating dtypes only, not {chosen.name}",
                       fix="model.to(cf.float64)")
            )  # fmt: skip
        return self._convert(chosen)

    def type(self, dst_type: Any) -> Any:
        """Convert all parameters and buffers to a dtype."""
        chosen = as_dtype(dst_type)
        return self._apply(lambda t: convert(t, dtype=chosen))

    def float(self) -> Any:
        """Convert floating parameters and buffers to float32."""
        return self._convert(float32)

    def double(self) -> Any:
        """Convert floating parameters and buffers to float64."""
        return self._convert(float64)

    def half(self) -> Any:
        """Convert floating parameters and buffers to float16."""
        return self._convert(float16)

    def cpu(self) -> Any:
        """The module itself: there is only the CPU."""
        return self

    def cuda(self, device: Any = None) -> Any:
        """There is only the CPU: always an error, which says so.

        Raises:
            ArgumentError: always.
        """
        return self.to("cuda")

    # ---- what a compiled step takes for granted (see base.modes.Interpreter) ------------------

    def _pure_code(self) -> list[tuple[Any, str, Any]] | None:
        return code_of(self)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name in _HOLDERS:
                facts.update(value)
            elif name in _CALLED:
                facts[name] = tuple(value.values())
            elif "state_dict" not in name and name not in _INNER:
                facts[name] = value
        return facts

    def _glance(self) -> list[Any]:
        held = vars(self)
        found = list(held.values())
        for name in (*_HOLDERS, *_CALLED):
            if held[name]:
                found += held[name].values()
        return found

    def _counts(self) -> bool:
        return True

    def _live(self) -> int:
        return 0

    # ---- text and copies -------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Override to show arguments in the module's ``repr``."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extras = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(m))}" for name, m in self._modules.items()]
        if len(extras) == 1 and not children:
            return f"{self._get_name()}({extras[0]})"
        body = "".join(f"\n  {line}" for line in [*extras, *children])
        return f"{self._get_name()}({body}{chr(10) if body else ''})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        for key, value in self.__dict__.items():
            made.__dict__[key] = copy.deepcopy(value, memo)
        return made

    def __copy__(self) -> Any:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise DTypeError(
            lesson("modules are not pickled: a pickle can run code when it is opened",
                   fix="cf.save(model.state_dict(), 'model.safetensors')")
        )  # fmt: skip


_HOLDERS = ("_parameters", "_buffers", "_modules")
_INNER = ("_hooked", "_non_persistent_buffers_set")  # decide nothing by themselves
_CALLED = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def indented(text: str) -> str:
    """The text with every line but the first moved two to the right."""
    return text.replace("\n", "\n  ")


def read_changed(changed: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a forward pre-hook with keyword arguments returned."""
    if isinstance(changed, tuple) and len(changed) == 2:
        return changed
    raise ArgumentError(
        lesson("a forward pre-hook with kwargs returns None or a pair (args, kwargs)",
               [("received", f"{changed!r:.60}")], "return args, kwargs")
    )  # fmt: skip


# ---- errors name the layer -----------------------------------------------------------------


def locate(error: ContraflowError, module: Any, args: tuple[Any, ...], outermost: bool) -> None:
    """Add to an error, on its way out of nested modules, the path of the innermost one."""
    where = error.__dict__.setdefault("_module", (module, [received(a) for a in args]))
    if not outermost or where is None or not error.args:
        return
    innermost, shapes = where
    error.__dict__["_module"] = None  # said once, also when the error passes another model
    name = name_in_caller(module)
    path = next((path for path, m in module.named_modules() if m is innermost), "")
    full = ".".join(part for part in (name, path) if part)
    shown = repr(innermost)
    if "\n" in shown or len(shown) > 100:
        shown = f"{innermost._get_name()}(...)"
    rows = [f"  in  {full}{': ' if full else ''}{shown}"]
    if shapes:
        rows.append(f"  received  {', '.join(shapes)}")
    lines = str(error.args[0]).split("\n")
    at = next((i for i, line in enumerate(lines) if line.startswith("  fix: ")), len(lines))
    body = named_in_full([*lines[1:at], *rows], innermost, full)
    error.args = ("\n".join([lines[0], *aligned(body), *lines[at:]]), *error.args[1:])


ROW = re.compile(r"  (\S+(?: \S+)*)  +(\S.*)")  # a name and a value, two blanks apart


def aligned(lines: list[str]) -> list[str]:
    """The rows of a message with their values in one column."""
    rows = [ROW.fullmatch(line) for line in lines]
    width = max((len(row[1]) for row in rows if row), default=0)
    return [
        f"  {row[1].ljust(width)}  {row[2]}" if row else line
        for row, line in zip(rows, lines, strict=True)
    ]


def named_in_full(lines: list[str], module: Any, path: str) -> list[str]:
    """The rows that show a parameter of a module, with the way to it in the model."""
    if not path:
        return lines
    names = {name for name, _ in module.named_parameters(recurse=False)}
    return [
        f"{head}   {path}.{tail}" if gap and tail in names else line
        for line in lines
        for head, gap, tail in [line.rpartition("   ")]
    ]


def received(arg: Any) -> str:
    """An argument in a message: a tensor by dtype and shape."""
    return str(arg.aval) if isinstance(arg, Tensor) else f"{type(arg).__name__}"
