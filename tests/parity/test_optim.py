"""Every optimiser that PyTorch also has, against it: the same weights, the same gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

SHAPES = ((4, 3), (3,), (), (2, 3, 2), (1,))
STEPS = 15
TABLE = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "dampening": 0.3, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "maximize": True, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "betas": (0.0, 0.0)}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "maximize": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "betas": (0.6, 0.7), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "betas": (0.6, 0.7), "momentum_decay": 0.5, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 0.05, "maximize": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "betas": (0.6, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "betas": (0.9, 0.6)}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.6, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.7, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "centered": True}),
    ("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.5, "maximize": True, "eps": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (0.02, 0.3), "maximize": True}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3, "weight_decay": 0.1}),
    ("ASGD", {"lr": 0.1, "t0": 0, "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "beta2_decay": -0.3, "weight_decay": 0.1, "d": 2.0}),
    ("Adafactor", {"lr": 0.1, "eps": (1e-2, 0.1), "maximize": True}),
]
TOLERANCE = {np.float32: (2e-6, 1e-6), np.float64: (1e-11, 1e-12)}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param.__name__))
    yield request.param
    torch.set_default_dtype(before)


def weights(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]


def both(dtype, seed=0):
    """The same parameters twice: ours and PyTorch's."""
    start = weights(dtype, seed)
    return (
        [cf.tensor(w, requires_grad=True) for w in start],
        [torch.nn.Parameter(torch.tensor(w)) for w in start],
    )


def give(ours, theirs, rng, dtype, skip=()):
    """Give both the same gradients; those in ``skip`` get none."""
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = np.asarray(rng.normal(size=p.shape), dtype)
        p.grad = None if i in skip else cf.tensor(g)
        q.grad = None if i in skip else torch.tensor(g)


def agree(ours, theirs, dtype):
    rtol, atol = TOLERANCE[dtype]
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            p.detach().numpy(), q.detach().numpy(), rtol=rtol, atol=atol, strict=True
        )


@pytest.mark.parametrize(("name", "options"), TABLE, ids=lambda v: str(v).replace(" ", ""))
def test_same_weights(name, options, dtype):
    ours, theirs = both(dtype)
    mine = getattr(cf.optim, name)(ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        # from time to time a parameter has no gradient: its step and state must not move
        give(ours, theirs, rng, dtype, skip=(1, 3) if step % 4 == 2 else ())
        mine.step()
        other.step()
        agree(ours, theirs, dtype)


@pytest.mark.parametrize(("name", "options"), TABLE, ids=lambda v: str(v).replace(" ", ""))
def test_a_state_dict_of_pytorch_goes_on_here(name, options):
    dtype = np.float64
    torch.set_default_dtype(torch.float64)
    try:
        ours, theirs = both(dtype)
        mine = getattr(cf.optim, name)(ours, **options)
        other = getattr(torch.optim, name)(theirs, **options)
        rng = np.random.default_rng(2)
        for step in range(4):
            give(ours, theirs, rng, dtype, skip=(1,) if step == 3 else ())
            other.step()
        with cf.no_grad():
            for p, q in zip(ours, theirs, strict=True):
                p -= p - cf.tensor(q.detach().numpy())
        saved = other.state_dict()
        mine.load_state_dict(saved)
        assert mine.param_groups[0]["lr"] == options.get("lr", saved["param_groups"][0]["lr"])
        for _ in range(4):
            give(ours, theirs, rng, dtype)
            mine.step()
            other.step()
            agree(ours, theirs, dtype)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "options"), TABLE, ids=lambda v: str(v).replace(" ", ""))
def test_same_state_dict(name, options, dtype):
    ours, theirs = both(dtype)
    mine = getattr(cf.optim, name)(ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(3)
    for _ in range(3):
        give(ours, theirs, rng, dtype, skip=(3,))
        mine.step()
        other.step()
    a, b = mine.state_dict(), other.state_dict()
    assert a["param_groups"] == b["param_groups"]
    if name == "Adagrad":  # PyTorch begins its state before there is a gradient
        del b["state"][3]
    assert a["state"].keys() == b["state"].keys()
    extra = {"step"} if options.get("dampening") and options.get("momentum") else set()
    for i in b["state"]:
        assert a["state"][i].keys() - extra == b["state"][i].keys()
        for key, value in b["state"][i].items():
            np.testing.assert_allclose(
                a["state"][i][key].numpy(), value.numpy(), rtol=2e-6, atol=1e-6
            )


@pytest.mark.parametrize(("name", "options"), TABLE, ids=lambda v: str(v).replace(" ", ""))
def test_our_state_dict_goes_on_in_pytorch(name, options):
    ours, theirs = both(np.float32)
    mine = getattr(cf.optim, name)(ours, **options)
    rng = np.random.default_rng(4)
    for _ in range(3):
        give(ours, theirs, rng, np.float32)
        mine.step()
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            q.copy_(torch.tensor(p.detach().numpy()))
    other = getattr(torch.optim, name)(theirs, **options)
    saved = mine.state_dict()
    for state in saved["state"].values():
        state.update({k: torch.tensor(np.asarray(v.numpy(), np.float32)) for k, v in state.items()})
    other.load_state_dict(saved)
    for _ in range(3):
        give(ours, theirs, rng, np.float32)
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop",
     "ASGD", "Adafactor", "LBFGS"],
)  # fmt: skip
def test_same_repr(name):
    ours, theirs = both(np.float32)
    assert repr(getattr(cf.optim, name)(ours)) == repr(getattr(torch.optim, name)(theirs))


