"""Every op of the registry, value and gradient: compiled gives what eager gives.

Nearly all samples are float64, where the generated code calls the C library; the same samples as
float32 meet the polynomials written for vectors. Where there is a gradient, float64 compiles the
value together with it, and float32 alone as well.
"""

import numpy as np

import contraflow as cf
from contraflow.compiler import compile
from contraflow.ops.record import OPS
from tests.samples import grouped, samples_of


def has_gradient(op, sample):
    return op.differentiable and sample.smooth


def table(condition):
    """Make a check of ``(op, sample, narrow)`` a test of each op and dtype."""
    return grouped(
        (f"{op.name}-{dtype}", f"sample {i}: {op.name}{sample}", (op, sample, narrow))
        for op in OPS.values()
        for narrow, dtype in ((False, "float64"), (True, "float32"))
        for i, sample in enumerate(samples_of(op))
        if sample.error is None and condition(op, sample, narrow)
    )


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


@table(lambda op, sample, narrow: narrow or not has_gradient(op, sample))
def test_compiled_is_eager(op, sample, narrow):
    def forward(*args):
        return op(*args, **sample.attrs)

    args = tensors(sample, narrow, tracked=False)
    assert_close(run(compile(forward), args), run(forward, args), narrow)


@table(lambda op, sample, narrow: has_gradient(op, sample))
def test_compiled_gradient_is_that_of_eager(op, sample, narrow):
    def both(*args):
        values = run(lambda *a: op(*a, **sample.attrs), args)
        outs = [o for o in values if o.requires_grad]
        wanted = [a for a in args if isinstance(a, cf.Tensor) and a.requires_grad]
        grads = ()
        if outs:
            grads = cf.autograd.grad([(o * o).sum() for o in outs], wanted, allow_unused=True)
        return *(o.detach() for o in values), *(g for g in grads if g is not None)

    args = tensors(sample, narrow, tracked=True)
    assert_close(run(compile(both), args), run(both, args), narrow)
