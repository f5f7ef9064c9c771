"""Tensors that a compiled step shares with others: its arguments among each other, what the caller
keeps of them, and what other threads use while it is captured."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import contraflow as cf


def square(x):
    (x * x).sum().backward()


# ---- gradients of arguments --------------------------------------------------------------------


def test_gradients_of_an_argument_add_up_as_in_eager():
    x, y = cf.ones(2, requires_grad=True), cf.ones(2, requires_grad=True)
    step = cf.compile(square)
    for _ in range(4):
        step(x)
        square(y)
        assert x.grad.tolist() == y.grad.tolist()
    assert [v.reason for v in step.all_versions()] == [
        "the first call", "float32[2].grad is there: the step adds to it",
    ]  # fmt: skip


def test_another_argument_without_a_gradient_begins_at_none():
    step = cf.compile(square)
    x = cf.ones(2, requires_grad=True)
    step(x)
    step(x)
    fresh = cf.full((2,), 3.0, requires_grad=True)
    step(fresh)
    assert fresh.grad.tolist() == [6.0, 6.0]
    assert x.grad.tolist() == [4.0, 4.0]


def test_an_argument_that_is_passed_twice_has_one_gradient():
    step = cf.compile(lambda a, b: (a * b).sum().backward())
    x = cf.ones(2, requires_grad=True)
    with pytest.raises(cf.CaptureError, match="reaches the captured step twice"):
        step(x, x)
    assert x.grad is None


def test_hooks_of_an_argument_are_refused():
    x = cf.ones(2, requires_grad=True)
    x.register_hook(lambda g: g * 10)
    with pytest.raises(cf.CaptureError, match="has hooks"):
        cf.compile(square)(x)
    assert x.grad is None


# ---- memory that is shared ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "part", [lambda x: x, lambda x: x[:2], lambda x: x[1:]], ids=["same", "view", "shifted"]
)
def test_an_argument_that_is_written_shares_no_memory(part):
    def step(a, b):
        a.add_(1.0)
        return a.sum() + b.sum()

    x = cf.arange(4.0)
    with pytest.raises(cf.CaptureError, match=r"(?s)same memory.*x\.clone"):
        cf.compile(step)(x, part(x))
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0]
    evens, odds = x[::2], x[1::2]  # side by side, nothing in common
    assert cf.compile(step)(evens, odds).item() == 8.0
    assert x.tolist() == [1.0, 1.0, 3.0, 3.0]


def test_memory_that_cannot_be_written_is_refused_before_anything_is_changed():
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    w, fixed = cf.zeros(3), cf.from_numpy(array)

    @cf.compile
    def step():
        w.add_(1.0)
        fixed.add_(1.0)

    with pytest.raises(cf.ArgumentError, match="step writes to memory that cannot be written"):
        step()
    assert w.tolist() == [0.0, 0.0, 0.0]


# ---- other threads -----------------------------------------------------------------------------


def while_captured(step, other):
    """What ``other`` gives in another thread that runs while ``step`` is captured."""
    found, inside = [], threading.Event()

    def captured():
        result = step()
        inside.set()
        time.sleep(0.1)  # long enough for the other thread to meet a symbol
        return result

    def run():
        inside.wait()
        found.append(other())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        cf.compile(captured)()
    finally:
        inside.set()
        thread.join()
    return found[0]


def test_another_thread_waits_for_what_is_being_captured():
    w = cf.ones(3)
    assert while_captured(lambda: w * 2.0, lambda: (w + 1.0).tolist()) == [2.0, 2.0, 2.0]
    assert while_captured(lambda: w * 2.0, w.tolist) == [1.0, 1.0, 1.0]
    assert while_captured(lambda: cf.randn(3), lambda: cf.randn(3).shape) == (3,)


def test_another_compiled_step_waits_for_what_is_being_captured():
    w = cf.ones(3)

    @cf.compile
    def other():
        w.add_(1.0)
        return w.sum()

    assert other().item() == 6.0
    w.data = cf.full((3,), 5.0)  # other memory: the next call looks for it
    assert while_captured(lambda: w * 2.0, lambda: other().item()) == 18.0
    assert len(other.all_versions()) == 1


def test_ops_that_are_put_off_wait_for_what_is_being_captured():
    w = cf.ones(3)

    def other():
        before = cf.get_default_mode()
        cf.set_default_mode("lazy")
        try:
            return (w + 1.0).tolist()
        finally:
            cf.set_default_mode(before)

    assert while_captured(lambda: w * 2.0, other) == [2.0, 2.0, 2.0]


# ---- what is kept outside ----------------------------------------------------------------------


def test_a_tensor_that_was_kept_while_the_step_was_captured_has_no_value():
    kept = []
    part = cf.nn.Identity()
    part.register_forward_hook(lambda module, given, result: kept.append(result.sum()))
    cf.compile(part)(cf.ones(2))
    for use in (lambda t: t.item(), lambda t: t + 1.0, lambda t: cf.stack([t])):
        with pytest.raises(cf.CaptureError, match=r"(?s)kept outside.*fix: return it"):
            use(kept[0])
