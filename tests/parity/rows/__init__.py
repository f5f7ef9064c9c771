"""The tables of calls, by family."""

from tests.parity.rows import algebra, creating, methods, pointwise, reduction, shape

ROWS = [
    *pointwise.ROWS, *reduction.ROWS, *shape.ROWS, *algebra.ROWS, *creating.ROWS, *methods.ROWS,
]  # fmt: skip
