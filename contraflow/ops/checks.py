"""What public functions check before any work starts.

Shapes and dtypes are always checked. Checks that look at numbers (labels in range, probabilities
between 0 and 1) take them from ``values``, which gives nothing while a step is being captured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import (
    ArgumentError,
    DTypeError,
    IndexOutOfRange,
    ShapeError,
    lesson,
)
from contraflow.base.modes import capturing, current
from contraflow.base.shapes import Shape, broadcast
from contraflow.ops.record import Operand

__all__ = [
    "REDUCTIONS", "check_between", "check_broadcasts", "check_floating", "check_labels",
    "check_reduction", "check_same_shape", "check_signs", "check_tensors", "values",
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")


def values(t: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of a tensor, for a check before work starts; None under capture.

    Integers that were put off (see ``compiler.lazy``) are computed for it: labels, which may be out
    of range. Other numbers that were put off are not looked at.
    """
    value = t._value
    if capturing() or (type(value) is not np.ndarray and value.dtype.kind != "i"):
        return None
    interpreter = current().interpreter
    if interpreter is not None:
        interpreter.checked(t)
    return value if type(value) is np.ndarray else np.asarray(value)


def check_tensors(what: str, **operands: Any) -> None:
    """Every operand must be a tensor."""
    for name, operand in operands.items():
        if not isinstance(operand, Operand):
            raise DTypeError(
                lesson(
                    f"{what}: {name} must be a tensor, not {type(operand).__name__}",
                    [("received", f"{operand!r:.60}")],
                    f"{name}=cf.tensor({name})"
                    if operand is not None
                    else "look for a function, or a forward, that ends without `return`",
                )
            )


def check_floating(what: str, **operands: Any) -> None:
    """Every operand must be a tensor of a floating dtype."""
    check_tensors(what, **operands)
    for name, operand in operands.items():
        if not operand.dtype.is_floating_point:
            raise DTypeError(
                lesson(
                    f"{what}: {name} must be floating point, not {operand.dtype.name}",
                    [(name, operand)],
                    f"{name}.float()",
                )
            )


def check_reduction(what: str, reduction: Any, known: tuple[str, ...] = REDUCTIONS) -> None:
    """The reduction must be one of those that exist."""
    if reduction not in known:
        *most, last = (repr(r) for r in known)
        raise ArgumentError(
            lesson(
                f"{what}: unknown reduction {reduction!r}",
                fix=f"reduction={', '.join(most)} or {last}",
            )
        )


def check_same_shape(what: str, **operands: Any) -> None:
    """All operands must have the shape of the first: a loss never broadcasts silently."""
    (name, first), *others = operands.items()
    for other_name, other in others:
        if tuple(other.shape) == tuple(first.shape):
            continue
        a, b = tuple(first.shape), tuple(other.shape)
        rule = (
            f"{what}: {name} and {other_name} must have the same shape, {list(a)} is not {list(b)}"
        )
        try:
            wrong = broadcast(a, b)
            if wrong not in (a, b):
                rule += f" (they would broadcast to {list(wrong)}: every one against every other)"
        except ShapeError:
            pass
        raise ShapeError(lesson(rule, list(operands.items()), fix_shapes(name, a, other_name, b)))


def fix_shapes(name: str, a: Shape, other: str, b: Shape) -> str:
    """The code that brings two shapes together, if there is one."""
    gap, back = extra_dim(a, b), extra_dim(b, a)
    if gap is not None:
        return f"{other}.unsqueeze({gap}), or {name}.squeeze({gap})"
    if back is not None:
        return f"{other}.squeeze({back}), or {name}.unsqueeze({back})"
    if np.prod(a, dtype=int) == np.prod(b, dtype=int):
        return f"{other}.reshape({name}.shape), if the elements are in the same order"
    try:
        if broadcast(a, b) == a:
            return f"{other}.expand_as({name}), if the repetition is meant"
    except ShapeError:
        pass
    return f"give {name} and {other} one shape: check the batch size and the layer's outputs"


def extra_dim(a: Shape, b: Shape) -> int | None:
    """The dimension of size 1 that ``a`` has more than ``b``, if nothing else differs."""
    found = [d for d, n in enumerate(a) if n == 1 and a[:d] + a[d + 1 :] == b]
    return found[-1] if found else None


def check_broadcasts(what: str, **operands: Any) -> None:
    """Every later operand must broadcast to the shape of the first, not beyond it."""
    (name, first), *others = operands.items()
    shape = tuple(first.shape)
    for other_name, other in others:
        try:
            fits = broadcast(tuple(other.shape), shape) == shape
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(
                lesson(
                    f"{what}: {other_name} {list(other.shape)} does not broadcast to the shape "
                    f"of {name}, {list(shape)}",
                    [(name, first), (other_name, other)],
                    f"{other_name}.shape == {name}.shape, or sizes 1 where it repeats",
                )
            )


# ---- checks of numbers: skipped under capture ------------------------------------------------


def check_labels(
    what: str, target: Any, classes: int, ignore_index: int | None = None, name: str = "target"
) -> None:
    """Class indices must lie in 0..classes-1 (or be ``ignore_index``)."""
    labels = values(target)
    if labels is None or not labels.size:
        return
    # as unsigned numbers negative labels are larger than any: one pass finds both kinds
    if labels.view(f"u{labels.itemsize}").max() < classes:
        return
    low, high = labels.min(), labels.max()
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if not wrong.any():
        return
    position = tuple(int(i) for i in np.argwhere(wrong)[0])
    label = int(labels[position])
    if label < 0:
        fix = f"labels from 0 to {classes - 1}"
        if ignore_index is not None:
            fix += f"; ignore_index={label} if {label} marks what should not count"
    elif low == 1 and high == classes:
        fix = f"{name} - 1: labels count from 0"
    else:
        fix = f"at least {int(high) + 1} outputs in the last layer, or labels below {classes}"
    where = f"{name}{list(position)}" if position else name
    raise IndexOutOfRange(
        lesson(
            f"{what}: label {label} does not exist among {classes} classes (0..{classes - 1})",
            [("where", f"{where} = {label}"), (name, target)],
            fix,
        )
    )


def check_between(what: str, t: Any, name: str, low: float, high: float, fix: str) -> None:
    """Every number must lie in [low, high]. NaN passes: it will show in the loss."""
    numbers = values(t)
    if numbers is None or not numbers.size:
        return
    if not (numbers.min() < low or numbers.max() > high):
        return
    report(what, t, name, (numbers < low) | (numbers > high), f"between {low:g} and {high:g}", fix)


def check_signs(what: str, t: Any, name: str = "target") -> None:
    """Every number must be 1 or -1."""
    numbers = values(t)
    if numbers is None:
        return
    wrong = np.abs(numbers) != 1
    if wrong.any():
        report(what, t, name, wrong, "1 or -1", f"2 * {name} - 1 turns 0 and 1 into -1 and 1")


def report(what: str, t: Any, name: str, wrong: Any, allowed: str, fix: str) -> None:
    """Raise for the first number that is wrong."""
    numbers: Any = values(t)
    position = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f"{name}{list(position)}" if position else name
    raise ArgumentError(
        lesson(
            f"{what}: {name} must be {allowed}, received {numbers[position].item():g}",
            [("where", f"{where} = {numbers[position].item():g}"), (name, t)],
            fix,
        )
    )
