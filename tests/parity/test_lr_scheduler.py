"""Every schedule against PyTorch's: rates and momenta of two groups over many steps."""

from __future__ import annotations

import math
import warnings
from types import BuiltinFunctionType

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

OURS, THEIRS = cf.optim.lr_scheduler, torch.optim.lr_scheduler
STEPS = 70
TABLE = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [3, 20, 20, 41]}),
    ("MultiStepLR", {"milestones": [41, 3], "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 31}),
    ("ConstantLR", {"factor": 1.0, "total_iters": 0}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 33}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 50}),
    ("LinearLR", {"start_factor": 0.5, "total_iters": 1}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("ExponentialLR", {"gamma": 1.0}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 40, "power": 2.0}),
    ("PolynomialLR", {"total_iters": 65, "power": 0.5}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 50, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.2}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 1 / (1 + epoch), lambda epoch: epoch % 3]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.97}),
    ("MultiplicativeLR", {"lr_lambda": [lambda e: 1 - 1 / (e + 2), lambda e: 1.01]}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 80}),
    ("OneCycleLR", {"max_lr": [0.5, 0.1], "epochs": 9, "steps_per_epoch": 9}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 75, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 71, "three_phase": True, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 70, "cycle_momentum": False, "div_factor": 3.0}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 70, "base_momentum": [0.7, 0.6],
                    "max_momentum": [0.8, 0.9], "final_div_factor": 10.0}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 8}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": [0.1, 0.3], "step_size_up": 5,
                  "step_size_down": 9}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 8, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 8, "mode": "exp_range",
                  "gamma": 0.97, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": math.tanh,
                  "scale_mode": "iterations"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4,
                  "scale_fn": lambda x: 1 / x}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4,
                  "scale_fn": lambda x: math.tanh(x), "scale_mode": "iterations"}),
    ("SWALR", {"swa_lr": 0.05}),
    ("SWALR", {"swa_lr": [0.05, 0.5], "anneal_epochs": 20, "anneal_strategy": "linear"}),
    ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 0}),
]  # fmt: skip
ids = [f"{name}-{i}" for i, (name, _) in enumerate(TABLE)]


def optimizers(name="SGD", **options):
    """The same optimiser twice, with two groups of different rates."""
    if name == "SGD":
        options = {"momentum": 0.9, **options}

    def make(module, optim):
        p, q = (module.ones(1, requires_grad=True) for _ in range(2))
        return getattr(optim, name)(
            [{"params": [p], "lr": 0.4}, {"params": [q]}], lr=0.1, **options
        )

    return make(cf, cf.optim), make(torch, torch.optim)


def make_both(name, options, mine, other):
    if name == "SWALR":
        pair = cf.optim.swa_utils.SWALR, torch.optim.swa_utils.SWALR
    else:
        pair = getattr(OURS, name), getattr(THEIRS, name)
    return pair[0](mine, **options), pair[1](other, **options)


def built(build, mine, other):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch's, about a chain in a sequence
        b = build(THEIRS, other)
    return build(OURS, mine), b


def same(mine, other, a=None, b=None):
    for ours, theirs in zip(mine.param_groups, other.param_groups, strict=True):
        for key in ("lr", "momentum", "betas"):
            if key in ours:
                np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-12, atol=1e-15)
    if a is not None:
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-12, atol=1e-15)
        assert a.last_epoch == b.last_epoch


@pytest.mark.parametrize("by_hand", [False, True], ids=["alone", "lr-set-by-hand"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), TABLE, ids=ids)
def test_same_rates(name, options, optimizer, by_hand):
    mine, other = optimizers(optimizer)
    a, b = make_both(name, options, mine, other)
    same(mine, other, a, b)
    for step in range(STEPS):
        mine.step()
        other.step()
        if by_hand and step in (5, 23):
            for group in (*mine.param_groups, *other.param_groups):
                group["lr"] *= 0.5
        a.step()
        b.step()
        same(mine, other, a, b)


@pytest.mark.parametrize(("name", "options"), TABLE, ids=ids)
def test_going_on_from_a_state_dict(name, options):
    """Ours goes on from ours, and from PyTorch's where PyTorch can save its own: of a builtin as
    ``scale_fn`` its ``state_dict`` wants a ``__dict__`` that builtins do not have."""
    builtin = isinstance(options.get("scale_fn"), BuiltinFunctionType)
    for from_torch in (False,) if builtin else (False, True):
        mine, other = optimizers()
        a, b = make_both(name, options, mine, other)
        for _ in range(11):
            for thing in (mine, other, a, b):
                thing.step()
        again, _ = optimizers()
        c, _ = make_both(name, options, again, optimizers()[1])
        source, schedule = (other, b) if from_torch else (mine, a)
        again.load_state_dict(source.state_dict())
        saved = schedule.state_dict()
        if from_torch:
            private = {"_get_lr_called_within_step", "_is_initial", "_scale_fn_custom",
                       "lr_lambdas"}  # fmt: skip
            saved = {k: v for k, v in saved.items() if k not in private} | {"_initial": False}
        c.load_state_dict(saved)
        for _ in range(20):
            for thing in (other, again, b, c):
                thing.step()
            same(again, other, c, b)


