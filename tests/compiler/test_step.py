"""``cf.compile``: what a user sees of it. State, versions, errors, memory, the cache on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.compiler import cache
from contraflow.nn import functional as F
from tests.compiler.training import TrainingStep, assert_close_state, random_batch, versions


def problem(rows=16, classes=3):
    return random_batch(rows, 5, classes)


class Training(TrainingStep):
    def __init__(self, compiled, *extra, seed=1):
        cf.manual_seed(seed)
        # no bias before a batch norm: its gradient is noise, which Adam would blow up
        first = nn.Linear(5, 8, bias=not extra)
        model = nn.Sequential(first, *extra, nn.Tanh(), nn.Linear(8, 3))
        super().__init__(model, cf.optim.Adam(model.parameters(), lr=0.01), compiled)


# ---- versions ----------------------------------------------------------------------------------


def test_a_new_learning_rate_is_no_new_version():
    eager, compiled = Training(False), Training(True)
    x, y = problem()
    for t in (eager, compiled):
        for rate in (0.01, 0.003, 0.1, 0.1):
            t.optimizer.param_groups[0]["lr"] = rate
            t.step(x, y)
    assert_close_state(eager, compiled)
    assert versions(compiled.step) == 1


def test_a_shorter_last_batch_and_evaluation_are_compiled_once_each():
    eager, compiled = Training(False, nn.BatchNorm1d(8)), Training(True, nn.BatchNorm1d(8))
    x, y = problem(20)
    for t in (eager, compiled):
        cf.manual_seed(5)
        for _ in range(3):
            for begin in (0, 8, 16):
                t.step(x[begin : begin + 8], y[begin : begin + 8])
        t.model.eval()
        t.step(x[:8], y[:8])
        t.model.train()
        t.step(x[:8], y[:8])
    assert_close_state(eager, compiled)
    assert versions(compiled.step) == 3


def test_freezing_a_layer_is_seen():
    eager, compiled = Training(False), Training(True)
    x, y = problem()
    for t in (eager, compiled):
        t.step(x, y)
        t.model[0].requires_grad_(False)
        t.step(x, y)
        t.step(x, y)
    np.testing.assert_array_equal(
        eager.model[0].weight.detach().numpy().shape, compiled.model[0].weight.shape
    )
    for p, q in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_many_versions_are_warned_of_and_bounded():
    step = cf.compile(lambda x, k: x * k)
    with pytest.warns(UserWarning, match="compiled 16 times"):
        for k in range(16):
            step(cf.ones(2), k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(16, 80):
            assert step(cf.ones(2), k).tolist() == [k, k]
    assert versions(step) <= 64


# ---- state -------------------------------------------------------------------------------------


def test_loading_and_replacing_weights_between_calls():
    eager, compiled = Training(False), Training(True)
    x, y = problem()
    for t in (eager, compiled):
        t.step(x, y)
        other = Training(False, seed=9)
        t.model.load_state_dict(other.model.state_dict())
        t.step(x, y)
        t.model[0].weight.data = cf.full((8, 5), 0.1)
        t.step(x, y)
        with cf.no_grad():
            t.model[2].bias += 1.0
        t.step(x, y)
    assert_close_state(eager, compiled)
    assert versions(compiled.step) == 1


def test_gradients_and_losses_that_are_kept_stay_what_they_were():
    t = Training(True)
    x, y = problem()
    kept, losses = [], []
    for _ in range(4):
        losses.append(t.step(x, y))
        kept.append(t.model[0].weight.grad)
    values = [g.numpy().copy() for g in kept]
    for _ in range(3):
        t.step(x, y)
    for g, before in zip(kept, values, strict=True):
        np.testing.assert_array_equal(g.numpy(), before)
    assert len({loss.item() for loss in losses}) == 4


def test_the_memory_of_gradients_serves_again():
    t = Training(True)
    x, y = problem()
    t.step(x, y)
    first = t.model[0].weight.grad.numpy().ctypes.data
    t.step(x, y)
    assert t.model[0].weight.grad.numpy().ctypes.data == first


def test_accumulation_adds_to_gradients_that_are_there():
    def training(compiled):
        t = Training(False)

        def accumulate(x, y):
            loss = F.cross_entropy(t.model(x), y)
            loss.backward()
            return loss

        t.step = cf.compile(accumulate) if compiled else accumulate
        return t

    eager, compiled = training(False), training(True)
    x, y = problem()
    for t in (eager, compiled):
        for _ in range(3):
            t.step(x, y)
        t.optimizer.step()
        t.optimizer.zero_grad()
        t.step(x, y)
    assert_close_state(eager, compiled)


def test_arguments_may_be_strided_or_show_the_weights():
    w = cf.tensor(np.arange(12, dtype=np.float32).reshape(3, 4))

    @cf.compile
    def step(x):
        w.mul_(2.0)
        return w + x

    def plain(w, x):
        w = w * 2.0
        return w, w + x

    expected, out = plain(w.numpy().copy(), w.numpy()[::1].copy())
    np.testing.assert_array_equal(step(w[:]).numpy(), out)
    np.testing.assert_array_equal(w.numpy(), expected)
    strided = cf.tensor(np.arange(12, dtype=np.float32).reshape(4, 3)).t()
    expected, out = plain(w.numpy().copy(), strided.numpy())
    np.testing.assert_array_equal(step(strided).numpy(), out)


def test_parameters_that_are_not_contiguous():
    w = cf.tensor(np.ones((3, 4), np.float32)).t().requires_grad_()
    optimizer = cf.optim.SGD([w], lr=0.5)

    @cf.compile
    def step():
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    step()
    step()
    np.testing.assert_array_equal(w.detach().numpy(), np.zeros((4, 3)))


def test_backward_knows_that_a_compiled_step_wrote():
    t = Training(True)
    x, y = problem()
    loss = F.cross_entropy(t.model(x), y)
    t.step(x, y)
    with pytest.raises(cf.GradError, match="overwritten in place"):
        loss.backward()


def test_threads_share_a_step():
    step = cf.compile(lambda x: (x * 2.0).sum())
    inputs = [cf.full((64, 64), float(k)) for k in range(8)]
    results = [None] * 8

    def work(k):
        results[k] = [step(inputs[k]).item() for _ in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, found in enumerate(results):
        assert found == [k * 2.0 * 64 * 64] * 50


def test_inside_another_compiled_step_it_is_a_part_of_it():
    inner = cf.compile(lambda x: x + 1.0)
    outer = cf.compile(lambda x: inner(x) * 2.0)
    assert outer(cf.ones(2)).tolist() == [4.0, 4.0]
    assert versions(inner) == 0


# ---- errors ------------------------------------------------------------------------------------


def test_a_wrong_label_changes_nothing():
    t = Training(True)
    x, y = problem()
    t.step(x, y)
    before = t.state()
    wrong = y.clone()
    wrong[3] = 7
    with pytest.raises(cf.IndexOutOfRange, match=r"(?s)outside 0\.\.size-1.*sizes  3"):
        t.step(x, wrong)
    for a, b in zip(before, t.state(), strict=True):
        np.testing.assert_array_equal(a, b)
    t.step(x, y)


def test_an_error_of_numpy_in_the_middle_changes_nothing():
    w = cf.ones(2, 2, requires_grad=True)

    @cf.compile
    def step(m):
        w.grad = None
        ((w * m).sum() + w.sum()).backward()
        with cf.no_grad():
            w.sub_(0.5 * w.grad)
            w.add_(cf.linalg.inv(m @ w))

    for _ in range(3):
        step(cf.tensor([[2.0, 1.0], [0.5, 3.0]]))
    before, grad = w.tolist(), w.grad.tolist()
    with pytest.raises(cf.ContraflowError):
        step(cf.zeros(2, 2))
    assert w.tolist() == before
    assert w.grad.tolist() == grad


def test_an_ignored_label_is_not_wrong():
    t, eager = Training(True), Training(False)
    x, y = problem()
    y = y.clone()
    y[::2] = -100
    for each in (t, eager):
        each.step(x, y)
    assert_close_state(eager, t)


@pytest.mark.parametrize(
    "look",
    [lambda v: v.item(), lambda v: 1 if v > 0 else 2, lambda v: v.detach().numpy()],
    ids=["item", "if", "numpy"],
)
def test_looking_at_a_value_names_the_line_and_changes_nothing(look):
    t = Training(False)
    x, y = problem()
    t.step(x, y)
    before = t.state()

    @cf.compile
    def step(x, y):
        loss = t.plain(x, y)
        look(loss)

    with pytest.raises(cf.CaptureError, match=r"(?s)test_step\.py.*fix: "):
        step(x, y)
    for a, b in zip(before, t.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_result_that_needs_backward_is_refused():
    model = nn.Linear(3, 2)
    forward = cf.compile(model)
    with pytest.raises(cf.CaptureError, match=r"(?s)could not reach.*cf\.no_grad"):
        forward(cf.ones(4, 3))
    with cf.no_grad():
        np.testing.assert_allclose(
            forward(cf.ones(4, 3)).numpy(), model(cf.ones(4, 3)).numpy(), rtol=1e-6
        )


def test_unknown_options_are_refused():
    with pytest.raises(cf.CaptureError, match="does not take turbo"):
        cf.compile(lambda x: x, turbo=True)


# ---- the cache on disk -------------------------------------------------------------------------

PROGRAM = textwrap.dedent("""
    import contraflow as cf
    from contraflow import nn
    cf.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 1))
    optimizer = cf.optim.Adam(model.parameters(), lr=0.05)

    @cf.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = cf.randn(8, 4), cf.randn(8, 1)
    losses = [step(x, y).item() for _ in range(20)]
    version = next(iter(step.versions.values()))[0]
    print(version.native.cached, *map(repr, losses))