def test_groups_with_their_own_options(dtype):
    ours, theirs = both(dtype)

    def groups(params):
        return [
            {"params": params[:2], "lr": 0.1, "momentum": 0.5},
            {"params": params[2:4], "weight_decay": 0.1},
        ]

    mine = cf.optim.SGD(groups(ours), lr=0.01, momentum=0.9)
    other = torch.optim.SGD(groups(theirs), lr=0.01, momentum=0.9)
    mine.add_param_group({"params": ours[4], "nesterov": True})
    other.add_param_group({"params": theirs[4], "nesterov": True})
    rng = np.random.default_rng(5)
    for step in range(10):
        give(ours, theirs, rng, dtype)
        for optimizer in (mine, other):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            optimizer.param_groups[1]["weight_decay"] = 0.1 * (step % 2)
            optimizer.step()
        agree(ours, theirs, dtype)
    assert repr(mine) == repr(other)


def test_momentum_that_is_switched_on_later(dtype):
    ours, theirs = both(dtype)
    mine, other = cf.optim.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    rng = np.random.default_rng(6)
    for step in range(8):
        give(ours, theirs, rng, dtype)
        for optimizer in (mine, other):
            optimizer.param_groups[0]["momentum"] = 0.9 * (step >= 3)
            optimizer.step()
        agree(ours, theirs, dtype)


def test_a_learning_rate_in_a_tensor(dtype):
    ours, theirs = both(dtype)
    mine = cf.optim.Adam(ours, lr=cf.tensor(0.1, dtype=cf.float64))
    other = torch.optim.Adam(theirs, lr=torch.tensor(0.1, dtype=torch.float64))
    a = cf.optim.lr_scheduler.ExponentialLR(mine, gamma=0.9)
    b = torch.optim.lr_scheduler.ExponentialLR(other, gamma=0.9)
    held = mine.param_groups[0]["lr"]
    rng = np.random.default_rng(7)
    for _ in range(6):
        give(ours, theirs, rng, dtype)
        mine.step()
        other.step()
        a.step()
        b.step()
        agree(ours, theirs, dtype)
    assert mine.param_groups[0]["lr"] is held


# PyTorch's Adafactor divides by the number of elements
@pytest.mark.parametrize(
    ("name", "options"), [row for row in TABLE if row[0] != "Adafactor"],
    ids=lambda v: str(v).replace(" ", ""),
)  # fmt: skip
def test_a_parameter_with_nothing_in_it(name, options):
    ours = [cf.zeros(0, 2, requires_grad=True), cf.ones(2, requires_grad=True)]
    theirs = [torch.zeros(0, 2, requires_grad=True), torch.ones(2, requires_grad=True)]
    mine = getattr(cf.optim, name)(ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad, q.grad = cf.ones(*p.shape), torch.ones(*q.shape)
        mine.step()
        other.step()
        agree(ours, theirs, np.float32)
    assert mine.state_dict()["state"].keys() == other.state_dict()["state"].keys()


HALF = [(name, options) for name, options in TABLE if name not in ("Adafactor", "Rprop")]


@pytest.mark.parametrize(("name", "options"), HALF, ids=lambda v: str(v).replace(" ", ""))
def test_float16_as_far_as_its_digits_go(name, options):
    """PyTorch computes some terms in float32 before it rounds, so the last digit may differ."""
    start = weights(np.float16)[:2]
    ours = [cf.tensor(w, requires_grad=True) for w in start]
    theirs = [torch.nn.Parameter(torch.tensor(w)) for w in start]
    mine = getattr(cf.optim, name)(ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(10)
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            g = (rng.uniform(0.3, 2, p.shape) * rng.choice([-1, 1], p.shape)).astype(np.float16)
            p.grad, q.grad = cf.tensor(g), torch.tensor(g)
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            assert p.dtype is cf.float16
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-2, atol=5e-3)


MUON = [
    {},
    {"lr": 0.02, "nesterov": False, "weight_decay": 0.0},
    {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw"},
    {"lr": 0.02, "adjust_lr_fn": "original", "ns_steps": 3, "momentum": 0.5},
]


@pytest.mark.parametrize("options", MUON, ids=str)
@pytest.mark.parametrize("shape", [(4, 3), (3, 7), (5, 5)])
def test_muon_as_far_as_bfloat16_goes(options, shape):
    rng = np.random.default_rng(8)
    start = rng.normal(size=shape).astype(np.float32)
    p, q = cf.tensor(start, requires_grad=True), torch.nn.Parameter(torch.tensor(start))
    mine, other = cf.optim.Muon([p], **options), torch.optim.Muon([q], **options)
    for step in range(5):
        g = rng.normal(size=shape).astype(np.float32)
        p.grad, q.grad = cf.tensor(g), torch.tensor(g)
        mine.step()
        other.step()
        scale = options.get("lr", 1e-3) * math.sqrt(max(shape)) * (step + 1)
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=0.02 * scale)
    assert repr(mine) == repr(other)


# ---- LBFGS ----------------------------------------------------------------------------------

SEARCHES = [
    {"lr": 0.5},
    {"lr": 0.1, "max_iter": 7, "history_size": 3},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2, "lr": 0.3},
    {"line_search_fn": "strong_wolfe", "max_iter": 30, "max_eval": 9},
]


