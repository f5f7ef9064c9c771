"""Schedules that raise the rate and lower it again, the momentum against it."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, floor, pi
from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import Domain, finite, one_of, positive, real
from contraflow.optim.schedules.base import LRScheduler, each, require, set_value
from contraflow.optim.schedules.decay import count

__all__ = ["CyclicLR", "OneCycleLR", "anneal"]

MODES = ("triangular", "triangular2", "exp_range")


def anneal(strategy: str, start: float, end: float, part: float) -> float:
    """From start to end as part goes from 0 to 1: along half a cosine, or a line."""
    if strategy == "cos":
        return end + (start - end) / 2.0 * (1 + cos(pi * part))
    return start + (end - start) * part


class _Cycling(LRScheduler):
    """What both have: a momentum (or β₁) that goes down while the rate goes up."""

    def _begin_momentum(
        self, cycle: bool, base: float | list[float], top: float | list[float], last_epoch: int
    ) -> tuple[list[float], list[float]]:
        """Start at the highest momentum; returns the lowest and the highest of each group."""
        self.cycle_momentum = cycle
        if not cycle:
            return [], []
        optimizer = self.optimizer
        self.use_beta1 = "betas" in optimizer.defaults
        if not self.use_beta1 and "momentum" not in optimizer.defaults:
            name = type(optimizer).__name__
            raise ArgumentError(
                lesson(
                    f"{type(self).__name__}: {name} has no momentum to cycle",
                    fix="cycle_momentum=False",
                )
            )
        lows = each(self, "base_momentum", base, optimizer)
        highs = each(self, "max_momentum", top, optimizer)
        if last_epoch == -1:
            for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return lows, highs

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_Cycling):
    """The rate goes up from ``base_lr`` to ``max_lr`` and back, again and again.

    Args:
        optimizer: whose learning rates are changed.
        base_lr: the lowest rate, for all groups or for each.
        max_lr: the highest rate.
        step_size_up: steps on the way up.
        step_size_down: steps on the way down; as many if not given.
        mode: ``"triangular"``, ``"triangular2"`` (half as high each cycle) or ``"exp_range"``
            (γ^step as high).
        gamma: γ of ``exp_range``.
        scale_fn: a function that gives the height instead of ``mode``.
        scale_mode: whether that is a function of the ``"cycle"`` or of the ``"iterations"``.
        cycle_momentum: let the momentum (β₁ for Adam) go the other way.
        base_momentum: the lowest momentum.
        max_momentum: the highest momentum.

    Source: Smith, "Cyclical learning rates for training neural networks" (WACV 2017).

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = cf.optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=2)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    unsaved = ("optimizer", "_scale_fn")

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular",
        gamma: float = 1.0, scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8, max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._attach(optimizer)
        if scale_fn is None:
            require(self, "mode", mode, one_of(*MODES))
        require(self, "scale_mode", scale_mode, one_of("cycle", "iterations"))
        require(self, "gamma", gamma, finite)
        require(self, "step_size_up", step_size_up, positive)
        require(
            self,
            "step_size_down",
            step_size_up if step_size_down is None else step_size_down,
            positive,
        )
        base_lrs = each(self, "base_lr", base_lr, optimizer)
        self.max_lrs = each(self, "max_lr", max_lr, optimizer)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode, self.gamma, self._scale_fn = mode, gamma, scale_fn
        self.scale_mode = (
            scale_mode if scale_fn else ("iterations" if mode == "exp_range" else "cycle")
        )
        momenta = self._begin_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch)
        if cycle_momentum:
            self.base_momentums, self.max_momentums = momenta
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                set_value(group, "lr", lr)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of cycle (or step) x, as a part of the first one's."""
        if self._scale_fn is not None:
            return self._scale_fn(x)
        heights = {"triangular": 1.0, "triangular2": 0.5 ** (x - 1), "exp_range": self.gamma**x}
        return heights[self.mode]

    def get_lr(self) -> list[float]:
        """The rates of this step; sets the momentum too."""
        cycle = floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        height = x / self.step_ratio if rising else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            pairs = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, pairs, strict=True):
                self._set_momentum(group, high - (high - low) * height)
        return [
            low + (high - low) * height
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]


class OneCycleLR(_Cycling):
    """One rise to ``max_lr`` and one long fall, over the whole training; step it every batch.

    Args:
        optimizer: whose learning rates are changed.
        max_lr: the highest rate, for all groups or for each.
        total_steps: the length of the cycle; or give ``epochs`` and ``steps_per_epoch``.
        pct_start: the part of the cycle in which the rate rises.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: let the momentum (β₁ for Adam) go the other way.
        base_momentum: the lowest momentum.
        max_momentum: the highest momentum.
        div_factor: the first rate is ``max_lr / div_factor``.
        final_div_factor: the last one is the first one over this.
        three_phase: fall as fast as it rose, then down to the last rate.

    Raises:
        ArgumentError: without a length, or for a step beyond it.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large
    learning rates" (2018).

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = cf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> schedule.get_last_lr()
    [0.04]
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(
                    lesson(
                        "OneCycleLR must know how many steps there will be",
                        fix="total_steps=1000, or epochs=10 and steps_per_epoch=len(loader)",
                    )
                )
            require(self, "epochs", epochs, count)
            require(self, "steps_per_epoch", steps_per_epoch, count)
            total_steps = epochs * steps_per_epoch
        require(self, "total_steps", total_steps, count)
        part = Domain("a number in [0, 1]", lambda x: real(x) and 0 <= x <= 1, 0.3)
        require(self, "pct_start", pct_start, part)
        require(self, "anneal_strategy", anneal_strategy, one_of("cos", "linear"))
        require(self, "div_factor", div_factor, positive)
        require(self, "final_div_factor", final_div_factor, positive)
        self.total_steps = total_steps
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = phases(total_steps, float(pct_start), three_phase)
        max_lrs = each(self, "max_lr", max_lr, optimizer)
        self._begin_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this step; sets the momentum too."""
        now = self.last_epoch
        if now > self.total_steps:
            raise ArgumentError(
                lesson(
                    f"OneCycleLR was made for {self.total_steps} steps, this is step {now}",
                    fix="total_steps=epochs * len(loader), or stop stepping the schedule",
                )
            )
        start = 0.0
        phase = self._schedule_phases[-1]
        for candidate in self._schedule_phases:
            phase = candidate
            if now <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        # a cycle of one step has no length: it is at its end
        part = (now - start) / (phase["end_step"] - start) if phase["end_step"] != start else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group, phase["start_lr"], phase["end_lr"], part))
            if self.cycle_momentum:
                ends = phase["start_momentum"], phase["end_momentum"]
                self._set_momentum(group, self._between(group, *ends, part))
        return rates

    def _between(self, group: dict[str, Any], start: str, end: str, part: float) -> float:
        return anneal(self._anneal_func_type, group[start], group[end], part)


def phases(steps: int, rise: float, three: bool) -> list[dict[str, Any]]:
    """The phases of the cycle: where each ends, and between which options of a group it goes."""

    def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end, "start_lr": lr[0], "end_lr": lr[1],
            "start_momentum": momentum[0], "end_momentum": momentum[1],
        }  # fmt: skip

    low, high = "base_momentum", "max_momentum"
    up = phase(rise * steps - 1, ("initial_lr", "max_lr"), (high, low))
    if not three:
        return [up, phase(steps - 1, ("max_lr", "min_lr"), (low, high))]
    return [
        up,
        phase(2 * rise * steps - 2, ("max_lr", "initial_lr"), (low, high)),
        phase(steps - 1, ("initial_lr", "min_lr"), (high, high)),
    ]
