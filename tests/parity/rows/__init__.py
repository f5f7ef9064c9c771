"""The tables of calls, by family."""

from tests.parity.rows import pointwise

ROWS = [*pointwise.ROWS]
