"""What is native: everything, but for a few ops that are named here, each with its reason.

Captured and scheduled only, not compiled: the other tests of the folder compare numbers.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import contraflow as cf
from contraflow.capture.step import capture
from contraflow.compiler.loops import Opaque
from contraflow.compiler.lower import lower
from contraflow.compiler.schedule import schedule
from contraflow.ops.record import OPS
from tests.capture.test_zoo import built
from tests.capture.zoo import ZOO
from tests.compiler.test_layers import LAYERS

LAPACK = "a decomposition by LAPACK: pivots and iterations depend on the numbers, and it may fail"
OPAQUE = {
    "cholesky": LAPACK, "eigh": LAPACK, "svd": LAPACK, "svd_full": LAPACK, "qr": LAPACK,
    "qr_full": LAPACK, "inverse": LAPACK, "solve": LAPACK, "pseudoinverse": LAPACK,
    "det": LAPACK, "slogdet": LAPACK, "cofactors": LAPACK,
    "matrix_exp": "how often it squares depends on the norm of the matrix",
    "random_poisson": "draws again until a number is accepted",
}  # fmt: skip


def left_to_numpy(function, *args):
    """The ops of a step that run through NumPy."""
    kernels = schedule(lower(capture(function, *args).graph)).kernels
    return {k.anchor.op.name for k in kernels if isinstance(k.anchor, Opaque)}


def cases(op):
    rng = np.random.default_rng(zlib.crc32(op.name.encode()))
    return [] if op.samples is None else [s for s in op.samples(rng) if s.error is None]


def tensors(sample, dtype, tracked):
    for a in sample.args:
        if isinstance(a, np.ndarray):
            a = a.astype(dtype) if a.dtype == np.float64 else a
            a = cf.tensor(a, requires_grad=tracked and a.dtype.kind == "f")
        yield a


def run(op, sample):
    def forward(*args):
        found = op(*args, **sample.attrs)
        return found if isinstance(found, tuple) else (found,)

    return forward


def value_and_gradient(op, sample):
    def backward(*args):
        values = run(op, sample)(*args)
        outs = [o for o in values if o.requires_grad]
        wanted = [a for a in args if isinstance(a, cf.Tensor) and a.requires_grad]
        grads = ()
        if outs:
            grads = cf.autograd.grad([(o * o).sum() for o in outs], wanted, allow_unused=True)
        return *(o.detach() for o in values), *(g for g in grads if g is not None)

    return backward


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_records_are_native_but_for_those_named_here(dtype):
    met = set()
    for op in OPS.values():
        what = value_and_gradient if op.differentiable else run
        for sample in cases(op):
            args = list(tensors(sample, dtype, tracked=op.differentiable))
            met |= left_to_numpy(what(op, sample), *args)
    assert met == set(OPAQUE)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_integers_are_native(dtype):
    a = cf.tensor(np.arange(12).reshape(3, 4) % 5).to(getattr(cf, dtype))
    index = cf.tensor([0, 2])

    def logic(a):
        return a & a, a | a, a ^ a, ~a, a == a, a.sort(1), a.argmax(), a.any(0), a.logical_not()

    def arithmetic(a):
        return (
            a + a, a - a, a * a, a // (a + 1), a % 3, cf.fmod(a, a + 1), a**2, a @ a.t(), a.cumsum(0),
            a.cumprod(1), a.prod(1), a.abs(), a.clamp(1, 3), a << 1, a >> 1, a.floor(), a.topk(2),
            a.index_add(0, index, a[:2]), a.median(), a.mode(1), cf.isin(a, a[0]), a.sum(),
        )  # fmt: skip

    assert not left_to_numpy(logic, a)
    if dtype != "bool":
        assert not left_to_numpy(arithmetic, a)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_whole_steps_are_native(name):
    twin = built(name)
    assert not left_to_numpy(twin.step, *twin.batches[0])


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_native(name):
    make, shape = LAYERS[name]
    layer = make()
    x = cf.zeros(*shape).requires_grad_()

    def step(x):
        y = layer(x)
        return y.detach(), *cf.autograd.grad((y * y).sum(), [x, *layer.parameters()])

    assert left_to_numpy(step, x) == ({"matrix_exp"} if name == "orthogonal" else set())