# PyTorch does not find the restart that the last epoch belongs to; ours is tested by itself
@pytest.mark.parametrize(
    ("name", "options"),
    [row for row in TABLE if row[1].get("T_mult", 1) == 1],
    ids=[i for i, row in zip(ids, TABLE, strict=True) if row[1].get("T_mult", 1) == 1],
)
def test_starting_again_with_last_epoch(name, options):
    mine, other = optimizers()
    a, b = make_both(name, options, mine, other)
    for _ in range(9):
        for thing in (mine, other, a, b):
            thing.step()
    a, b = make_both(name, {**options, "last_epoch": 9}, mine, other)
    same(mine, other, a, b)
    for _ in range(20):
        for thing in (mine, other, a, b):
            thing.step()
        same(mine, other, a, b)


PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"patience": 0, "cooldown": 3, "factor": 0.5, "min_lr": [0.01, 0.05]},
    {"mode": "max", "patience": 1},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 2},
    {"threshold_mode": "abs", "threshold": 0.01, "patience": 3, "eps": 0.01},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateau(options):
    mine, other = optimizers()
    a, b = make_both("ReduceLROnPlateau", options, mine, other)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        metric = math.exp(-step / 10) + 0.1 * rng.normal()
        mine.step()
        other.step()
        a.step(cf.tensor(metric, dtype=cf.float64) if step % 2 else metric)
        b.step(metric)
        same(mine, other, a, b)
        if step == 30:
            a.load_state_dict(b.state_dict())
    assert (a.best, a.num_bad_epochs, a.in_cooldown) == (b.best, b.num_bad_epochs, b.in_cooldown)


def warm_cosine(module, optimizer):
    return module.SequentialLR(
        optimizer,
        [module.LinearLR(optimizer, start_factor=0.1, total_iters=10),
         module.CosineAnnealingLR(optimizer, T_max=50)],
        milestones=[10],
    )  # fmt: skip


def three_parts(module, optimizer):
    parts = [
        module.ConstantLR(optimizer, factor=0.1, total_iters=4),
        module.ExponentialLR(optimizer, gamma=0.9),
        module.StepLR(optimizer, step_size=3, gamma=0.5),
    ]
    return module.SequentialLR(optimizer, parts, milestones=[5, 20])


def restarts_after_warmup(module, optimizer):
    parts = [
        module.LinearLR(optimizer, start_factor=0.2, total_iters=6),
        module.CosineAnnealingWarmRestarts(optimizer, T_0=5, T_mult=2),
    ]
    return module.SequentialLR(optimizer, parts, milestones=[6])


def polynomial_then_function(module, optimizer):
    parts = [
        module.PolynomialLR(optimizer, total_iters=12),
        module.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        module.MultiStepLR(optimizer, milestones=[2, 9], gamma=0.5),
    ]
    return module.SequentialLR(optimizer, parts, milestones=[8, 30])


def chained(module, optimizer):
    parts = [
        module.ConstantLR(optimizer, factor=0.1, total_iters=4),
        module.ExponentialLR(optimizer, gamma=0.9),
    ]
    return module.ChainedScheduler(parts)


def chained_many(module, optimizer):
    parts = [
        module.LinearLR(optimizer, start_factor=0.3, total_iters=9),
        module.MultiplicativeLR(optimizer, lambda epoch: 0.99),
        module.MultiStepLR(optimizer, milestones=[5, 40]),
    ]
    return module.ChainedScheduler(parts, optimizer)


def chain_in_a_sequence(module, optimizer):
    chain = module.ChainedScheduler(
        [module.LinearLR(optimizer, total_iters=5), module.StepLR(optimizer, step_size=3)]
    )
    return module.SequentialLR(
        optimizer, [chain, module.CosineAnnealingLR(optimizer, T_max=30)], milestones=[12]
    )


WHOLES = [warm_cosine, three_parts, restarts_after_warmup, polynomial_then_function, chained,
          chained_many, chain_in_a_sequence]  # fmt: skip


@pytest.mark.parametrize("build", WHOLES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("by_hand", [False, True], ids=["alone", "lr-set-by-hand"])
def test_schedules_of_schedules(build, by_hand):
    mine, other = optimizers()
    a, b = built(build, mine, other)
    same(mine, other)
    for step in range(STEPS):
        mine.step()
        other.step()
        if by_hand and step in (3, 33):
            for group in (*mine.param_groups, *other.param_groups):
                group["lr"] *= 0.5
        a.step()
        b.step()
        same(mine, other)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-12)


@pytest.mark.parametrize("build", WHOLES, ids=lambda f: f.__name__)
def test_a_whole_goes_on_from_its_state_dict(build):
    mine, other = optimizers()
    a, b = built(build, mine, other)
    for _ in range(10):
        for thing in (mine, other, a, b):
            thing.step()
    again = optimizers()[0]
    c = build(OURS, again)
    again.load_state_dict(mine.state_dict())
    c.load_state_dict(a.state_dict())
    for _ in range(30):
        for thing in (again, other, c, b):
            thing.step()
        same(again, other)


@pytest.mark.parametrize(
    ("name", "options"),
    [row for row in TABLE if row[0] not in ("SWALR", "OneCycleLR", "CyclicLR")],
    ids=[i for i in ids if not i.startswith(("SWALR", "OneCycle", "Cyclic"))],
)
def test_jumping_to_an_epoch(name, options):
    mine, other = optimizers()
    a, b = make_both(name, options, mine, other)
    mine.step()
    other.step()
    for epoch in (3, 17, 0, 40):
        a.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch deprecates it
            b.step(epoch)
        same(mine, other, a, b)


def test_fractions_of_an_epoch():
    mine, other = optimizers()
    options = {"T_0": 3, "T_mult": 2}
    a, b = make_both("CosineAnnealingWarmRestarts", options, mine, other)
    for i in range(100):
        a.step(i / 7)
        b.step(i / 7)
        same(mine, other, a, b)
