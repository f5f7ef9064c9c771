"""What a compiled step takes for granted: when it changes between two calls, eager's numbers come
out all the same, from another version, and ``explain`` says why that was compiled."""

from __future__ import annotations

import gc
import warnings
import weakref

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.nn import functional as F
from tests.compiler.training import TrainingStep, assert_close_state, random_batch, versions


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.act = nn.LeakyReLU(0.1)
        self.drop = nn.Dropout(0.0)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        self.scale, self.double, self.kind = 2.0, False, "plain"

    def encode(self, x):
        x = self.first(x)
        return x * 2.0 if self.double else x

    def forward(self, x):
        x = self.norm(self.drop(self.act(self.encode(x))))
        return self.head(x) * self.scale if self.kind == "plain" else self.head(x.tanh())


class Training(TrainingStep):
    def __init__(self, compiled, make):
        cf.manual_seed(3)
        model = Net()
        super().__init__(model, make(model), compiled)


def adam(model):
    return cf.optim.Adam(model.parameters(), lr=0.01)


def sgd(model):
    return cf.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def plain_sgd(model):
    return cf.optim.SGD(model.parameters(), lr=0.05)


def data():
    return random_batch(8, 4, 3)


def compare(make, change, count, reason=None):
    """Two steps, the change, two steps: the numbers of eager; so many versions, for that reason."""
    trainings = Training(False, make), Training(True, make)
    x, y = data()
    for t in trainings:
        cf.manual_seed(7)
        for turn in range(4):
            if turn == 2:
                change(t)
            t.step(x, y)
    eager, compiled = trainings
    assert_close_state(eager, compiled)
    assert versions(compiled.step) == count
    if reason is not None:
        assert reason in compiled.step.all_versions()[-1].reason
    return compiled


# ---- optimisers ----------------------------------------------------------------------------------


def option(key, value):
    def change(t):
        t.optimizer.param_groups[0][key] = value

    return change


@pytest.mark.parametrize(
    ("make", "key", "value", "reason"),
    [
        (sgd, "maximize", True, "SGD: maximize of group 0 False -> True"),
        (sgd, "nesterov", True, "SGD: nesterov of group 0 False -> True"),
        (plain_sgd, "momentum", 0.9, "SGD: the states of group 0 changed"),
        (adam, "amsgrad", True, "Adam: amsgrad of group 0 False -> True"),
        (adam, "lr", cf.tensor(0.02), "Adam: lr of group 0 changed"),
    ],
    ids=lambda v: v if isinstance(v, str) and " " not in v else "",
)
def test_an_option_that_python_decides_by(make, key, value, reason):
    compare(make, option(key, value), 2, reason)


@pytest.mark.parametrize(
    ("make", "key", "value"),
    [(adam, "lr", 0.1), (adam, "betas", (0.5, 0.9)), (adam, "weight_decay", 0.3),
     (sgd, "momentum", 0.5), (adam, "lr", 0.0), (adam, "eps", 1e-3), (adam, "note", 0.5)],
)  # fmt: skip
def test_a_number_is_read_anew(make, key, value):
    compare(make, option(key, value), 1)


def test_groups_and_their_parameters():
    def first_only(model):
        return cf.optim.Adam(model.first.parameters(), lr=0.01)

    def add(t):
        t.optimizer.add_param_group({"params": t.model.head.parameters(), "lr": 0.1})

    def drop(t):
        t.optimizer.param_groups[0]["params"].pop()

    def replace(t):
        t.optimizer.param_groups[0]["params"] = list(t.model.head.parameters())

    def plain_dict(t):
        group = dict(t.optimizer.param_groups[0])
        t.optimizer.param_groups[0] = {**group, "params": list(group["params"])}

    compare(first_only, add, 3, "group 1")  # the head's gradients were not zeroed before
    compare(adam, drop, 2, "Adam: params of group 0 changed")
    compare(adam, replace, 2, "Adam: params of group 0 changed")
    compiled = compare(adam, plain_dict, 1)
    x, y = data()
    compiled.optimizer.param_groups[0]["params"].pop()  # a list that does not count
    compiled.optimizer.param_groups[0]["maximize"] = True
    compiled.step(x, y)
    assert versions(compiled.step) == 2


