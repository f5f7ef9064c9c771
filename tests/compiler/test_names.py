"""What a step reaches by name: when it means another number or tensor, the next call sees it."""

from __future__ import annotations

import warnings
from functools import partial
from types import SimpleNamespace

import pytest

import contraflow as cf
from contraflow import nn

BETA, W = 1.0, cf.ones(2)


def weighted(x):
    return x * BETA


class Weighted(nn.Module):
    def inner(self, x):
        return x * BETA

    def forward(self, x):
        return self.inner(x)


class Trainer:
    def __init__(self):
        self.a, self.b, self.count, self.last, self.log = 1.0, 2.0, 0, None, []

    @property
    def both(self):
        return self.a + self.b

    def scaled(self, x):
        return x * self.both

    @cf.compile
    def step(self, x):
        return self.scaled(x)


def reasons(step):
    return [version.reason for version in step.all_versions()]


@pytest.mark.parametrize(
    "function",
    [lambda x: x * BETA, weighted, lambda x: weighted(x), partial(weighted), Weighted()],
    ids=["lambda", "function", "called", "partial", "module"],
)
def test_a_global_number_that_changes(function, monkeypatch):
    step = cf.compile(function)
    for beta in (1.0, 3.0, 1.0, 3.0):
        monkeypatch.setitem(globals(), "BETA", beta)
        assert step(cf.ones(1)).item() == beta
    assert reasons(step) == ["the first call", "BETA: 1.0 -> 3.0"]


def test_another_tensor_behind_a_name(monkeypatch):
    step = cf.compile(lambda x: x + W)
    assert step(cf.ones(2)).tolist() == [2.0, 2.0]
    W.add_(1.0)  # the same tensor
    assert step(cf.ones(2)).tolist() == [3.0, 3.0]
    monkeypatch.setitem(globals(), "W", cf.zeros(2))
    assert step(cf.ones(2)).tolist() == [1.0, 1.0]
    assert reasons(step) == ["the first call", "W is another tensor"]


def test_a_variable_of_a_closure_entries_and_attributes():
    beta, entries, names = 1.0, {"k": 2.0}, SimpleNamespace(inner=SimpleNamespace(z=3.0))
    step = cf.compile(lambda x: x * beta * entries["k"] * names.inner.z)
    assert step(cf.ones(1)).item() == 6.0
    beta = 2.0
    assert step(cf.ones(1)).item() == 12.0
    entries["k"], names.inner.z = 1.0, 5.0
    assert step(cf.ones(1)).item() == 10.0
    assert reasons(step)[1:] == ["beta: 1.0 -> 2.0", "entries['k']: 2.0 -> 1.0"]


def test_attributes_that_a_method_reads_and_others():
    trainer, x = Trainer(), cf.ones(1)
    before = len(Trainer.step.all_versions())
    assert trainer.step(x).item() == 3.0
    trainer.count += 1  # nobody reads it
    assert trainer.step(x).item() == 3.0
    trainer.b = 4.0
    assert trainer.step(x).item() == 5.0
    assert reasons(Trainer.step)[before + 1 :] == ["Trainer.b: 2.0 -> 4.0"]


def test_a_bound_method_and_an_object_that_is_passed():
    trainer, x = Trainer(), cf.ones(1)
    bound, passed = cf.compile(trainer.scaled), cf.compile(lambda x, owner: owner.scaled(x))
    assert bound(x).item() == passed(x, trainer).item() == 3.0
    trainer.a = 2.0
    assert bound(x).item() == passed(x, trainer).item() == 4.0


def test_a_number_that_the_step_changes_itself_is_told():
    trainer = Trainer()

    @cf.compile
    def step(x):
        trainer.count += 1
        return x

    with pytest.warns(UserWarning, match=r"trainer\.count: 0 -> 1.*outside") as found:
        step(cf.ones(1))
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(cf.ones(1))
    assert reasons(step) == ["the first call"]


def test_a_tensor_that_is_kept_is_refused_and_taken_out():
    trainer, kept, entries = Trainer(), [0], {}

    def attribute(x):
        trainer.last = x * 2.0

    def new(x):
        trainer.fresh = x * 2.0

    def entry(x):
        entries["loss"] = x * 2.0

    for keep in (attribute, new, entry, lambda x: kept.append(x * 2.0)):
        with pytest.raises(cf.CaptureError, match=r"(?s)keeps a tensor in .*return it"):
            cf.compile(keep)(cf.ones(1))
    assert (trainer.last, hasattr(trainer, "fresh"), kept, entries) == (None, False, [0], {})
