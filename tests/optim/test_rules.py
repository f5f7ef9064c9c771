"""What every update rule must do, for each one in ``optim.RULES``: nothing here knows a formula."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import contraflow as cf
from contraflow.capture import capture
from contraflow.interop import load, save
from contraflow.optim import RULES

# Options under which a rule is tried, beside its defaults: every kind of state appears in one.
OPTIONS = {
    "SGD": [{"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5}],
    "Adam": [{"amsgrad": True, "weight_decay": 0.1}],
    "AdamW": [{"amsgrad": True}],
    "RMSprop": [{"centered": True, "momentum": 0.5}],
    "ASGD": [{"t0": 1, "lambd": 0.1}],
    "ScheduleFreeAdamW": [{"warmup_steps": 3, "r": 0.5}],
}
CASES = [(name, options) for name in sorted(RULES) for options in ({}, *OPTIONS.get(name, ()))]
every_rule = pytest.mark.parametrize("name", sorted(RULES))
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{n}-{'-'.join(o) or 'defaults'}" for n, o in CASES]
)


def start(seed=0):
    """A small network's weights: matrices only, because Muon takes no others."""
    rng = np.random.default_rng(seed)
    return [cf.tensor(rng.normal(size=s), requires_grad=True) for s in ((3, 5), (5, 2))]


def loss_of(params, x):
    return ((x @ params[0]).tanh() @ params[1] - 1).square().mean()


def train(params, optimizer, steps, first=0):
    for step in range(first, first + steps):
        x = cf.tensor(np.random.default_rng(step).normal(size=(8, 3)))
        optimizer.zero_grad()
        loss_of(params, x).backward()
        optimizer.step()


def values(tensors):
    return [t.detach().numpy().copy() for t in tensors]


def same_bits(ours, theirs):
    for a, b in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# ---- going on -------------------------------------------------------------------------------


@every_case
def test_stopped_and_resumed_from_files_gives_the_same_bits(name, options, tmp_path):
    whole = start()
    train(whole, RULES[name](whole, **options), 8)

    params = start()
    optimizer = RULES[name](params, **options)
    train(params, optimizer, 4)
    save({"model": params, "optimizer": optimizer.state_dict()}, tmp_path / "half")

    saved = load(tmp_path / "half")
    again = start(seed=9)
    with cf.no_grad():
        for p, q in zip(again, saved["model"], strict=True):
            p.copy_(q)
    other = RULES[name](again, lr=0.7)  # the options come from the file
    other.load_state_dict(saved["optimizer"])
    train(again, other, 4, first=4)
    same_bits(again, whole)


@every_case
def test_a_state_dict_is_a_snapshot_only_when_copied_and_loads_copies(name, options):
    params = start()
    optimizer = RULES[name](params, **options)
    train(params, optimizer, 2)
    twin = start()
    other = RULES[name](twin, **options)
    other.load_state_dict(optimizer.state_dict())
    before = {k: v.numpy().copy() for k, v in other.state[twin[0]].items()}
    train(params, optimizer, 2)  # the one goes on; the other must not move with it
    for key, value in other.state[twin[0]].items():
        np.testing.assert_array_equal(value.numpy(), before[key])


@every_case
def test_a_captured_step_is_the_eager_step(name, options):
    params, twin = start(), start()
    optimizer, other = RULES[name](params, **options), RULES[name](twin, **options)
    x = cf.tensor(np.random.default_rng(0).normal(size=(8, 3)))

    def step(x):
        optimizer.zero_grad()
        loss = loss_of(params, x)
        loss.backward()
        optimizer.step()
        return loss

    captured = capture(step, x)
    for i in range(4):
        for group in (*optimizer.param_groups, *other.param_groups):
            group["lr"] /= i + 1  # a schedule's new rate must reach the captured step
        captured(x)
        other.zero_grad()
        loss_of(twin, x).backward()
        other.step()
    for p, q in zip(params, twin, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)
        for key, value in other.state[q].items():
            np.testing.assert_allclose(optimizer.state[p][key].numpy(), value.numpy(), rtol=1e-12)


# ---- what a step touches --------------------------------------------------------------------


@every_case
def test_maximize_is_the_descent_of_the_negated_loss(name, options):
    up, down = start(), start()
    a, b = RULES[name]([{"params": up, "maximize": True}], **options), RULES[name](down, **options)
    for step in range(4):
        for p, q in zip(up, down, strict=True):
            g = np.random.default_rng(step).normal(size=p.shape)
            p.grad, q.grad = cf.tensor(g), cf.tensor(-g)
        a.step()
        b.step()
    same_bits(up, down)


