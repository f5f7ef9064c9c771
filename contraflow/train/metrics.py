"""Metrics: one record each, with a running state that is a plain value.

``state = metric.update(state, prediction, target)`` takes in a batch, ``metric.result(state)`` is
the number so far, and ``metric(prediction, target)`` does both for data that is there at once.

Classes are read from scores ``[N, C, ...]`` (the largest wins), from labels (integers in the shape
of the target), or from logits in the shape of the target (above 0 is class 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.tensor.tensor import Tensor

__all__ = [
    "Metric", "accuracy", "as_metric", "confusion_matrix", "f1", "mae", "mse", "precision", "r2",
    "recall", "top_k",
]  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Metric:
    """A measure of predictions against targets that is built up batch by batch.

    Args:
        name: its name in the history.
        start: the state before the first batch: numbers, arrays, or tuples of them.
        update: ``(state, prediction, target) -> state``; gets tensors without history.
        result: ``state -> number`` (or nested lists of numbers).
        better: ``"max"`` or ``"min"``, which end is the good one.

    >>> import contraflow as cf
    >>> worst = cf.train.Metric(
    ...     "worst", 0.0, lambda s, p, t: max(s, (p - t).abs().max().item()), float, "min"
    ... )
    >>> worst(cf.tensor([1.0, 2.0]), cf.tensor([1.5, 2.0]))
    0.5
    """

    name: str
    start: Any
    update: Callable[[Any, Any, Any], Any]
    result: Callable[[Any], Any]
    better: str = "max"

    def __call__(self, prediction: Any, target: Any) -> Any:
        return self.result(self.update(self.start, prediction, target))


def as_metric(given: Any) -> Metric:
    """A metric, or a function ``(prediction, target) -> number`` as the mean over its samples.

    Raises:
        DTypeError: for anything else.
    """
    if isinstance(given, Metric):
        return given
    name = getattr(given, "__name__", type(given).__name__)
    if not callable(given) or isinstance(given, type) or given in (top_k, as_metric):
        raise DTypeError(
            lesson(
                "a metric is a cf.train.Metric or a function of prediction and target",
                [("received", f"{given!r:.60}")],
                "metrics=[cf.train.accuracy, cf.train.top_k(3)]",
            )
        )

    @wraps(given)
    def update(state: Any, prediction: Any, target: Any) -> Any:
        value, n = float(given(prediction, target)), len(target)
        return state[0] + value * n, state[1] + n

    return Metric(name, (0.0, 0), update, ratio)


def ratio(state: tuple[Any, int]) -> float:
    """A sum divided by a count; NaN of nothing."""
    return float(state[0] / state[1]) if state[1] else float("nan")


# ---- classes -----------------------------------------------------------------------------------


def values(x: Any) -> Array:
    """The numbers of a tensor or an array."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def misfit(rule: str, prediction: Array, target: Array, fix: str) -> ShapeError:
    """The error for a prediction that does not belong to its target."""
    shown = [(n, f"{a.dtype}{list(a.shape)}")
             for n, a in (("prediction", prediction), ("target", target))]  # fmt: skip
    return ShapeError(lesson(rule, shown, fix))


def classes(prediction: Any, target: Any) -> tuple[Array, Array, int]:
    """Predicted and true classes, flat, and how many classes there are (0: not known)."""
    p, t = values(prediction), values(target)
    count = 0
    if t.dtype.kind == "f" and t.ndim > 1 and p.shape == t.shape:  # probabilities of classes
        t = t.argmax(1)
    if p.ndim == t.ndim + 1 and (p.shape[0], *p.shape[2:]) == t.shape and p.shape[1] > 1:
        count, p = p.shape[1], p.argmax(1)
    elif p.shape == t.shape:
        p = p > 0 if p.dtype.kind == "f" else p
    else:
        raise misfit("scores are [N, C] for targets [N], labels or logits have the target's shape",
                     p, t, "prediction.squeeze(1) for [N, 1] logits of two classes")  # fmt: skip
    return p.reshape(-1).astype(np.int64), t.reshape(-1).astype(np.int64), count


def count_right(state: Any, prediction: Any, target: Any) -> Any:
    p, t, _ = classes(prediction, target)
    return state[0] + int((p == t).sum()), state[1] + t.size


accuracy = Metric("accuracy", (0, 0), count_right, ratio)


def top_k(k: int) -> Metric:
    """How often the true class is among the k with the largest scores (ties count as wrong).

    >>> import contraflow as cf
    >>> scores = cf.tensor([[0.1, 0.5, 0.4], [0.7, 0.2, 0.1]])
    >>> cf.train.top_k(2)(scores, cf.tensor([2, 2]))
    0.5
    """
    if not isinstance(k, int) or k < 1:
        raise ArgumentError(lesson(f"top_k: k must be a whole number >= 1, not {k!r}", fix="3"))

    def update(state: Any, prediction: Any, target: Any) -> Any:
        p, t = values(prediction), values(target)
        if t.dtype.kind == "f" and p.shape == t.shape and t.ndim == 2:
            t = t.argmax(1)
        if p.ndim != 2 or t.shape != p.shape[:1]:
            raise misfit("top_k takes scores [N, C] and targets [N]", p, t, "model(x)")
        own = np.take_along_axis(p, t[:, None].astype(np.int64), axis=1)
        rank = (p >= own).sum(axis=1)
        return state[0] + int((rank <= k).sum()), state[1] + t.size

    return Metric(f"top_{k}", (0, 0), update, ratio)


