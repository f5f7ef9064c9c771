"""The overhead of single ops on small tensors, forward and backward, against PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Case = Callable[[Any, dict[str, Any]], Any]

# name -> forward, over a dict of tensors: w, v require a gradient ([4, 4]); x does not
CASES: dict[str, Case] = {
    "add": lambda lib, t: t["w"] + t["x"],
    "mul": lambda lib, t: t["w"] * t["x"],
    "mul number": lambda lib, t: t["w"] * 2.0,
    "div": lambda lib, t: t["w"] / t["x"],
    "broadcast add": lambda lib, t: t["w"] + t["b"],
    "matmul": lambda lib, t: t["w"] @ t["x"],
    "linear": lambda lib, t: lib.nn.functional.linear(t["x"], t["w"], t["b"]),
    "exp": lambda lib, t: lib.exp(t["w"]),
    "tanh": lambda lib, t: lib.tanh(t["w"]),
    "sigmoid": lambda lib, t: lib.sigmoid(t["w"]),
    "relu": lambda lib, t: lib.nn.functional.relu(t["w"]),
    "softmax": lambda lib, t: lib.nn.functional.softmax(t["w"], dim=1),
    "sum": lambda lib, t: t["w"].sum(),
    "mean dim": lambda lib, t: t["w"].mean(1),
    "reshape": lambda lib, t: t["w"].reshape(16),
    "transpose": lambda lib, t: t["w"].t(),
    "slice": lambda lib, t: t["w"][1:3],
    "cat": lambda lib, t: lib.cat([t["w"], t["x"]]),
    "mse loss": lambda lib, t: lib.nn.functional.mse_loss(t["w"], t["x"]),
    "cross entropy": lambda lib, t: lib.nn.functional.cross_entropy(t["w"], t["y"]),
    "chain of 20 mul": lambda lib, t: _chain(t["w"], t["x"]),
}


def _chain(w: Any, x: Any) -> Any:
    for _ in range(20):
        w = w * x
    return w


def tensors(lib: Any) -> dict[str, Any]:
    """The operands in one of the two libraries."""

    def full(value: float, *shape: int, grad: bool = False) -> Any:
        return lib.full(shape, value, requires_grad=grad)

    return {
        "w": full(0.5, 4, 4, grad=True), "b": full(0.1, 4, grad=True), "x": full(0.7, 4, 4),
        "y": lib.tensor([0, 1, 2, 3]),
    }  # fmt: skip


def steps(lib: Any, case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(forward recorded on the tape, forward and backward)."""
    t = tensors(lib)
    out = case(lib, t)
    g = lib.ones_like(out).detach()

    def forward() -> Any:
        return case(lib, t)

    def both() -> None:
        t["w"].grad = None
        case(lib, t).backward(g)

    return forward, both
