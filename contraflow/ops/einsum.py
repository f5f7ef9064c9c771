"""Sums of products in Einstein's notation, composed of permute, reshape, matmul, mul and sum."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.ops.arith import mul
from contraflow.ops.checks import check_tensors
from contraflow.ops.matmul import matrix_product
from contraflow.ops.products import diagonal_of
from contraflow.ops.record import Operand
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.view import expand, permute_dims, reshape_to

__all__ = ["einsum"]

# A label is a letter, or a negative number for a dimension that "..." stands for, counted from
# the right, so that ellipses of different lengths broadcast.
Label = str | int
Labels = tuple[Label, ...]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(equation: Any, *operands: Any) -> Any:
    """Multiply the operands and sum over every label that the output leaves out.

    ``"ij,jk->ik"`` is a product of matrices. Without ``->`` the output has the labels that appear
    once, in alphabetical order. A label repeated in one operand takes its diagonal; ``...`` stands
    for leading dimensions that broadcast. Also ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    >>> import contraflow as cf
    >>> cf.einsum("ij,jk->ik", cf.ones(2, 3), cf.ones(3, 4)).shape
    contraflow.Size([2, 4])
    >>> cf.einsum("ii", cf.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)

    Raises:
        ArgumentError: an equation that cannot be read. ShapeError: sizes that do not match.
    """
    if isinstance(equation, Operand):
        equation, operands = from_sublists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str):
        raise ArgumentError(
            lesson(
                "einsum: the equation must be a string",
                [("received", repr(equation))],
                "cf.einsum('ij,jk->ik', a, b)",
            )
        )
    check_tensors("einsum", **{f"operands[{i}]": t for i, t in enumerate(operands)})
    inputs, output = read_equation(equation, operands)
    sizes = read_sizes(equation, inputs, operands)
    terms = [own_diagonals(t, labels) for t, labels in zip(operands, inputs, strict=True)]
    missing = [label for label in output if label not in sizes]
    if missing or len(set(output)) != len(output):
        raise ArgumentError(
            lesson(f"einsum: the output of {equation!r} must name labels of the inputs, each once")
        )
    terms = [stretched(x, labels, sizes) for x, labels in terms]
    while len(terms) > 1:
        i, j = next_pair(terms, output, sizes)
        right, left = terms.pop(j), terms.pop(i)
        rest = set(output).union(*(labels for _, labels in terms))
        terms.append(contract(left, right, rest, sizes))
    x, labels = summed(*terms[0], set(output))
    order = tuple(labels.index(label) for label in output)
    return permute_dims(x, dims=order) if order != tuple(range(len(order))) else x


def from_sublists(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation for operands that alternate with lists of label numbers."""

    def text(labels: Sequence[Any]) -> str:
        if any(k is not Ellipsis and not 0 <= k < len(LETTERS) for k in labels):
            raise ArgumentError(lesson(f"einsum: labels must be numbers from 0 to 51: {labels}"))
        return "".join("..." if k is Ellipsis else LETTERS[k] for k in labels)

    lists = [text(labels) for labels in arguments[1::2]]
    operands = arguments[: len(lists) * 2 : 2]
    equation = ",".join(lists)
    if len(arguments) % 2:
        equation += "->" + text(arguments[-1])
    return equation, operands


def read_equation(equation: str, operands: Sequence[Any]) -> tuple[list[Labels], Labels]:
    """The labels of each operand and of the output."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ArgumentError(
            lesson(f"einsum: {equation!r} names {len(parts)} operands, {len(operands)} were given")
        )
    inputs = []
    for i, (part, t) in enumerate(zip(parts, operands, strict=True)):
        covered = t.ndim - len(part.replace("...", ""))
        labels = read_labels(equation, part, covered)
        if len(labels) != t.ndim:
            raise ShapeError(
                lesson(
                    f"einsum: {part!r} names {len(labels)} dimensions, the operand has {t.ndim}",
                    [("equation", equation), (f"operands[{i}]", t)],
                    "one letter for each dimension, or ... for those in front",
                )
            )
        inputs.append(labels)
    longest = max(
        (-min((k for k in ls if isinstance(k, int)), default=0) for ls in inputs), default=0
    )
    if arrow:
        return inputs, read_labels(equation, right, longest)
    named = [label for labels in inputs for label in labels if isinstance(label, str)]
    once = sorted(label for label in set(named) if named.count(label) == 1)
    return inputs, (*range(-longest, 0), *once)


def read_labels(equation: str, part: str, covered: int) -> Labels:
    """One side of an equation as labels; an ellipsis covers so many dimensions."""
    before, dots, after = part.partition("...")
    wrong = [c for c in before + after if c not in LETTERS]
    if wrong or len(equation.split("->")) > 2:
        raise ArgumentError(
            lesson(
                f"einsum: {equation!r} cannot be read at {wrong[0] if wrong else '->'!r}",
                fix="letters, commas, one '->' and '...': 'bij,bjk->bik'",
            )
        )
    return (*before, *(range(-max(covered, 0), 0) if dots else ()), *after)


def read_sizes(equation: str, inputs: list[Labels], operands: Sequence[Any]) -> dict[Label, int]:
    """The size of each label; sizes of 1 stretch."""
    sizes: dict[Label, int] = {}
    for labels, t in zip(inputs, operands, strict=True):
        for label, size in zip(labels, t.shape, strict=True):
            known = sizes.get(label, 1)
            if size != known and 1 not in (size, known):
                raise ShapeError(
                    lesson(
                        f"einsum: {label!r} has the sizes {known} and {size}",
                        [
                            ("equation", equation),
                            *((f"operands[{i}]", o) for i, o in enumerate(operands)),
                        ],
                        "the same size wherever a label appears",
                    )
                )
            if size != 1 or label not in sizes:
                sizes[label] = size
    return sizes


Term = tuple[Any, Labels]


def own_diagonals(x: Any, labels: Labels) -> Term:
    """A label repeated in one operand becomes one dimension: the diagonal."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            n = max(x.shape[first], x.shape[second])
            wanted = tuple(n if d in (first, second) else size for d, size in enumerate(x.shape))
            x = diagonal_of(
                x if tuple(x.shape) == wanted else expand(x, shape=wanted), first, second
            )
            rest = tuple(k for d, k in enumerate(labels) if d not in (first, second))
            labels = (*rest, label)
    return x, labels


