"""The text form of a graph; ``parse(to_text(graph))`` gives the same graph back."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import numpy as np

from contraflow.base.dtypes import DTYPES, DType
from contraflow.graph.ir import Equation, Graph, Operand, Value
from contraflow.graph.verify import GraphError, verify
from contraflow.ops.record import OPS, Aval

__all__ = ["parse", "to_text"]

INLINE = 16  # constants of up to this many elements are written out
_VALUE = re.compile(r"%(\d+): (\w+)\[([\d, ]*)\]")
_SPECIAL = {"inf": float("inf"), "nan": float("nan")}


# ---- printing ------------------------------------------------------------------------------


def literal(value: Any) -> str:
    """An attribute or number as text: Python's literals, dtypes by their bare name."""
    if isinstance(value, DType):
        return value.name
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


class _Printer:
    def __init__(self) -> None:
        self.numbers: dict[Value, int] = {}

    def declare(self, value: Value) -> str:
        self.numbers[value] = len(self.numbers)
        return f"%{self.numbers[value]}: {value.aval}"

    def use(self, operand: Operand) -> str:
        return f"%{self.numbers[operand]}" if isinstance(operand, Value) else repr(operand)

    def equation(self, equation: Equation) -> str:
        inputs = ", ".join(map(self.use, equation.inputs))
        attrs = ", ".join(f"{k}={literal(v)}" for k, v in sorted(equation.attrs.items()))
        outputs = ", ".join(map(self.declare, equation.outputs))
        call = f"{outputs} = {equation.op.name}({inputs})"
        return f"{call} {{{attrs}}}" if attrs else call


def to_text(graph: Graph) -> str:
    """One line for each input, constant, equation and write; values are numbered in order."""
    p = _Printer()
    lines = [f"graph {graph.name}"]
    for value in graph.inputs:
        label = f"  {json.dumps(value.label)}" if value.label else ""
        lines.append(f"  input {p.declare(value)}{label}")
    for value, array in graph.constants.items():
        held = f" = {literal(_nested(array.tolist()))}" if array.size <= INLINE else ""
        lines.append(f"  const {p.declare(value)}{held}")
    lines += [f"  {p.equation(equation)}" for equation in graph.equations]
    lines += [f"  write {p.use(target)} <- {p.use(new)}" for target, new in graph.writes]
    lines.append(f"  return {', '.join(map(p.use, graph.outputs))}".rstrip())
    return "\n".join(lines) + "\n"


def _nested(data: Any) -> Any:
    return tuple(map(_nested, data)) if isinstance(data, list) else data


# ---- parsing -------------------------------------------------------------------------------


def _read_literal(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(map(_read_literal, node.elts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_read_literal(node.operand)
    if isinstance(node, ast.Name) and node.id in _SPECIAL:
        return _SPECIAL[node.id]
    if isinstance(node, ast.Name) and node.id in DTYPES:
        return DTYPES[node.id]
    raise GraphError(f"not a literal: {ast.unparse(node)}")


def read(text: str) -> Any:
    """The value of a literal as ``literal`` writes it."""
    return _read_literal(ast.parse(text.strip(), mode="eval").body)


class _Parser:
    def __init__(self, constants: dict[int, Any]) -> None:
        self.values: dict[int, Value] = {}
        self.given = constants
        self.inputs: list[Value] = []
        self.constants: dict[Value, Any] = {}
        self.equations: list[Equation] = []
        self.outputs: list[Value] = []
        self.writes: list[tuple[Value, Value]] = []

    def declared(self, text: str) -> list[tuple[int, Aval]]:
        return [
            (int(number), Aval(tuple(map(int, re.findall(r"\d+", sizes))), DTYPES[dtype]))
            for number, dtype, sizes in _VALUE.findall(text)
        ]

    def operand(self, text: str) -> Operand:
        text = text.strip()
        if not text.startswith("%"):
            return read(text)  # type: ignore[no-any-return]
        return self.value(text)

    def value(self, text: str) -> Value:
        number = int(text.strip()[1:])
        if number not in self.values:
            raise GraphError(f"%{number} is used before it is defined")
        return self.values[number]

    def line(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == "input":
            ((number, aval),) = self.declared(rest)
            label = rest.partition('  "')[2]
            value = Value(aval, json.loads(f'"{label}') if label else None)
            self.values[number] = value
            self.inputs.append(value)
        elif word == "const":
            ((number, aval),) = self.declared(rest)
            held = rest.partition(" = ")[2]
            data = read(held) if held else self.given.get(number)
            if data is None:
                raise GraphError(f"constant %{number} is not in the text: pass constants={{...}}")
            value = self.values[number] = Value(aval)
            self.constants[value] = np.asarray(data, aval.dtype.np).reshape(aval.shape)
        elif word == "write":
            target, _, new = rest.partition(" <- ")
            self.writes.append((self.value(target), self.value(new)))
        elif word == "return":
            self.outputs = [self.value(v) for v in rest.split(",") if v.strip()]
        else:
            self.equation(text)

    def equation(self, text: str) -> None:
        outputs, _, call = text.partition(" = ")
        match = re.fullmatch(r"(\w+)\((.*?)\)(?: \{(.*)\})?", call)
        if match is None or match[1] not in OPS:
            raise GraphError(f"not an equation: {text}")
        inputs = [self.operand(v) for v in match[2].split(",") if v.strip()]
        attrs = {}
        if match[3]:
            keywords = ast.parse(f"f({match[3]})", mode="eval").body
            attrs = {k.arg: _read_literal(k.value) for k in keywords.keywords}  # type: ignore[attr-defined]
        declared = self.declared(outputs)
        equation = Equation(OPS[match[1]], inputs, attrs, [aval for _, aval in declared])
        for (number, _), value in zip(declared, equation.outputs, strict=True):
            self.values[number] = value
        self.equations.append(equation)


def parse(text: str, constants: dict[int, Any] | None = None) -> Graph:
    """Read a graph from its text, and verify it.

    Args:
        constants: the arrays of constants that are too large to stand in the text, by number.

    Raises:
        GraphError: for text that is not a graph.
    """
    head, *lines = [line.strip() for line in text.strip().splitlines()]
    if not head.startswith("graph "):
        raise GraphError("the text of a graph starts with 'graph NAME'")
    parser = _Parser(constants or {})
    for line in lines:
        parser.line(line)
    return verify(
        Graph(
            head[6:],
            parser.inputs,
            parser.equations,
            parser.outputs,
            parser.writes,
            parser.constants,
        )
    )
