"""The graph: text that parses back, a verifier that refuses, dead code that goes."""

import numpy as np
import pytest

import contraflow as cf
from contraflow.capture import capture
from contraflow.graph import (
    Equation,
    Graph,
    Value,
    drop_dead,
    evaluate,
    parse,
    substitute,
    to_text,
    verify,
)
from contraflow.graph.verify import GraphError
from contraflow.ops.record import OPS, Aval

TEXT = """\
graph small
  input %0: float32[2, 3]  "x \\"quoted\\""
  input %1: float32[3]
  const %2: int64[2] = (1, 2)
  %3: float32[2, 3] = mul(%0, %1)
  %4: float32[2, 3] = pow(%3, 2.0)
  %5: float32[2, 1] = sum(%4) {dims=(1,), keepdim=True}
  %6: float32[2] = reshape(%5) {shape=(2,)}
  %7: float32[2] = convert(%2) {dtype=float32}
  %8: float32[2] = add(%6, %7)
  %9: float32[3] = mul(%1, -inf)
  write %1 <- %9
  return %8, %3
"""


def test_text_parses_back_to_the_same_text():
    assert to_text(parse(TEXT)) == TEXT


def test_the_parsed_graph_computes():
    x, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2, 3], np.float32)
    outputs, new = evaluate(parse(TEXT), [x, w])
    np.testing.assert_allclose(outputs[0], ((x * w) ** 2).sum(1) + [1, 2])
    np.testing.assert_array_equal(outputs[1], x * w)
    np.testing.assert_array_equal(new[0], np.full(3, -np.inf))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("float32[2, 3] = mul", "float32[3, 2] = mul", "shape rule"),
        ("mul(%0, %1)", "mul(%0, %8)", "before it is defined"),
        ("mul(%0", "nonsense(%0", "not an equation"),
        ("write %1 <- %9", "write %1 <- %8", "cannot be written"),
        ("write %1 <- %9", "write %1 <- %9\n  write %1 <- %9", "written twice"),
        ("dtype=float32", "dtype=os", "not a literal"),
        ("graph small", "digraph", "starts with"),
    ],
)
def test_a_broken_graph_is_refused(old, new, message):
    with pytest.raises(GraphError, match=message):
        parse(TEXT.replace(old, new, 1))


def test_large_constants_are_passed_beside_the_text():
    table = cf.tensor(np.arange(100.0))

    def lookup(x):
        return x * cf.tensor(table_values)

    table_values = table.numpy()
    step = capture(lookup, cf.ones(100, dtype=cf.float64))
    with pytest.raises(GraphError, match="constants"):
        parse(str(step))
    graph = parse(str(step), constants={1: table_values})
    (out,), _ = evaluate(graph, [np.ones(100)])
    np.testing.assert_array_equal(out, table_values)


def test_dead_equations_go():
    text = TEXT.replace("return %8, %3", "return %3").replace("  write %1 <- %9\n", "")
    names = [e.op.name for e in drop_dead(parse(text)).equations]
    assert names == ["mul"]


def test_substitute_replaces_every_use():
    graph = parse(TEXT)
    x, product = graph.inputs[0], graph.equations[0].outputs[0]
    changed = verify(drop_dead(substitute(graph, {product: x})))
    assert [e.op.name for e in changed.equations][0] == "pow"
    assert changed.outputs[1] is x


def test_the_verifier_refuses_a_value_defined_twice():
    x = Value(Aval((2,), cf.float32))
    equation = Equation(OPS["neg"], [x], {}, [x.aval])
    with pytest.raises(GraphError, match="elsewhere"):
        verify(Graph("twice", [x], [equation, equation], list(equation.outputs)))


def test_evaluate_checks_its_arrays():
    with pytest.raises(ValueError, match="takes 2 arrays"):
        evaluate(parse(TEXT), [np.ones(3)])
    with pytest.raises(ValueError, match="was given"):
        evaluate(parse(TEXT), [np.ones((2, 3)), np.ones(3)])
