"""Gradient descent, with momentum, with averaging, and by signs: SGD, ASGD, Rprop, Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.optim.maths import clip, is_zero, lerp, maximum, sign, where
from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rule import (
    Domain,
    Rule,
    filled,
    finite,
    nonnegative,
    scalar,
    unit_pair,
    zeros,
)

__all__ = ["ASGD", "SGD", "Lion", "Rprop", "decayed"]


def decayed(g: Any, θ: Any, λ: Any) -> Any:
    """The gradient of the loss plus λ/2 |θ|²: g + λθ."""
    return g if is_zero(λ) else g + λ * θ


def sgd(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """b ← μ b + (1 - τ) g, where the first b is g;  θ ← θ - γ b, or with Nesterov
    θ ← θ - γ (g + μ b)."""
    γ, μ, τ = h.lr, h.momentum, h.dampening
    g = decayed(g, θ, h.weight_decay)
    if not hasattr(s, "momentum_buffer") or is_zero(μ):
        return θ - γ * g, {}
    b = μ * s.momentum_buffer + (g if is_zero(τ) else (1 - τ) * g)
    if t is not None:
        b = where(t == 1, g, b)
    return θ - γ * (g + μ * b if h.nesterov else b), {"momentum_buffer": b}


def sgd_state(group: Mapping[str, Any]) -> dict[str, Any]:
    """A buffer with momentum; dampening must also know which step is the first."""
    if group["momentum"] == 0:
        return {}
    first = {"step": scalar(0)} if group["dampening"] != 0 else {}
    return {**first, "momentum_buffer": zeros}


class SGD(RuleOptimizer):
    """Gradient descent: θ ← θ - γ g, with momentum if asked for.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        momentum: μ, how much of the last direction is kept.
        dampening: τ, how much of the new gradient is held back.
        weight_decay: λ, adds λθ to the gradient.
        nesterov: look ahead along the momentum (Sutskever et al., ICML 2013).
        maximize: climb instead of descending.

    Raises:
        ArgumentError: for values outside their domain, or ``nesterov`` without momentum or with
            dampening.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.8000, -1.6000], requires_grad=True)
    """

    rule = Rule(
        "SGD", "Polyak 1964; Sutskever et al., ICML 2013", sgd, sgd_state,
        domain={"dampening": finite}, absent={"step": 1.0},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Nesterov's rule needs a momentum, and no dampening."""
        super().check_group(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(
                lesson(
                    "SGD: nesterov=True needs a momentum and no dampening",
                    [("momentum", group["momentum"]), ("dampening", group["dampening"])],
                    "cf.optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True)",
                )
            )


def asgd(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """θ ← (1 - λη) θ - η g;  ā ← ā + μ (θ - ā);  η ← γ / (1 + λγt)^α;  μ ← 1 / max(1, t - t₀)."""
    γ, λ = h.lr, h.lambd
    g = decayed(g, θ, h.weight_decay)
    θ = θ * (1 - λ * s.eta) - s.eta * g
    return θ, {
        "ax": lerp(s.ax, θ, s.mu),
        "eta": γ / (1 + λ * γ * t) ** h.alpha,
        "mu": 1 / maximum(t - h.t0, 1.0),
    }


class ASGD(RuleOptimizer):
    """Averaged gradient descent: the state ``ax`` is the average of θ from step ``t0`` on.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        lambd: λ, how fast weights and learning rate decay.
        alpha: α, the power of the learning rate's decay.
        t0: the step at which averaging starts.
        weight_decay: adds this times θ to the gradient.
        maximize: climb instead of descending.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0], requires_grad=True)
    >>> optimizer = cf.optim.ASGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    rule = Rule(
        "ASGD", "Polyak and Juditsky 1992", asgd,
        lambda group: {
            "step": scalar(0), "eta": scalar(group["lr"]), "mu": scalar(1), "ax": zeros,
        },
        domain={"lambd": nonnegative, "alpha": finite, "t0": nonnegative},
        numbers=("step", "eta", "mu"),
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })  # fmt: skip


def rprop(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """Δ grows by η⁺ while the sign of g stays, shrinks by η⁻ when it turns (and g is forgotten);
    θ ← θ - sign(g) Δ."""
    shrink, grow = h.etas
    low, high = h.step_sizes
    agreement = g * s.prev
    turned = agreement < 0
    Δ = clip(s.step_size * where(agreement > 0, grow, where(turned, shrink, 1.0)), low, high)
    g = where(turned, 0.0, g)
    return θ - sign(g) * Δ, {"prev": g, "step_size": Δ}


class Rprop(RuleOptimizer):
    """Resilient backpropagation: only the signs of the gradient are used; for full batches.

    Args:
        params: parameters, or groups of them.
        lr: the first step size.
        etas: η⁻ and η⁺, by which a step shrinks and grows.
        step_sizes: the smallest and the largest step.
        maximize: climb instead of descending.

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning:
    the RPROP algorithm" (1993).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.Rprop([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule(
        "Rprop", "Riedmiller and Braun 1993", rprop,
        lambda group: {"step": scalar(0), "prev": zeros, "step_size": filled(group["lr"])},
        domain={
            "etas": Domain(
                "two numbers with 0 < etas[0] < 1 < etas[1]",
                lambda x: len(x) == 2 and 0 < x[0] < 1 < x[1], (0.5, 1.2),
            ),
            "step_sizes": Domain(
                "two numbers with 0 <= smallest <= largest",
                lambda x: len(x) == 2 and 0 <= x[0] <= x[1], (1e-6, 50),
            ),
        },
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip


def lion(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """c ← β₁m + (1 - β₁) g;  θ ← θ - γ (sign(c) + λθ);  m ← β₂m + (1 - β₂) g."""
    γ, λ = h.lr, h.weight_decay
    β1, β2 = h.betas
    m = s.exp_avg
    c = β1 * m + (1 - β1) * g
    u = decayed(sign(c), θ, λ)
    return θ - γ * u, {"exp_avg": β2 * m + (1 - β2) * g}


class Lion(RuleOptimizer):
    """Sign of an interpolated momentum: every weight moves by exactly the learning rate.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ; 3 to 10 times smaller than AdamW's.
        betas: β₁ for the direction, β₂ for the momentum.
        weight_decay: λ, decoupled; 3 to 10 times larger than AdamW's.
        maximize: climb instead of descending.

    Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2.

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.Lion([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule(
        "Lion", "Chen et al. 2023, algorithm 2", lion, lambda group: {"exp_avg": zeros},
        domain={"betas": unit_pair},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
        })  # fmt: skip
