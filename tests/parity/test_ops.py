"""Every function of the ``cf`` namespace that PyTorch has too, against it.

One row of a table (``rows/``) is one call. Each is run for all its dtypes as function, as method and
in place: values, dtypes and errors must agree; and in float64 for the gradient and its gradient.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import contraflow as cf  # noqa: E402
from tests.parity import compare as c  # noqa: E402
from tests.parity.rows import ROWS  # noqa: E402


def table(*conditions):
    """One test for each function, over all of its rows: a test for each row costs minutes."""
    groups = {}
    for row in ROWS:
        if all(condition(row) for condition in conditions):
            groups.setdefault(row.name, []).append(row)

    def decorate(test):
        def run(rows):
            check(f"{row!r} {p}" for row in rows for p in test(row) if p is not None)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return pytest.mark.parametrize("rows", groups.values(), ids=groups)(run)

    return decorate


def check(problems):
    found = [p for p in problems if p is not None]
    assert not found, "\n".join(found)


@table()
def test_value_and_dtype(row):
    problems = []
    for dtype in row.dtypes:
        operands = row.operands(dtype)
        ours, args, kwargs = c.call(cf, row, operands)
        theirs, _, _ = c.call(torch, row, operands)
        problems.append(c.compare(dtype, ours, theirs, row.loose))
        if row.wrong and theirs[1] is None:
            problems.append(f"{dtype}: PyTorch does not raise")
        for given, array in zip(c.leaves([list(args)]), c.leaves([operands[0]]), strict=True):
            if (
                not row.writes
                and isinstance(array, np.ndarray)
                and not np.array_equal(given.numpy(), array, equal_nan=array.dtype.kind == "f")
            ):
                problems.append(f"{dtype}: an operand was changed")
    return problems


@table(lambda row: row.has_method())
def test_method(row):
    problems = []
    for dtype in row.dtypes:
        operands = row.operands(dtype)
        ours, _ = c.call_method(cf, row.name, operands)
        theirs, _ = c.call_method(torch, row.name, operands)
        problems.append(c.compare(dtype, ours, theirs, row.loose))
    return problems


@table(lambda row: row.has_in_place())
def test_in_place(row):
    problems = []
    for dtype in row.dtypes:
        operands = row.operands(dtype)
        ours, mine = c.call_method(cf, f"{row.name}_", operands)
        theirs, others = c.call_method(torch, f"{row.name}_", operands)
        problems.append(c.compare(dtype, ours, theirs, row.loose))
        if ours[1] is None and theirs[1] is None:
            problems.append(
                c.compare(f"{dtype}, the tensor", (mine[0], None), (others[0], None), row.loose)
            )
            problems.append(None if ours[0] is mine[0] else f"{dtype}: not the tensor itself")
        if ours[1] is not None and not np.array_equal(
            mine[0].numpy(), operands[0][0], equal_nan=mine[0].dtype.is_floating_point
        ):
            problems.append(f"{dtype}: the tensor changed although an error was raised")
    return problems


@table(lambda row: row.smooth and not row.wrong and "float64" in row.dtypes)
def test_gradients(row):
    operands = row.operands("float64")
    theirs = c.outcome(lambda: c.gradients(torch, row, operands, row.twice))
    if theirs[1] is not None and c.lacks_kernel(theirs[1]):
        return []
    ours = c.outcome(lambda: c.gradients(cf, row, operands, row.twice))
    return [c.compare("gradient", ours, theirs, max(row.loose, 10))]
