"""Gradients that add up before a step, in the unmodified loop: as eager has them, and walked once."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
import contraflow.nn.functional as F
from contraflow import nn
from contraflow.compiler import lazy
from tests.compiler.test_calls import _eager, run, same  # noqa: F401

PARTS, STEPS = 3, 6


def data():
    rng = np.random.default_rng(0)
    return [
        (cf.tensor(rng.standard_normal((4, 5)).astype(np.float32)),
         cf.tensor(rng.integers(0, 3, 4)))
        for _ in range(PARTS)
    ]  # fmt: skip


def micro_batches(to_none=True, look=False, after=lambda model: None):
    """A plain loop with several backwards a step; what it computes, and the gradients."""

    def program():
        cf.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
        optimizer = cf.optim.Adam(model.parameters(), lr=0.05)
        found = []
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=to_none)
            for x, y in data():
                loss = F.cross_entropy(model(x), y) / PARTS
                loss.backward()
                found.append(loss.item() if look else loss.detach())
            after(model)
            optimizer.step()
        return [found, *model.parameters(), *(p.grad for p in model.parameters())]

    return program


@pytest.fixture
def walks(monkeypatch):
    """How often backward was walked, and how often it was not."""
    counts = {"record_back": 0, "replay": 0}
    for name in counts:
        usual = getattr(lazy.Lazy, name)

        def counted(self, *args, usual=usual, name=name):
            counts[name] += 1
            return usual(self, *args)

        monkeypatch.setattr(lazy.Lazy, name, counted)
    return counts


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("look", [True, False])
def test_gradients_that_add_up_are_walked_once(to_none, look, walks):
    program = micro_batches(to_none, look)
    same(program)
    assert walks["record_back"] <= 3 * PARTS  # a first step, and one with other states
    assert walks["replay"] >= (STEPS - 3) * PARTS


def test_gradients_that_are_changed_before_the_step(walks):
    def clip(model):
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    same(micro_batches(after=clip))
    same(micro_batches(to_none=False, after=clip))
    assert walks["replay"] > 0


def test_a_gradient_that_somebody_holds_is_the_one_that_grows():
    def program():
        w = cf.tensor([1.0, 2.0], requires_grad=True)
        found = []
        for _ in range(4):
            w.grad = None
            (w * 2.0).sum().backward()
            held = w.grad
            (w * w).sum().backward()
            found += [held is w.grad, held.tolist()]
            with cf.no_grad():
                w.sub_(held, alpha=0.1)
        return found

    same(program)


def test_two_leaves_with_one_gradient():
    def program():
        a, b = (cf.ones(2, requires_grad=True) for _ in range(2))
        found = []
        for _ in range(3):
            a.grad = b.grad = cf.zeros(2)
            for _ in range(2):
                (a * 2.0 + b * 3.0).sum().backward()
            found.append(a.grad.tolist())
        return found

    same(program)


def test_a_gradient_that_is_a_view_or_a_leaf():
    def program():
        a = cf.ones(2, requires_grad=True)
        found = []
        for k in range(4):
            both = cf.zeros(2, 2)
            a.grad = both[k % 2]
            for _ in range(2):
                (a * a).sum().backward()
            found.append(both.tolist())
        return found

    same(program)


def test_a_frozen_or_hooked_leaf_between_two_backwards():
    def program():
        a, b = (cf.ones(2, requires_grad=True) for _ in range(2))
        found = []
        for k in range(6):
            a.grad = b.grad = None
            for part in range(2):
                handle = a.register_hook(lambda g: g * 10.0) if k == 3 and part else None
                loss = (a * b * 3.0).sum()
                b.requires_grad_(not (k == 4 and part))
                loss.backward()
                b.requires_grad_(True)
                if handle is not None:
                    handle.remove()
            found += [a.grad.tolist(), b.grad.tolist()]
        return found

    same(program)


def test_nothing_is_remembered_for_each_step(walks):
    """Gradients are new tensors in every step: what is known must not go by their identity."""
    kept = []

    def program():
        result = micro_batches(look=True)()
        interpreter = cf.base.modes.local.modes.interpreter
        if interpreter is not None:
            stack = list(interpreter.roots.values())
            while stack:
                point = stack.pop()
                kept.append(len(point.backs) + len(point.updates))
                stack += point.below()
        return result

    run(program, True)
    assert sum(kept) <= 3 * (PARTS + 2)
