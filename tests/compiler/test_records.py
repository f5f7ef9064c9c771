"""Every op of the registry, value and gradient: compiled gives what eager gives.

Nearly all samples are float64, where the generated code calls the C library; the same samples as
float32 meet the polynomials written for vectors. Where there is a gradient, float64 compiles the
value together with it, and float32 alone as well.
"""

import numpy as np
import pytest

import contraflow as cf
from contraflow.ops.record import OPS
from tests.samples import samples_of


def has_gradient(op, sample):
    return op.differentiable and sample.smooth


def table(condition):
    """A test for each op and dtype, with those of its samples for which the condition holds: they
    are compiled as one function, which takes a third less time than one by one."""
    rows = {}
    for op in OPS.values():
        for narrow, dtype in ((False, "float64"), (True, "float32")):
            good = [s for s in samples_of(op) if s.error is None and condition(op, s, narrow)]
            if good:
                rows[f"{op.name}-{dtype}"] = op, good, narrow
    return pytest.mark.parametrize(("op", "samples", "narrow"), rows.values(), ids=rows)


def tensors(sample, narrow, tracked):
    found = []
    for a in sample.args:
        if isinstance(a, np.ndarray):
            a = a.astype(np.float32) if narrow and a.dtype == np.float64 else np.array(a)
            a = cf.tensor(a, requires_grad=tracked and a.dtype.kind == "f")
        found.append(a)
    return found


def value(op, sample, args):
    out = op(*args, **sample.attrs)
    return out if isinstance(out, tuple) else (out,)


def value_and_gradient(op, sample, args):
    values = value(op, sample, args)
    outs = [o for o in values if o.requires_grad]
    wanted = [a for a in args if isinstance(a, cf.Tensor) and a.requires_grad]
    grads = ()
    if outs:
        grads = cf.autograd.grad([(o * o).sum() for o in outs], wanted, allow_unused=True)
    return *(o.detach() for o in values), *(g for g in grads if g is not None)


def assert_compiled_is_eager(what, op, samples, narrow, tracked):
    def step(*args):
        return [what(op, s, a) for s, a in zip(samples, args, strict=True)]

    args = [tensors(s, narrow, tracked) for s in samples]
    tolerance = 3e-5 if narrow else 1e-9
    for sample, compiled, eager in zip(samples, cf.compile(step)(*args), step(*args), strict=True):
        for a, b in zip(compiled, eager, strict=True):
            assert a.aval == b.aval
            scale = 1 + np.nan_to_num(np.abs(b.numpy().astype(float)), posinf=0).max(initial=0)
            np.testing.assert_allclose(
                a.numpy().astype(float), b.numpy().astype(float), rtol=tolerance,
                atol=tolerance * scale, err_msg=f"{op.name}{sample}",
            )  # fmt: skip


@table(lambda op, sample, narrow: narrow or not has_gradient(op, sample))
def test_compiled_is_eager(op, samples, narrow):
    assert_compiled_is_eager(value, op, samples, narrow, tracked=False)


@table(lambda op, sample, narrow: has_gradient(op, sample))
def test_compiled_gradient_is_that_of_eager(op, samples, narrow):
    assert_compiled_is_eager(value_and_gradient, op, samples, narrow, tracked=True)
