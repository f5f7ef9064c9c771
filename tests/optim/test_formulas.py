"""Every update rule against its paper: written again in float64 NumPy, the long way.

The references keep the quantities that the papers name (both averages of schedule-free, the bias
corrected moments, the singular values of Muon) where the rules of the library take short cuts.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import pytest

import contraflow as cf
from contraflow.optim import RULES

STEPS = 6


def sgd(θ, gs, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    b = None
    for g in gs:
        g = g + weight_decay * θ
        if momentum:
            b = g if b is None else momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        θ = θ - lr * g
        yield θ


def asgd(θ, gs, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0):
    η = lr
    for t, g in enumerate(gs, 1):
        g = g + weight_decay * θ
        θ = θ - η * lambd * θ - η * g
        η = lr / (1 + lambd * lr * t) ** alpha
        yield θ


def rprop(θ, gs, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50)):
    Δ, before = np.full(θ.size, lr), np.zeros(θ.size)
    flat = θ.flatten()
    for g in gs:
        for i, slope in enumerate(g.flatten()):
            if slope * before[i] > 0:
                Δ[i] = min(Δ[i] * etas[1], step_sizes[1])
            elif slope * before[i] < 0:
                Δ[i] = max(Δ[i] * etas[0], step_sizes[0])
                slope = 0.0
            flat[i] -= np.sign(slope) * Δ[i]
            before[i] = slope
        yield flat.reshape(θ.shape).copy()


def lion(θ, gs, lr=1e-4, betas=(0.9, 0.99), weight_decay=0):
    m = 0 * θ
    for g in gs:
        c = betas[0] * m + (1 - betas[0]) * g
        θ = θ - lr * (np.sign(c) + weight_decay * θ)
        m = betas[1] * m + (1 - betas[1]) * g
        yield θ


def adagrad(θ, gs, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
    G = 0 * θ + initial_accumulator_value
    for t, g in enumerate(gs, 1):
        g = g + weight_decay * θ
        G = G + g**2
        θ = θ - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(G) + eps)
        yield θ


def adadelta(θ, gs, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0):
    E_g2 = E_Δ2 = 0 * θ
    for g in gs:
        g = g + weight_decay * θ
        E_g2 = rho * E_g2 + (1 - rho) * g**2
        Δ = -np.sqrt(E_Δ2 + eps) / np.sqrt(E_g2 + eps) * g
        E_Δ2 = rho * E_Δ2 + (1 - rho) * Δ**2
        θ = θ + lr * Δ
        yield θ


def rmsprop(θ, gs, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    v = ḡ = b = 0 * θ
    for g in gs:
        g = g + weight_decay * θ
        v = alpha * v + (1 - alpha) * g**2
        ḡ = alpha * ḡ + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - ḡ**2 if centered else v) + eps)
        θ = θ - lr * b
        yield θ


def adam(θ, gs, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
         decoupled_weight_decay=False):  # fmt: skip
    m = v = top = 0 * θ
    β1, β2 = betas
    for t, g in enumerate(gs, 1):
        if decoupled_weight_decay:
            θ = θ - lr * weight_decay * θ
        else:
            g = g + weight_decay * θ
        m, v = β1 * m + (1 - β1) * g, β2 * v + (1 - β2) * g**2
        top = np.maximum(top, v)
        m̂, v̂ = m / (1 - β1**t), (top if amsgrad else v) / (1 - β2**t)
        θ = θ - lr * m̂ / (np.sqrt(v̂) + eps)
        yield θ


def adamw(θ, gs, weight_decay=1e-2, **options):
    return adam(θ, gs, weight_decay=weight_decay, decoupled_weight_decay=True, **options)


def adamax(θ, gs, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    m = u = 0 * θ
    for t, g in enumerate(gs, 1):
        g = g + weight_decay * θ
        m = betas[0] * m + (1 - betas[0]) * g
        u = np.maximum(betas[1] * u, np.abs(g) + eps)
        θ = θ - lr / (1 - betas[0] ** t) * m / u
        yield θ


def nadam(θ, gs, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3):
    m = v = 0 * θ
    β1, β2 = betas
    μ = [β1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(1, len(gs) + 2)]
    for t, g in enumerate(gs, 1):
        g = g + weight_decay * θ
        m, v = β1 * m + (1 - β1) * g, β2 * v + (1 - β2) * g**2
        m̂ = μ[t] * m / (1 - prod(μ[: t + 1])) + (1 - μ[t - 1]) * g / (1 - prod(μ[:t]))
        θ = θ - lr * m̂ / (np.sqrt(v / (1 - β2**t)) + eps)
        yield θ


def radam(θ, gs, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    m = v = 0 * θ
    β1, β2 = betas
    ρ_inf = 2 / (1 - β2) - 1
    for t, g in enumerate(gs, 1):
        g = g + weight_decay * θ
        m, v = β1 * m + (1 - β1) * g, β2 * v + (1 - β2) * g**2
        m̂ = m / (1 - β1**t)
        ρ = ρ_inf - 2 * t * β2**t / (1 - β2**t)
        if ρ > 5:
            r = sqrt((ρ - 4) * (ρ - 2) * ρ_inf / ((ρ_inf - 4) * (ρ_inf - 2) * ρ))
            m̂ = r * m̂ * sqrt(1 - β2**t) / (np.sqrt(v) + eps)
        θ = θ - lr * m̂
        yield θ


def lamb(θ, gs, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
    m = v = 0 * θ
    β1, β2 = betas
    for t, g in enumerate(gs, 1):
        m, v = β1 * m + (1 - β1) * g, β2 * v + (1 - β2) * g**2
        r = m / (1 - β1**t) / (np.sqrt(v / (1 - β2**t)) + eps) + weight_decay * θ
        lengths = np.linalg.norm(θ.ravel()), np.linalg.norm(r.ravel())
        trust = lengths[0] / lengths[1] if min(lengths) > 0 else 1.0
        θ = θ - lr * trust * r
        yield θ


def adafactor(θ, gs, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0):
    def size(x):
        return np.sqrt(np.sum(x * x) / max(x.size, 1))

    R = C = V = 0.0
    for t, g in enumerate(gs, 1):
        β̂2 = 1 - t**beta2_decay
        α = max(eps[1], size(θ)) * min(lr, 1 / sqrt(t))
        θ = θ - lr * weight_decay * θ
        if θ.ndim >= 2:
            R = β̂2 * R + (1 - β̂2) * np.mean(g**2, axis=-1)
            C = β̂2 * C + (1 - β̂2) * np.mean(g**2, axis=-2)
            V = R[..., :, None] * C[..., None, :] / np.mean(R, axis=-1)[..., None, None]
        else:
            V = β̂2 * V + (1 - β̂2) * g**2
        U = g / np.sqrt(np.maximum(V, eps[0] ** 2))
        θ = θ - α * U / max(1, size(U) / d)
        yield θ


def muon(θ, gs, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5,
         ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, adjust_lr_fn=None):  # fmt: skip
    B = 0 * θ
    a, b, c = ns_coefficients
    rows, columns = θ.shape
    scale = sqrt(max(1, rows / columns))
    if adjust_lr_fn == "match_rms_adamw":
        scale = 0.2 * sqrt(max(rows, columns))
    for g in gs:
        B = momentum * B + (1 - momentum) * g
        M = (1 - momentum) * g + momentum * B if nesterov else B
        U, σ, Vt = np.linalg.svd(M, full_matrices=False)
        σ = σ / max(np.linalg.norm(M), eps)
        for _ in range(ns_steps):  # the iteration changes nothing but the singular values
            σ = a * σ + b * σ**3 + c * σ**5
        θ = (1 - lr * weight_decay) * θ - lr * scale * (U * σ) @ Vt
        yield θ


def schedule_free(θ, gs, lr=0.0025, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, warmup_steps=0,
                  r=0.0, weight_lr_power=2.0, averages=None):  # fmt: skip
    x = y = z = θ
    v, Σ, top = 0 * θ, 0.0, 0.0
    β1, β2 = betas
    for t, g in enumerate(gs, 1):
        v = β2 * v + (1 - β2) * g**2
        γ = lr * sqrt(1 - β2**t) * min(1, t / max(warmup_steps, 1))
        z = z - γ * (g / (np.sqrt(v) + eps) + weight_decay * y)
        top = max(top, γ)
        weight = t**r * top**weight_lr_power
        Σ += weight
        x = x + weight / Σ * (z - x)
        y = (1 - β1) * z + β1 * x
        if averages is not None:
            averages.append(x)
        yield y


TABLE = [
    ("SGD", sgd, {"lr": 0.1}),
    ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    ("ASGD", asgd, {"lr": 0.1, "lambd": 0.2, "alpha": 0.5, "weight_decay": 0.1}),
    ("Rprop", rprop, {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.05, 0.3)}),
    ("Lion", lion, {"lr": 0.1}),
    ("Lion", lion, {"lr": 0.1, "betas": (0.8, 0.6), "weight_decay": 0.3}),
    ("Adagrad", adagrad, {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1}),
    ("Adagrad", adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 0.01}),
    ("Adadelta", adadelta, {"rho": 0.7, "eps": 1e-2, "weight_decay": 0.1}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.6, "eps": 0.01}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.6, "momentum": 0.5, "weight_decay": 0.1}),
    ("RMSprop", rmsprop, {"lr": 0.05, "alpha": 0.6, "centered": True, "eps": 0.1}),
    ("Adam", adam, {"lr": 0.1}),
    ("Adam", adam, {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.2, "amsgrad": True}),
    ("AdamW", adamw, {"lr": 0.1, "weight_decay": 0.2}),
    ("AdamW", adamw, {"lr": 0.1, "betas": (0.5, 0.7), "amsgrad": True}),
    ("Adamax", adamax, {"lr": 0.1, "betas": (0.7, 0.8), "weight_decay": 0.1}),
    ("NAdam", nadam, {"lr": 0.1, "momentum_decay": 0.1, "weight_decay": 0.1}),
    ("RAdam", radam, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", radam, {"lr": 0.1, "betas": (0.8, 0.5)}),
    ("LAMB", lamb, {"lr": 0.1}),
    ("LAMB", lamb, {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.3, "eps": 0.01}),
    ("Adafactor", adafactor, {"lr": 0.1, "eps": (1e-3, 1e-2)}),
    ("Adafactor", adafactor, {"lr": 0.5, "eps": (1e-3, 0.5), "d": 1.5, "weight_decay": 0.2,
                              "beta2_decay": -0.4}),
    ("Muon", muon, {"lr": 0.1}),
    ("Muon", muon, {"lr": 0.1, "nesterov": False, "ns_steps": 3, "momentum": 0.6,
                    "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3}),
    ("ScheduleFreeAdamW", schedule_free, {"lr": 0.1, "betas": (0.8, 0.9)}),
    ("ScheduleFreeAdamW", schedule_free, {"lr": 0.1, "betas": (0.6, 0.7), "weight_decay": 0.2,
                                          "warmup_steps": 4, "r": 0.5, "weight_lr_power": 1.0}),
]  # fmt: skip
# How far rounding may carry six steps of about 0.1 in each dtype.
TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 2e-2}


def shapes(name):
    return [(3, 4), (5, 2)] if name == "Muon" else [(3, 4), (5,), (), (0,), (2, 3, 2), (1,)]


def test_every_rule_has_a_reference():
    assert {name for name, *_ in TABLE} == set(RULES)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("name", "reference", "options"), TABLE,
    ids=[f"{name}-{i}" for i, (name, *_) in enumerate(TABLE)],
)  # fmt: skip
def test_the_formula_of_the_paper(name, reference, options, dtype):
    rng = np.random.default_rng(0)
    sizes = shapes(name)
    starts = [np.asarray(rng.normal(size=s), dtype) for s in sizes]
    # not near 0: in float16 a square below 6e-8 is 0 and an eps of 1e-8 too, as in PyTorch
    gradients = [
        [np.asarray(rng.uniform(0.3, 2, s) * rng.choice([-1, 1], s), dtype) for _ in range(STEPS)]
        for s in sizes
    ]
    params = [cf.tensor(s, requires_grad=True) for s in starts]
    optimizer = RULES[name](params, **options)
    expected = [
        list(reference(s.astype(float), [g.astype(float) for g in gs], **options))
        for s, gs in zip(starts, gradients, strict=True)
    ]
    for step in range(STEPS):
        for p, gs in zip(params, gradients, strict=True):
            p.grad = cf.tensor(gs[step])
        optimizer.step()
        for p, steps in zip(params, expected, strict=True):
            assert p.dtype is getattr(cf, dtype)
            np.testing.assert_allclose(
                p.detach().numpy(), steps[step], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
            )


def test_schedule_free_evaluates_the_average_and_goes_back():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(3, 2))
    gs = [rng.normal(size=(3, 2)) for _ in range(STEPS)]
    averages: list[np.ndarray] = []
    y = list(schedule_free(start, gs, lr=0.1, averages=averages))
    p = cf.tensor(start, requires_grad=True)
    optimizer = cf.optim.ScheduleFreeAdamW([p], lr=0.1)
    for g, now, average in zip(gs, y, averages, strict=True):
        p.grad = cf.tensor(g)
        optimizer.step()
        optimizer.eval()
        np.testing.assert_allclose(p.detach().numpy(), average, rtol=1e-12)
        with pytest.raises(cf.ContraflowError, match="optimizer.train"):
            optimizer.step()
        optimizer.train()
        np.testing.assert_allclose(p.detach().numpy(), now, rtol=1e-12)


def test_the_average_of_asgd():
    rng = np.random.default_rng(2)
    start, gs = rng.normal(size=4), [rng.normal(size=4) for _ in range(8)]
    p = cf.tensor(start, requires_grad=True)
    optimizer = cf.optim.ASGD([p], lr=0.1, t0=3)
    path = list(asgd(start, gs, lr=0.1))
    for g in gs:
        p.grad = cf.tensor(g)
        optimizer.step()
    # before t0 the newest point stands for the average; from there on it is the mean
    np.testing.assert_allclose(optimizer.state[p]["ax"].numpy(), np.mean(path[4:], 0), rtol=1e-12)


def test_muon_moves_all_directions_alike():
    """With enough iterations the update's singular values lie around 1, as the source says."""
    rng = np.random.default_rng(3)
    start = rng.normal(size=(6, 4))
    p = cf.tensor(start, requires_grad=True)
    p.grad = cf.tensor(rng.normal(size=(6, 4)) @ np.diag([10, 3, 1, 0.3]))
    cf.optim.Muon([p], lr=1.0, weight_decay=0).step()
    σ = np.linalg.svd((start - p.detach().numpy()) / sqrt(6 / 4), compute_uv=False)
    assert σ.min() > 0.5 and σ.max() < 1.5
