"""The engine under load and at its edges: depth, memory, orders, modes, hooks, threads, forks."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
import tracemalloc

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.utils.checkpoint import checkpoint


def leaf(*shape, seed=0):
    return cf.tensor(np.random.default_rng(seed).uniform(-1, 1, shape), requires_grad=True)


# ---- depth and memory ----------------------------------------------------------------------------


def chain(n):
    x = cf.tensor(1.0, dtype=cf.float64, requires_grad=True)
    y = x
    for _ in range(n):
        y = y * 1.0000001
    return x, y


def test_a_hundred_thousand_ops_without_recursion_in_linear_time():
    def seconds(n):
        x, y = chain(n)
        start = time.process_time()
        y.backward()
        assert x.grad.item() == pytest.approx(1.0000001**n, rel=1e-9)
        return time.process_time() - start

    small, large = min(seconds(25_000), seconds(25_000)), seconds(100_000)
    assert large < 8 * small  # linear would be 4, quadratic 16


def test_a_long_chain_is_differentiated_twice_and_dropped_without_recursion():
    x, y = chain(5_000)
    (g,) = cf.autograd.grad(y * y, x, create_graph=True)
    (gg,) = cf.autograd.grad(g, x)
    assert gg.item() == pytest.approx(2 * 1.0000001**10_000, rel=1e-9)
    del x, y, g, gg
    gc.collect()  # a destructor that recursed would end the interpreter here


def test_a_wide_graph_is_visited_once_a_node():
    # 2^40 paths, 40 nodes
    x = cf.tensor(1.0, dtype=cf.float64, requires_grad=True)
    y = x
    for _ in range(40):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**40


def test_backward_frees_what_forward_kept():
    size, depth = 1 << 16, 40  # 40 kept arrays of half a megabyte
    x = cf.ones(size, dtype=cf.float64, requires_grad=True)

    def forward():
        h = x
        for _ in range(depth):
            h = cf.tanh(h)
        return h.sum()

    tracemalloc.start()
    try:
        loss = forward()
        kept = tracemalloc.get_traced_memory()[0]
        assert kept > depth * size * 8  # each result is needed by backward
        tracemalloc.reset_peak()
        loss.backward()
        peak, after = tracemalloc.get_traced_memory()[1], tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert peak < kept + 6 * size * 8  # gradients come and go, they do not pile up
    assert after < 4 * size * 8  # x.grad is left, the graph is not


def test_a_loop_of_steps_does_not_grow():
    model = nn.Sequential(nn.Linear(50, 50), nn.Tanh(), nn.Linear(50, 1))
    optimizer = cf.optim.Adam(model.parameters())
    x = cf.ones(20, 50)

    def step():
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    tracemalloc.start()
    gc.disable()  # nothing may wait for the collector of cycles
    try:
        for _ in range(20):
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(60):
            step()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        gc.enable()
        tracemalloc.stop()
    # one gradient of the model has 10,000 bytes; the free lists of Python fill with 100 a step
    assert after - before < 60 * 200


# ---- orders, roots, accumulation ------------------------------------------------------------------


def test_third_derivatives_of_several_variables():
    x, y = leaf(seed=1), leaf(seed=2)
    f = cf.sin(x) * y**3
    (fx,) = cf.autograd.grad(f, x, create_graph=True)
    (fxy,) = cf.autograd.grad(fx, y, create_graph=True)
    (fxyy,) = cf.autograd.grad(fxy, y)
    assert fxyy.item() == pytest.approx(np.cos(x.item()) * 6 * y.item(), rel=1e-12)


def test_third_derivatives_through_a_network():
    cf.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    x = cf.tensor([[0.3]], dtype=cf.float64, requires_grad=True)
    y = model(x).sum()
    for _ in range(3):
        (y,) = cf.autograd.grad(y, x, create_graph=True)
        y = y.sum()
    w, b = (p.detach().numpy() for p in (model[0].weight, model[0].bias))
    t = np.tanh(w[:, 0] * 0.3 + b)
    third = (1 - t**2) * (6 * t**2 - 2) * w[:, 0] ** 3
    assert y.item() == pytest.approx(float(model[2].weight.detach().numpy()[0] @ third), rel=1e-10)
    y.backward()  # and the fourth, into every weight
    assert all(p.grad is not None for p in list(model.parameters())[:3])


def test_create_graph_leaves_a_gradient_that_can_be_differentiated():
    x = leaf(3)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    assert g.requires_grad
    x.grad = None
    g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy())


def test_several_roots_share_one_pass():
    x, calls = leaf(3), []
    h = x * 2
    h.register_hook(lambda g: calls.append(g.tolist()))
    cf.autograd.backward([h.sum(), (h * 3).sum(), h], [None, None, cf.ones(3).double()])
    assert calls == [[5.0, 5.0, 5.0]]
    assert x.grad.tolist() == [10.0, 10.0, 10.0]


def test_the_same_root_twice():
    x = leaf(2)
    y = (x * x).sum()
    cf.autograd.backward([y, y])
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.detach().numpy())


def test_a_leaf_as_root():
    x = leaf()
    x.backward()
    x.backward(cf.tensor(2.0, dtype=cf.float64))
    assert x.grad.item() == 3.0
    assert cf.autograd.grad(x, x)[0].item() == 1.0


def test_retaining_a_part_of_the_graph():
    x = leaf(2)
    h = x.exp()
    a, b = h.sum(), (h * h).sum()
    a.backward(retain_graph=True)
    b.backward()
    with pytest.raises(cf.GradError, match="second time"):
        a.backward()
    e = np.exp(x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), e + 2 * e * e)


def test_inputs_of_backward_are_checked():
    x, y = leaf(2), cf.ones(2)
    loss = (x * 2).sum()
    for inputs, kind, message in [
        ([], cf.GradError, "names no tensor"),
        ([3], cf.DTypeError, r"inputs\[0\] must be a tensor"),
        ([x, y], cf.GradError, r"inputs\[1\] does not require"),
    ]:
        with pytest.raises(kind, match=message):
            loss.backward(inputs=inputs)
    assert x.grad is None
    h = x * 2
    (h * h).sum().backward(inputs=[h])
    assert h.grad is not None
    assert x.grad is None


# ---- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "recorded"),
    [
        (cf.no_grad, False),
        (cf.enable_grad, True),
        (cf.inference_mode, False),
        (lambda: cf.inference_mode(False), True),
        (lambda: cf.set_grad_enabled(False), False),
        (lambda: cf.set_grad_enabled(True), True),
    ],
)
@pytest.mark.parametrize("outside", [True, False])
def test_modes_as_context_and_as_decorator(mode, recorded, outside):
    x = leaf(2)
    with cf.enable_grad() if outside else cf.no_grad():
        with mode():
            assert cf.is_grad_enabled() == recorded
            assert (x * 2).requires_grad == recorded
        assert cf.is_grad_enabled() == outside

        decorate = mode()  # set_grad_enabled acts at once, as in PyTorch
        cf.set_grad_enabled(outside)

        @decorate
        def twice(x):
            """Two of them."""
            return x * 2

        assert twice(x).requires_grad == recorded
        assert twice.__doc__ == "Two of them."
        assert cf.is_grad_enabled() == outside
    assert cf.is_grad_enabled()


def test_modes_nest_and_can_be_entered_again():
    mode = cf.no_grad()
    with mode:
        with mode, cf.enable_grad():
            assert cf.is_grad_enabled()
        assert not cf.is_grad_enabled()
    assert cf.is_grad_enabled()


def test_a_recursive_decorated_function_restores_the_mode():
    @cf.no_grad()
    def down(n):
        assert not cf.is_grad_enabled()
        return n if n == 0 else down(n - 1)

    down(5)
    assert cf.is_grad_enabled()


def test_set_grad_enabled_at_once():
    try:
        cf.set_grad_enabled(False)
        assert not (leaf(1) * 2).requires_grad
    finally:
        cf.set_grad_enabled(True)
    with pytest.raises(cf.DTypeError, match="takes a bool"):
        cf.set_grad_enabled("no")
    assert cf.is_grad_enabled()


# ---- hooks ---------------------------------------------------------------------------------------


def test_hooks_run_in_order_each_on_what_the_one_before_left():
    x, seen = leaf(1), []

    def hook(name, factor):
        def run(g):
            seen.append((name, g.item()))
            return g * factor

        return run

    first = x.register_hook(hook("first", 2))
    x.register_hook(hook("second", 3))
    third = x.register_hook(hook("third", 1))
    x.sum().backward()
    assert seen == [("first", 1.0), ("second", 2.0), ("third", 6.0)]
    assert x.grad.item() == 6.0
    seen.clear()
    first.remove()
    first.remove()  # a second time does nothing
    with third:
        pass
    x.sum().backward()
    assert seen == [("second", 1.0)]


def test_a_hook_sees_the_whole_gradient_once():
    x, seen = leaf(1), []
    h = x * 1.0
    h.register_hook(lambda g: seen.append(g.item()))
    (h * 2 + h * 3 + h).sum().backward()
    assert seen == [6.0]


def test_hooks_of_one_of_several_outputs():
    x, seen = leaf(4), []
    a, b = cf.split(x * 1.0, 2)
    a.register_hook(lambda g: seen.append("a"))
    b.register_hook(lambda g: (seen.append("b"), g * 10)[1])
    (a.sum() + b.sum()).backward()
    assert sorted(seen) == ["a", "b"]
    assert x.grad.tolist() == [1.0, 1.0, 10.0, 10.0]


def test_gradients_that_hooks_keep_or_give_are_not_changed_later():
    x, kept, constant = leaf(2), [], cf.tensor([5.0, 6.0], dtype=cf.float64)
    x.register_hook(kept.append)
    y = leaf(2)
    y.register_hook(lambda g: constant)
    for _ in range(2):
        (x * 2 + y).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]
    assert [g.tolist() for g in kept] == [[2.0, 2.0]] * 2
    assert y.grad.tolist() == [10.0, 12.0]
    assert constant.tolist() == [5.0, 6.0]


def test_a_gradient_kept_half_way_is_not_changed_later():
    x, kept = leaf(2), []
    h = x + 0.0  # hands its gradient on as it is
    h.register_hook(kept.append)
    h.sum().backward(retain_graph=True)
    h.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert [g.tolist() for g in kept] == [[1.0, 1.0]] * 2


def test_hooks_are_functions():
    with pytest.raises(cf.DTypeError, match="a hook is a function"):
        leaf(1).register_hook(3)
    with pytest.raises(cf.GradError, match="requires a gradient"):
        cf.ones(1).register_hook(lambda g: g)


def test_retain_grad_accumulates_and_asks_once():
    x = leaf(2)
    h = x * 2
    assert not h.retains_grad
    h.retain_grad()
    h.retain_grad()
    assert h.retains_grad
    h.sum().backward(retain_graph=True)
    h.sum().backward()
    assert h.grad.tolist() == [2.0, 2.0]
    assert x.grad.tolist() == [4.0, 4.0]


def test_full_backward_hooks_see_and_replace():
    cf.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double()
    x, seen = leaf(4, 3), []

    def hook(module, grad_input, grad_output):
        seen.append((type(module).__name__, grad_input[0].shape, grad_output[0].shape))
        return tuple(g * 2 for g in grad_input)

    handles = [m.register_full_backward_hook(hook) for m in model]
    model(x).sum().backward()
    assert [name for name, *_ in seen] == ["Tanh", "Linear"]
    assert seen[1][1:] == ((4, 3), (4, 2))
    doubled = x.grad.clone()
    for handle in handles:
        handle.remove()
    x.grad = None
    model(x).sum().backward()
    np.testing.assert_allclose(doubled.numpy(), 4 * x.grad.numpy())
    assert len(seen) == 2


# ---- writes in place -------------------------------------------------------------------------------


def test_the_error_names_the_line_that_wrote():
    h = leaf(3) * 1.0
    loss = (h * h).sum()
    h.clamp_(0)  # the culprit
    with pytest.raises(cf.GradError, match="overwritten in place") as caught:
        loss.backward()
    text = str(caught.value)
    assert "written at  test_engine.py" in text
    assert "the culprit" in text
    assert "operand a" in text
    assert "float64[3]   h" in text
    assert "fix: use the form that is not in place (x = x + 1), or x.clone()" in text


@pytest.mark.parametrize(
    "write",
    [
        lambda h: h.__setitem__(0, 1.0),
        lambda h: h[1:].add_(1),
        lambda h: h.T.mul_(2),
        lambda h: h.detach().zero_(),
        lambda h: h.data.fill_(1),
        lambda h: h.__iadd__(1),
        lambda h: h.view(-1).copy_(cf.ones(3)),
        lambda h: h.unsqueeze(0).relu_(),
    ],
)
def test_every_way_to_write_is_noticed(write):
    h = leaf(3) * 1.0
    loss = (h * h).sum()
    with cf.no_grad():
        write(h)
    with pytest.raises(cf.GradError, match="overwritten in place"):
        loss.backward()


def test_a_write_before_the_use_is_fine():
    x = leaf(3)
    h = x * 1.0
    h.mul_(2)
    h[0] = h[1]
    (h * h).sum().backward()
    v = x.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 16 * v[1], 8 * v[2]])


# ---- recomputation ---------------------------------------------------------------------------------


def test_nested_checkpoints_with_dropout_draw_the_same_masks():
    cf.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.5),
                          nn.Linear(8, 1)).double()  # fmt: skip
    x = leaf(5, 4)

    def plain(x):
        return model(x)

    def nested(x):
        inner = lambda h: checkpoint(model[2:4], checkpoint(model[:2], h))  # noqa: E731
        return model[4](checkpoint(inner, x))

    found = []
    for run in (plain, nested):
        model.zero_grad()
        x.grad = None
        cf.manual_seed(2)
        loss = run(x).square().mean()
        after = cf.get_rng_state().tolist()
        loss.backward()
        found.append([loss.detach().numpy(), x.grad.numpy(), np.array(after),
                      np.array(cf.get_rng_state().tolist()),
                      *(p.grad.numpy() for p in model.parameters())])  # fmt: skip
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_checkpoint_keeps_less():
    size = 1 << 15
    x = cf.ones(size, dtype=cf.float64, requires_grad=True)

    def block(h):
        for _ in range(10):
            h = cf.tanh(h)
        return h

    def kept(run):
        tracemalloc.start()
        try:
            h = x
            for _ in range(4):
                h = run(h)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert kept(lambda h: checkpoint(block, h)) < kept(block) / 5


# ---- checks of gradients -----------------------------------------------------------------------------


class Slightly(cf.autograd.Function):
    """x^2 with a gradient that is half a percent too large."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 2.01 * x


