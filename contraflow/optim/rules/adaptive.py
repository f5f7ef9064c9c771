"""A learning rate for each weight, from its squared gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraflow.optim.maths import is_zero, lerp, maximum, sqrt
from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rule import Domain, Rule, filled, nonnegative, real, scalar, zeros
from contraflow.optim.rules.descent import decayed

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


def adagrad(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """G ← G + g²;  θ ← θ - γ / (1 + (t - 1) η) · g / (√G + ε)."""
    g = decayed(g, θ, h.weight_decay)
    G = s.sum + g * g
    γ = h.lr / (1 + (t - 1) * h.lr_decay)
    return θ - γ * g / (sqrt(G) + h.eps), {"sum": G}


class Adagrad(RuleOptimizer):
    """Divides by the root of all squared gradients so far: rare features take large steps.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        lr_decay: η, the decay of the learning rate.
        weight_decay: adds this times θ to the gradient.
        initial_accumulator_value: G before the first step.
        eps: ε, added to the denominator.
        maximize: climb instead of descending.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization" (JMLR 2011).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule(
        "Adagrad", "Duchi, Hazan, Singer, JMLR 2011", adagrad,
        lambda group: {
            "step": scalar(0), "sum": filled(group["initial_accumulator_value"]),
        },
        domain={"lr_decay": nonnegative, "initial_accumulator_value": nonnegative},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None,
        *, maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip


def adadelta(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """v ← ρv + (1 - ρ) g²;  Δ = √(u + ε) / √(v + ε) · g;  u ← ρu + (1 - ρ) Δ²;  θ ← θ - γΔ."""
    ρ, ε = h.rho, h.eps
    g = decayed(g, θ, h.weight_decay)
    v = ρ * s.square_avg + (1 - ρ) * (g * g)
    Δ = sqrt(s.acc_delta + ε) / sqrt(v + ε) * g
    u = ρ * s.acc_delta + (1 - ρ) * (Δ * Δ)
    return θ - h.lr * Δ, {"square_avg": v, "acc_delta": u}


class Adadelta(RuleOptimizer):
    """Steps in the unit of the weights: the average step over the average gradient.

    Args:
        params: parameters, or groups of them.
        lr: a factor γ on the step; the paper's is 1.
        rho: ρ, how much of the averages is kept.
        eps: ε, inside the roots.
        weight_decay: adds this times θ to the gradient.
        maximize: climb instead of descending.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method" (2012), algorithm 1.

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0], requires_grad=True)
    >>> optimizer = cf.optim.Adadelta([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9968], requires_grad=True)
    """

    rule = Rule(
        "Adadelta", "Zeiler 2012, algorithm 1", adadelta,
        lambda group: {"step": scalar(0), "square_avg": zeros, "acc_delta": zeros},
        domain={"rho": Domain("a number in [0, 1]", lambda x: real(x) and 0 <= x <= 1, 0.9)},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip


def rmsprop(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """v ← αv + (1 - α) g²;  θ ← θ - γ g / (√v + ε); centred, v less the squared mean of g."""
    γ, α, μ = h.lr, h.alpha, h.momentum
    g = decayed(g, θ, h.weight_decay)
    v = α * s.square_avg + (1 - α) * (g * g)
    new = {"square_avg": v}
    if h.centered:
        new["grad_avg"] = ḡ = lerp(s.grad_avg, g, 1 - α)
        v = maximum(v - ḡ * ḡ, 0.0)  # a variance: rounding must not make it negative
    u = g / (sqrt(v) + h.eps)
    if hasattr(s, "momentum_buffer") and not is_zero(μ):
        new["momentum_buffer"] = u = μ * s.momentum_buffer + u
    return θ - γ * u, new


def rmsprop_state(group: Mapping[str, Any]) -> dict[str, Any]:
    """The averages, and a buffer with momentum."""
    state: dict[str, Any] = {"step": scalar(0), "square_avg": zeros}
    if group["momentum"] > 0:
        state["momentum_buffer"] = zeros
    if group["centered"]:
        state["grad_avg"] = zeros
    return state


class RMSprop(RuleOptimizer):
    """Divides by the root of a moving average of squared gradients.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        alpha: α, how much of the average is kept.
        eps: ε, added to the denominator.
        weight_decay: adds this times θ to the gradient.
        momentum: μ, how much of the last step is kept.
        centered: divide by an estimate of the standard deviation instead (Graves 2013).
        maximize: climb instead of descending.

    Source: Tieleman and Hinton, "Lecture 6.5, RMSProp", COURSERA (2012).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule(
        "RMSprop", "Tieleman and Hinton 2012; Graves 2013", rmsprop, rmsprop_state,
        domain={"alpha": nonnegative},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })  # fmt: skip
