"""Rules that look at a whole layer at once: LAMB, Adafactor, Muon."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt as root
from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.ops.creation import full
from contraflow.optim.maths import (
    eps_of,
    lerp,
    maximum,
    mean,
    minimum,
    norm,
    rms,
    rsqrt,
    sqrt,
    transposed,
    where,
)
from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rule import Domain, Rule, one_of, positive, real, scalar, zeros
from contraflow.optim.rules.adam import moment_state, moments, shrunk
from contraflow.optim.rules.descent import decayed

__all__ = ["LAMB", "Adafactor", "Muon"]


def lamb(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """u = m̂ / (√v̂ + ε) + λθ, with Adam's m̂ and v̂;  θ ← θ - γ (|θ| / |u|) u, the ratio 1 where
    a norm is 0."""
    γ, (β1, β2) = h.lr, h.betas
    m, v = moments(g, s, h)
    u = m / (1 - β1**t) / (sqrt(v) / sqrt(1 - β2**t) + h.eps)
    u = decayed(u, θ, h.weight_decay)
    θ_norm, u_norm = norm(θ), norm(u)
    safe = where(u_norm > 0, u_norm, 1.0)
    ratio = where(θ_norm > 0, where(u_norm > 0, θ_norm / safe, 1.0), 1.0)
    return θ - γ * ratio * u, {"exp_avg": m, "exp_avg_sq": v}


class LAMB(RuleOptimizer):
    """Adam's direction with a length in proportion to the layer's weights; for large batches.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, β₂, how much of each moment is kept.
        eps: ε, added to the denominator.
        weight_decay: λ, part of the direction.
        maximize: climb instead of descending.

    Source: You et al., "Large batch optimization for deep learning: training BERT in 76 minutes"
    (ICLR 2020), algorithm 2 with φ(z) = z.

    >>> import contraflow as cf
    >>> w = cf.tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = cf.optim.LAMB([w], lr=0.1, weight_decay=0)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 2.6464, -3.6464], requires_grad=True)
    """

    rule = Rule("LAMB", "You et al., ICLR 2020, algorithm 2", lamb, moment_state, layerwise=True)

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6, weight_decay: float = 0.01, *, maximize: bool = False,
        foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        })  # fmt: skip


def adafactor(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """R, C ← averages of g² over rows and columns;  V̂ = RC / mean(R);  U = g / √V̂;
    θ ← θ - α U / max(1, RMS(U) / d), with α = max(ε₂, RMS(θ)) min(γ, 1/√t)."""
    γ, (ε1, ε2) = h.lr, h.eps
    ε1 = eps_of(θ) if ε1 is None else ε1
    α = maximum(ε2, rms(θ)) * minimum(γ, 1 / sqrt(t))
    θ = shrunk(θ, γ, h.weight_decay)
    keep = t**h.beta2_decay  # 1 - β̂₂
    if hasattr(s, "variance"):
        V = lerp(s.variance, g * g, keep)
        new = {"variance": V}
    else:
        R = lerp(s.row_var, mean(g * g, -1), keep)
        C = lerp(s.col_var, mean(g * g, -2), keep)
        V = R @ C / maximum(mean(R, -2), ε1)
        new = {"row_var": R, "col_var": C}
    U = g * rsqrt(maximum(V, ε1 * ε1))
    return θ - α / maximum(1.0, rms(U) / h.d) * U, new


def factor(dim: int) -> Any:
    """The state of a matrix averaged over one dimension; None for a vector."""

    def make(p: Any) -> Any:
        if p.ndim < 2:
            return None
        shape = [1 if d == p.ndim + dim else size for d, size in enumerate(p.shape)]
        return full(shape=tuple(shape), value=0, dtype=p.dtype)

    return make


class Adafactor(RuleOptimizer):
    """Adam's second moment in the memory of a row and a column, for every matrix.

    Args:
        params: parameters, or groups of them.
        lr: γ, the largest relative step.
        beta2_decay: the exponent of t in 1 - β₂.
        eps: ε₁ (None: of the dtype), below which a variance counts as that, and ε₂, the smallest
            scale of the parameters.
        d: the clipping threshold of the update's root mean square.
        weight_decay: λ, decoupled.
        maximize: climb instead of descending.

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost"
    (ICML 2018), with ε₁ applied at the end, as PyTorch does.

    >>> import contraflow as cf
    >>> w = cf.ones(2, 3, requires_grad=True)
    >>> optimizer = cf.optim.Adafactor([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([[0.9000, 0.9000, 0.9000],
            [0.9000, 0.9000, 0.9000]], requires_grad=True)
    """

    rule = Rule(
        "Adafactor", "Shazeer and Stern, ICML 2018", adafactor,
        lambda group: {
            "step": scalar(0), "row_var": factor(-1), "col_var": factor(-2),
            "variance": lambda p: zeros(p) if p.ndim < 2 else None,
        },
        domain={
            "beta2_decay": Domain("a number <= 0", lambda x: real(x) and x <= 0, -0.8),
            "eps": Domain(
                "a pair: None or a number >= 0, and a number >= 0",
                lambda x: len(x) == 2 and (x[0] is None or x[0] >= 0) and x[1] >= 0, (None, 1e-3),
            ),
            "d": Domain("a number >= 1", lambda x: real(x) and x >= 1, 1.0),
        },
        layerwise=True,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0,
        weight_decay: float = 0.0, *, foreach: bool | None = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        })  # fmt: skip


def orthogonal(X: Any, coefficients: tuple[Any, Any, Any], steps: int, ε: Any) -> Any:
    """Newton-Schulz: X ← aX + (bA + cA²)X with A = XXᵀ, which drives singular values to 1."""
    a, b, c = coefficients
    tall = X.shape[0] > X.shape[1]
    X = transposed(X) if tall else X
    X = X / maximum(norm(X), ε)
    for _ in range(steps):
        A = X @ transposed(X)
        X = a * X + (b * A + c * (A @ A)) @ X
    return transposed(X) if tall else X


def muon(θ: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """B ← μB + (1 - μ) g;  O = NewtonSchulz(B), ahead with Nesterov;  θ ← (1 - γλ) θ - γ' O."""
    γ, μ = h.lr, h.momentum
    B = lerp(s.momentum_buffer, g, 1 - μ)
    O = orthogonal(  # noqa: E741 - the letter of the source
        lerp(g, B, μ) if h.nesterov else B, h.ns_coefficients, h.ns_steps, h.eps
    )
    rows, columns = θ.shape
    if h.adjust_lr_fn == "match_rms_adamw":
        ratio = 0.2 * root(max(rows, columns))
    else:
        ratio = root(max(1, rows / max(columns, 1)))
    return shrunk(θ, γ, h.weight_decay) - γ * ratio * O, {"momentum_buffer": B}


class Muon(RuleOptimizer):
    """Momentum whose update is made orthogonal; for the matrices of hidden layers only.

    Give biases, norms, embeddings and the output layer to an AdamW beside it.

    Args:
        params: two-dimensional parameters, or groups of them.
        lr: the learning rate γ.
        weight_decay: λ, decoupled.
        momentum: μ.
        nesterov: look ahead along the momentum.
        ns_coefficients: a, b, c of the Newton-Schulz iteration.
        eps: ε, the smallest norm that is divided by.
        ns_steps: the number of iterations.
        adjust_lr_fn: how γ follows the shape [rows, columns]: ``"original"`` (also None)
            √max(1, rows / columns), or ``"match_rms_adamw"`` 0.2 √max(rows, columns).

    Raises:
        ShapeError: for a parameter that is not a matrix.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the
    second adjustment is of Liu et al., "Muon is scalable for LLM training" (2025). PyTorch runs
    the iteration in bfloat16, this one in the parameter's dtype.

    >>> import contraflow as cf
    >>> w = cf.eye(2, requires_grad=True)
    >>> optimizer = cf.optim.Muon([w], lr=0.1, weight_decay=0)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([[0.8892, 0.0000],
            [0.0000, 0.8892]], requires_grad=True)
    """

    rule = Rule(
        "Muon", "Jordan et al. 2024", muon, lambda group: {"momentum_buffer": zeros},
        domain={
            "ns_coefficients": Domain(
                "three numbers", lambda x: len(x) == 3 and all(map(real, x)),
                (3.4445, -4.775, 2.0315),
            ),
            "ns_steps": Domain(
                "a whole number in [0, 100)", lambda x: isinstance(x, int) and 0 <= x < 100, 5
            ),
            "adjust_lr_fn": one_of(None, "original", "match_rms_adamw"),
            "eps": positive,
        },
        fixed=("ns_steps",), layerwise=True,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Only matrices can be made orthogonal."""
        super().check_group(group)
        for p in group["params"]:
            if p.ndim != 2:
                raise ShapeError(
                    lesson(
                        "Muon updates matrices; this parameter has "
                        f"{p.ndim} dimension{'s' * (p.ndim != 1)}",
                        [("parameter", p)],
                        "cf.optim.Muon([p for p in params if p.ndim == 2]) beside "
                        "cf.optim.AdamW([p for p in params if p.ndim != 2])",
                    )
                )