def rosenbrock(x, y):
    return ((1 - x) ** 2 + 100 * (y - x * x) ** 2).sum()


def valley(x, y):
    return (x * x * 3 + (y - x) ** 2 + 0.5 * (x - 1) ** 4).sum()


@pytest.mark.parametrize("options", SEARCHES, ids=str)
@pytest.mark.parametrize("loss", [rosenbrock, valley], ids=lambda f: f.__name__)
def test_lbfgs(options, loss):
    if loss is rosenbrock and "line_search_fn" not in options:
        options = {**options, "lr": 1e-3}
    starts = np.array([-1.2, 0.4, 1.7]), np.array([1.0, -0.6, 0.3])
    ours = [cf.tensor(s, requires_grad=True) for s in starts]
    theirs = [torch.nn.Parameter(torch.tensor(s)) for s in starts]
    mine, other = cf.optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)

    def closure(optimizer, params):
        def run():
            optimizer.zero_grad()
            value = loss(*params)
            value.backward()
            return value

        return run

    for step in range(4):
        if step == 2:  # through a state dict
            mine.load_state_dict(other.state_dict())
        a = mine.step(closure(mine, ours))
        b = other.step(closure(other, theirs))
        np.testing.assert_allclose(a.item(), b.item(), rtol=1e-7, atol=1e-12)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-8)
        assert mine.state[ours[0]]["func_evals"] == other.state[theirs[0]]["func_evals"]
        assert mine.state[ours[0]]["n_iter"] == other.state[theirs[0]]["n_iter"]


# ---- averages of weights ---------------------------------------------------------------------

AVERAGES = [
    ("get_swa_multi_avg_fn", {}),
    ("get_ema_multi_avg_fn", {"decay": 0.9}),
    ("get_ema_avg_fn", {"decay": 0.7}),
    ("get_swa_avg_fn", {}),
    (None, {}),
]


class Bag:
    """The least that a model must have."""

    def __init__(self, params):
        self.params = params

    def parameters(self):
        return iter(self.params)

    def buffers(self):
        return iter(())


class TorchBag(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        self.params = torch.nn.ParameterList(params)


@pytest.mark.parametrize(("name", "options"), AVERAGES, ids=str)
def test_averaged_models(name, options, dtype):
    ours, theirs = both(dtype)
    mine, other = Bag(ours), TorchBag(theirs)

    def averaged(module, model):
        if name is None:
            return module.AveragedModel(model)
        kind = "multi_avg_fn" if "multi" in name else "avg_fn"
        return module.AveragedModel(model, **{kind: getattr(module, name)(**options)})

    a = averaged(cf.optim.swa_utils, mine)
    b = averaged(torch.optim.swa_utils, other)
    rng = np.random.default_rng(9)
    for _ in range(6):
        with cf.no_grad(), torch.no_grad():
            for p, q in zip(ours, theirs, strict=True):
                change = np.asarray(rng.normal(size=p.shape), dtype)
                p += cf.tensor(change)
                q += torch.tensor(change)
        a.update_parameters(mine)
        b.update_parameters(other)
        agree(a.parameters(), b.parameters(), dtype)
    assert a.n_averaged.item() == b.n_averaged.item() == 6
