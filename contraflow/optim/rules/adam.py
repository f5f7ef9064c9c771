"""Moments of the gradient with their bias corrected: Adam, AdamW, Adamax, NAdam, RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraflow.optim.maths import is_zero, lerp, maximum, sqrt, where
from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rule import Rule, nonnegative, scalar, zeros
from contraflow.optim.rules.descent import decayed

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam", "shrunk"]


def shrunk(θ: Any, γ: Any, λ: Any) -> Any:
    """Decoupled weight decay: (1 - γλ) θ (Loshchilov and Hutter, ICLR 2019)."""
    return θ if is_zero(λ) else θ * (1 - γ * λ)


def decay(θ: Any, g: Any, h: Any) -> tuple[Any, Any]:
    """Weight decay of either kind, to the weights or to the gradient."""
    if h.decoupled_weight_decay:
        return shrunk(θ, h.lr, h.weight_decay), g
    return θ, decayed(g, θ, h.weight_decay)


def moments(g: Any, s: Any, h: Any) -> tuple[Any, Any]:
    """m ← β₁m + (1 - β₁) g;  v ← β₂v + (1 - β₂) g²."""
    β1, β2 = h.betas
    return lerp(s.exp_avg, g, 1 - β1), β2 * s.exp_avg_sq + (1 - β2) * (g * g)


def moment_state(group: Mapping[str, Any]) -> dict[str, Any]:
    """The step and two moments; with AMSGrad the largest second moment so far."""
    state = {"step": scalar(0), "exp_avg": zeros, "exp_avg_sq": zeros}
    return {**state, "max_exp_avg_sq": zeros} if group.get("amsgrad") else state


def adam(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """m ← β₁m + (1 - β₁) g;  v ← β₂v + (1 - β₂) g²;  m̂ = m / (1 - β₁ᵗ);  v̂ = v / (1 - β₂ᵗ);
    θ ← θ - γ m̂ / (√v̂ + ε)."""
    γ, (β1, β2) = h.lr, h.betas
    θ, g = decay(θ, g, h)
    m, v = moments(g, s, h)
    new = {"exp_avg": m, "exp_avg_sq": v}
    if h.amsgrad:
        new["max_exp_avg_sq"] = v = maximum(s.max_exp_avg_sq, v)
    # in the order of the paper's section 2: the corrections are numbers, and go to γ and ε instead
    # of a whole m or v
    c = sqrt(1 - β2**t)
    return θ - γ * c / (1 - β1**t) * (m / (sqrt(v) + h.eps * c)), new


class Adam(RuleOptimizer):
    """Adaptive moments: steps of about the learning rate, whatever the gradient's scale.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of each moment is kept.
        eps: ε, added to the denominator.
        weight_decay: λ, adds λθ to the gradient.
        amsgrad: divide by the largest second moment so far (Reddi et al., ICLR 2018).
        maximize: climb instead of descending.
        decoupled_weight_decay: shrink the weights by γλ instead, as ``AdamW``.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule("Adam", "Kingma and Ba, ICLR 2015, algorithm 1", adam, moment_state)

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves: θ ← (1 - γλ) θ before the step.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of each moment is kept.
        eps: ε, added to the denominator.
        weight_decay: λ.
        amsgrad: divide by the largest second moment so far.
        maximize: climb instead of descending.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.AdamW([w], lr=0.1, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.8900, -1.8800], requires_grad=True)
    """

    rule = Rule("AdamW", "Loshchilov and Hutter, ICLR 2019, algorithm 2", adam, moment_state)

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip


def adamax(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """m ← β₁m + (1 - β₁) g;  u ← max(β₂u, |g| + ε);  θ ← θ - γ / (1 - β₁ᵗ) · m / u."""
    γ, (β1, β2) = h.lr, h.betas
    g = decayed(g, θ, h.weight_decay)
    m = lerp(s.exp_avg, g, 1 - β1)
    u = maximum(β2 * s.exp_inf, abs(g) + h.eps)
    return θ - γ / (1 - β1**t) * (m / u), {"exp_avg": m, "exp_inf": u}


class Adamax(RuleOptimizer):
    """Adam with the infinity norm in the place of the second moment.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of the moment and of the norm is kept.
        eps: ε, added to |g|.
        weight_decay: adds this times θ to the gradient.
        maximize: climb instead of descending.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 2.

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.Adamax([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rule = Rule(
        "Adamax", "Kingma and Ba, ICLR 2015, algorithm 2", adamax,
        lambda group: {"step": scalar(0), "exp_avg": zeros, "exp_inf": zeros},
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })  # fmt: skip


def nadam(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """μₜ = β₁ (1 - ½ 0.96^(tψ));  m̂ = μₜ₊₁ m / (1 - Π μ₁..ₜ₊₁) + (1 - μₜ) g / (1 - Π μ₁..ₜ);
    θ ← θ - γ m̂ / (√v̂ + ε), with Adam's m, v and v̂."""
    γ, ψ, (β1, β2) = h.lr, h.momentum_decay, h.betas
    θ, g = decay(θ, g, h)
    m, v = moments(g, s, h)
    μ = β1 * (1 - 0.5 * 0.96 ** (t * ψ))
    μ_next = β1 * (1 - 0.5 * 0.96 ** ((t + 1) * ψ))
    Π = s.mu_product * μ
    m̂ = γ * μ_next / (1 - Π * μ_next) * m + γ * (1 - μ) / (1 - Π) * g
    v̂ = v / (1 - β2**t)
    new = {"mu_product": Π, "exp_avg": m, "exp_avg_sq": v}
    return θ - m̂ / (sqrt(v̂) + h.eps), new


class NAdam(RuleOptimizer):
    """Adam with Nesterov's momentum.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of each moment is kept.
        eps: ε, added to the denominator.
        weight_decay: λ, adds λθ to the gradient.
        momentum_decay: ψ, how fast the momentum warms up.
        decoupled_weight_decay: shrink the weights by γλ instead.
        maximize: climb instead of descending.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (ICLR workshop 2016).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.NAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.8944, -1.8944], requires_grad=True)
    """

    rule = Rule(
        "NAdam", "Dozat 2016", nadam,
        lambda group: {
            "step": scalar(0), "mu_product": scalar(1), "exp_avg": zeros, "exp_avg_sq": zeros,
        },
        domain={"momentum_decay": nonnegative}, numbers=("step", "mu_product"),
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        })  # fmt: skip


def radam(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """ρₜ = ρ∞ - 2tβ₂ᵗ / (1 - β₂ᵗ); above 5 the step is Adam's times the rectification
    r = √((ρₜ - 4)(ρₜ - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρₜ)), below it is θ ← θ - γ m̂."""
    γ, (β1, β2) = h.lr, h.betas
    θ, g = decay(θ, g, h)
    m, v = moments(g, s, h)
    ρ_inf = 2 / (1 - β2) - 1
    ρ_t = ρ_inf - 2 * t * β2**t / (1 - β2**t)
    ρ, ρ_max = maximum(ρ_t, 5.0), maximum(ρ_inf, 5.0)  # so that r exists on both sides
    r = sqrt((ρ - 4) * (ρ - 2) * ρ_max / ((ρ_max - 4) * (ρ_max - 2) * ρ))
    l = sqrt(1 - β2**t) / (sqrt(v) + h.eps)  # noqa: E741 - the paper's letter
    step = where(ρ_t > 5, r * l, 1.0)
    return θ - γ / (1 - β1**t) * (m * step), {"exp_avg": m, "exp_avg_sq": v}


class RAdam(RuleOptimizer):
    """Adam whose first steps trust the second moment only as far as it can be known.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of each moment is kept.
        eps: ε, added to the denominator.
        weight_decay: λ, adds λθ to the gradient.
        decoupled_weight_decay: shrink the weights by γλ instead.
        maximize: climb instead of descending.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond" (ICLR 2020).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.RAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.8000, -1.6000], requires_grad=True)
    """

    rule = Rule("RAdam", "Liu et al., ICLR 2020, algorithm 2", radam, moment_state)

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        })  # fmt: skip
