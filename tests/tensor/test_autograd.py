"""The tape: values of gradients, accumulation, errors, hooks, memory, depth."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import contraflow as cf


def leaf(*shape: int, seed: int = 0) -> cf.Tensor:
    values = np.random.default_rng(seed).uniform(-1, 1, shape)
    return cf.tensor(values, requires_grad=True)


def test_chain_rule_by_hand():
    # y = tanh(w x + b)^2, dy/dw = 2 tanh(z) (1 - tanh(z)^2) x
    w, b = cf.tensor(0.3, requires_grad=True), cf.tensor(0.1, requires_grad=True)
    z = w * 2.0 + b
    (cf.tanh(z) ** 2).backward()
    t = np.tanh(0.7)
    assert w.grad.item() == pytest.approx(2 * t * (1 - t**2) * 2, rel=1e-6)
    assert b.grad.item() == pytest.approx(2 * t * (1 - t**2), rel=1e-6)


def test_gradients_accumulate_until_they_are_cleared():
    w = leaf(3)
    (w * 2).sum().backward()
    (w * 3).sum().backward()
    assert w.grad.tolist() == [5.0, 5.0, 5.0]
    w.grad = None
    (w * 3).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0, 3.0]


def test_accumulation_keeps_the_gradient_object():
    w = leaf(2)
    w.sum().backward()
    held = w.grad
    w.sum().backward()
    assert held is w.grad
    assert held.tolist() == [2.0, 2.0]


def test_two_leaves_never_share_one_gradient_array():
    a, b = leaf(3), leaf(3, seed=1)
    (a + b).backward(cf.ones(3, dtype=cf.float64))
    a.grad += 1
    assert b.grad.tolist() == [1.0, 1.0, 1.0]


def test_the_given_gradient_is_not_kept():
    a, g = leaf(3), cf.ones(3, dtype=cf.float64)
    (a * 1.0).sum().backward()
    b = leaf(3)
    b.clone().backward(g)
    g.zero_()
    assert b.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_value_used_twice_gets_both_gradients():
    x = leaf(3)
    y = x * x
    (y * x + y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * x.detach().numpy() ** 2 + 2 * x.detach().numpy())


def test_broadcasting_is_summed_back():
    a, b, c = leaf(3, 1), leaf(4, seed=1), leaf(seed=2)
    (a * b + c).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.full((3, 1), b.detach().numpy().sum()))
    np.testing.assert_allclose(b.grad.numpy(), np.full(4, a.detach().numpy().sum()))
    assert c.grad.item() == 12.0


def test_promotion_is_undone():
    a = cf.tensor([1.0, 2.0], requires_grad=True)
    b = cf.tensor([1.0, 2.0], dtype=cf.float64, requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.dtype is cf.float32
    assert b.grad.dtype is cf.float64


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_any_order_of_derivative(order):
    x = cf.tensor(1.5, dtype=cf.float64, requires_grad=True)
    y = x**5
    for _ in range(order):
        (y,) = cf.autograd.grad(y, x, create_graph=True)
    factor = np.prod(np.arange(5, 5 - order, -1))
    assert y.item() == pytest.approx(factor * 1.5 ** (5 - order))


def test_backward_of_several_roots():
    w = leaf(2)
    cf.autograd.backward([w.sum(), (w * 2).sum()])
    assert w.grad.tolist() == [3.0, 3.0]


def test_backward_into_chosen_inputs_only():
    a, b = leaf(2), leaf(2)
    (a * b).sum().backward(inputs=[a])
    assert a.grad is not None
    assert b.grad is None


def test_grad_does_not_touch_dot_grad():
    a, b = leaf(2), leaf(2, seed=1)
    ga, gb = cf.autograd.grad((a * b).sum(), [a, b])
    np.testing.assert_array_equal(ga.numpy(), b.detach().numpy())
    np.testing.assert_array_equal(gb.numpy(), a.detach().numpy())
    assert a.grad is None


def test_grad_of_a_computed_tensor():
    a = leaf(2)
    h = a * 2
    (gh,) = cf.autograd.grad((h * h).sum(), h)
    np.testing.assert_allclose(gh.numpy(), 2 * h.detach().numpy())


def test_unused_input():
    a, b = leaf(2), leaf(2)
    with pytest.raises(cf.GradError, match="input 1 was not used"):
        cf.autograd.grad(a.sum(), [a, b])
    assert cf.autograd.grad(a.sum(), [a, b], allow_unused=True)[1] is None
    zeros = cf.autograd.grad(a.sum(), [a, b], materialize_grads=True)[1]
    assert zeros.tolist() == [0.0, 0.0]


def test_backward_twice_is_an_error_unless_retained():
    a = leaf(2)
    y = (a * a).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(a.grad.numpy(), 4 * a.detach().numpy())
    with pytest.raises(cf.GradError, match="second time"):
        y.backward()


def test_non_scalar_backward_is_an_error():
    with pytest.raises(cf.GradError, match="scalar"):
        (leaf(2) * 2).backward()


def test_backward_without_history_is_an_error():
    with pytest.raises(cf.GradError, match="requires a gradient"):
        cf.ones(1).sum().backward()


@pytest.mark.parametrize("spoil", ["operand", "result", "view", "data"])
def test_overwriting_what_backward_needs_is_an_error(spoil):
    a = leaf(3)
    h = a * 1.0
    y = cf.exp(h) if spoil == "result" else h * h
    if spoil == "operand":
        h.add_(1)
    elif spoil == "result":
        y.add_(1)
    elif spoil == "view":
        h[0].add_(1)
    else:
        h.detach().zero_()
    with pytest.raises(cf.GradError, match="overwritten in place"):
        y.sum().backward()
    assert a.grad is None


def test_overwriting_what_nobody_needs_is_fine():
    a = leaf(3)
    h = a * 2.0
    h.add_(1)
    h.mul_(3)
    h.sum().backward()
    assert a.grad.tolist() == [6.0, 6.0, 6.0]


def test_the_error_names_the_line_under_anomaly_detection():
    a = leaf(3)
    with cf.autograd.detect_anomaly():
        h = a * 1.0
        y = h * h  # the line in question
        h.add_(1)
        with pytest.raises(cf.GradError, match="the line in question"):
            y.sum().backward()


def test_anomaly_detection_names_the_first_nan():
    x = cf.tensor([0.0, 1.0], requires_grad=True)
    with cf.autograd.detect_anomaly(), pytest.raises(cf.GradError, match="SqrtBackward0"):
        (cf.sqrt(x) * 0.0).sum().backward()
    assert x.grad is None


def test_a_leaf_cannot_be_written_while_recording():
    w = leaf(2)
    with pytest.raises(cf.GradError, match="leaf"):
        w += 1
    with pytest.raises(cf.GradError, match="leaf"):
        w[0] = 5.0
    before = w.detach().clone()
    with cf.no_grad():
        w += 1
    assert (w.detach() - before).tolist() == pytest.approx([1.0, 1.0])
    assert w.requires_grad
    assert w.is_leaf


def test_modes():
    w = leaf(2)
    with cf.no_grad():
        assert not (w * 2).requires_grad
        with cf.enable_grad():
            assert (w * 2).requires_grad
    with cf.inference_mode():
        assert not (w * 2).requires_grad
    with cf.set_grad_enabled(False):
        assert not cf.is_grad_enabled()
    assert cf.is_grad_enabled()

    @cf.no_grad()
    def plain(x):
        return x * 2

    @cf.no_grad
    def bare(x):
        return x * 2

    assert not plain(w).requires_grad
    assert not bare(w).requires_grad
    assert cf.is_grad_enabled()


def test_an_error_inside_no_grad_restores_recording():
    with pytest.raises(ValueError), cf.no_grad():
        raise ValueError
    assert cf.is_grad_enabled()


def test_hooks_see_and_replace_gradients():
    w, seen = leaf(2), []
    h = w * 2
    handle = h.register_hook(lambda g: seen.append(g.tolist()))
    w.register_hook(lambda g: g * 10)
    h.sum().backward(retain_graph=True)
    assert seen == [[1.0, 1.0]]
    assert w.grad.tolist() == [20.0, 20.0]
    handle.remove()
    h.sum().backward()
    assert len(seen) == 1


def test_retain_grad_keeps_the_gradient_of_a_computed_tensor():
    w = leaf(2)
    h = w * 2
    h.retain_grad()
    (h * 3).sum().backward()
    assert h.grad.tolist() == [3.0, 3.0]


def test_a_failing_backward_changes_no_gradient():
    a, b = leaf(2), leaf(2)
    h = a * b
    y = h * h
    h.add_(1)
    with pytest.raises(cf.GradError):
        (y + b * 2).sum().backward()
    assert a.grad is None
    assert b.grad is None


class Clamp(cf.autograd.Function):
    @staticmethod
    def forward(ctx, x, low):
        ctx.save_for_backward(x)
        ctx.low = low
        return cf.maximum(x, low)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return cf.where(x > ctx.low, g, 0.0), None


def test_function():
    x = leaf(3, 2)
    assert cf.autograd.gradcheck(lambda x: Clamp.apply(x, 0.1), (x,))
    assert cf.autograd.gradgradcheck(lambda x: Clamp.apply(x * x, 0.1), (x,))
    assert "Clamp" in repr(Clamp.apply(x, 0.1).grad_fn)


class TwoOutputs(cf.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(True)
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, g, h):
        return g * 2 + h * 3


def test_function_with_two_outputs():
    x = leaf(3)
    _, b = TwoOutputs.apply(x)
    b.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]


def test_function_with_the_wrong_number_of_gradients():
    class Wrong(cf.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(cf.GradError, match="1 gradients for 2 inputs"):
        Wrong.apply(leaf(2), leaf(2)).sum().backward()


def test_memory_is_freed_as_backward_passes():
    x = cf.ones(10, requires_grad=True)
    kept = []
    h = x
    for _ in range(5):
        h = cf.exp(h * 0.1)
        kept.append(weakref.ref(h))
    loss = h.sum()
    del h
    alive = []
    x.register_hook(lambda g: alive.append(sum(r() is not None for r in kept)))
    gc.disable()
    try:
        loss.backward()
    finally:
        gc.enable()
    assert alive == [0]


def test_no_cycle_is_left_behind():
    gc.collect()
    gc.disable()
    try:
        x = cf.ones(3, requires_grad=True)
        y = cf.tanh(cf.exp(x)) * x
        node = weakref.ref(y.grad_fn)
        y.sum().backward()
        del y
        assert node() is None
    finally:
        gc.enable()


def test_grad_must_fit():
    w = leaf(2)
    with pytest.raises(cf.ShapeError):
        w.grad = cf.ones(3, dtype=cf.float64)


def test_integers_cannot_require_a_gradient():
    with pytest.raises(cf.GradError):
        cf.tensor([1, 2], requires_grad=True)


def test_gradcheck_finds_a_wrong_gradient():
    class Wrong(cf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    with pytest.raises(cf.autograd.GradcheckError, match="input 0"):
        cf.autograd.gradcheck(Wrong.apply, (leaf(2),))
    assert not cf.autograd.gradcheck(Wrong.apply, (leaf(2),), raise_exception=False)
    assert not cf.autograd.gradgradcheck(
        lambda x: Wrong.apply(x) * x, (leaf(2),), raise_exception=False
    )