def test_the_state_of_an_optimiser():
    def clear(t):
        t.optimizer.state.clear()

    def fresh(t):
        t.optimizer.state = {p: {} for p in t.model.parameters()}

    def one(t):
        p = next(iter(t.model.parameters()))
        t.optimizer.state[p]["exp_avg"] = cf.full(tuple(p.shape), 0.1)

    def load(t):
        t.optimizer.load_state_dict(Training(False, adam).optimizer.state_dict())

    def same(t):
        t.optimizer.load_state_dict(t.optimizer.state_dict())

    for change in (clear, fresh, one):
        compare(adam, change, 2, "Adam: state changed")
    compare(adam, load, 2)
    compare(adam, same, 1)


def test_a_rule_of_ones_own_is_compiled_for_its_options():
    class Signs(cf.optim.Optimizer):
        sign = -1.0

        @cf.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p += self.sign * group["lr"] * p.grad.sign()

    def signs(model):
        return Signs(model.parameters(), {"lr": 0.01})

    def turn(t):
        t.optimizer.sign = 1.0

    compare(signs, option("lr", 0.1), 2, "Signs: lr of group 0 0.01 -> 0.1")
    compare(signs, turn, 2, "Signs: sign")
    compare(signs, option("lr", 0.01), 1)


def test_hooks_of_an_optimiser():
    def hook(t):
        t.optimizer.register_step_pre_hook(lambda *_: None)

    compare(adam, hook, 2, "Adam: hooks changed")


# ---- modules -------------------------------------------------------------------------------------


def attribute(path, name, value):
    def change(t):
        setattr(t.model.get_submodule(path), name, value)

    return change


@pytest.mark.parametrize(
    ("path", "name", "value", "reason"),
    [
        ("drop", "p", 0.5, "Dropout 'drop': p 0.0 -> 0.5"),
        ("act", "negative_slope", 0.5, "LeakyReLU 'act': negative_slope 0.1 -> 0.5"),
        ("norm", "eps", 0.5, "LayerNorm 'norm': eps 1e-05 -> 0.5"),
        ("", "scale", 3.0, "Net: scale 2.0 -> 3.0"),
        ("", "kind", "other", "Net: kind 'plain' -> 'other'"),
        ("", "double", True, "Net: double False -> True"),
    ],
    ids=lambda v: v if isinstance(v, str) and v.isalpha() else "",
)
def test_an_attribute_of_a_module(path, name, value, reason):
    compare(adam, attribute(path, name, value), 2, reason)


def test_modes_parts_and_hooks_of_modules():
    def evaluate(t):
        t.model.drop.eval()

    def layer(t):
        cf.manual_seed(11)
        t.model.head = nn.Linear(6, 3)

    def parameter(t):
        t.model.head.bias = nn.Parameter(cf.ones(3))

    def removed(t):
        t.model.head.bias = None

    def hook(t):
        t.model.act.register_forward_hook(lambda m, args, y: y * 0.5)

    def unrelated(t):
        t.other = nn.Linear(2, 2)
        t.other.note = 5

    compare(adam, evaluate, 2, "Dropout 'drop' is in eval() mode")
    compare(adam, layer, 3)  # nobody zeroes the gradients of the new one
    compare(adam, parameter, 3)
    compare(adam, removed, 2)
    compare(adam, hook, 2, "LeakyReLU 'act': _forward_hooks changed")
    compare(adam, unrelated, 1)


def test_a_hook_that_is_removed_again():
    t = Training(True, adam)
    x, y = data()
    t.step(x, y)
    handle = t.model.act.register_forward_hook(lambda m, args, y: y * 0.5)
    t.step(x, y)
    handle.remove()
    t.step(x, y)
    assert versions(t.step) == 2


def test_a_method_that_is_not_forward_decides_too():
    model = Net()
    step = cf.compile(lambda x: model.encode(x).detach())
    x = data()[0]
    with cf.no_grad():
        before = step(x).numpy()
        model.double = True
        np.testing.assert_allclose(step(x).numpy(), 2 * before, rtol=1e-6)


# ---- tensors -------------------------------------------------------------------------------------