""")


def run(folder, **env):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "CONTRAFLOW_CACHE": str(folder), **env},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    cached, *losses = done.stdout.split()
    return cached == "True", losses


def test_a_second_process_takes_the_code_from_disk_and_gives_the_same_bits(tmp_path):
    folder = tmp_path / "cache"
    first, losses = run(folder)
    second, again = run(folder)
    assert (first, second) == (False, True)
    assert losses == again
    for entry in folder.iterdir():
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 1
        entry.write_bytes(data)
    damaged, once_more = run(folder)
    assert not damaged
    assert losses == once_more


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    assert run(folder)[0] is False
    assert not list(folder.iterdir())
    assert run("0")[0] is False


def test_without_readable_sources_nothing_is_kept(tmp_path, monkeypatch):
    """Another version of the compiler could not be told from this one."""
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    assert cache.folder() is not None
    monkeypatch.setattr(cache, "sources", list)
    assert cache.folder() is None


def test_a_plain_cpu_gives_the_same_training(tmp_path):
    """Without AVX2 and FMA: the same program, other instructions."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        pytest.skip("names an x86-64 CPU")
    _, here = run(tmp_path / "here")
    _, plain = run(tmp_path / "plain", CONTRAFLOW_CPU="x86-64")
    np.testing.assert_allclose(list(map(float, here)), list(map(float, plain)), rtol=1e-4)
