"""F2, the graph: a step as data. Build, verify, print, parse, rewrite and interpret it."""

from contraflow.graph.interpret import evaluate
from contraflow.graph.ir import Equation, Graph, Value
from contraflow.graph.rewrite import drop_dead, substitute
from contraflow.graph.text import parse, to_text
from contraflow.graph.verify import verify

__all__ = [
    "Equation", "Graph", "Value", "drop_dead", "evaluate", "parse", "substitute", "to_text",
    "verify",
]  # fmt: skip