class WrongTwice(cf.autograd.Function):
    """The gradient is right; what it says about itself is not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x.detach()


def test_gradcheck_catches_a_gradient_that_is_off_by_half_a_percent():
    x = cf.tensor([0.7, 1.3], dtype=cf.float64, requires_grad=True)
    assert cf.autograd.gradcheck(lambda x: x * x, (x,))
    with pytest.raises(cf.autograd.GradcheckError, match="differs from finite differences"):
        cf.autograd.gradcheck(Slightly.apply, (x,))


def test_gradgradcheck_catches_what_gradcheck_cannot():
    x = cf.tensor([0.7, 1.3], dtype=cf.float64, requires_grad=True)
    assert cf.autograd.gradcheck(WrongTwice.apply, (x,))
    assert cf.autograd.gradgradcheck(lambda x: x**3, (x,))
    with pytest.raises(cf.autograd.GradcheckError):
        cf.autograd.gradgradcheck(WrongTwice.apply, (x,))


# ---- threads and processes ---------------------------------------------------------------------------


def train(seed, steps=40):
    """A small training run without random layers; gives its losses."""
    rng = np.random.default_rng(seed)
    generator = cf.Generator().manual_seed(seed)
    w1 = (cf.randn(4, 16, generator=generator) * 0.5).requires_grad_()
    w2 = (cf.randn(16, 1, generator=generator) * 0.5).requires_grad_()
    optimizer = cf.optim.Adam([w1, w2], lr=0.01)
    losses = []
    for _ in range(steps):
        x = cf.tensor(rng.normal(size=(8, 4)).astype(np.float32))
        optimizer.zero_grad()
        loss = ((cf.tanh(x @ w1) @ w2)[:, 0] - x[:, 0] * x[:, 1]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_threads_train_models_of_their_own():
    alone = [train(seed) for seed in range(4)]
    together = [None] * 4

    def work(seed):
        together[seed] = train(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_modes_belong_to_a_thread():
    inside, leave, seen = threading.Event(), threading.Event(), []

    def work():
        with cf.no_grad():
            seen.append(cf.is_grad_enabled())
            inside.set()
            leave.wait(10)
        seen.append(cf.is_grad_enabled())

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    try:
        assert cf.is_grad_enabled()
        assert (leaf(1) * 2).requires_grad
    finally:
        leave.set()
        thread.join()
    assert seen == [False, True]


def test_a_capture_in_one_thread_does_not_touch_another():
    from contraflow.capture import capture

    started, finish, seen = threading.Event(), threading.Event(), []

    def step(x):
        started.set()
        finish.wait(10)
        return x * 2

    thread = threading.Thread(target=lambda: seen.append(capture(step, cf.ones(2))))
    thread.start()
    assert started.wait(10)
    try:
        assert (cf.ones(2) + 1).tolist() == [2.0, 2.0]
    finally:
        finish.set()
        thread.join()
    assert seen[0](cf.ones(2)).tolist() == [2.0, 2.0]


def in_child(queue):
    queue.put(train(3))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_trains_to_the_same_numbers():
    expected = train(3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        child.join(60)
    assert child.exitcode == 0
