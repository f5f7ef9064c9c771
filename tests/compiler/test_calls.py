"""Calls of modules that are walked once: always as if `forward` had run, and only where it may be.

Every program runs eagerly and put off, and must say the same; `replayed` tells how many calls were
not walked again.
"""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest

import contraflow as cf
import contraflow.nn.functional as F
from contraflow import nn
from contraflow.base.modes import local
from contraflow.compiler import lazy
from contraflow.nn.pure import code_of

SCALE = 2.0


@pytest.fixture(autouse=True)
def _eager():
    cf.set_default_mode("eager")
    yield
    cf.set_default_mode("auto")


def run(program, put_off):
    """The numbers of a program, and how many calls were left without running forward."""
    replayed = 0
    again = lazy.Lazy.again

    def counted(self, call, given):
        nonlocal replayed
        replayed += 1
        return again(self, call, given)

    lazy.Lazy.again = counted
    cf.manual_seed(3)
    interpreter = lazy.Lazy() if put_off else None
    local.modes.interpreter = interpreter
    try:
        found = program()
        if interpreter is not None:
            interpreter.settle()
    finally:
        local.modes.interpreter = None
        lazy.Lazy.again = again
    return found, replayed


def flat(value):
    if isinstance(value, list | tuple):
        return [x for item in value for x in flat(item)]
    return np.asarray(value.tolist() if isinstance(value, cf.Tensor) else value).ravel().tolist()


def same(program, calls=None):
    """Eager and put off agree; ``calls``: at least so many were not walked again (0: none was)."""
    theirs, _ = run(program, False)
    ours, replayed = run(program, True)
    np.testing.assert_allclose(flat(ours), flat(theirs), rtol=2e-5, atol=1e-6)
    if calls is not None:
        assert replayed >= calls if calls else replayed == 0, replayed


