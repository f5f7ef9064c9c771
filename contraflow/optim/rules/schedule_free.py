"""Training without a schedule of the learning rate: schedule-free AdamW."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ContraflowError, lesson
from contraflow.optim.maths import lerp, maximum, minimum, sqrt, where
from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rule import Domain, Rule, concrete, nonnegative, real, scalar, zeros
from contraflow.optim.rules.descent import decayed
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.writing import write

__all__ = ["ScheduleFreeAdamW"]


def schedule_free(y: Any, g: Any, s: Any, h: Any, t: Any) -> tuple[Any, dict[str, Any]]:
    """z ← z - γₜ (g / (√v + ε) + λy);  x ← (1 - c) x + c z;  y = (1 - β₁) z + β₁ x, where
    γₜ = γ √(1 - β₂ᵗ) min(1, t / T) and c = wₜ / Σw with wₜ = tʳ (max γ)ᵖ."""
    β1, β2 = h.betas
    v = β2 * s.exp_avg_sq + (1 - β2) * (g * g)
    γ = h.lr * sqrt(1 - β2**t) * minimum(1.0, t / maximum(h.warmup_steps, 1.0))
    γ_max = maximum(s.lr_max, γ)
    w = t**h.r * γ_max**h.weight_lr_power
    Σ = s.weight_sum + w
    c = w / where(Σ > 0, Σ, 1.0)  # while γ is 0 there is nothing to average
    z = where(t == 1, y, s.z)  # z₁ = x₁ = y₁
    u = decayed(g / (sqrt(v) + h.eps), y, h.weight_decay)
    # x itself is never kept: with x = (y - (1 - β₁) z) / β₁ the new y follows from y and z
    y = lerp(y, z, c) - γ * (1 - β1 * (1 - c)) * u
    new = {"z": z - γ * u, "exp_avg_sq": v, "lr_max": γ_max, "weight_sum": Σ}
    return y, new


class ScheduleFreeAdamW(RuleOptimizer):
    """AdamW that averages its iterates instead of lowering its learning rate.

    While training the parameters hold y, where gradients are taken; for evaluating and saving
    they must hold the average x: call ``optimizer.eval()`` and ``optimizer.train()`` beside the
    model's.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate γ.
        betas: β₁, how far y lies from z towards x (not 0), and β₂ of the second moment.
        eps: ε, added to the denominator.
        weight_decay: λ, decoupled, taken at y.
        warmup_steps: T, over which γ rises from 0.
        r: the power of t in the weights of the average.
        weight_lr_power: p, the power of the largest γ in these weights.
        maximize: climb instead of descending.

    Raises:
        ContraflowError: for ``step`` in evaluation mode.

    Source: Defazio et al., "The road less scheduled" (NeurIPS 2024), algorithm 1.

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.ScheduleFreeAdamW([w], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> optimizer.eval()
    >>> bool((w.abs() < 0.5).all())
    True
    """

    rule = Rule(
        "ScheduleFreeAdamW", "Defazio et al., NeurIPS 2024, algorithm 1", schedule_free,
        lambda group: {
            "step": scalar(0), "z": zeros, "exp_avg_sq": zeros, "lr_max": scalar(0),
            "weight_sum": scalar(0),
        },
        domain={
            "betas": Domain(
                "two numbers, the first in (0, 1), the second in [0, 1)",
                lambda x: len(x) == 2 and all(map(real, x)) and 0 < x[0] < 1 and 0 <= x[1] < 1,
                (0.9, 0.999),
            ),
            "warmup_steps": Domain("a number >= 0", lambda x: real(x) and x >= 0, 100),
            "r": nonnegative,
            "weight_lr_power": nonnegative,
        },
        numbers=("step", "lr_max", "weight_sum"),
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 0.0025, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, warmup_steps: int = 0, r: float = 0.0,
        weight_lr_power: float = 2.0, *, maximize: bool = False, foreach: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "warmup_steps": warmup_steps, "r": r, "weight_lr_power": weight_lr_power,
            "maximize": maximize, "foreach": foreach, "train_mode": True,
        })  # fmt: skip

    def step(self, closure: Any = None) -> Any:
        """Update the parameters that have a gradient; only in training mode."""
        if not all(group["train_mode"] for group in self.param_groups):
            raise ContraflowError(
                lesson(
                    "ScheduleFreeAdamW: step() in evaluation mode; the parameters hold the average",
                    fix="optimizer.train() before training goes on",
                )
            )
        return super().step(closure)

    def eval(self) -> None:
        """Put the average x into the parameters, for evaluating and saving."""
        self._move(to_train=False)

    def train(self) -> None:
        """Put y back into the parameters, for training."""
        self._move(to_train=True)

    @no_grad()
    def _move(self, to_train: bool) -> None:
        for group in self.param_groups:
            if group["train_mode"] is to_train:
                continue
            group["train_mode"] = to_train
            β1 = group["betas"][0]
            weight = 1 - β1 if to_train else 1 - 1 / β1  # y from x and z; x from y and z
            for p in group["params"]:
                state = self.state.get(p)
                with concrete():
                    if state and state["step"].item():
                        write(p, lerp(p, state["z"], weight))
