"""A zoo of whole training steps: captured as a graph and interpreted, they are what eager is.

After each of five calls everything that can be seen is compared: what the step returned,
parameters, buffers, optimiser state, gradients and the position of the random stream. In float64
a wrong formula shows in the first digits, a different order of two sums in the last.
"""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.base.tree import flatten
from contraflow.capture import capture
from contraflow.graph import drop_dead, evaluate, parse, substitute, to_text, verify
from tests.capture.zoo import ZOO

# Eager optimisers run the same formulas on whole arrays with Python's numbers: the last bits of a
# power or a sum may differ, which Adam's division by a small root then magnifies.
LOOSE = 1e-9
every_step = pytest.mark.parametrize("name", sorted(ZOO))


def built(name):
    cf.manual_seed(3)
    return ZOO[name]()


def leaves(result):
    return [t.detach().numpy().copy() for t in flatten(result) if isinstance(t, cf.Tensor)]


def trace(twin, step):
    """What is seen after each call."""
    seen = []
    for batch in twin.batches:
        returned = leaves(step(*batch))
        seen.append((returned, twin.state()))
        twin.between()
    return seen


def same(ours, theirs, rtol):
    for call, ((returned, state), (expected, wanted)) in enumerate(zip(ours, theirs, strict=True)):
        assert state.keys() == wanted.keys(), f"call {call}"
        pairs = [*zip(returned, expected, strict=True), *((state[k], wanted[k]) for k in wanted)]
        for a, b in pairs:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=f"call {call}")


@every_step
def test_captured_is_eager(name):
    eager, twin = built(name), built(name)
    before = twin.state()
    captured = capture(twin.step, *twin.batches[0])
    after = twin.state()
    assert all((after[key] == before[key]).all() for key in before)  # capturing changed nothing

    cf.manual_seed(11)
    theirs = trace(eager, eager.step)
    cf.manual_seed(11)
    ours = trace(twin, captured)
    same(ours, theirs, LOOSE)


@every_step
def test_its_text_is_the_graph(name):
    twin = built(name)
    graph = verify(capture(twin.step, *twin.batches[0]).graph)
    text = to_text(graph)
    numbered = dict(enumerate([*graph.inputs, *graph.constants]))
    large = {i: graph.constants[v] for i, v in numbered.items() if v in graph.constants}
    again = parse(text, constants=large)
    assert to_text(again) == text
    assert_computes_the_same(graph, again, twin)


@every_step
def test_passes_keep_its_meaning(name):
    twin = built(name)
    graph = capture(twin.step, *twin.batches[0]).graph
    assert_computes_the_same(graph, verify(drop_dead(graph)), twin)
    copied = verify(substitute(graph, {}))
    assert to_text(copied) == to_text(graph)
    assert not set(copied.results) & {v for e in graph.equations for v in e.outputs}
    assert_computes_the_same(graph, copied, twin)


def assert_computes_the_same(one, other, twin):
    """The same bits from the same arrays, which are only read."""
    rng = np.random.default_rng(0)
    given = [random_array(rng, v, twin) for v in one.inputs]
    kept = [a.copy() for a in given]
    (outputs, new), (others, renewed) = evaluate(one, given), evaluate(other, given)
    for a, b in [*zip(outputs, others, strict=True), *zip(new, renewed, strict=True)]:
        np.testing.assert_array_equal(a, b, strict=True)
    for a, b in zip(given, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def random_array(rng, value, twin):
    """Labels stay labels: only floating inputs are drawn anew."""
    if value.dtype.kind == "f":
        return rng.uniform(0.1, 0.9, value.shape).astype(value.dtype)
    index = int(value.label.split()[1]) if (value.label or "").startswith("argument") else None
    return np.zeros(value.shape, value.dtype) if index is None else twin.batches[0][index].numpy()
