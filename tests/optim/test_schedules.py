"""Schedules against their formulas written down, their state in files, and their mistakes."""

from __future__ import annotations

from math import cos, pi

import pytest

import contraflow as cf
from contraflow.interop import load, save

S = cf.optim.lr_scheduler
STEPS = 12


def optimizer(lr=1.0, **options):
    return cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=lr, **options)


def rates(schedule, steps=STEPS):
    out = []
    for _ in range(steps):
        schedule.optimizer.step()
        out += schedule.get_last_lr()
        schedule.step()
    return out


def cosine(low, high, t, length):
    return low + (high - low) * (1 + cos(pi * t / length)) / 2


# name, how to make it, the rate at epoch t (of a base rate of 1)
FORMULAS = [
    ("StepLR", lambda o: S.StepLR(o, step_size=3, gamma=0.5), lambda t: 0.5 ** (t // 3)),
    ("MultiStepLR", lambda o: S.MultiStepLR(o, milestones=[2, 7], gamma=0.1),
     lambda t: 0.1 ** ((t >= 2) + (t >= 7))),
    ("ExponentialLR", lambda o: S.ExponentialLR(o, gamma=0.9), lambda t: 0.9**t),
    ("ConstantLR", lambda o: S.ConstantLR(o, factor=0.25, total_iters=4),
     lambda t: 0.25 if t < 4 else 1.0),
    ("LinearLR", lambda o: S.LinearLR(o, start_factor=0.2, total_iters=8),
     lambda t: 0.2 + 0.8 * min(t / 8, 1)),
    ("PolynomialLR", lambda o: S.PolynomialLR(o, total_iters=10, power=2),
     lambda t: max(0.0, 1 - t / 10) ** 2),
    ("CosineAnnealingLR", lambda o: S.CosineAnnealingLR(o, T_max=11, eta_min=0.1),
     lambda t: cosine(0.1, 1.0, t, 11)),
    ("CosineAnnealingWarmRestarts",
     lambda o: S.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.1),
     lambda t: cosine(0.1, 1.0, t, 3) if t < 3 else cosine(0.1, 1.0, t - 3, 6) if t < 9
     else cosine(0.1, 1.0, t - 9, 12)),
    ("LambdaLR", lambda o: S.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    ("MultiplicativeLR", lambda o: S.MultiplicativeLR(o, lambda t: 0.8), lambda t: 0.8**t),
    ("CyclicLR", lambda o: S.CyclicLR(o, base_lr=0.1, max_lr=0.9, step_size_up=4,
                                      cycle_momentum=False),
     lambda t: 0.1 + 0.8 * (1 - abs(t % 8 - 4) / 4)),
    ("CyclicLR triangular2", lambda o: S.CyclicLR(o, base_lr=0.1, max_lr=0.9, step_size_up=2,
                                                  mode="triangular2", cycle_momentum=False),
     lambda t: 0.1 + 0.8 * (1 - abs(t % 4 - 2) / 2) / 2 ** (t // 4)),
    ("OneCycleLR", lambda o: S.OneCycleLR(o, max_lr=1.0, total_steps=13, pct_start=5 / 13,
                                          cycle_momentum=False),
     lambda t: cosine(0.04, 1.0, t - 4, 4) if t <= 4 else cosine(0.04 / 1e4, 1.0, t - 4, 8)),
    ("SWALR", lambda o: cf.optim.swa_utils.SWALR(o, swa_lr=0.2, anneal_epochs=5),
     lambda t: cosine(0.2, 1.0, min(t, 5), 5)),
    ("a warm-up, then a cosine",
     lambda o: S.SequentialLR(o, [S.LinearLR(o, start_factor=0.1, total_iters=4),
                                  S.CosineAnnealingLR(o, T_max=8)], milestones=[4]),
     lambda t: 0.1 + 0.9 * t / 4 if t < 4 else cosine(0.0, 1.0, t - 4, 8)),
    ("two at once",
     lambda o: S.ChainedScheduler([S.ConstantLR(o, factor=0.5, total_iters=3),
                                   S.ExponentialLR(o, gamma=0.9)]),
     lambda t: (0.5 if t < 3 else 1.0) * 0.9**t),
]  # fmt: skip
every_schedule = pytest.mark.parametrize(
    ("make", "formula"), [row[1:] for row in FORMULAS], ids=[row[0] for row in FORMULAS]
)


def test_every_schedule_has_a_formula_here():
    named = {row[0] for row in FORMULAS}
    plain = set(S.__all__) - {"LRScheduler", "ScheduleWarning", "ReduceLROnPlateau"}
    assert plain - named == {"SequentialLR", "ChainedScheduler"}  # the last two rows


@every_schedule
def test_the_rates_follow_the_formula(make, formula):
    assert rates(make(optimizer())) == pytest.approx([formula(t) for t in range(STEPS)], abs=1e-12)


@every_schedule
def test_a_rate_in_a_tensor_is_filled_in_place(make, formula):
    held = cf.tensor(1.0, dtype=cf.float64)
    schedule = make(optimizer(held))
    rates(schedule, 5)
    assert schedule.optimizer.param_groups[0]["lr"] is held
    assert held.item() == pytest.approx(formula(5), abs=1e-12)


@every_schedule
def test_stopped_and_resumed_from_a_file(make, formula, tmp_path):
    whole = rates(make(optimizer()))
    schedule = make(optimizer())
    rates(schedule, 5)
    saved = {"optimizer": schedule.optimizer.state_dict(), "schedule": schedule.state_dict()}
    save(saved, tmp_path / "half")
    read = load(tmp_path / "half")
    again = make(optimizer())
    again.optimizer.load_state_dict(read["optimizer"])
    again.load_state_dict(read["schedule"])
    assert rates(again, STEPS - 5) == whole[5:]


@every_schedule
def test_the_state_of_another_schedule_is_refused(make, formula):
    schedule = make(optimizer())
    before = schedule.state_dict()
    for wrong in ({}, {"last_epoch": 3}, 5, {**before, "last_epoch": print}):
        with pytest.raises(cf.StateError, match="another schedule|plain data"):
            schedule.load_state_dict(wrong)
        assert schedule.state_dict() == before


def test_the_momentum_goes_the_other_way():
    o = optimizer(momentum=0.9)
    schedule = S.OneCycleLR(o, max_lr=1.0, total_steps=11, anneal_strategy="linear")
    momenta = []
    for _ in range(11):
        momenta.append(o.param_groups[0]["momentum"])
        o.step()
        if len(momenta) < 11:
            schedule.step()
    assert momenta[0] == momenta[-1] == 0.95
    assert min(momenta) < 0.87
    adam = cf.optim.Adam([cf.ones(1, requires_grad=True)])
    S.CyclicLR(adam, base_lr=0.1, max_lr=1.0, base_momentum=0.6, max_momentum=0.7)
    assert adam.param_groups[0]["betas"] == (0.7, 0.999)


def test_the_plateau_waits_then_lowers_then_rests():
    o = optimizer()
    schedule = S.ReduceLROnPlateau(o, factor=0.1, patience=2, cooldown=2)
    seen = []
    for loss in [5, 4, 4, 4, 4, 4, 4, 4, 4, 4]:
        schedule.step(loss)
        seen.append(round(o.param_groups[0]["lr"], 6))
    # three epochs without a better loss, then two of rest and three more
    assert seen == [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01]


def test_stepping_in_the_wrong_order_warns_once():
    schedule = S.StepLR(optimizer(), step_size=2)
    with pytest.warns(S.ScheduleWarning, match="skips the first"):
        schedule.step()
    schedule.step()


MISTAKES = {
    "no optimiser": (lambda: S.StepLR(0.1, 3), cf.DTypeError, "takes an optimiser"),
    "no step": (lambda: S.StepLR(optimizer(), 0), cf.ArgumentError, "step_size must be"),
    "gamma of text": (lambda: S.ExponentialLR(optimizer(), "x"), cf.ArgumentError, "gamma"),
    "two rates, one group": (lambda: S.CyclicLR(optimizer(), [1.0, 2.0], 3.0, cycle_momentum=False),
                             cf.ArgumentError, "2 values"),
    "no momentum to cycle": (lambda: S.CyclicLR(cf.optim.Adagrad([cf.ones(1)]), 0.1, 1.0),
                             cf.ContraflowError, "momentum"),
    "no length": (lambda: S.OneCycleLR(optimizer(), 1.0), cf.ArgumentError, "how many steps"),
    "no function": (lambda: S.LambdaLR(optimizer(), 0.5), cf.ContraflowError, "function|callable"),
    "no schedules": (lambda: S.SequentialLR(optimizer(), [], []), cf.ArgumentError, "at least one"),
    "milestones missing": (lambda: S.SequentialLR(o := optimizer(), [S.StepLR(o, 1)] * 2, []),
                           cf.ArgumentError, "one milestone"),
    "of two optimisers": (lambda: S.ChainedScheduler([S.StepLR(optimizer(), 1),
                                                      S.StepLR(optimizer(), 1)]),
                          cf.ArgumentError, "different optimisers"),
    "a plateau in a chain": (lambda: S.ChainedScheduler([S.ReduceLROnPlateau(optimizer())]),
                             cf.ContraflowError, "metric|schedule"),
    "from nowhere": (lambda: S.StepLR(optimizer(), 1, last_epoch=3), cf.StateError, "initial_lr"),
    "a cooldown below 0": (lambda: S.ReduceLROnPlateau(optimizer(), cooldown=-1),
                           cf.ArgumentError, "cooldown"),
    "an unknown mode": (lambda: S.ReduceLROnPlateau(optimizer(), mode="low"), cf.ArgumentError,
                        "mode"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_explained(case):
    make, error, text = MISTAKES[case]
    with pytest.raises(error, match=text) as caught:
        make()
    assert "fix: " in str(caught.value)


def test_one_step_too_many_of_a_single_cycle():
    schedule = S.OneCycleLR(optimizer(momentum=0.9), max_lr=1.0, total_steps=2)
    rates(schedule, 2)
    with pytest.raises(cf.ArgumentError, match="made for 2 steps"):
        schedule.step()
