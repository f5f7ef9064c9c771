"""Every op of the registry, value and gradient: compiled gives what eager gives.

Nearly all samples are float64, where the generated code calls the C library; the same samples as
float32 meet the polynomials written for vectors.
"""

import zlib

import numpy as np
import pytest

import contraflow as cf
from contraflow.compiler import compile
from contraflow.ops.record import OPS


def samples_of(op):
    rng = np.random.default_rng(zlib.crc32(op.name.encode()))
    return [] if op.samples is None else [s for s in op.samples(rng) if s.error is None]


CASES = [
    pytest.param(op, s, narrow, id=f"{op.name}-{i}-{'float32' if narrow else 'float64'}")
    for op in OPS.values()
    for i, s in enumerate(samples_of(op))
    for narrow in (False, True)
]


def tensors(sample, narrow, tracked):
    found = []
    for a in sample.args:
        if isinstance(a, np.ndarray):
            a = a.astype(np.float32) if narrow and a.dtype == np.float64 else np.array(a)
            a = cf.tensor(a, requires_grad=tracked and a.dtype.kind == "f")
        found.append(a)
    return found


def run(function, args):
    out = function(*args)
    return out if isinstance(out, tuple) else (out,)


def assert_close(compiled, eager, narrow):
    tolerance = 3e-5 if narrow else 1e-9
    for a, b in zip(compiled, eager, strict=True):
        assert a.aval == b.aval
        scale = 1 + np.nan_to_num(np.abs(b.numpy().astype(float)), posinf=0).max(initial=0)
        np.testing.assert_allclose(
            a.numpy().astype(float), b.numpy().astype(float), rtol=tolerance, atol=tolerance * scale
        )


@pytest.mark.parametrize(("op", "sample", "narrow"), CASES)
def test_compiled_is_eager(op, sample, narrow):
    def forward(*args):
        return op(*args, **sample.attrs)

    args = tensors(sample, narrow, tracked=False)
    assert_close(run(compile(forward), args), run(forward, args), narrow)


@pytest.mark.parametrize(
    ("op", "sample", "narrow"),
    [c for c in CASES if c.values[0].differentiable and c.values[1].smooth],
)
def test_compiled_gradient_is_that_of_eager(op, sample, narrow):
    def gradient(*args):
        outs = [o for o in run(lambda *a: op(*a, **sample.attrs), args) if o.requires_grad]
        wanted = [a for a in args if isinstance(a, cf.Tensor) and a.requires_grad]
        if not outs:
            return cf.zeros(1)
        grads = cf.autograd.grad([(o * o).sum() for o in outs], wanted, allow_unused=True)
        return tuple(g for g in grads if g is not None) or cf.zeros(1)

    args = tensors(sample, narrow, tracked=True)
    assert_close(run(compile(gradient), args), run(gradient, args), narrow)
