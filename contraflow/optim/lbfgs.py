"""L-BFGS: a quasi-Newton method that looks at all parameters at once, for full batches.

It decides by values how far to go, so it is no ``Rule`` and runs eagerly only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, CaptureError, StateError, lesson
from contraflow.base.modes import capturing
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import COMMON, Domain, nonnegative, one_of, put
from contraflow.optim.state import read_array
from contraflow.tensor.grad_mode import enable_grad
from contraflow.tensor.tensor import make

__all__ = ["LBFGS"]

Array = np.ndarray[Any, Any]
VECTORS, LISTS = ("d", "prev_flat_grad"), ("old_dirs", "old_stps")
NUMBERS = ("t", "H_diag", "prev_loss")
_count = Domain("a whole number > 0", lambda x: isinstance(x, int) and x > 0, 20)


# ---- the line search -------------------------------------------------------------------------


@dataclass(eq=False)
class Point:
    """A point of a line search: the step t, the loss f, the gradient g and its slope along d."""

    t: float
    f: float
    g: Array
    slope: float


def cubic_minimum(a: Point, b: Point, low: float, high: float) -> float:
    """The minimum of the cubic through both points' values and slopes, kept in [low, high].

    Source: Nocedal and Wright, "Numerical optimization" (2006), equation 3.59.
    """
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    d2 = square**0.5 if square >= 0 else 0.0
    divisor = b.slope - a.slope + 2 * d2
    if not square >= 0 or divisor == 0:
        return (low + high) / 2
    return min(max(b.t - (b.t - a.t) * (b.slope + d2 - d1) / divisor, low), high)


def inside(t: float, low: float, high: float, stuck: bool) -> tuple[float, bool]:
    """Move t from an end of the bracket by a tenth, if it stays there a second time."""
    margin = 0.1 * (high - low)
    if min(high - t, t - low) >= margin:
        return t, False
    if not stuck and low < t < high:
        return t, True
    return (high - margin if abs(t - high) < abs(t - low) else low + margin), False


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, d_max: float, tries: int,
    c1: float = 1e-4, c2: float = 0.9, tolerance: float = 1e-9,
) -> tuple[Point, int]:  # fmt: skip
    """A step that lowers the loss enough and flattens the slope enough, and the tries it took.

    Source: Nocedal and Wright, "Numerical optimization" (2006), algorithms 3.5 and 3.6.
    """

    def too_high(p: Point) -> bool:
        return p.f > start.f + c1 * p.t * start.slope

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    before, new, used = start, at(t), 0
    while used < tries:  # go on until a minimum lies between `before` and `new`
        if too_high(new) or (used > 1 and new.f >= before.f):
            break
        if flat(new):
            return new, used + 1
        if new.slope >= 0:
            break
        t = cubic_minimum(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new, used = new, at(t), used + 1
    else:
        before = start

    best, other = (before, new) if before.f <= new.f else (new, before)
    stuck = False
    while used < tries and abs(other.t - best.t) * d_max >= tolerance:  # narrow it
        low, high = sorted((best.t, other.t))
        t, stuck = inside(cubic_minimum(best, other, low, high), low, high, stuck)
        new, used = at(t), used + 1
        if too_high(new) or new.f >= best.f:
            best, other = (best, new) if best.f <= new.f else (new, best)
            continue
        if flat(new):
            return new, used + 1
        if new.slope * (other.t - best.t) >= 0:
            other = best
        best = new
    return best, used + 1


# ---- the optimiser ---------------------------------------------------------------------------


class LBFGS(Optimizer):
    """Limited-memory BFGS: Newton's direction, from the last gradients and steps.

    ``step`` takes a closure that zeroes the gradients, computes the loss and calls ``backward``.
    All parameters are one group.

    Args:
        params: parameters.
        lr: the step along the direction; the first one to try with a line search.
        max_iter: iterations in one call of ``step``.
        max_eval: losses computed in one call; 1.25 ``max_iter`` if not given.
        tolerance_grad: stop when no gradient is larger.
        tolerance_change: stop when neither the step nor the loss changes more.
        history_size: steps that are remembered.
        line_search_fn: None, or ``"strong_wolfe"``.

    Raises:
        ArgumentError: for several groups, or values outside their domain.
        CaptureError: inside a captured step, because it decides by values.

    Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization"
    (1989).

    >>> import contraflow as cf
    >>> w = cf.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = cf.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 3.0) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> w
    tensor([3., 3.], requires_grad=True)
    """

    domain: Mapping[str, Domain] = {
        **COMMON,
        "max_iter": _count, "max_eval": _count, "history_size": _count,
        "tolerance_grad": nonnegative, "tolerance_change": nonnegative,
        "line_search_fn": one_of(None, "strong_wolfe"),
    }  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        if max_eval is None and isinstance(max_iter, int):
            max_eval = max(max_iter * 5 // 4, 1)
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        })  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group of parameters in."""
        if self.param_groups:
            raise ArgumentError(
                lesson(
                    "LBFGS works on all parameters at once: it takes one group",
                    fix="cf.optim.LBFGS(model.parameters())",
                )
            )
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Go up to ``max_iter`` iterations; returns the loss before the first.

        Args:
            closure: zeroes the gradients, computes the loss, calls ``backward``, returns the loss.
        """
        if closure is None:
            raise ArgumentError(
                lesson(
                    "LBFGS computes the loss several times a step; it needs a closure",
                    fix="optimizer.step(closure), where closure() returns the loss "
                    "after loss.backward()",
                )
            )
        if capturing():
            raise CaptureError(
                lesson(
                    "LBFGS decides by the loss how far to go; it cannot be part of a captured step",
                    fix="call optimizer.step(closure) outside of it",
                )
            )
        with enable_grad():
            first = closure()
        group, state = self.param_groups[0], self.state[self.param_groups[0]["params"][0]]
        search = _Search(self, closure, group, state, float(first))
        if search.gradient_size() > group["tolerance_grad"]:
            search.run()
        return first

    def gradient(self) -> Array:
        """All gradients in one vector; zeros where there is none."""
        return np.concatenate([
            np.zeros(p.shape.numel(), p.dtype.np) if p.grad is None
            else p.grad.detach().numpy().reshape(-1)
            for p in self._all_params()
        ])  # fmt: skip

    def weights(self) -> Array:
        """All parameters in one vector."""
        return np.concatenate([p.detach().numpy().reshape(-1) for p in self._all_params()])

    def set_weights(self, flat: Array) -> None:
        """Put a vector into the parameters."""
        start = 0
        for p in self._all_params():
            put(p, flat[start : start + p.shape.numel()].reshape(tuple(p.shape)))
            start += p.shape.numel()

    def read_state(self, p: Any, group: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        """The one state, of all parameters, in PyTorch's names."""
        size = sum(p.shape.numel() for p in self._all_params())

        def vector(key: str, value: Any) -> Any:
            array = read_array("LBFGS", key, value)
            if array.shape != (size,):
                raise StateError(
                    lesson(
                        f"LBFGS: the state {key!r} does not fit the parameters",
                        [("expected", [size]), ("received", list(array.shape))],
                    )
                )
            return make(array.astype(p.dtype.np))

        known = {"func_evals", "n_iter", "ro", "al", *VECTORS, *LISTS, *NUMBERS}
        if not isinstance(saved, Mapping) or not set(saved) <= known:
            raise StateError(
                lesson(
                    "LBFGS: the state dict is of another optimiser",
                    [("expected", sorted(known)), ("received", f"{saved!r:.60}")],
                )
            )
        given = {key: value for key, value in saved.items() if value is not None and key != "al"}
        state: dict[str, Any] = {}
        for key, value in given.items():
            if key in VECTORS:
                state[key] = vector(key, value)
            elif key in LISTS:
                state[key] = [vector(key, v) for v in value]
            elif key == "ro":
                state[key] = [float(read_array("LBFGS", key, v)) for v in value]
            else:
                whole = key not in NUMBERS
                one = read_array("LBFGS", key, value).item()
                state[key] = int(one) if whole else float(one)
        return state


