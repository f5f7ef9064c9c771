"""Tests generated from the op records: every op, every sample (see ``contraflow.ops.record``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import contraflow as cf
from contraflow.base.dtypes import DType, default_dtype, from_numpy_dtype
from contraflow.base.modes import current
from contraflow.ops.record import OPS, Aval, Op, Sample
from contraflow.ops.record import op as op_record
from contraflow.tensor.operands import promote
from contraflow.tensor.tensor import Tensor
from tests.samples import grouped, samples_of

EPS = 1e-6  # of central differences; their error is about 1e-9 of the third derivative


CASES = [(op, i, s) for op in OPS.values() for i, s in enumerate(samples_of(op))]


def table(*conditions: Any) -> Any:
    """Make a check a test of each op, with those of its samples for which all conditions hold."""
    return grouped(
        (op.name, f"sample {i}: {op.name}{s}", (op, s))
        for op, i, s in CASES
        if all(condition(op, s) for condition in conditions)
    )


def gives_a_value(op: Op, sample: Sample) -> bool:
    return sample.error is None


def has_gradient(op: Op, sample: Sample) -> bool:
    return op.differentiable and sample.smooth and bool(places(op, sample))


def has_definition(op: Op, sample: Sample) -> bool:
    return op.definition is not None


# ---- running an op -------------------------------------------------------------------------


def places(op: Op, sample: Sample) -> list[int]:
    """The operands that a gradient flows to: floating arrays with a rule."""
    names = [op.operands[0] if op.variadic else op.operands[i] for i in range(len(sample.args))]
    return [
        i
        for i, (a, name) in enumerate(zip(sample.args, names, strict=True))
        if isinstance(a, np.ndarray) and a.dtype.kind == "f" and (op.joint or name in op.rules)
    ]


def tensors(args: Any, tracked: Any = ()) -> list[Any]:
    """The operands as tensors (numbers stay numbers), each with its own memory."""
    return [
        cf.tensor(np.array(a), requires_grad=i in tracked) if isinstance(a, np.ndarray) else a
        for i, a in enumerate(args)
    ]


def run(function: Any, args: Any, attrs: dict[str, Any]) -> tuple[Any, ...]:
    """The results as a tuple."""
    out = function(*args, **attrs)
    return out if isinstance(out, tuple) else (out,)


def value(t: Any) -> np.ndarray[Any, Any]:
    return np.array(t.detach().numpy())


def avals_of(op: Op, args: Any) -> list[Aval]:
    """What the shape rule sees: promoted operands, and numbers as 0-d ones of the same dtype."""
    if op.promote is not None:
        args = promote(op, tuple(args)) or args
    dtype = next((a.dtype for a in reversed(args) if isinstance(a, Tensor)), default_dtype())
    return [a.aval if isinstance(a, Tensor) else Aval((), dtype) for a in args]


def predicted(op: Op, args: Any, attrs: dict[str, Any]) -> tuple[Aval, ...]:
    found = op.shape(*avals_of(op, args), **attrs)
    return found if isinstance(found, tuple) else (found,)


def narrowed(args: Any) -> list[Any]:
    """The arguments with float32 in place of float64."""
    return [
        a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a
        for a in args
    ]


def directions(op: Op, sample: Sample, seed: int) -> dict[int, Any]:
    """A random direction for each operand that has a gradient."""
    rng = np.random.default_rng(seed)
    return {i: rng.uniform(-1, 1, sample.args[i].shape) for i in places(op, sample)}


def moved(args: Any, steps: dict[int, Any], size: float) -> list[Any]:
    return [np.asarray(a + size * steps[i]) if i in steps else a for i, a in enumerate(args)]


def weighted(function: Any, args: Any, attrs: dict[str, Any], weights: Any) -> Any:
    """The floating results times fixed weights, summed: one number whose gradient is tested."""
    outs = [o for o in run(function, args, attrs) if o.dtype.is_floating_point]
    return sum(((o * cf.tensor(w)).sum() for o, w in zip(outs, weights, strict=True)), 0.0)


def weights_for(op: Op, sample: Sample) -> list[Any]:
    rng = np.random.default_rng(11)
    outs = run(op, tensors(sample.args), sample.attrs)
    return [rng.uniform(0.5, 1.5, tuple(o.shape)) for o in outs if o.dtype.is_floating_point]


def gradients(
    function: Any, op: Op, sample: Sample, weights: Any, args: Any = None
) -> tuple[list[Any], list[Any]]:
    """The gradient of ``weighted`` for each place, with its history, and the operands it is in."""
    where = places(op, sample)
    inputs = tensors(sample.args if args is None else args, where)
    total = weighted(function, inputs, sample.attrs, weights)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return [cf.zeros(*inputs[i].shape, dtype=cf.float64) for i in where], inputs
    wanted = [inputs[i] for i in where]
    found = cf.autograd.grad(total, wanted, create_graph=True, allow_unused=True)
    zero = [cf.zeros(*t.shape, dtype=t.dtype) for t in wanted]
    return [z if g is None else g for g, z in zip(found, zero, strict=True)], inputs


def number(x: Any) -> float:
    return float(x.detach()) if isinstance(x, Tensor) else float(x)


def assert_same_slope(what: str, op: Op, sample: Sample, exact: float, numeric: float) -> None:
    assert abs(exact - numeric) <= 2e-5 * (1 + abs(numeric)), (
        f"{what} of {op.name}{sample}: the rule gives {exact:.9g} along a random direction, "
        f"finite differences give {numeric:.9g}"
    )


# ---- the tests -----------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_every_op_has_samples(op: Op) -> None:
    samples = samples_of(op)
    assert any(s.error is None for s in samples), f"{op.name} has no sample that gives a value"
    if op.differentiable:
        assert any(has_gradient(op, s) and s.error is None for s in samples), (
            f"{op.name} has gradient rules and no smooth sample that tests them"
        )


@table(gives_a_value)
def test_shape_rule_tells_the_result(op: Op, sample: Sample) -> None:
    args = tensors(sample.args)
    expected = predicted(op, args, sample.attrs)
    outs = run(op, args, sample.attrs)
    assert [o.aval for o in outs] == list(expected), f"{op.name}{sample}"
    assert len(outs) == op.outputs


def apart_in_memory(a: Any) -> Any:
    """The same array with its elements in another order, and gaps between them."""
    if not isinstance(a, np.ndarray) or not a.ndim:
        return a
    wide = np.zeros(tuple(2 * n for n in reversed(a.shape)), a.dtype).T
    found = wide[(slice(None, None, -2),) * a.ndim]
    found[...] = a
    return found


@table(gives_a_value)
def test_where_the_elements_lie_does_not_matter(op: Op, sample: Sample) -> None:
    quiet = current().quiet
    there = [apart_in_memory(a) for a in sample.args]
    expected = quiet(op.forward, *sample.args, **sample.attrs)
    found = quiet(op.forward, *there, **sample.attrs)
    for theirs, ours in zip(
        *[r if op.outputs > 1 else (r,) for r in (expected, found)], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, 1e-9, 1e-12, err_msg=f"{op.name}{sample}")


@table()
def test_attributes_can_be_hashed(op: Op, sample: Sample) -> None:
    hash(tuple(sample.attrs.items()))


@table(gives_a_value)
def test_float32_stays_float32(op: Op, sample: Sample) -> None:
    args = tensors(narrowed(sample.args))
    expected = predicted(op, args, sample.attrs)
    outs = run(op, args, sample.attrs)
    assert [o.aval for o in outs] == list(expected), f"{op.name}{sample}"
    if any(isinstance(v, DType) for v in sample.attrs.values()):
        return  # an op that is told its dtype
    wide = run(op, tensors(sample.args), sample.attrs)
    if not any(isinstance(a, Tensor) and a.dtype is cf.float32 for a in args):
        return
    for narrow, exact in zip(outs, wide, strict=True):
        assert narrow.dtype is (cf.float32 if exact.dtype is cf.float64 else exact.dtype)
        if exact.dtype.is_floating_point and not op.random and sample.smooth:
            np.testing.assert_allclose(value(narrow), value(exact), rtol=2e-3, atol=2e-3)


@table(gives_a_value)
def test_forward_leaves_its_operands_alone(op: Op, sample: Sample) -> None:
    arrays = [np.array(a) if isinstance(a, np.ndarray) else a for a in sample.args]
    for a in arrays:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False  # a write raises
    given = [cf.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
    outs = run(op, given, sample.attrs)
    for result in map(Tensor.numpy, outs):
        shared = [a for a in arrays if isinstance(a, np.ndarray) and np.shares_memory(a, result)]
        assert op.view or not shared, f"{op.name} is no view, yet its result shows an operand"


@table(gives_a_value)
def test_same_state_same_result(op: Op, sample: Sample) -> None:
    first, second = (run(op, tensors(sample.args), sample.attrs) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(value(a), value(b))


@table(gives_a_value, has_gradient)
def test_gradient_is_the_slope(op: Op, sample: Sample) -> None:
    weights = weights_for(op, sample)
    grads, _ = gradients(op, op, sample, weights)
    steps = directions(op, sample, seed=1)
    for g, i in zip(grads, steps, strict=True):
        assert g.aval == Aval(sample.args[i].shape, from_numpy_dtype(sample.args[i].dtype))
    exact = sum(float(np.sum(value(g) * steps[i])) for g, i in zip(grads, steps, strict=True))
    ends = [
        number(weighted(op, tensors(moved(sample.args, steps, e)), sample.attrs, weights))
        for e in (EPS, -EPS)
    ]
    assert_same_slope("gradient", op, sample, exact, (ends[0] - ends[1]) / (2 * EPS))


@table(gives_a_value, has_gradient)
def test_second_gradient_is_the_slope_of_the_first(op: Op, sample: Sample) -> None:
    weights = weights_for(op, sample)
    pull = directions(op, sample, seed=2)
    steps = directions(op, sample, seed=3)

    def along(args: Any) -> tuple[Any, list[Any]]:
        grads, inputs = gradients(op, op, sample, weights, args)
        parts = [(g * cf.tensor(pull[i])).sum() for g, i in zip(grads, pull, strict=True)]
        return sum(parts, 0.0), inputs

    total, inputs = along(sample.args)
    exact = 0.0
    if isinstance(total, Tensor) and total.requires_grad:
        wanted = [inputs[i] for i in steps]
        found = cf.autograd.grad(total, wanted, allow_unused=True)
        exact = sum(
            float(np.sum(value(g) * steps[i]))
            for g, i in zip(found, steps, strict=True)
            if g is not None
        )
    ends = [number(along(moved(sample.args, steps, e))[0]) for e in (EPS, -EPS)]
    assert_same_slope("second gradient", op, sample, exact, (ends[0] - ends[1]) / (2 * EPS))


@table(gives_a_value, has_definition)
def test_fused_op_is_its_definition(op: Op, sample: Sample) -> None:
    fused = run(op, tensors(sample.args), sample.attrs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op, "forward", lambda *_, **__: pytest.fail("defined by itself"))
        plain = run(op.definition, tensors(sample.args), sample.attrs)
    for a, b in zip(fused, plain, strict=True):
        assert a.aval == b.aval, f"{op.name}{sample}"
        np.testing.assert_allclose(value(a), value(b), rtol=1e-9, atol=1e-12)


@table(gives_a_value, has_gradient, has_definition)
def test_fused_gradient_is_that_of_its_definition(op: Op, sample: Sample) -> None:
    weights = weights_for(op, sample)
    fused, _ = gradients(op, op, sample, weights)
    plain, _ = gradients(op.definition, op, sample, weights)
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(value(a), value(b), rtol=1e-8, atol=1e-11)


@table(lambda op, sample: sample.error is not None)
def test_wrong_operands_are_refused(op: Op, sample: Sample) -> None:
    with pytest.raises(sample.error) as caught:
        op(*tensors(sample.args), **sample.attrs)
    assert isinstance(caught.value, cf.ContraflowError), "the error is not one of contraflow's"
    assert len(str(caught.value)) > 20, "the message does not say what is wrong"


def test_these_tests_can_fail() -> None:
    """A wrong record is caught: a rule off by 1 %, a shape rule with another dtype, a forward that
    writes, a second derivative that the rule hides."""
    sample = Sample(np.array([0.3, 0.7]))
    alias = OPS["alias"]

    def wrong(name: str, **changes: Any) -> Any:
        fields = {"forward": np.square, "shape": lambda x: x, "grad": lambda g, x: g * x * 2.0}
        try:
            record = op_record(name, "x", samples=lambda rng: [sample], **(fields | changes))
            return {name: (record, sample)}
        finally:
            OPS.pop(name, None)

    def spoil(x: Any) -> Any:
        x += 1
        return np.square(x)

    test_gradient_is_the_slope(wrong("right"))
    test_second_gradient_is_the_slope_of_the_first(wrong("right"))
    with pytest.raises(AssertionError, match="finite differences give"):
        test_gradient_is_the_slope(wrong("off", grad=lambda g, x: g * x * 2.02))
    with pytest.raises(AssertionError, match="second gradient of hides"):
        hides = wrong("hides", grad=lambda g, x: g * alias(x) * 2.0)
        test_second_gradient_is_the_slope_of_the_first(hides)
    with pytest.raises(AssertionError):
        half = wrong("half", shape=lambda x: Aval(x.shape, cf.float16))
        test_shape_rule_tells_the_result(half)
    with pytest.raises(cf.ArgumentError, match="read-only"):
        test_forward_leaves_its_operands_alone(wrong("spoils", forward=spoil))
    with pytest.raises(AssertionError, match="is no view"):
        test_forward_leaves_its_operands_alone(wrong("shows", forward=lambda x: x[:]))
