"""The unmodified loop: put off, computed natively, and never seen to be."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.modes import RIPE, local
from contraflow.compiler import auto, lazy
from contraflow.compiler.habit import PATIENCE
from tests.capture.test_zoo import built, same, trace
from tests.capture.zoo import ZOO

LOOSE = 1e-7


@pytest.fixture(autouse=True)
def _the_default_again():
    yield
    cf.set_default_mode("auto")


@pytest.fixture
def put_off():
    """Ops are always put off, with nothing known yet; gives the interpreter."""
    local.modes.interpreter = interpreter = lazy.Lazy()
    yield interpreter
    interpreter.settle()
    local.modes.interpreter = None


def small(optimizer="Adam", dropout=0.0, **options):
    cf.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))
    x, y = cf.randn(6, 4), cf.randint(0, 3, (6,))
    return model, getattr(cf.optim, optimizer)(model.parameters(), **options), x, y


def train(mode, steps, optimizer="Adam", dropout=0.2, **options):
    """Losses and weights of a plain loop."""
    cf.set_default_mode(mode)
    model, optimizer, x, y = small(optimizer, dropout, **options)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.tolist() for p in model.parameters()]


def native_steps():
    return auto._own.get(RIPE).native


# ---- it is eager, to rounding ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ZOO))
def test_put_off_it_is_eager(name):
    cf.set_default_mode("eager")
    eager, twin = built(name), built(name)
    cf.manual_seed(11)
    theirs = trace(eager, eager.step)
    cf.manual_seed(11)
    local.modes.interpreter = interpreter = lazy.Lazy()
    try:
        ours = trace(twin, twin.step)
        interpreter.settle()
    finally:
        local.modes.interpreter = None
    same(ours, theirs, LOOSE)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01}),
     ("AdamW", {"lr": 0.01}), ("RMSprop", {"lr": 0.01}), ("Adafactor", {})],
)  # fmt: skip
def test_a_plain_loop_becomes_native_steps(optimizer, options):
    expected, weights = train("eager", 40, optimizer, **options)
    before = native_steps()
    losses, ours = train("auto", 40, optimizer, **options)
    assert native_steps() - before == 40 - RIPE
    assert losses[:RIPE] == expected[:RIPE]  # until then, eager itself
    np.testing.assert_allclose(losses, expected, rtol=2e-5, atol=1e-6)
    for a, b in zip(ours, weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_the_same_program_gives_the_same_bits_whatever_ran_before():
    first = train("auto", 50)
    train("auto", 25, "SGD", lr=0.1)
    assert train("auto", 50) == first


@pytest.mark.parametrize("stop", [5, RIPE, 30])
def test_stopped_and_resumed_has_the_same_bits(stop):
    def steps(count, model, optimizer, x, y):
        for _ in range(count):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    whole = small(lr=0.01)
    steps(50, *whole)
    begun = small(lr=0.01)
    steps(stop, *begun)
    again = small(lr=0.01)
    again[0].load_state_dict(begun[0].state_dict())
    again[1].load_state_dict(begun[1].state_dict())
    steps(50 - stop, *again)
    for a, b in zip(whole[0].parameters(), again[0].parameters(), strict=True):
        assert a.tolist() == b.tolist()


def test_a_short_loop_stays_eager():
    train("auto", RIPE - 1)
    assert local.modes.interpreter is None


def test_when_the_optimizer_is_gone_eager_is_back():
    train("auto", 40)
    gc.collect()
    (cf.ones(2) + 1).tolist()
    assert local.modes.interpreter is None


# ---- whoever looks sees what is there ---------------------------------------------------------------


def test_looking_anywhere_changes_nothing(put_off):
    def run(look):
        cf.manual_seed(1)
        model, optimizer, x, y = small("SGD", 0.3, lr=0.1, momentum=0.9)
        seen = []
        for _ in range(4):
            optimizer.zero_grad()
            out = model(x)
            look(seen, out)
            loss = nn.functional.cross_entropy(out, y)
            look(seen, loss)
            loss.backward()
            look(seen, model[0].weight.grad)
            optimizer.step()
            look(seen, model[0].weight)
            seen.append(loss.item())
        return seen[-1], model[3].bias.tolist()

    ways = {
        "item": lambda seen, t: seen.append(t.sum().item()),
        "repr": lambda seen, t: seen.append(repr(t)),
        "if": lambda seen, t: seen.append(1 if t.sum() > 0 else 0),
        "numpy": lambda seen, t: seen.append(t.detach().numpy().copy()),
        "keep": lambda seen, t: seen.append(t),
        "array": lambda seen, t: seen.append(np.asarray(t.detach())),
    }
    loss, bias = run(lambda seen, t: None)
    for way in ways.values():
        other, theirs = run(way)
        assert other == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(theirs, bias, rtol=1e-5, atol=1e-7)


def test_what_is_kept_of_a_step_is_right_later(put_off):
    model, optimizer, x, y = small("SGD", lr=0.1)
    kept, before = [], []
    for _ in range(5):
        optimizer.zero_grad()
        out = model(x)
        before.append(model[0].weight.detach().clone())
        loss = nn.functional.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        kept.append((out, loss, model[0].weight.grad))
    assert put_off.native >= 4
    for (out, loss, grad), w, after in zip(
        kept, before, [*before[1:], model[0].weight], strict=True
    ):
        assert nn.functional.cross_entropy(out.detach(), y).item() == pytest.approx(loss.item())
        np.testing.assert_allclose((w - 0.1 * grad).tolist(), after.tolist(), atol=1e-6)


def test_views_share_memory_after_as_before(put_off):
    w = cf.zeros(3, 4)
    row, flat = w[1], w.view(-1)
    w.add_(1)
    late = (w * 2)[0]
    row.mul_(5)
    assert w.tolist()[1] == [5.0] * 4
    flat[0] = 7.0
    assert w[0, 0].item() == 7.0
    assert late.tolist() == [2.0] * 4
    a = w.numpy()
    w.sub_(1)
    assert w.tolist()[1] == [4.0] * 4
    assert np.shares_memory(a, w.numpy())


def test_numbers_that_compare_equal_are_told_apart(put_off):
    x = cf.tensor([3, 4])
    for _ in range(2):
        assert (x * 1).dtype is cf.int64
        assert (x * 1.0).dtype is cf.float32
        assert (x * True).tolist() == [3, 4]
        assert np.signbit((cf.ones(1) * -0.0).numpy()[0])
        assert not np.signbit((cf.ones(1) * 0.0).numpy()[0])


# ---- steps of other kinds -----------------------------------------------------------------------------


def test_a_learning_rate_that_changes_compiles_nothing():
    cf.set_default_mode("auto")
    model, optimizer, x, y = small("SGD", lr=0.5)
    schedule = cf.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    reference, twin, *_ = small("SGD", lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
    cf.set_default_mode("eager")
    for k in range(60):
        twin.param_groups[0]["lr"] = 0.5 * 0.9**k
        twin.zero_grad()
        nn.functional.cross_entropy(reference(x), y).backward()
        twin.step()
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-4, atol=1e-5)


def test_options_that_change_are_seen(put_off):
    w = cf.zeros(2, requires_grad=True)
    optimizer = cf.optim.SGD([w], lr=1.0)
    for maximize in (False, False, True, True, False):
        optimizer.param_groups[0]["maximize"] = maximize
        before = w.tolist()
        optimizer.zero_grad()
        (w * cf.tensor([1.0, 2.0])).sum().backward()
        optimizer.step()
        sign = 1 if maximize else -1
        assert w.tolist() == [before[0] + sign, before[1] + 2 * sign]


def test_freezing_swapping_and_loading_between_steps(put_off):
    model, optimizer, x, y = small("Adam", lr=0.1)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    for _ in range(3):
        step()
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.tolist()
    step()
    assert model[0].weight.tolist() == frozen
    assert model[0].weight.grad is None
    model[0].weight.requires_grad_(True)
    model[3].bias.data = cf.full((3,), 5.0)
    step()
    np.testing.assert_allclose(model[3].bias.tolist(), [5.0] * 3, atol=0.2)
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    step()
    model.load_state_dict(saved)
    assert model[0].weight.tolist() == saved["0.weight"].tolist()


def test_what_is_pending_is_computed_before_an_optimizer_moves_its_weights(put_off):
    model, optimizer, x, y = small("ScheduleFreeAdamW", lr=0.1)
    for _ in range(3):
        optimizer.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.eval()
        pending = model(x).sum()
        expected = model(x).sum().item()
        optimizer.train()
        assert pending.item() == expected


def test_backward_that_looks_at_an_index_is_never_jumped_over(put_off):
    table = cf.arange(6.0).reshape(3, 2).requires_grad_()
    for k in range(4):
        table.grad = None
        index = cf.tensor([k % 3, 0])
        (nn.functional.embedding(index, table) ** 2).sum().backward()
        expected = np.zeros((3, 2))
        np.add.at(expected, [k % 3, 0], 2 * table.detach().numpy()[[k % 3, 0]])
        assert table.grad.tolist() == expected.tolist()


def test_a_second_backward_is_refused_as_ever(put_off):
    w = cf.ones(3, requires_grad=True)
    for _ in range(3):
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        with pytest.raises(cf.GradError, match="second time"):
            loss.backward()
        assert w.grad.tolist() == [2.0] * 3


def test_gradients_add_up(put_off):
    w = cf.ones(2, requires_grad=True)
    for _ in range(3):
        w.grad = None
        for scale in (1.0, 2.0, 3.0):
            (w * scale).sum().backward()
        assert w.grad.tolist() == [6.0, 6.0]


def test_hooks_are_called_every_time(put_off):
    w = cf.ones(2, requires_grad=True)
    calls = []
    w.register_hook(lambda g: calls.append(1) or g * 2)
    for _ in range(4):
        w.grad = None
        (w * 3).sum().backward()
        assert w.grad.tolist() == [6.0, 6.0]
    assert len(calls) == 4


def test_steps_that_never_repeat_are_left_to_eager():
    cf.set_default_mode("auto")
    w = cf.ones(1, requires_grad=True)
    optimizer = cf.optim.SGD([w], lr=0.0)
    for k in range(RIPE + 2 * PATIENCE):
        optimizer.zero_grad()
        (w * float(k)).sum().backward()
        optimizer.step()
        assert w.grad.tolist() == [float(k)]
    assert optimizer._plain


# ---- errors are eager's own ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, y: x @ cf.ones(7, 2),
        lambda x, y: nn.functional.cross_entropy(x, y + 9),
        lambda x, y: nn.Embedding(3, 2)(y + 5),
        lambda x, y: x.reshape(5, 5),
        lambda x, y: cf.gather(x, 1, cf.full((6, 1), 99)),
        lambda x, y: x + "a",
        lambda x, y: cf.linalg.cholesky(-cf.eye(3)),
        lambda x, y: x.backward(),
    ],
)
def test_errors_come_at_once_and_in_the_same_words(wrong):
    cf.set_default_mode("eager")
    x, y = cf.ones(6, 4), cf.zeros(6, dtype=cf.int64)
    with pytest.raises(Exception) as eager:  # noqa: B017
        wrong(x, y)
    cf.set_default_mode("lazy")
    for _ in range(2):
        z = x * 2
        with pytest.raises(type(eager.value)) as put_off:
            wrong(x, y)
        assert str(put_off.value).splitlines()[0] == str(eager.value).splitlines()[0]
        assert z.tolist() == [[2.0] * 4] * 6


def test_threads_have_loops_of_their_own():
    def run(seed, found):
        generator = cf.Generator().manual_seed(seed)
        w = cf.randn(4, 3, generator=generator).requires_grad_()
        x = cf.randn(8, 4, generator=generator)
        optimizer = cf.optim.SGD([w], lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            ((x @ w) ** 2).mean().backward()
            optimizer.step()
        found[seed] = w.tolist()

    alone, together = {}, {}
    for seed in (1, 2, 3):
        thread = threading.Thread(target=run, args=(seed, alone))
        thread.start()
        thread.join()
    threads = [threading.Thread(target=run, args=(seed, together)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_another_thread_may_look(put_off):
    y = cf.ones(3) * 2
    seen = []
    thread = threading.Thread(target=lambda: seen.append((y + 1).tolist()))
    thread.start()
    thread.join()
    assert seen == [[3.0] * 3]
    assert y.tolist() == [2.0] * 3


def test_compiled_functions_are_called_in_the_middle(put_off):
    w = cf.ones(2)

    @cf.compile
    def step(x):
        w.add_(x)
        return w * 2

    y = cf.ones(2) * 3
    assert step(y).tolist() == [8.0, 8.0]
    w.mul_(2)
    assert step(y).tolist() == [22.0, 22.0]


def test_a_mode_that_does_not_exist():
    with pytest.raises(cf.ArgumentError, match="auto, eager, lazy"):
        cf.set_default_mode("fast")
    assert cf.get_default_mode() == "auto"
