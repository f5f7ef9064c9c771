"""The passes of a graph are looked at, each of them, in tests."""

from __future__ import annotations

import pytest

import contraflow as cf
from contraflow.capture import capture
from contraflow.compiler import lower
from contraflow.graph.verify import GraphError


def test_a_pass_that_breaks_a_graph_is_noticed_at_once(monkeypatch):
    captured = capture(lambda x: cf.exp(x) * 2.0, cf.ones(3))
    lower.lower(captured.graph)

    def breaking(graph):
        graph.equations = graph.equations[1:]
        return graph

    monkeypatch.setattr(lower, "fold", breaking)
    monkeypatch.setattr(lower, "merge", lambda graph: pytest.fail("the next pass has begun"))
    with pytest.raises(GraphError):
        lower.lower(captured.graph)