class Net(nn.Module):
    """As tutorials write it: layers, functions, a helper, a branch and a loop."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.blocks = nn.ModuleList([nn.Linear(12, 12) for _ in range(2)])
        self.drop = nn.Dropout(0.3)
        self.skip = None
        self.scale = 0.5
        self.fc = nn.Linear(12, 4)

    def count(self, x):
        return x.shape[1] * x.shape[2] * x.shape[3]

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = x.view(-1, self.count(x))
        for block in self.blocks:
            x = x + self.scale * F.gelu(block(x))
        if self.skip is not None:
            x = x + self.skip(x)
        x = cf.cat([self.drop(x), x], dim=1)[:, :12]
        return self.fc(x)


def images(count=5):
    return cf.rand(count, 1, 4, 4), cf.randint(0, 4, (count,))


def training(model, steps=6, between=lambda i: None, loss_of=F.cross_entropy, lr=0.05):
    """Losses and the state after some steps of a plain loop."""
    optimizer = cf.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    x, y = images()
    losses = []
    for i in range(steps):
        between(i)
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [losses, list(model.state_dict().values())]


# ---- what is walked once -----------------------------------------------------------------------


def test_a_users_network_is_walked_once():
    same(lambda: training(Net(), 8), calls=6)


def test_the_state_of_the_random_stream_moves_on():
    def program():
        model, x = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.5)), cf.ones(3, 4)
        out = [model(x).tolist() for _ in range(4)]
        return [out, cf.rand(3), cf.get_rng_state()]

    same(program, calls=1)


def test_evaluation_beside_training():
    model = Net

    def program():
        net = model()
        x, _ = images()
        found = []

        def between(i):
            net.eval()
            with cf.no_grad():
                found.append(net(x).argmax(1).float().mean())
            net.train()

        return [training(net, 6, between), found]

    same(program, calls=6)


@pytest.mark.parametrize("inplace", [False, True])
def test_layers_in_place(inplace):
    def program():
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.ReLU(inplace), nn.Linear(8, 4), nn.ELU(1.0, inplace)
        )
        return training(model)

    same(program, calls=4)


def test_one_module_twice_in_a_step():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(16, 16)

        def forward(self, x):
            return self.body(x)

    def program():
        model = Twice()
        optimizer = cf.optim.Adam(model.parameters())
        x = cf.rand(3, 16)
        losses = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = (model(model(x)) - model(x)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [losses, list(model.parameters())]

    same(program, calls=9)


def test_arguments_tell_calls_apart():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, factor=1, *, shift=None):
            x = self.fc(x) * factor
            return x if shift is None else x + shift

    def program():
        model, x, shift = Scaled(), cf.rand(2, 4), cf.rand(4)
        return [
            model(*a, **k).tolist()
            for _ in range(3)
            for a, k in (
                ((x,), {}), ((x, 2), {}), ((x, 2.0), {}), ((x, True), {}), ((x,), {"shift": shift}),
                ((x,), {"shift": 1.0}), ((x,), {"factor": -0.0}), ((x,), {"factor": 0.0}),
            )
        ]  # fmt: skip

    same(program, calls=8)


# ---- what decides is looked at -----------------------------------------------------------------


def changing(change):
    def program():
        net = Net()
        return training(net, 8, lambda i: change(net) if i == 5 else None)

    return program


def test_attributes_that_change():
    same(changing(lambda net: setattr(net, "scale", 3.0)), calls=4)
    same(changing(lambda net: setattr(net, "skip", nn.Identity())), calls=4)
    same(changing(lambda net: setattr(net, "norm", nn.Identity())), calls=4)
    same(changing(lambda net: setattr(net.drop, "p", 0.9)), calls=4)
    same(changing(lambda net: net.blocks.append(nn.Linear(12, 12))), calls=4)
    same(changing(lambda net: net.norm.eval()), calls=4)
    same(changing(lambda net: net.fc.weight.requires_grad_(False)), calls=4)
    same(changing(lambda net: net.load_state_dict(Net().state_dict())), calls=4)
    same(changing(lambda net: setattr(net.fc.weight, "data", net.fc.weight.data * 2)), calls=4)
    same(changing(lambda net: net._modules.update(norm=nn.Identity())), calls=4)
    same(changing(lambda net: setattr(net, "forward", lambda x: net.fc(x.view(5, -1)[:, :12]))))


def test_other_tensors_in_place_of_the_parameters():
    def program():
        net, x = nn.Linear(3, 2), cf.rand(4, 3)
        found = []
        for i in range(6):
            given = {"weight": net.weight * (i + 1)} if i % 2 else {}
            found.append(cf.func.functional_call(net, given, x).tolist())
            found.append(net(x).tolist())
        return found

    same(program, calls=4)


def test_a_hook_that_comes_later_is_called():
    def program():
        seen = []

        def hook(module, args, out):
            seen.append(out.shape[0])
            return out * 2

        net = Net()
        found = training(net, 8, lambda i: net.fc.register_forward_hook(hook) if i == 5 else None)
        return [found, len(seen)]

    same(program, calls=4)


def test_code_that_is_replaced(monkeypatch):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            return SCALE * F.relu(self.fc(x.flatten(1)))

    def program():
        def between(i):
            if i == 3:
                monkeypatch.setitem(globals(), "SCALE", 5.0)
            if i == 5:
                monkeypatch.setattr(F, "relu", F.tanh)
            if i == 7:
                monkeypatch.setattr(Own, "forward", lambda self, x: self.fc(x.flatten(1) * 2))

        try:
            return training(Own(), 9, between)
        finally:
            monkeypatch.undo()

    same(program, calls=4)


def test_a_parameter_that_was_met_before():
    def program():
        layer, x = nn.Linear(4, 4, bias=False), cf.rand(2, 4)
        other = cf.rand(4, 4).requires_grad_()
        found = []
        for i in range(6):
            w = layer.weight if i % 2 else other
            (layer(x) * (w * w).sum()).sum().backward()
            found += [layer.weight.grad.clone(), w.grad.clone()]
            layer.weight.grad = other.grad = None
        for i in range(6):
            w = layer.weight if i % 2 else other
            penalty = (w * w).sum()
            (layer(x) * penalty).sum().backward()
            found += [layer.weight.grad.clone(), w.grad.clone()]
            layer.weight.grad = other.grad = None
        return found

    same(program)


# ---- who looks at the tape sees all of it ------------------------------------------------------


@pytest.mark.parametrize("look", [
    lambda net, loss, x: loss.item(),
    lambda net, loss, x: loss.grad_fn.next_functions,
    lambda net, loss, x: loss.backward(retain_graph=True),
    lambda net, loss, x: cf.autograd.grad(loss, net.fc.weight, retain_graph=True)[0].sum().item(),
    lambda net, loss, x: cf.autograd.grad(loss, x, create_graph=True)[0].square().sum()
    .backward(retain_graph=True),
    lambda net, loss, x: x.grad,
    lambda net, loss, x: net.fc.weight.register_hook(lambda g: g * 2),
])  # fmt: skip
def test_looking_before_backward(look):
    def program():
        net = Net().eval()
        optimizer = cf.optim.SGD(net.parameters(), lr=0.1)
        x, y = images()
        x.requires_grad_()
        found = []
        for i in range(7):
            optimizer.zero_grad()
            x.grad = None
            loss = F.cross_entropy(net(x), y)
            if i > 2:
                look(net, loss, x)
            loss.backward()
            optimizer.step()
            found += [loss.detach(), x.grad.sum()]
        return [found, list(net.parameters())]

    same(program, calls=4)


def test_names_of_the_tape():
    def program():
        net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), cf.rand(2, 3)
        names = []
        for _ in range(3):
            y = net(x)
            (before, _), *_ = y.grad_fn.next_functions
            names.append([y.grad_fn.name(), before.name(), len(before.next_functions)])
        return names

    assert run(program, True)[0] == run(program, False)[0]


def test_hooks_on_what_a_call_gave():
    def program():
        net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), cf.rand(2, 3)
        found = []
        for i in range(5):
            y = net(x)
            if i > 2:
                y.register_hook(lambda g: g * 3)
                y.retain_grad()
            y.sum().backward()
            found += [p.grad.tolist() for p in net.parameters()]
            found += [y.grad.tolist()] if i > 2 else []
        return found

    same(program, calls=3)


def test_writing_in_place_is_noticed():
    def written(what):
        def program():
            net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), cf.rand(2, 3)
            for i in range(4):
                y = net(x)
                if i == 3:
                    with cf.no_grad():
                        what(net, x, y)
                y.sum().backward()

        return program

    for what in (
        lambda net, x, y: y.add_(1),
        lambda net, x, y: y.view(-1).mul_(2),
        lambda net, x, y: x.add_(1),
    ):
        for put_off in (False, True):
            with pytest.raises(RuntimeError, match="overwritten in place"):
                run(written(what), put_off)
    for put_off in (False, True):  # nobody needs the first weight
        run(written(lambda net, x, y: net[0].bias.add_(1)), put_off)


def test_a_second_backward_is_refused():
    def program():
        net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), cf.rand(2, 3)
        for i in range(4):
            loss = net(x).sum()
            loss.backward()
            if i == 3:
                loss.backward()

    for put_off in (False, True):
        with pytest.raises(RuntimeError, match="a second time"):
            run(program, put_off)


def test_what_backward_needs_is_computed_with_the_rest():
    def program():
        net, other = Net().eval(), nn.Linear(4, 1)
        first = cf.optim.SGD(net.parameters(), lr=0.1)
        second = cf.optim.SGD(other.parameters(), lr=0.1)
        x, y = images()
        found = []
        for _ in range(6):  # the tape of the first waits while the second steps
            first.zero_grad()
            loss = F.cross_entropy(net(x), y)
            second.zero_grad()
            other(cf.rand(2, 4)).sum().backward()
            second.step()
            loss.backward()
            first.step()
            found.append(loss.detach())
        return [found, list(net.parameters()), list(other.parameters())]

    same(program, calls=8)


def test_indices_are_looked_at_every_time():
    def program():
        table = nn.Embedding(5, 3)
        optimizer = cf.optim.SGD(table.parameters(), lr=0.1)
        for i in range(6):
            rows = cf.tensor([0, 4, i])
            optimizer.zero_grad()
            table(rows).sum().backward()
            optimizer.step()

    for put_off in (False, True):
        with pytest.raises(IndexError, match="5"):
            run(program, put_off)


def test_the_same_op_in_place_or_not_before_the_step():
    def program():
        net = nn.Linear(3, 2)
        optimizer = cf.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x, found = cf.rand(4, 3), []
        for i in range(9):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            with cf.no_grad():
                if i % 2:
                    net.weight.clamp_(-0.1, 0.1)
                else:
                    net.weight.clamp(-0.1, 0.1)
            optimizer.step()
            found.append(net.weight.detach().clone())
        return found

    same(program, calls=4)


# ---- what acts runs every time -----------------------------------------------------------------


class Acting(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)
        self.calls = 0
        self.log = []


def acting(forward):
    return type("Made", (Acting,), {"forward": forward})


def counts(self, x):
    self.calls += 1
    return self.fc(x.flatten(1))


def logs(self, x):
    self.log.append(1)
    return self.fc(x.flatten(1))


def prints(self, x):
    print("forward", end=" ")
    return self.fc(x.flatten(1))


def draws(self, x):
    return self.fc(x.flatten(1)) * random.random()


def looks(self, x):
    x = self.fc(x.flatten(1))
    return x * 2 if x.sum() > 0 else x


def seeds(self, x):
    cf.manual_seed(7)
    return F.dropout(self.fc(x.flatten(1)), 0.5)


def makes(self, x):
    noise = np.random.default_rng(len(self.log)).random(4, np.float32)
    return self.fc(x.flatten(1)) + cf.from_numpy(noise)


def closes():
    factor = [1.0]

    def forward(self, x):
        factor[0] *= 1.5
        return self.fc(x.flatten(1)) * factor[0]

    return forward


def keeps(self, x):
    self.last = self.fc(x.flatten(1))
    return self.last


def remembers():
    def forward(self, x, seen=[]):  # noqa: B006
        seen.append(1)
        return self.fc(x.flatten(1)) * len(seen)

    return forward


HIDDEN = nn.Dropout(0.1)


def hides(self, x):
    return HIDDEN(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    "forward", [counts, logs, prints, draws, seeds, makes, closes, keeps, remembers, hides]
)
def test_what_acts_is_not_pure(forward, capsys):
    made = forward in (closes, remembers)
    assert code_of(acting(forward() if made else forward)()) is None
    assert code_of(nn.Sequential(acting(counts)(), nn.ReLU())) is None

    def program():
        random.seed(0)
        model = acting(forward() if made else forward)()
        found = training(model, 6)
        return [found, model.calls, len(model.log), capsys.readouterr().out.count("forward")]

    same(program)


def test_what_looks_is_walked_again():
    same(lambda: training(acting(looks)(), 6))


def test_numbers_of_an_argument_are_looked_at_every_time():
    class Repeats(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 4)

        def forward(self, x, times):
            return self.fc(x.flatten(1)) * int(times.max())

    def program():
        model = Repeats()
        x, _ = images()
        return [model(x, cf.tensor([i])).tolist() for i in range(5)]

    same(program, calls=0)


def test_what_a_loss_refuses_is_refused_every_time():
    def program(loss, y, wrong):
        def run_it():
            net = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
            optimizer = cf.optim.SGD(net.parameters(), lr=0.1)
            x = cf.rand(2, 3)
            for i in range(6):
                optimizer.zero_grad()
                loss(net(x), y if i < 5 else wrong).backward()
                optimizer.step()

        return run_it

    good, bad = cf.tensor([[0.0], [1.0]]), cf.tensor([[0.0], [1.5]])
    for put_off in (False, True):
        with pytest.raises(ValueError, match=r"1\.5"):
            run(program(nn.BCELoss(), good, bad), put_off)
        with pytest.raises((ValueError, IndexError), match="3"):
            run(program(nn.CrossEntropyLoss(), cf.tensor([0, 0]), cf.tensor([0, 3])), put_off)


def test_what_is_pure():
    assert code_of(Net()) is not None
    assert code_of(nn.Sequential(Net(), nn.Softmax(1))) is not None
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda m, a, y: None)
    assert code_of(layer) is None
    special = type("Special", (nn.Linear,), {"__getitem__": lambda self, i: self})
    assert code_of(special(2, 2)) is None


def test_a_call_does_not_keep_its_module():
    interpreter = local.modes.interpreter = lazy.Lazy()
    try:
        net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        for _ in range(3):
            net(cf.ones(1, 3))
        gone = weakref.ref(net[0].weight)
        del net
        interpreter.settle()
        gc.collect()
        assert gone() is None
    finally:
        local.modes.interpreter = None