def stretched(x: Any, labels: Labels, sizes: dict[Label, int]) -> Term:
    """Sizes of 1 repeated to the size that the label has elsewhere."""
    shape = tuple(sizes[label] for label in labels)
    return (x if tuple(x.shape) == shape else expand(x, shape=shape)), labels


def summed(x: Any, labels: Labels, needed: set[Label]) -> Term:
    """Sum over the labels that nobody needs any more."""
    dims = tuple(d for d, label in enumerate(labels) if label not in needed)
    if not dims:
        return x, labels
    return (
        reduce_sum(x, dims=dims, keepdim=False),
        tuple(label for label in labels if label in needed),
    )


def next_pair(terms: list[Term], output: Labels, sizes: dict[Label, int]) -> tuple[int, int]:
    """The two operands to multiply next: those whose product grows least over what they are."""
    if len(terms) == 2:
        return 0, 1

    def growth(i: int, j: int) -> int:
        others = (labels for k, (_, labels) in enumerate(terms) if k not in (i, j))
        rest = set(output).union(*others)
        both = set(terms[i][1]) | set(terms[j][1])
        held = sum(prod(sizes[k] for k in terms[t][1]) for t in (i, j))
        return prod(sizes[k] for k in both & rest) - held

    pairs = [(i, j) for i in range(len(terms)) for j in range(i + 1, len(terms))]
    return min(pairs, key=lambda pair: growth(*pair))


def contract(left: Term, right: Term, rest: set[Label], sizes: dict[Label, int]) -> Term:
    """The product of two operands, summed over the labels that only they have."""
    a, of_a = summed(*left, rest | set(right[1]))
    b, of_b = summed(*right, rest | set(left[1]))
    shared = [k for k in of_a if k in of_b]
    batch = [k for k in shared if k in rest]
    inner = [k for k in shared if k not in rest]
    only_a = [k for k in of_a if k not in of_b]
    only_b = [k for k in of_b if k not in of_a]
    result = (*batch, *only_a, *only_b)
    shape = tuple(sizes[k] for k in result)
    if not inner:
        wide_a = arranged(a, of_a, batch, only_a, [1] * len(only_b), sizes)
        wide_b = permute_dims(b, dims=tuple(of_b.index(k) for k in (*batch, *only_b)))
        lead = [sizes[k] for k in batch] + [1] * len(only_a) + [sizes[k] for k in only_b]
        return mul(wide_a, reshape_to(wide_b, shape=tuple(lead))), result

    def matrix(x: Any, labels: Labels, rows: list[Label], columns: list[Label]) -> Any:
        x = permute_dims(x, dims=tuple(labels.index(k) for k in (*batch, *rows, *columns)))
        sides = (prod(sizes[k] for k in rows), prod(sizes[k] for k in columns))
        lead = (prod(sizes[k] for k in batch),) if batch else ()
        return reshape_to(x, shape=(*lead, *sides))

    y = matrix_product(matrix(a, of_a, only_a, inner), matrix(b, of_b, inner, only_b))
    return reshape_to(y, shape=shape), result


def arranged(
    x: Any, labels: Labels, batch: list[Label], own: list[Label], tail: list[int],
    sizes: dict[Label, int],
) -> Any:  # fmt: skip
    """``x`` as [batch, own, 1, ...], to be broadcast against the other operand."""
    x = permute_dims(x, dims=tuple(labels.index(k) for k in (*batch, *own)))
    return reshape_to(x, shape=(*(sizes[k] for k in (*batch, *own)), *tail))