@every_case
def test_without_a_gradient_nothing_happens(name, options):
    params = start()
    optimizer = RULES[name](params, **options)
    params[1].grad = cf.ones_like(params[1]).detach()
    before = values(params)
    optimizer.step()
    np.testing.assert_array_equal(params[0].detach().numpy(), before[0])
    assert params[1].grad.tolist() == np.ones((5, 2)).tolist()
    assert list(optimizer.state_dict()["state"]) in ([1], [])  # plain SGD has no state at all
    optimizer.zero_grad()
    before = values(params)
    optimizer.step()
    same_bits(params, map(cf.tensor, before))


@every_case
def test_two_groups_are_two_optimisers(name, options):
    params, twin = start(), start()
    both = RULES[name]([{"params": params[:1], "lr": 0.01}], lr=0.3, **options)
    both.add_param_group({"params": params[1]})
    apart = [RULES[name](twin[:1], lr=0.01, **options), RULES[name](twin[1:], lr=0.3, **options)]
    for step in range(3):
        for p, q in zip(params, twin, strict=True):
            g = np.random.default_rng(step).normal(size=p.shape)
            p.grad, q.grad = cf.tensor(g), cf.tensor(g)
        both.step()
        for optimizer in apart:
            optimizer.step()
    same_bits(params, twin)


@every_case
def test_together_or_alone_the_bits_are_the_same(name, options):
    """Small parameters are updated in one pass; some are too large for it, some have skipped steps,
    one has another dtype, one has nothing in it."""
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (70, 70), (2, 2), (4, 1), (0, 3), (60, 60), (60, 61), (61, 60), (60, 60)]
    starts = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    starts[3] = starts[3].astype(np.float64)
    params, twin = ([cf.tensor(s, requires_grad=True) for s in starts] for _ in range(2))
    together = RULES[name](params, **options)
    alone = [RULES[name]([p], **options) for p in twin]
    for step in range(4):
        for i, (p, q) in enumerate(zip(params, twin, strict=True)):
            g = None if step == i == 2 else rng.normal(size=p.shape).astype(p.dtype.np)
            p.grad, q.grad = (None, None) if g is None else (cf.tensor(g), cf.tensor(g))
        together.step()
        for optimizer in alone:
            optimizer.step()
    same_bits(params, twin)
    for p, q, optimizer in zip(params, twin, alone, strict=True):
        same_bits(together.state[p].values(), optimizer.state[q].values())


@every_case
def test_a_step_is_in_place_and_seen_by_views(name, options):
    params = start()
    memory = [p.detach().numpy() for p in params]
    optimizer = RULES[name](params, **options)
    train(params, optimizer, 1)
    held = {k: v.numpy() for k, v in optimizer.state[params[0]].items()}
    train(params, optimizer, 1, first=1)
    for p, array in zip(params, memory, strict=True):
        assert np.shares_memory(p.detach().numpy(), array)
    for key, array in held.items():
        assert np.shares_memory(optimizer.state[params[0]][key].numpy(), array)


@every_rule
def test_a_step_between_forward_and_backward_is_found_out(name):
    w = cf.tensor([[1.0, 2.0]], requires_grad=True)
    optimizer = RULES[name]([w])
    loss = (w * w).sum()
    w.grad = cf.ones(1, 2)
    optimizer.step()
    with pytest.raises(cf.GradError, match="overwritten"):
        loss.backward()


@every_rule
def test_the_closure_runs_with_gradients_and_its_loss_comes_back(name):
    params = start()
    optimizer = RULES[name](params)
    x = cf.ones(8, 3, dtype=cf.float64)
    before = values(params)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(params, x)
        loss.backward()
        return loss

    with cf.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == pytest.approx(loss_of([cf.tensor(p) for p in before], x).item())
    assert any((a != b).any() for a, b in zip(values(params), before, strict=True))
    assert not any(s.requires_grad for p in params for s in optimizer.state[p].values())


@every_rule
def test_a_rate_of_numpy_is_a_number_like_any_other(name):
    start = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = []
    for lr in (0.1, np.float64(0.1)):
        p = cf.tensor(start, requires_grad=True)
        optimizer = RULES[name]([p], lr=lr)
        for _ in range(3):
            p.grad = cf.tensor(start)
            optimizer.step()
        found.append(p)
    same_bits(found[:1], found[1:])


# ---- do they learn? -------------------------------------------------------------------------