def count_pairs(state: Any, prediction: Any, target: Any) -> Array:
    """Counts [true, predicted]; the matrix grows with the classes that are seen."""
    p, t, known = classes(prediction, target)
    if t.size and min(t.min(), p.min()) < 0:
        raise IndexOutOfRange(
            lesson("classes are counted from 0", [("lowest", min(t.min(), p.min()))])
        )
    size = max(known, len(state), int(p.max(initial=-1)) + 1, int(t.max(initial=-1)) + 1)
    counts = np.bincount(t * size + p, minlength=size * size).reshape(size, size)
    counts[: len(state), : len(state)] += state
    return counts


NONE = np.zeros((0, 0), np.int64)
confusion_matrix = Metric("confusion_matrix", NONE, count_pairs, lambda counts: counts.tolist())


@dataclass(frozen=True)
class ClassMetric(Metric):
    """A metric of each class, made one number by an average."""

    each: Callable[[Array, Array, Array], Array] = lambda hit, said, true: hit

    def averaged(self, how: str | None) -> ClassMetric:
        """The same with another average.

        Args:
            how: ``"macro"``: all classes alike; ``"weighted"``: by how often they are true;
                ``"micro"``: over all samples at once; None: a list with each class.

        >>> import contraflow as cf
        >>> p, t = cf.tensor([0, 1, 1, 1]), cf.tensor([0, 0, 1, 1])
        >>> [round(v, 3) for v in cf.train.recall.averaged(None)(p, t)]
        [0.5, 1.0]
        """
        if how not in ("macro", "micro", "weighted", None):
            raise ArgumentError(
                lesson(f"there is no average {how!r}", fix='"macro", "micro", "weighted" or None')
            )
        return replace(self, result=average_of(self.each, how))


def average_of(each: Callable[..., Array], how: str | None) -> Callable[[Array], Any]:
    """The result of a class metric from the matrix of counts."""

    def result(counts: Array) -> Any:
        hit, said, true = np.diag(counts), counts.sum(0), counts.sum(1)
        if how == "micro":
            return float(each(hit.sum(), said.sum(), true.sum()))
        scores = each(hit, said, true)
        if how is None:
            return scores.tolist()
        weights = true if how == "weighted" else (said + true > 0).astype(float)
        return float((scores * weights).sum() / weights.sum()) if weights.sum() else 0.0

    return result


def over(a: Any, b: Any) -> Any:
    """a / b, and 0 where there is nothing to divide by."""
    return np.where(b > 0, a / np.maximum(b, 1), 0.0)


def class_metric(name: str, each: Callable[..., Any]) -> ClassMetric:
    return ClassMetric(name, NONE, count_pairs, average_of(each, "macro"), "max", each)


precision = class_metric("precision", lambda hit, said, true: over(hit, said))
recall = class_metric("recall", lambda hit, said, true: over(hit, true))
f1 = class_metric("f1", lambda hit, said, true: over(2 * hit, said + true))


# ---- numbers -----------------------------------------------------------------------------------


def differences(prediction: Any, target: Any) -> tuple[Array, Array]:
    """prediction - target and the target, in float64."""
    p, t = values(prediction), values(target)
    if p.shape != t.shape:
        raise misfit("predictions and targets need one shape: broadcasting would compare every "
                     "sample with every other", p, t, "prediction.squeeze(1)")  # fmt: skip
    t = t.astype(np.float64)
    return p.astype(np.float64) - t, t


def mean_of(name: str, size: Callable[[Array], Array]) -> Metric:
    def update(state: Any, prediction: Any, target: Any) -> Any:
        error, _ = differences(prediction, target)
        return state[0] + float(size(error).sum()), state[1] + error.size

    return Metric(name, (0.0, 0), update, ratio, "min")


mse = mean_of("mse", np.square)
mae = mean_of("mae", np.abs)


def spread(state: Any, prediction: Any, target: Any) -> Any:
    """Count, mean and squared deviation of the targets, merged as Chan, Golub and LeVeque (1979),
    and the squared error, for each column."""
    error, t = differences(prediction, target)
    m, (n, mean, deviation, squared) = len(t), state
    if not m:
        return state
    shift = t.mean(0) - mean
    between = shift**2 * (n * m / (n + m))
    return (
        n + m,
        mean + shift * (m / (n + m)),
        deviation + ((t - t.mean(0)) ** 2).sum(0) + between,
        squared + (error**2).sum(0),
    )


def explained(state: Any) -> float:
    """1 - squared error / squared deviation, the mean over the columns."""
    n, _, deviation, squared = (np.asarray(part) for part in state)
    if not n:
        return float("nan")
    flat = np.where(squared == 0, 1.0, 0.0)  # targets that do not vary
    score = 1 - squared / np.where(deviation > 0, deviation, 1.0)
    return float(np.mean(np.where(deviation > 0, score, flat)))


r2 = Metric("r2", (0, 0.0, 0.0, 0.0), spread, explained)
