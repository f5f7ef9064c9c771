"""The peers: each module builds a workload's training step in one library's own way.

All start from ``Workload.weights()`` and see ``Workload.data()``; a step returns its loss, and
``tests/parity/test_peers.py`` holds them to the same losses.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any

import contraflow
from bench.peers import by_hand, spelled
from bench.workloads import Workload

Step = Callable[[], Any]


def _torch(w: Workload, **how: Any) -> Step:
    return spelled.train_step(import_module("torch"), w, **how)


# name -> (the package that it needs, how a step is made); the last two are asked for
PEERS: dict[str, tuple[str, Callable[[Workload], Step | None]]] = {
    "contraflow": ("llvmlite", lambda w: contraflow.compile(spelled.train_step(contraflow, w))),
    "contraflow eager": ("numpy", lambda w: spelled.train_step(contraflow, w)),
    "PyTorch": ("torch", _torch),
    "PyTorch fused": ("torch", lambda w: _torch(w, fused=True)),
    "JAX jit": ("jax", lambda w: import_module("bench.peers.with_jax").train_step(w)),
    "NumPy by hand": ("numpy", lambda w: by_hand.train_step(w) if by_hand.dense(w) else None),
    "torch.compile": ("torch", lambda w: _torch(w, fused=True, compiled=True)),
    "tinygrad": ("tinygrad", lambda w: import_module("bench.peers.with_tinygrad").train_step(w)),
}
ON_REQUEST = ("torch.compile", "tinygrad")


def missing(name: str) -> str | None:
    """Why a peer cannot run here; None if it can."""
    package = PEERS[name][0]
    if not find_spec(package):
        return f"{package} is not installed"
    if package == "tinygrad" and not which("clang"):
        return "tinygrad needs clang, which is not installed"
    return None


def installed(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The peers that are there, and of the others why they are not."""
    absent = {name: why for name in names if (why := missing(name)) is not None}
    return [n for n in names if n not in absent], absent