# Rates for the quadratic bowl and for Rosenbrock's valley, of those tried 0.001, 0.003, 0.01 ...
RATES = {
    "SGD": (0.3, 0.3), "ASGD": (0.3, 0.3), "Rprop": (0.1, 0.03), "Lion": (0.1, 0.01),
    "Adagrad": (1.0, 1.0), "Adadelta": (30.0, 1.0), "RMSprop": (0.1, 0.03), "Adam": (0.3, 0.1),
    "AdamW": (0.3, 0.1), "Adamax": (0.3, 0.3), "NAdam": (0.3, 0.1), "RAdam": (0.3, 0.1),
    "LAMB": (0.03, 0.1), "Adafactor": (0.1, 0.3), "Muon": (0.1, 0.01),
    "ScheduleFreeAdamW": (0.3, 0.1),
}  # fmt: skip


def descend(name, loss, begin, lr, steps):
    """The loss at the end; the rate falls to zero along a cosine."""
    w = cf.tensor(begin, requires_grad=True)
    optimizer = RULES[name]([w], lr=lr, **({"weight_decay": 0} if name != "Rprop" else {}))
    schedule = cf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
        if name != "ScheduleFreeAdamW":
            schedule.step()
    if name == "ScheduleFreeAdamW":
        optimizer.eval()
    return loss(w).item()


@every_rule
def test_the_bottom_of_a_bowl_is_found(name):
    target = cf.tensor([[1.0, -2.0, 0.5], [0.3, 3.0, -1.0]], dtype=cf.float64)
    steep = cf.tensor([[1.0, 0.3, 0.1], [0.5, 1.0, 0.2]], dtype=cf.float64)

    def bowl(w):
        return (steep * (w - target).square()).sum()

    first = bowl(cf.full((2, 3), 0.1, dtype=cf.float64)).item()
    assert descend(name, bowl, np.full((2, 3), 0.1), RATES[name][0], 300) < 1e-3 * first


@every_rule
def test_rosenbrocks_valley_is_followed(name):
    def rosenbrock(w):
        x, y = w[0, 0], w[0, 1]
        return (1 - x) ** 2 / 100 + (y - x * x) ** 2

    # 0.242 at the start, about 0.04 where the valley's floor begins, 0 at its end in (1, 1)
    assert descend(name, rosenbrock, np.array([[-1.2, 1.0]]), RATES[name][1], 1000) < 0.004


# ---- what is refused ------------------------------------------------------------------------

NUMBERS = {
    "lr": -0.1, "weight_decay": -1, "eps": -1e-8, "momentum": -0.5, "alpha": float("nan"),
    "rho": 1.5, "lr_decay": -1, "initial_accumulator_value": -1, "lambd": -1, "t0": -1,
    "momentum_decay": -1, "dampening": float("inf"), "beta2_decay": 0.8, "d": 0.5, "ns_steps": -1,
    "ns_coefficients": (1.0, 2.0), "adjust_lr_fn": "mine", "betas": (0.9, 1.0),
    "etas": (1.2, 0.5), "step_sizes": (1.0, 0.1), "warmup_steps": -1, "r": -1,
    "weight_lr_power": -1, "differentiable": True,
}  # fmt: skip
REFUSED = [
    (name, key, value)
    for name, cls in sorted(RULES.items())
    for key in inspect.signature(cls).parameters
    if key in NUMBERS
    for value in (NUMBERS[key], float("nan"), "fast", None)
    if not (value is None and key in ("adjust_lr_fn", "differentiable"))
    and not (key == "differentiable" and value != value)
]


@pytest.mark.parametrize(("name", "key", "value"), REFUSED, ids=str)
def test_values_outside_their_domain_are_refused_with_a_fix(name, key, value):
    w = cf.ones(2, 2, requires_grad=True)
    with pytest.raises(cf.ArgumentError, match=f"{name}: {key} must be") as caught:
        RULES[name]([w], **{key: value})
    assert f"fix: cf.optim.{name}(params, {key}=" in str(caught.value)


@every_rule
def test_every_number_has_a_domain(name):
    free = {"params", "maximize", "foreach", "fused", "capturable", "amsgrad", "nesterov",
            "centered", "decoupled_weight_decay"}  # fmt: skip
    assert set(inspect.signature(RULES[name]).parameters) - free <= set(RULES[name].domain)


# ---- what is said ---------------------------------------------------------------------------


@every_rule
def test_the_docstring_has_formula_paper_and_arguments(name):
    cls = RULES[name]
    text = inspect.getdoc(cls)
    assert "θ ←" in text or "y =" in text  # what becomes of the weights
    assert "The rule::" in text
    assert "Source: " in text or "Sources: " in text
    assert ">>> " in text
    silent = {"params", "foreach", "fused", "capturable", "differentiable"}
    for key in set(inspect.signature(cls).parameters) - silent:
        assert f"\n    {key}: " in text, f"{name} does not explain {key}"
    assert cls.rule.name == name == cls.__name__
    assert cls.__name__ in cf.optim.__all__
