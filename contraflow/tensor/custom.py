"""Custom gradients (``autograd.Function``), recomputation, and anomaly detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contraflow.base.errors import ArgumentError, GradError, lesson
from contraflow.base.modes import current
from contraflow.tensor import tape
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor, describe, make

__all__ = ["Context", "Function", "detect_anomaly", "node_over", "set_detect_anomaly"]


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
        self._saved = tensors
        self._versions = tuple(tape._version(t) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that ``save_for_backward`` kept."""
        if self._saved is None:
            raise tape.freed("a Function")
        for t, version in zip(self._saved, self._versions, strict=True):
            if t is not None and tape._version(t) != version:
                raise GradError(
                    lesson(
                        "a tensor kept by save_for_backward was overwritten in place",
                        [("tensor", describe(t))],
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


class FunctionNode(tape.Node):
    """The tape's record of a custom Function: backward is the user's."""

    __slots__ = ("context", "function", "title")

    context: Context
    function: Callable[..., Any]
    title: str

    def name(self) -> str:
        return f"{self.title}Backward"

    def release(self) -> None:
        self.context._saved = None

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        if self.context._materialize:
            gs = [
                tape.zeros(tape._aval(form)) if g is None else g
                for g, form in zip(gs, self.outputs, strict=True)
            ]
        grads = self.function(self.context, *gs)
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
        return grads[: len(self.edges)]


def form_of(value: Any) -> Any:
    """(shape, NumPy dtype) of a tensor; anything else stands for nothing."""
    return (value._value.shape, value._value.dtype) if isinstance(value, Tensor) else None


def node_over(node: tape.Node, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Put a node between inputs and outputs: gradients of the outputs will pass it."""
    tape.Node.__init__(node)
    node.edges = tuple(
        tape.edge_of(x) if isinstance(x, Tensor) and x.requires_grad else None for x in inputs
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

    def __init__(self) -> None:
        raise ArgumentError(
            lesson(
                f"{type(self).__name__} is not called or made; it is applied",
                fix=f"{type(self).__name__}.apply(x)",
            )
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` unrecorded, and record ``backward`` as its gradient."""
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
        recorded = [h for h in handles if isinstance(h, Tensor)]
        if len(recorded) != len(handles):
            raise GradError(lesson(f"{cls.__name__}.forward must return tensors"))
        node_over(node, args, recorded)
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


class set_detect_anomaly:
    """Remember the user's line of every op, so that errors of backward can name it."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        self.before = tape.anomaly
        tape.anomaly = mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        tape.anomaly = self.before


class detect_anomaly(set_detect_anomaly):
    """``with cf.autograd.detect_anomaly():`` errors of backward name the line of forward, and a
    gradient that turns NaN raises there."""
