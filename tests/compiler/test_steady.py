"""Calls that are like the one before take a short way; whatever differs takes the long one."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.modes import local
from contraflow.compiler import address, entry, steady
from tests.compiler.training import TrainingStep, assert_close_state, versions


class Training(TrainingStep):
    def __init__(self, compiled):
        cf.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        super().__init__(model, cf.optim.Adam(model.parameters(), lr=0.01), compiled)


def batches(count, rows=16):
    rng = np.random.default_rng(0)
    return [
        (cf.tensor(rng.standard_normal((rows, 5)).astype(np.float32)),
         cf.tensor(rng.integers(0, 3, rows)))
        for _ in range(count)
    ]  # fmt: skip


def short_way(step):
    """Calls of the step that took the short way are counted in the list."""
    again, taken = step.again, []

    def counted(args, modes):
        result = again(args, modes)
        taken.append(result is not steady.MISSED)
        return result

    ((version,),) = step.versions.values()
    step.again = version.again = counted
    return taken


def test_the_short_way_is_taken_and_leaves_what_eager_leaves():
    eager, compiled = Training(False), Training(True)
    data = batches(6)
    eager.losses = [eager.step(*batch) for batch in data]
    compiled.losses = [compiled.step(*batch) for batch in data[:2]]
    taken = short_way(compiled.step)
    compiled.losses += [compiled.step(*batch) for batch in data[2:]]
    assert taken == [True] * 4
    np.testing.assert_allclose(*([x.item() for x in t.losses] for t in (compiled, eager)), 2e-4)
    assert_close_state(eager, compiled)


def test_results_are_new_tensors():
    step = cf.compile(lambda x: (x * 2.0, (x * cf.ones(3)).sum()))
    xs = [cf.full((3,), float(k)) for k in range(5)]
    found = [step(x) for x in xs]
    assert step.again is not None
    assert [pair[1].item() for pair in found] == [0, 3, 6, 9, 12]
    assert [pair[0].tolist() for pair in found] == [[2.0 * k] * 3 for k in range(5)]


def different(x, y):
    """Ways in which a call may be unlike the one before; what must come of it is eager's."""
    wide = cf.tensor(np.asfortranarray(x.numpy()))
    base = cf.zeros(17, 5)
    base[1:] = x
    return {
        "not contiguous": (wide, y), "a view": (base[1:], y), "shorter": (x[:7], y[:7]),
        "float64": (x.double(), y), "int32": (x, y.int()),
        "a gradient": (x.clone().requires_grad_(), y),
    }  # fmt: skip


@pytest.mark.parametrize("what", different(*batches(1)[0]))
def test_another_form_takes_the_long_way(what):
    eager, compiled = Training(False), Training(True)
    x, y = batches(1)[0]
    found = []
    for t in (eager, compiled):
        for _ in range(3):
            t.step(x, y)
        other = different(x, y)[what]
        try:
            found.append(t.step(*other).item())
        except cf.ContraflowError as error:
            found.append(type(error))
        found.append(t.step(x, y).item())
    np.testing.assert_equal(
        *([isinstance(f, type) for f in part] for part in (found[:2], found[2:]))
    )
    for a, b in zip(found[:2], found[2:], strict=True):
        if not isinstance(a, type):
            np.testing.assert_allclose(a, b, rtol=2e-4)
    assert_close_state(eager, compiled)


def test_a_label_out_of_range_is_an_error_that_changes_nothing():
    compiled = Training(True)
    (x, y), (other, _) = batches(2)
    for _ in range(3):
        compiled.step(x, y)
    before, bad = compiled.state(), y.clone()
    bad[3] = 3
    for _ in range(2):
        with pytest.raises(cf.IndexOutOfRange):
            compiled.step(other, bad)
    for a, b in zip(before, compiled.state(), strict=True):
        np.testing.assert_array_equal(a, b)
    eager = Training(False)
    for _ in range(3):
        eager.step(x, y)
    for t in (eager, compiled):
        t.step(other, y)
    assert_close_state(eager, compiled)


def test_an_argument_that_shows_what_is_written_is_read_as_it_was():
    w = cf.ones(4)

    def update(x):
        w.mul_(2.0)
        w.add_(x)
        return x * 1.0

    step = cf.compile(update)
    for _ in range(3):
        step(cf.zeros(4))
    assert step(w[:]).tolist() == [8.0] * 4
    assert w.tolist() == [24.0] * 4


def test_rates_and_modes_are_noticed_on_the_short_way():
    eager, compiled = Training(False), Training(True)
    data = batches(8)
    for t in (eager, compiled):
        for k, batch in enumerate(data):
            t.optimizer.param_groups[0]["lr"] = 0.01 / (1 + k)
            t.step(*batch)
    assert_close_state(eager, compiled)
    assert versions(compiled.step) == 1
    for _ in range(2):  # the gradients have been looked at
        compiled.step(*data[0])
    with cf.no_grad():
        assert compiled.step.again(data[0], local.modes) is steady.MISSED
    assert compiled.step.again(data[0], local.modes) is not steady.MISSED


def test_threads_that_call_one_step_wait_for_each_other():
    step = cf.compile(lambda x: (x * x).sum())
    xs = [cf.full((1000,), float(k)) for k in range(4)]
    step(xs[0])
    step(xs[0])
    wrong = []

    def call(k):
        for _ in range(300):
            if step(xs[k]).item() != 1000.0 * k * k:
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert step.again is not None
    assert wrong == []


def test_other_threads_run_while_a_long_step_does():
    cf.set_num_threads(1)
    step = cf.compile(lambda x: (x @ x).sum())
    x = cf.randn(1200, 1200) * 0.01
    for _ in range(2):
        step(x)
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=look)
    thread.start()
    start = time.perf_counter()
    assert step.again((x,), local.modes) is not steady.MISSED
    end = time.perf_counter()
    done.set()
    thread.join()
    inside = [t for t in seen if start + 0.2 * (end - start) < t < end - 0.2 * (end - start)]
    assert inside


def test_without_the_fields_of_arrays_all_calls_take_the_long_way(monkeypatch):
    monkeypatch.setattr(entry, "has_fields", lambda: False)
    eager, compiled = Training(False), Training(True)
    for t in (eager, compiled):
        for batch in batches(3):
            t.step(*batch)
    assert compiled.step.again is None
    assert_close_state(eager, compiled)


def test_a_field_that_lies_elsewhere_is_noticed(monkeypatch):
    assert address.has_fields()
    for name in ("nd", "descr", "flags"):
        with monkeypatch.context() as moved:
            moved.setitem(address.FIELDS, name, address.FIELDS["dims"])
            assert not address.has_fields()


def test_the_entry_knows_its_arguments():
    memory = np.zeros(2, np.int64)
    places = [(0, memory.ctypes.data), (1, memory.ctypes.data + 8)]
    x, y = np.zeros((2, 3), np.float32), np.zeros((), np.int64)
    enter = entry.entry(None, None, np.zeros((), bool), [x, y], places, alone=True)
    assert enter(x, y) is True
    assert memory.tolist() == [x.ctypes.data, y.ctypes.data]
    memory[:] = 0
    for wrong in (
        (), (x,), (y, x), (x, y, y), (x.T, y), (x.reshape(3, 2), y), (x.astype(float), y),
        (x, y.reshape(1)), (x[:, ::2], y), (None, y), (x, 1), (x.view(np.matrix), y),
    ):  # fmt: skip
        assert enter(*wrong) is False
    assert memory.tolist() == [0, 0]
    assert ctypes.sizeof(entry.Method) == 32