def test_tensors_that_are_replaced_frozen_or_hooked():
    def data_of(t):
        t.model.head.weight.data = cf.full((3, 6), 0.1)

    def frozen(t):
        t.model.head.weight.requires_grad = False

    def hooked(t):
        t.model.head.weight.register_hook(lambda g: g * 0.0)

    def loaded(t):
        t.model.load_state_dict(Training(False, adam).model.state_dict())

    def strided(t):
        t.model.head.weight.data = cf.full((6, 3), 0.1).t()

    compare(adam, data_of, 1)
    compare(adam, strided, 1)
    compare(sgd, frozen, 2, "requires_grad of weight: True -> False")
    compare(sgd, hooked, 2, "the hooks of weight changed")
    compare(adam, loaded, 1)
    cf.manual_seed(5)
    state = {k: v.clone() for k, v in Net().state_dict().items()}
    compare(adam, lambda t: t.model.load_state_dict(state, assign=True), 3)


def test_a_tensor_of_another_shape_is_another_version():
    w = cf.ones(2, requires_grad=True)
    step = cf.compile(lambda: (w * 2.0).detach().sum())
    assert step().item() == 4.0
    w.data = cf.ones(5)
    assert step().item() == 10.0
    assert "is another tensor: float32[2] -> float32[5]" in step.explain(times=False)


def accumulating():
    model = Net()

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return model, step


def test_gradients_that_are_set_replaced_kept_and_read():
    def nothing(p, kept):
        pass

    def none(p, kept):
        p.grad = None

    def ones(p, kept):
        p.grad = cf.ones_like(p)

    def zero(p, kept):
        p.grad.zero_()

    def keep(p, kept):
        kept.append((p.grad, p.grad.numpy().copy()))

    def view(p, kept):
        kept.append((p.grad.reshape(-1)[:2], p.grad.reshape(-1)[:2].numpy().copy()))

    def array(p, kept):
        kept.append((p.grad.numpy(), p.grad.numpy().copy()))

    plan = [nothing, none, nothing, ones, keep, zero, view, nothing, array, none, keep, nothing]
    x, y = data()
    found = []
    for compiled in (False, True):
        cf.manual_seed(0)
        model, step = accumulating()
        step = cf.compile(step) if compiled else step
        kept_values = []
        for change in plan:
            step(x, y)
            for p in model.parameters():
                change(p, kept_values)
        step(x, y)
        found.append([p.grad.numpy() for p in model.parameters()])
        if compiled:  # accumulation writes to gradients in place, as in eager; nothing else may
            assert versions(step) == 2
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hold", ["tensor", "array", "view"])
def test_a_gradient_that_somebody_holds_is_never_written_again(hold):
    t = Training(True, adam)
    x, y = data()
    for _ in range(3):
        t.step(x, y)
    grad = t.model.head.weight.grad
    held = {"tensor": grad, "array": grad.numpy(), "view": grad[0]}[hold]
    del grad
    before = np.array(held)
    for _ in range(3):
        t.step(x, y)
    np.testing.assert_array_equal(np.array(held), before)
    assert not np.array_equal(
        t.model.head.weight.grad.numpy().reshape(-1)[:6], before.reshape(-1)[:6]
    )


