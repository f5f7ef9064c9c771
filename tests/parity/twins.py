"""A layer or function here and its twin in PyTorch, fed with the same numbers.

``compare`` runs both and compares the result, the gradients of inputs and parameters, and the
second derivatives; then ours once more, captured as a graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import contraflow as cf
from contraflow.capture import capture

TIGHT = {"rtol": 1e-9, "atol": 1e-10}
LOOSE = {"rtol": 2e-4, "atol": 5e-5}
SAME = {"rtol": 1e-12, "atol": 1e-13}


def array(t: Any) -> np.ndarray:
    """The numbers of a tensor of either side."""
    return np.array(t.detach().numpy())


def close(a: Any, b: Any, how: dict[str, float], what: str = "") -> None:
    """Shapes and numbers agree; None stands for zeros (a gradient that nothing flows to)."""
    if a is None or b is None:
        other = b if a is None else a
        assert other is None or not np.abs(array(other)).max(initial=0), f"{what}: one side is None"
        return
    assert tuple(a.shape) == tuple(b.shape), f"{what}: {tuple(a.shape)} is not {tuple(b.shape)}"
    np.testing.assert_allclose(array(a), array(b), **how, err_msg=what)


def numbers(shape: Any, seed: int = 0) -> np.ndarray:
    """Normal numbers, the same for every run."""
    return np.random.default_rng(seed).normal(size=tuple(shape))


def twins(
    name: str, args: tuple[Any, ...], options: dict[str, Any], dtype: str = "float64"
) -> tuple[Any, Any]:
    """Both layers with the same state, drawn anew; also checks their repr and their keys."""
    ours = getattr(cf.nn, name)(*args, **options)
    theirs = getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in state.items()
    }
    assert list(ours.state_dict()) == list(state)
    ours, theirs = ours.to(getattr(cf, dtype)), theirs.to(getattr(torch, dtype))
    drawn = {}
    for seed, (key, value) in enumerate(theirs.state_dict().items(), 100):
        numeric = value.dtype.is_floating_point
        drawn[key] = numbers(value.shape, seed).astype(dtype) if numeric else array(value)
        if key.endswith("running_var"):
            drawn[key] = np.abs(drawn[key]) + 0.5
    theirs.load_state_dict({k: torch.tensor(v) for k, v in drawn.items()})
    ours.load_state_dict({k: cf.tensor(v) for k, v in drawn.items()})
    return ours, theirs


class Side:
    """Our library or PyTorch, as far as a comparison needs it."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.grad = library.autograd.grad

    def run(self, call: Any, inputs: list[np.ndarray], params: list[Any], second: bool) -> Any:
        """The results, their gradients along fixed directions, and the gradients of those."""
        xs = [self.library.tensor(x) for x in inputs]
        for x in xs:
            if x.dtype.is_floating_point:
                x.requires_grad_()
        leaves = [t for t in (*xs, *params) if t.requires_grad]
        results = call(*xs)
        results = results if isinstance(results, tuple) else (results,)
        floating = [y for y in results if y.dtype.is_floating_point and y.requires_grad]
        if not floating or not leaves:
            return results, [], []
        pulls = [self.direction(y, 40 + i) for i, y in enumerate(floating)]
        for pull in pulls:
            pull.requires_grad_()
        first = self.grad(floating, leaves, pulls, create_graph=second, allow_unused=True)
        if not second:
            return results, first, []
        total = sum((g * self.direction(g, 60 + i)).sum() for i, g in enumerate(first)
                    if g is not None)  # fmt: skip
        if not hasattr(total, "requires_grad") or not total.requires_grad:
            return results, first, []
        return results, first, self.grad(total, [*leaves, *pulls], allow_unused=True)

    def direction(self, like: Any, seed: int) -> Any:
        made = numbers(like.shape, seed).astype(array(like).dtype)
        return self.library.tensor(made)


def compare(
    ours: Any, theirs: Any, inputs: list[np.ndarray], dtype: str = "float64",
    how: dict[str, float] | None = None, second: bool = True,
) -> None:  # fmt: skip
    """Two layers, or two functions, on the same inputs."""
    how = how or (TIGHT if dtype == "float64" else LOOSE)
    inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    second = second and dtype == "float64"
    sides = []
    for library, call in ((cf, ours), (torch, theirs)):
        params = list(call.parameters()) if hasattr(call, "parameters") else []
        sides.append(Side(library).run(call, inputs, params, second))
    for what, a, b in zip(("result", "gradient", "second gradient"), *sides, strict=True):
        assert len(a) == len(b), what
        for i, (mine, other) in enumerate(zip(a, b, strict=True)):
            close(mine, other, how, f"{what} {i}")
    for mine, other in zip(sides[0][0], sides[1][0], strict=True):
        assert str(mine.dtype).split(".")[-1] == str(other.dtype).split(".")[-1]


def compare_captured(ours: Any, inputs: list[np.ndarray]) -> None:
    """The layer's result and gradients as a graph are those of eager, and its state moves alike."""

    def step(*xs: Any) -> Any:
        results = ours(*xs)
        results = results if isinstance(results, tuple) else (results,)
        floating = [y for y in results if y.dtype.is_floating_point]
        params = [p for p in ours.parameters() if p.requires_grad] if state() else []
        leaves = [x for x in (*xs, *params) if x.requires_grad]
        if not leaves:
            return results, []
        total = sum((y * y).sum() for y in floating)
        return results, list(cf.autograd.grad(total, leaves))

    def state() -> dict[str, Any]:
        return ours.state_dict() if hasattr(ours, "state_dict") else {}

    def run(function: Any) -> Any:
        outs, grads = function(*tensors())
        return [array(t) for t in (*outs, *grads)]

    def tensors() -> list[Any]:
        return [
            cf.tensor(x, requires_grad=True) if x.dtype.kind == "f" else cf.tensor(x)
            for x in inputs
        ]

    before = {k: array(v) for k, v in state().items()}
    eager = run(step)
    after = {k: array(v) for k, v in state().items()}
    if before:
        ours.load_state_dict({k: cf.tensor(v) for k, v in before.items()})
    graph = capture(step, *tensors())
    for key, value in state().items():
        np.testing.assert_array_equal(array(value), before[key], err_msg="capturing changed it")
    for a, b in zip(run(graph), eager, strict=True):
        np.testing.assert_allclose(a, b, **SAME)
    for key, value in state().items():
        np.testing.assert_allclose(array(value), after[key], **SAME, err_msg=key)


def check_layer(
    name: str, args: tuple[Any, ...], options: dict[str, Any], inputs: list[np.ndarray],
    dtype: str, mode: str = "train", **how: Any,
) -> None:  # fmt: skip
    """A layer against its twin, and captured; ``mode`` is ``train`` or ``eval``."""
    ours, theirs = twins(name, args, options, dtype)
    getattr(ours, mode)()
    getattr(theirs, mode)()
    compare(ours, theirs, inputs, dtype, **how)
    if dtype == "float64":
        ours, _ = twins(name, args, options, dtype)
        getattr(ours, mode)()
        compare_captured(ours, inputs)


def refused_by_both(ours: Any, theirs: Any) -> str:
    """Both sides refuse a call; our message, after checking that it teaches."""
    try:
        theirs()
    except Exception:
        pass
    else:
        raise AssertionError("PyTorch does not refuse this")
    try:
        ours()
    except cf.ContraflowError as error:
        assert len(str(error)) > 20
        return str(error)
    raise AssertionError("not refused here")
