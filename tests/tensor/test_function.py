"""``autograd.Function``: what forward and backward are given, and what is refused."""

import numpy as np
import pytest

import contraflow as cf
from contraflow.autograd.function import once_differentiable


def leaf(*shape, seed=0):
    return cf.tensor(np.random.default_rng(seed).uniform(0.5, 1.5, shape), requires_grad=True)


def function(forward, backward, name="Custom"):
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (cf.autograd.Function,), methods)


def test_needs_input_grad_says_which_gradients_are_wanted():
    seen = []

    def backward(ctx, g):
        seen.append(ctx.needs_input_grad)
        return g, g, None

    f = function(lambda ctx, x, y, scale: (x + y) * scale, backward)
    f.apply(leaf(2), cf.ones(2, dtype=cf.float64), 3.0).sum().backward()
    f.apply(cf.ones(2, dtype=cf.float64), leaf(2), 3.0).sum().backward()
    assert seen == [(True, False, False), (False, True, False)]


def test_nothing_is_recorded_inside_forward_or_without_need():
    inside = []

    def forward(ctx, x):
        inside.append((x * 2).requires_grad)
        return x * 2

    f = function(forward, lambda ctx, g: g * 2)
    assert f.apply(leaf(2)).requires_grad
    assert not f.apply(cf.ones(2)).requires_grad
    with cf.no_grad():
        assert not f.apply(leaf(2)).requires_grad
    assert inside == [False, False, False]


def test_outputs_without_gradient():
    def forward(ctx, x):
        place = x.argmax()
        rank = x.round()
        ctx.mark_non_differentiable(rank)
        return x * 2, rank, place, "a note"

    given = []

    def backward(ctx, *gs):
        given.append([None if g is None else g.tolist() for g in gs])
        return gs[0] * 2

    x = leaf(2)
    y, rank, place, note = function(forward, backward).apply(x)
    assert y.requires_grad
    assert not rank.requires_grad
    assert not place.requires_grad
    assert note == "a note"
    y.sum().backward()
    assert given == [[[1.0, 1.0], [0.0, 0.0], 0, None]]
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradients_that_did_not_arrive():
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    def backward(ctx, g, h):
        assert g is None
        return h * 3

    x = leaf(2)
    function(forward, backward).apply(x)[1].sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_setup_context():
    class Power(cf.autograd.Function):
        @staticmethod
        def forward(x, n):
            return x**n

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.n = inputs
            ctx.save_for_backward(x, output)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * ctx.n * y / x, None

    x = leaf(3)
    assert cf.autograd.gradcheck(lambda x: Power.apply(x, 3), (x,))
    assert cf.autograd.gradgradcheck(lambda x: Power.apply(x * x, 3), (x,))


def test_an_input_returned_as_it_is():
    f = function(lambda ctx, x: x, lambda ctx, g: g * 3)
    x = leaf(2)
    y = f.apply(x)
    assert y is not x
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_an_input_changed_in_place():
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    h = leaf(2) * 1.0
    before = h.tolist()
    y = function(forward, lambda ctx, g: g * 2).apply(h)
    assert y is h
    assert h.tolist() == [2 * v for v in before]
    assert "Custom" in repr(h.grad_fn)


def exp_forward(ctx, x):
    ctx.save_for_backward(x)
    return x.exp()


def test_a_constant_that_backward_returns_is_not_changed_later():
    constant = cf.tensor([5.0, 6.0], dtype=cf.float64)
    f = function(lambda ctx, x: x * 1, lambda ctx, g: constant)
    x = leaf(2)
    for _ in range(2):
        f.apply(x).sum().backward()
    assert x.grad.tolist() == [10.0, 12.0]
    assert constant.tolist() == [5.0, 6.0]


def test_double_backward_through_saved_tensors():
    f = function(exp_forward, lambda ctx, g: g * ctx.saved_tensors[0].exp())
    assert cf.autograd.gradgradcheck(f.apply, (leaf(3),))


def test_once_differentiable():
    @once_differentiable
    def backward(ctx, g):
        assert not cf.is_grad_enabled()
        (x,) = ctx.saved_tensors
        return cf.tensor(g.detach().numpy() * np.exp(x.detach().numpy()))

    f = function(exp_forward, backward)
    x = leaf(3)
    f.apply(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.detach().numpy()))
    (g,) = cf.autograd.grad(f.apply(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), np.exp(x.detach().numpy()))
    with pytest.raises(cf.GradError, match="once_differentiable"):
        g.sum().backward()


def test_overwriting_what_was_saved_names_the_line():
    f = function(exp_forward, lambda ctx, g: g * ctx.saved_tensors[0].exp())
    h = leaf(2) * 1.0
    y = f.apply(h)
    h.zero_()
    with pytest.raises(cf.GradError, match=r"written at .*h\.zero_\(\)"):
        y.sum().backward()


def test_a_second_backward():
    f = function(exp_forward, lambda ctx, g: g * ctx.saved_tensors[0].exp())
    x = leaf(2)
    y = f.apply(x)
    y.backward(cf.ones(2, dtype=cf.float64), retain_graph=True)
    y.backward(cf.ones(2, dtype=cf.float64))
    with pytest.raises(cf.GradError, match="second time"):
        y.backward(cf.ones(2, dtype=cf.float64))


double = lambda ctx, x: x * 2  # noqa: E731
LESSONS = {
    "a number as gradient": (double, lambda ctx, g: 2.0, cf.DTypeError, "returned float 2.0"),
    "an array as gradient": (double, lambda ctx, g: g.numpy(), cf.DTypeError, "ndarray"),
    "another shape": (double, lambda ctx, g: cf.ones(5), cf.ShapeError, r"shape \[5\].*shape \[2\]"),
    "too many gradients": (double, lambda ctx, g: (g, g), cf.GradError, "2 gradients for 1 inputs"),
    "no tensor returned": (lambda ctx, x: 3, double, cf.GradError, "must return a tensor"),
    "a number saved": (lambda ctx, x: ctx.save_for_backward(3), double, cf.DTypeError, "ctx.scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", LESSONS)
def test_mistakes_are_lessons_and_change_nothing(name):
    forward, backward, kind, message = LESSONS[name]
    x = leaf(2)
    with pytest.raises(kind, match=message) as caught:
        function(forward, backward).apply(x).sum().backward()
    assert x.grad is None
    assert "\n  fix: " in str(caught.value)


def test_a_function_is_applied_not_called():
    with pytest.raises(cf.ArgumentError, match=r"Custom\.apply\(x\)"):
        function(double, double)(leaf(2))
    with pytest.raises(cf.GradError, match="Empty has no forward"):
        type("Empty", (cf.autograd.Function,), {}).apply(leaf(2))