def test_two_versions_take_turns_with_the_same_gradients():
    eager, compiled = Training(False, adam), Training(True, adam)
    x, y = data()
    for t in (eager, compiled):
        for rows in (8, 3, 8, 8, 3, 3, 8):
            t.step(x[:rows], y[:rows])
            if rows == 3:
                t.model.head.weight.grad.mul_(2.0)
    for a, b in zip(eager.state(), compiled.state(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    assert versions(compiled.step) == 2


def test_results_that_are_held_stay_what_they_were():
    step = cf.compile(lambda x: (x * 2.0, x.sum()))
    held = [step(cf.full((40, 40), float(k))) for k in range(6)]
    for k, (large, small) in enumerate(held):
        assert large.numpy().min() == large.numpy().max() == 2.0 * k
        assert small.item() == 1600.0 * k
    large = held[0][0][:1]
    del held
    step(cf.ones(40, 40))
    assert large.sum().item() == 0.0


def test_backward_sees_what_compiled_steps_wrote_in_turns():
    w = cf.ones(3, requires_grad=True)

    def writing(by):
        @cf.compile
        def step():
            with cf.no_grad():
                w.mul_(by)

        return step

    one, two = writing(2.0), writing(3.0)
    for step in (one, two, one, one, two, two):
        loss = (w * w).sum()
        step()
        with pytest.raises(cf.GradError, match="overwritten in place"):
            loss.backward()
        loss = (w * w).sum()
        loss.backward()
        view = w.detach()[1:]
        step()
        assert view.tolist() == w.detach()[1:].tolist()


# ---- arguments -----------------------------------------------------------------------------------


def test_numbers_and_structures_of_arguments():
    step = cf.compile(lambda batch, k=1.0: batch["x"] * k + (0.0 if batch["y"] is None else 1.0))
    x = cf.ones(2)
    assert step({"x": x, "y": None}).tolist() == [1.0, 1.0]
    assert step({"x": x, "y": x}, 2.0).tolist() == [3.0, 3.0]
    assert step({"x": x, "y": x}, k=2.0).tolist() == [3.0, 3.0]
    assert np.signbit(step({"x": x * 0.0, "y": None}, -0.0).numpy()).tolist() == [False, False]
    for _ in range(3):
        assert np.isnan(step({"x": x, "y": None}, float("nan")).numpy()).all()
    assert versions(step) == 5


def test_numbers_of_numpy_are_numbers():
    step = cf.compile(lambda x, k: x * k)
    for _ in range(3):
        assert step(cf.ones(1), np.float32(0.5)).item() == 0.5
        assert step(cf.ones(1), np.int64(2)).item() == 2.0
    assert versions(step) == 2


def test_an_object_is_only_like_itself_and_is_not_kept_for_another():
    class Factor:
        def __init__(self, k):
            self.k = k

    step = cf.compile(lambda x, f: x * f.k)
    for k in range(5):  # new objects at what may be the same address
        assert step(cf.ones(1), Factor(float(k))).item() == k


def test_a_numpy_array_is_refused_because_it_would_be_taken_once():
    step = cf.compile(lambda x, mask: x * mask)
    with pytest.raises(cf.CaptureError, match=r"(?s)mask.*cf\.from_numpy\(mask\)"):
        step(cf.ones(2), np.ones(2, np.float32))


def test_a_view_shows_the_memory_that_its_base_has_now():
    w = cf.ones(4)
    view = w[:2]
    step = cf.compile(lambda x: x * 2.0)
    assert step(view).tolist() == [2.0, 2.0]
    w.data = cf.full((4,), 3.0)
    assert step(view).tolist() == (view * 2.0).tolist()


# ---- why -----------------------------------------------------------------------------------------


def test_each_version_knows_why_it_was_compiled():
    t = Training(True, adam)
    x, y = data()
    t.step(x, y)
    t.step(x[:5], y[:5])
    t.model.eval()
    t.step(x, y)
    t.model.train()
    with cf.no_grad(), pytest.raises(cf.GradError):
        t.step(x, y)
    reasons = [v.reason for v in t.step.all_versions()]
    assert reasons[:2] == ["the first call", "x: float32[8, 4] -> float32[5, 4]"]
    assert reasons[2] == "Net is in eval() mode"
    assert all(f"compiled because: {r}" in t.step.explain(times=False) for r in reasons)
    model, step = accumulating()
    step = cf.compile(step)
    for _ in range(3):
        step(x, y)
    assert [v.reason for v in step.all_versions()] == [
        "the first call", "weight.grad is there: the step adds to it",
    ]  # fmt: skip


def test_the_warning_names_the_last_reasons():
    step = cf.compile(lambda x, k: x * k)
    with pytest.warns(UserWarning, match="k: 14 -> 15") as found:
        for k in range(16):
            step(cf.ones(2), k)
    assert found[0].filename == __file__


def test_the_oldest_version_goes_also_among_those_of_one_form(monkeypatch):
    monkeypatch.setattr("contraflow.compiler.step.MOST", 4)
    model = Net()
    model.eval()
    with cf.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = cf.compile(lambda x: model(x).sum())
        x = data()[0]
        for k in range(6):
            model.scale = float(k)
            step(x)
        numbers = [v.number for v in step.all_versions()]
        assert len(numbers) == 4
        assert numbers == sorted(numbers)
        latest = step.all_versions()[-1]
        model.scale = 4.0
        step(x)
        assert latest in step.all_versions()
        assert [v.number for v in step.all_versions()] == numbers
        model.scale = 1.0
        before = numbers[-1]
        step(x)  # was dropped: compiled again
        assert step.all_versions()[-1].number > before


def test_a_step_that_is_gone_lets_go_of_what_it_used():
    t = Training(True, adam)
    t.step(*data())
    gone = weakref.ref(t.model.first.weight)
    del t
    gc.collect()
    assert gone() is None
