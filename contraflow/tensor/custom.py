"""Custom gradients: ``autograd.Function``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.node import Node, aval_of, edge_of, freed, zeros
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import last_write, written_at

__all__ = ["Context", "Function", "node_over", "once_differentiable"]


class Context:
    """What ``forward`` hands to ``backward`` of a custom Function."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._saved: tuple[Any, ...] | None = ()
        self._versions: tuple[int, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self._fixed: tuple[Any, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward; writing to them afterwards is an error there."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise DTypeError(
                    lesson(
                        f"save_for_backward keeps tensors, received {type(t).__name__} {t!r:.40}",
                        fix="ctx.scale = scale, for what is no tensor",
                    )
                )
        self._saved = tensors
        self._versions = tuple(last_write(t) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that ``save_for_backward`` kept."""
        if self._saved is None:
            raise freed("a Function")
        for t, version in zip(self._saved, self._versions, strict=True):
            if t is not None and last_write(t) != version:
                raise GradError(
                    lesson(
                        "a tensor kept by save_for_backward was overwritten in place",
                        [("tensor", t), *written_at(t._version)],
                        "x.clone() before writing",
                    )
                )
        return self._saved

    def mark_dirty(self, *tensors: Any) -> None:
        """Name the inputs that forward changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Name the outputs that no gradient flows to."""
        self._fixed = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that did not arrive come as zeros (True) or None."""
        self._materialize = value


class FunctionNode(Node):
    """The tape's record of a custom Function: backward is the user's."""

    __slots__ = ("context", "function", "places", "title", "width")

    context: Context
    function: Callable[..., Any]
    title: str
    places: list[int]  # of the tensors among the results of forward
    width: int  # how many results forward gave

    def name(self) -> str:
        return f"{self.title}Backward"

    def release(self) -> None:
        self.context._saved = None

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        if self.context._materialize:
            gs = [
                zeros(aval_of(form)) if g is None else g
                for g, form in zip(gs, self.outputs, strict=True)
            ]
        given: list[Any] = [None] * self.width
        for place, g in zip(self.places, gs, strict=True):
            given[place] = g
        grads = self.function(self.context, *given)
        grads = tuple(grads) if isinstance(grads, tuple | list) else (grads,)
        extra = grads[len(self.edges) :]
        if len(grads) < len(self.edges) or any(g is not None for g in extra):
            raise GradError(
                lesson(
                    f"{self.title}.backward returned {len(grads)} gradients "
                    f"for {len(self.edges)} inputs of forward",
                    fix="return one gradient (or None) for each argument of forward",
                )
            )
        for i, (g, edge, form) in enumerate(zip(grads, self.edges, self.forms, strict=False)):
            if g is not None and edge is not None:
                self.check(i, g, form)
        return grads[: len(self.edges)]

    def check(self, i: int, g: Any, form: Any) -> None:
        """A gradient must be a tensor of the shape of its input (or one that broadcasts to it)."""
        if not isinstance(g, Tensor):
            raise DTypeError(
                lesson(
                    f"{self.title}.backward returned {type(g).__name__} {g!r:.40} as the gradient "
                    f"of input {i} of forward",
                    fix="return a tensor, or None for an input that needs no gradient",
                )
            )
        if tuple(g.shape) != form[0] and g.numel() != 1:
            raise ShapeError(
                lesson(
                    f"{self.title}.backward returned a gradient of shape {list(g.shape)} for input "
                    f"{i} of forward, which has shape {list(form[0])}",
                    [(f"input {i}", aval_of(form)), ("gradient", g.aval)],
                    "a gradient has the shape of what it is the gradient of",
                )
            )


def form_of(value: Any) -> Any:
    """(shape, NumPy dtype) of a tensor; anything else stands for nothing."""
    return (value._value.shape, value._value.dtype) if isinstance(value, Tensor) else None


def node_over(node: Node, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Put a node between inputs and outputs: gradients of the outputs will pass it."""
    Node.__init__(node)
    node.edges = tuple(
        edge_of(x) if isinstance(x, Tensor) and x.requires_grad else None for x in inputs
    )
    node.forms = tuple(form_of(x) for x in inputs)
    node.outputs = tuple(form_of(y) for y in outputs)
    for index, y in enumerate(outputs):
        if y._value.dtype.kind == "f":
            y._node, y._index, y._requires_grad = node, index, True


class Function:
    """A custom op with its own gradient: subclass it, write ``forward`` and ``backward``.

    >>> import contraflow as cf
    >>> class Cube(cf.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x**2
    >>> x = cf.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentError(
            lesson(
                f"{type(self).__name__} is not called or made; it is applied",
                fix=f"{type(self).__name__}.apply(x)",
            )
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` unrecorded, and record ``backward`` as its gradient."""
        for method in ("forward", "backward"):
            if not hasattr(cls, method):
                raise GradError(
                    lesson(
                        f"{cls.__name__} has no {method}",
                        fix=f"@staticmethod def {method}(ctx, ...): ...",
                    )
                )
        context = Context()
        context.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        tracked = current().grad and any(context.needs_input_grad)
        with no_grad():
            if "setup_context" in cls.__dict__ or hasattr(cls, "setup_context"):
                result = cls.forward(*args)
                cls.setup_context(context, args, result)  # type: ignore[attr-defined]
            else:
                result = cls.forward(context, *args)
        outputs = result if isinstance(result, tuple) else (result,)
        if not tracked:
            return result
        handles = tuple(cls._handle(o, args, context) for o in outputs)
        node = FunctionNode.__new__(FunctionNode)
        node.context, node.function, node.title = context, cls.backward, cls.__name__
        node.places = [i for i, h in enumerate(handles) if isinstance(h, Tensor)]
        node.width = len(handles)
        if not node.places:
            raise GradError(
                lesson(
                    f"{cls.__name__}.forward must return a tensor (or several)",
                    [("returned", f"{result!r:.60}")],
                    "return cf.tensor(...)",
                )
            )
        node_over(node, args, [handles[i] for i in node.places])
        for output, handle in zip(outputs, handles, strict=True):
            if any(output is fixed for fixed in context._fixed):
                handle._node, handle._requires_grad = None, False
        return handles if isinstance(result, tuple) else handles[0]

    @staticmethod
    def _handle(output: Any, args: tuple[Any, ...], context: Context) -> Any:
        # an input returned as it is needs a handle of its own, unless it was changed in place
        if any(output is a for a in args) and not any(output is d for d in context._dirty):
            return make(output._value)
        return output


class OnceNode(Node):
    """Stands after a backward that cannot be differentiated: gradients do not pass."""

    __slots__ = ("title",)

    title: str

    def name(self) -> str:
        return "OnceDifferentiable"

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        raise GradError(
            lesson(
                f"{self.title} is marked once_differentiable: its gradient has no gradient",
                fix="write backward in tensors and take @once_differentiable off",
            )
        )


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A ``backward`` that may use NumPy: it runs unrecorded, and to differentiate it is an error.

    >>> import contraflow as cf
    >>> class Exp(cf.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x.exp()
    ...
    ...     @staticmethod
    ...     @cf.autograd.function.once_differentiable
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * x.exp()
    >>> x = cf.tensor(0.0, requires_grad=True)
    >>> cf.autograd.grad(Exp.apply(x), x)
    (tensor(1.),)
    """

    @wraps(backward)
    def run(context: Any, *gs: Any) -> Any:
        with no_grad():
            result = backward(context, *gs)
        sources = [t for t in (*gs, *(context._saved or ())) if isinstance(t, Tensor)]
        if not (current().grad and any(t.requires_grad for t in sources)):
            return result
        grads = result if isinstance(result, tuple | list) else (result,)
        fixed = [make(g._value) if isinstance(g, Tensor) else g for g in grads]
        node = OnceNode.__new__(OnceNode)
        node.title = backward.__qualname__
        node_over(node, sources, [g for g in fixed if isinstance(g, Tensor)])
        return tuple(fixed)

    return run
