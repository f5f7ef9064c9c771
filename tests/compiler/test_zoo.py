"""Whole training steps: compiled, they leave what eager leaves, call after call."""

from __future__ import annotations

import pytest

import contraflow as cf
from contraflow.compiler import compile
from tests.capture.test_zoo import built, same, trace
from tests.capture.zoo import ZOO

# Sums are added in another order, and e^x, log and powers come from another library: the last
# digits of float64 differ, and Adam's first steps divide small numbers by small numbers.
LOOSE = 1e-7


@pytest.mark.parametrize("name", sorted(ZOO))
def test_compiled_is_eager(name):
    eager, twin = built(name), built(name)
    step = compile(twin.step)
    cf.manual_seed(11)
    theirs = trace(eager, eager.step)
    cf.manual_seed(11)
    ours = trace(twin, step)
    same(ours, theirs, LOOSE)