class _Search:
    """One call of ``LBFGS.step``: the direction, and how far along it."""

    def __init__(
        self, owner: LBFGS, closure: Callable[[], Any], group: Mapping[str, Any],
        state: dict[str, Any], loss: float,
    ) -> None:  # fmt: skip
        self.owner, self.closure, self.group, self.state = owner, closure, group, state
        self.loss, self.g, self.evals = loss, owner.gradient(), 1
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        self.y = [v.numpy() for v in state.get("old_dirs", [])]  # changes of the gradient
        self.s = [v.numpy() for v in state.get("old_stps", [])]  # and the steps that made them
        self.ρ: list[float] = list(state.get("ro", []))
        self.h = state.get("H_diag", 1.0)
        self.d = state["d"].numpy() if "d" in state else -self.g
        self.t: float = state.get("t", 1.0)
        self.before = state["prev_flat_grad"].numpy() if "prev_flat_grad" in state else self.g
        self.loss_before: float = state.get("prev_loss", loss)

    def gradient_size(self) -> float:
        """The largest gradient."""
        return float(np.abs(self.g).max(initial=0))

    def run(self) -> None:
        """Iterate until one of the limits is reached, and keep the state."""
        for i in range(1, self.group["max_iter"] + 1):
            if self.iterate(last=i == self.group["max_iter"]):
                break
        self.state.update(
            d=make(self.d), t=self.t, old_dirs=[make(v) for v in self.y],
            old_stps=[make(v) for v in self.s], ro=self.ρ, H_diag=self.h,
            prev_flat_grad=make(self.before), prev_loss=self.loss_before,
        )  # fmt: skip

    def iterate(self, last: bool) -> bool:
        """Go one step; True when it is time to stop."""
        group = self.group
        self.state["n_iter"] += 1
        if self.state["n_iter"] == 1:
            self.d, self.h = -self.g, 1.0
            self.t = min(1.0, 1.0 / float(np.abs(self.g).sum())) * float(group["lr"])
        else:
            self.remember()
            self.d, self.t = self.direction(), float(group["lr"])
        self.before, self.loss_before = self.g, self.loss
        slope = float(self.g @ self.d)
        if slope > -group["tolerance_change"]:
            return True
        used = self.search(slope) if group["line_search_fn"] else self.go(last)
        self.evals += used
        self.state["func_evals"] += used
        return bool(
            self.evals >= group["max_eval"]
            or (used and self.gradient_size() <= group["tolerance_grad"])
            or float(np.abs(self.d * self.t).max()) <= group["tolerance_change"]
            or abs(self.loss - self.loss_before) < group["tolerance_change"]
        )

    def remember(self) -> None:
        """Keep the last step and how it changed the gradient, if the loss curves upwards."""
        y, s = self.g - self.before, self.d * self.t
        curvature = float(y @ s)
        if curvature <= 1e-10:
            return
        if len(self.y) == self.group["history_size"]:
            del self.y[0], self.s[0], self.ρ[0]
        self.y.append(y)
        self.s.append(s)
        self.ρ.append(1.0 / curvature)
        self.h = curvature / float(y @ y)

    def direction(self) -> Array:
        """-H g by the two loops of Nocedal and Wright, algorithm 7.4."""
        q, α = -self.g, [0.0] * len(self.y)
        for i in reversed(range(len(self.y))):
            α[i] = self.ρ[i] * float(self.s[i] @ q)
            q = q - α[i] * self.y[i]
        r = q * self.h
        for i in range(len(self.y)):
            β = self.ρ[i] * float(self.y[i] @ r)
            r = r + (α[i] - β) * self.s[i]
        return r

    def go(self, last: bool) -> int:
        """Take the step as it is; the loss at its end is needed only if another follows."""
        self.owner.set_weights(self.owner.weights() + self.t * self.d)
        if last:
            return 0
        self.loss, self.g = self.evaluate()
        return 1

    def search(self, slope: float) -> int:
        """Take the step that the line search finds."""
        x = self.owner.weights()

        def at(t: float) -> Point:
            self.owner.set_weights(x + t * self.d)
            f, g = self.evaluate()
            return Point(t, f, g, float(g @ self.d))

        found, used = strong_wolfe(
            at, Point(0.0, self.loss, self.g, slope), self.t,
            float(np.abs(self.d).max()), self.group["max_eval"] - self.evals,
        )  # fmt: skip
        self.t, self.loss, self.g = found.t, found.f, found.g
        self.owner.set_weights(x + self.t * self.d)
        return used

    def evaluate(self) -> tuple[float, Array]:
        """The loss and its gradient at the parameters as they are."""
        with enable_grad():
            loss = float(self.closure())
        return loss, self.owner.gradient()
