"""Functions of functions: ``grad``, ``vjp``, ``jvp``, ``jacrev``, ``hessian``, ``vmap``.

The given function takes tensors and returns one tensor (or a tuple of them); it is never changed
and no ``.grad`` is touched. All of them nest: ``grad(grad(f))`` is the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.base.errors import ArgumentError, GradError, ShapeError, lesson
from contraflow.base.tree import flatten, map_tree
from contraflow.ops.join import stack, unbind
from contraflow.tensor.checkpointing import leaves_under
from contraflow.tensor.create import zeros, zeros_like
from contraflow.tensor.grad_mode import enable_grad
from contraflow.tensor.gradients import grad as gradients
from contraflow.tensor.tensor import Tensor

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacobian", "jacrev", "jvp",
    "stack_module_state", "vjp", "vmap",
]  # fmt: skip

ArgNums = int | tuple[int, ...]


def _tracked(x: Any) -> Any:
    """A handle to differentiate by: it keeps a history that ``x`` may have (for nesting)."""
    if not isinstance(x, Tensor):
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _select(args: tuple[Any, ...], argnums: ArgNums) -> tuple[list[Any], list[int]]:
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if any(not -len(args) <= n < len(args) for n in numbers):
        raise ArgumentError(
            lesson(
                f"argnums={argnums} names an argument that was not given",
                [("arguments", len(args))],
                "argnums=0 for the first",
            )
        )
    numbers = [n % len(args) for n in numbers]
    return [map_tree(_tracked, a) if i in numbers else a for i, a in enumerate(args)], numbers


def _watched(args: Any, xs: Any, results: Any) -> bool:
    """Whether the results' history matters outside: a derivative is being taken around this one,
    by the arguments, or by something that the function reaches otherwise."""
    if any(isinstance(x, Tensor) and x.requires_grad for x in flatten(args)):
        return True
    inputs = [x for x in flatten(xs) if isinstance(x, Tensor)]
    return bool(leaves_under([r for r in flatten(results) if isinstance(r, Tensor)], inputs))


def grad_and_value(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns (gradient, value); see ``grad``."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            xs, numbers = _select(args, argnums)
            result = function(*xs, **kwargs)
            value, aux = result if has_aux else (result, None)
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise GradError(
                    lesson(
                        "func.grad needs a function that returns a single number",
                        [("returned", value.aval if isinstance(value, Tensor) else value)],
                        "f(x).sum(), or func.jacrev(f)",
                    )
                )
            wanted = [xs[n] for n in numbers]
            leaves = [x for x in flatten(wanted) if isinstance(x, Tensor)]
            if not value.requires_grad:
                found = [zeros_like(x) for x in leaves]
            else:
                # recorded, so that derivatives nest
                found = list(gradients(value, leaves, create_graph=True, materialize_grads=True))
            keep = _watched(args, xs, (found, value))
            flow = iter(found if keep else [g.detach() for g in found])
            tree = [map_tree(lambda x: next(flow) if isinstance(x, Tensor) else None, w)
                    for w in wanted]  # fmt: skip
            value = value if keep else value.detach()
        gradient = tree[0] if isinstance(argnums, int) else tuple(tree)
        return (gradient, (value, aux)) if has_aux else (gradient, value)

    return run


def grad(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The gradient function of ``function``, which returns a single number.

    Args:
        argnums: the argument (or several) to differentiate by; may be a tree of tensors.
        has_aux: ``function`` returns (value, something else), and so does the result.

    >>> import contraflow as cf
    >>> cf.func.grad(cf.func.grad(lambda x: x**3))(cf.tensor(2.0))
    tensor(12.)
    """
    both = grad_and_value(function, argnums, has_aux)

    def run(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return run


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value at ``primals``, and a function from cotangents to gradients (v^T J).

    >>> import contraflow as cf
    >>> y, pull = cf.func.vjp(cf.sin, cf.zeros(2))
    >>> pull(cf.ones(2))
    (tensor([1., 1.]),)
    """
    with enable_grad():
        xs = [map_tree(_tracked, p) for p in primals]
        result = function(*xs)
    outputs, aux = result if has_aux else (result, None)
    several = isinstance(outputs, tuple | list)
    roots = list(outputs) if several else [outputs]

    def pull(*cotangents: Any) -> tuple[Any, ...]:
        given = list(cotangents[0]) if several and len(cotangents) == 1 else list(cotangents)
        if len(given) != len(roots):
            raise ArgumentError(
                lesson(
                    f"vjp: {len(roots)} outputs, {len(given)} cotangents",
                    fix="one cotangent for each output, of its shape",
                )
            )
        leaves = [x for x in flatten(xs) if isinstance(x, Tensor)]
        live = [(r, g) for r, g in zip(roots, given, strict=True) if r.requires_grad]
        if live:
            found = gradients(
                [r for r, _ in live], leaves, [g for _, g in live],
                retain_graph=True, create_graph=True, materialize_grads=True,
            )  # fmt: skip
        else:
            found = tuple(zeros_like(x) for x in leaves)
        keep = _watched((*primals, *given), xs, found)
        flow = iter(g if keep else g.detach() for g in found)
        return tuple(map_tree(lambda _: next(flow), x) for x in xs)

    keep = _watched(primals, xs, roots)
    values = map_tree(lambda o: o if keep else o.detach(), outputs)
    return (values, pull, aux) if has_aux else (values, pull)


def jvp(
    function: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    has_aux: bool = False,
) -> Any:
    """The value at ``primals`` and the derivative along ``tangents`` (J v).

    Forward-mode by two reverse passes: J v is the gradient of u^T (J^T u) . v by u.

    >>> import contraflow as cf
    >>> cf.func.jvp(lambda x: x * x, (cf.tensor(3.0),), (cf.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    if len(primals) != len(tangents):
        raise ArgumentError(
            lesson(
                f"jvp: {len(primals)} primals, {len(tangents)} tangents",
                fix="func.jvp(f, (x, y), (vx, vy)): one tangent for each primal, of its shape",
            )
        )
    for i, (p, t) in enumerate(zip(primals, tangents, strict=True)):
        if tuple(p.shape) != tuple(t.shape):
            raise ShapeError(
                lesson(
                    f"jvp: tangent {i} must have the shape of its primal",
                    [("primal", p.aval), ("tangent", t.aval)],
                )
            )
    with enable_grad():
        xs = [_tracked(p) for p in primals]
        result = function(*xs)
        outputs, aux = result if has_aux else (result, None)
        several = isinstance(outputs, tuple | list)
        roots = list(outputs) if several else [outputs]
        live = [r for r in roots if r.requires_grad]
        us = [zeros_like(r).requires_grad_() for r in live]
        pushed: dict[int, Any] = {}
        if live:
            pulled = gradients(live, xs, us, create_graph=True, materialize_grads=True)
            reached = [(g, t) for g, t in zip(pulled, tangents, strict=True) if g.requires_grad]
            if reached:
                found = gradients(
                    [g for g, _ in reached], us, [t for _, t in reached],
                    create_graph=True, materialize_grads=True,
                )  # fmt: skip
                pushed = {id(r): g for r, g in zip(live, found, strict=True)}
    slopes = [pushed.get(id(r), zeros_like(r)) for r in roots]
    keep = _watched((*primals, *tangents), (xs, us), (roots, slopes))
    values = [r if keep else r.detach() for r in roots]
    slopes = slopes if keep else [s.detach() for s in slopes]
    pair = (tuple(values), tuple(slopes)) if several else (values[0], slopes[0])
    return (*pair, aux) if has_aux else pair


def jacrev(function: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The Jacobian function: shape of the output, followed by the shape of the argument.

    >>> import contraflow as cf
    >>> cf.func.jacrev(lambda x: x * x)(cf.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def rows(output: Any, xs: list[Any]) -> list[Any]:
        flat = output.reshape(-1)
        if not output.requires_grad or flat.numel() == 0:
            return [zeros(*output.shape, *x.shape, dtype=x.dtype) for x in xs]
        found = [
            gradients(element, xs, retain_graph=True, create_graph=True, materialize_grads=True)
            for element in unbind(flat)
        ]
        return [
            stack(column).reshape((*output.shape, *x.shape))
            for column, x in zip(zip(*found, strict=True), xs, strict=True)
        ]

    def run(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            values, numbers = _select(args, argnums)
            outputs = function(*values, **kwargs)
            several = isinstance(outputs, tuple | list)
            xs = [values[n] for n in numbers]
            blocks = [rows(o, xs) for o in (outputs if several else [outputs])]
        if not _watched(args, values, blocks):
            blocks = [[block.detach() for block in line] for line in blocks]
        picked = [line[0] if isinstance(argnums, int) else tuple(line) for line in blocks]
        return tuple(picked) if several else picked[0]

    return run


jacfwd = jacrev  # one Jacobian; PyTorch's two names differ only in how it is computed


def hessian(function: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The matrix of second derivatives of a function that returns a single number.

    >>> import contraflow as cf
    >>> cf.func.hessian(lambda x: (x**3).sum())(cf.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(function, argnums), argnums)


def jacobian(function: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """The Jacobian at ``inputs`` (a tensor or a tuple), as ``torch.autograd.functional`` has it."""
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    argnums: ArgNums = tuple(range(len(args))) if isinstance(inputs, tuple) else 0
    found = jacrev(function, argnums)(*args)
    return found if create_graph else map_tree(lambda t: t.detach(), found)


# ---- over a batch --------------------------------------------------------------------------------


def vmap(function: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0) -> Callable[..., Any]:
    """``function`` over a batch: each example by itself, results stacked.

    The examples are computed one after the other; code written for whole batches is faster.

    Args:
        in_dims: the batch dimension of all arguments, or a tuple with one for each (None: the
            same value for all examples; for a tree of tensors one for all its leaves, or a tree).
        out_dims: where the batch dimension goes in the results (a tuple: in each of them).

    >>> import contraflow as cf
    >>> cf.func.vmap(cf.dot)(cf.ones(2, 3), cf.ones(2, 3))
    tensor([3., 3.])

    Raises:
        ShapeError: if the sizes of the batch dimensions differ.
        ArgumentError: if there is no batch, or another number of ``in_dims`` than arguments.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        dims = tuple(in_dims) if isinstance(in_dims, tuple | list) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ArgumentError(
                lesson(
                    f"vmap: {len(dims)} in_dims for {len(args)} arguments",
                    fix="in_dims=0, or one (or None) for each argument",
                )
            )
        whole = [_batched(a, d) for a, d in zip(args, dims, strict=True)]
        size = _batch_size(whole)

        def example(i: int) -> list[Any]:
            return [map_tree(lambda leaf: leaf.at(i), a) for a in whole]

        results = [function(*example(i), **kwargs) for i in range(size)]
        return _stacked(results, out_dims)

    return run


class _Leaf:
    """A part of an argument: its examples, or one value for all of them."""

    def __init__(self, value: Any, dim: int | None) -> None:
        self.value, self.dim = value, dim
        self.parts = None if dim is None else unbind(value, dim)

    def at(self, i: int) -> Any:
        """The value for one example."""
        return self.value if self.parts is None else self.parts[i]


def _batched(argument: Any, dim: Any) -> Any:
    """An argument with a ``_Leaf`` for each of its leaves."""
    if isinstance(dim, dict):
        return {key: _batched(value, dim[key]) for key, value in argument.items()}
    if isinstance(dim, tuple | list):
        return type(argument)(_batched(a, d) for a, d in zip(argument, dim, strict=True))
    return map_tree(lambda leaf: _Leaf(leaf, dim if isinstance(leaf, Tensor) else None), argument)


def _batch_size(whole: list[Any]) -> int:
    leaves = [leaf for leaf in flatten(whole) if leaf.parts is not None]
    sizes = {len(leaf.parts) for leaf in leaves}
    if not sizes:
        raise ArgumentError(
            lesson("vmap: no argument has a batch dimension", fix="in_dims=0 for one of them")
        )
    if len(sizes) > 1:
        raise ShapeError(
            lesson(
                f"vmap: the batch dimensions differ: {sorted(sizes)}",
                [(f"tensor {i}", leaf.value) for i, leaf in enumerate(leaves)],
                "in_dims=(0, None) passes the second argument whole",
            )
        )
    (size,) = sizes
    if size == 0:
        raise ShapeError(
            lesson(
                "vmap: the batch is empty, so the function is never called",
                [(f"tensor {i}", leaf.value) for i, leaf in enumerate(leaves)],
                "a batch of at least 1",
            )
        )
    return size


def _stacked(results: list[Any], dims: Any) -> Any:
    """The examples' results (trees of tensors) as one tree of batches."""
    first = results[0]
    if isinstance(first, dict):
        wanted = dims if isinstance(dims, dict) else dict.fromkeys(first, dims)
        return {key: _stacked([r[key] for r in results], wanted[key]) for key in first}
    if isinstance(first, tuple | list):
        each = dims if isinstance(dims, tuple | list) else (dims,) * len(first)
        columns = zip(*results, strict=True)
        made = [_stacked(list(c), d) for c, d in zip(columns, each, strict=True)]
        return tuple(made) if isinstance(first, tuple) else made
    return stack(results, dims)


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in place of its parameters and buffers, by their names.

    Args:
        parameter_and_buffer_dicts: names and tensors, in one dict or several.
        args: the arguments, in a tuple (a single one may be given by itself).
        tie_weights: a tensor that the module holds under several names is replaced everywhere.
        strict: every parameter and buffer must be given.

    >>> import contraflow as cf
    >>> layer = cf.nn.Linear(2, 1)
    >>> given = {"weight": cf.ones(1, 2), "bias": cf.zeros(1)}
    >>> cf.func.functional_call(layer, given, cf.tensor([1.0, 2.0]))
    tensor([3.])

    Raises:
        ArgumentError: for a name that the module does not have, or with ``strict`` a missing one.
    """
    several = isinstance(parameter_and_buffer_dicts, list | tuple)
    given: dict[str, Any] = {}
    for part in parameter_and_buffer_dicts if several else (parameter_and_buffer_dicts,):
        given.update(part)
    places = dict(_places(module))
    unknown, missing = sorted(given.keys() - places), sorted(places.keys() - given)
    if unknown or (strict and missing):
        rows = [("unknown", unknown), ("missing", missing if strict else [])]
        fix = "dict(module.named_parameters()) has the names"
        raise ArgumentError(lesson("functional_call: these are not the module's names", rows, fix))
    now = {name: holder[key] for name, (holder, key) in places.items()}
    new = {id(now[name]): value for name, value in given.items()}
    values = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for name, (holder, key) in places.items():
            if name in given:
                holder[key] = given[name]
            elif tie_weights:
                holder[key] = new.get(id(now[name]), now[name])
        return module(*values, **(kwargs or {}))
    finally:
        for name, (holder, key) in places.items():
            holder[key] = now[name]


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of models of one kind, each stacked along a new first
    dimension: for ``vmap`` over ``functional_call``, an ensemble in one call.

    >>> import contraflow as cf
    >>> layers = [cf.nn.Linear(2, 1) for _ in range(3)]
    >>> params, buffers = cf.func.stack_module_state(layers)
    >>> params["weight"].shape, buffers
    (contraflow.Size([3, 1, 2]), {})
    >>> call = lambda p, b, x: cf.func.functional_call(layers[0], (p, b), (x,))
    >>> cf.vmap(call, in_dims=(0, 0, None))(params, buffers, cf.ones(4, 2)).shape
    contraflow.Size([3, 4, 1])

    Raises:
        ArgumentError: for no model at all, or models of several classes.
    """
    models = list(models)
    kinds = {type(model).__name__ for model in models}
    if len(kinds) != 1:
        raise ArgumentError(
            lesson("stack_module_state takes models of one class, at least one",
                   [("received", ", ".join(sorted(kinds)) or "none")],
                   "stack_module_state([Net() for _ in range(5)])")
        )  # fmt: skip
    params = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return (
        {
            name: stack([held[name].detach() for held in params], 0).requires_grad_(
                params[0][name].requires_grad
            )
            for name in params[0]
        },
        {name: stack([held[name] for held in buffers], 0).detach() for name in buffers[0]},
    )


def _places(module: Any) -> Any:
    """Where a module and its submodules keep each parameter and buffer, by its full name."""
    for path, part in module.named_modules(remove_duplicate=False):
        for holder in (part._parameters, part._buffers):
            for key, value in holder.items():
                if value is not None:
                    yield (f"{path}.{key}" if path else key), (holder, key)
