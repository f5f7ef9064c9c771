"""The contestants: each builds a workload's training step, and its epoch, in its own best way.

All start from ``Workload.weights()`` and see ``Workload.data()``; a step returns its loss and an
epoch the mean of them, and ``tests/parity/test_peers.py`` holds them to the same losses. Each is
measured in processes of its own (``bench/worker.py``), so it may set up the whole process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any

from bench.workloads import Workload

Run = Callable[[], Any]
Maker = Callable[[Workload], Run | None]


@dataclass(frozen=True)
class Peer:
    """A contestant.

    Args:
        package: what must be installed.
        module: where it is built; importing it imports the library.
        step: makes the step on one batch; it gives None for networks that it does not know.
        epoch: makes the shuffled epoch over data in memory.
        environment: of its processes.
        imports: what a user's program imports before the clock of a first step starts.
        warm: steps until it is at its fastest.
        on_request: only measured when asked for.
    """

    package: str
    module: str
    step: str = ""
    epoch: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    warm: int = 3
    on_request: bool = False

    def make(self, what: str, w: Workload) -> Run | None:
        """The ``step`` or ``epoch`` to time; None if it has none."""
        name = getattr(self, what)
        return getattr(import_module(self.module), name)(w, **self.options) if name else None


OURS = "bench.peers.ours"
USUAL = ("contraflow.nn", "contraflow.optim", "contraflow.data")
TORCH = "bench.peers.with_torch"
JAX = "bench.peers.with_jax"
ONE_FUNCTION = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1073741824"

PEERS: dict[str, Peer] = {
    "contraflow": Peer("llvmlite", OURS, "compiled_step", "compiled_epoch", imports=USUAL),
    "contraflow calls": Peer("llvmlite", OURS, "", "epoch_of_calls"),
    "contraflow loop": Peer("llvmlite", OURS, "step", "epoch", {"mode": "auto"}, warm=20),
    "contraflow eager": Peer("numpy", OURS, "step", "", {"mode": "eager"}),
    "PyTorch": Peer("torch", TORCH, "step", "epoch"),
    "PyTorch fused": Peer("torch", TORCH, "step", "epoch", {"fused": True}),
    "JAX jit": Peer("jax", JAX, "step"),
    "JAX scan": Peer("jax", JAX, "", "epoch"),
    "JAX scan, one function": Peer("jax", JAX, "", "epoch",
                                   environment={"XLA_FLAGS": ONE_FUNCTION}),
    "NumPy by hand": Peer("numpy", "bench.peers.by_hand", "step", "epoch"),
    "torch.compile": Peer("torch", TORCH, "step", "epoch", {"fused": True, "compiled": True},
                          on_request=True),
    "tinygrad": Peer("tinygrad", "bench.peers.with_tinygrad", "step", on_request=True),
}  # fmt: skip


def missing(name: str) -> str | None:
    """Why a contestant cannot run here; None if it can."""
    package = PEERS[name].package
    if not find_spec(package):
        return f"{package} is not installed"
    if name == "tinygrad" and not which("clang"):
        return "tinygrad needs clang, which is not installed"
    if name == "torch.compile" and not which(os.environ.get("CXX", "g++")):
        return "torch.compile needs a C++ compiler, which is not installed"
    return None


def installed(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The contestants that can run, and of the others why they cannot."""
    absent = {name: why for name in names if (why := missing(name)) is not None}
    return [n for n in names if n not in absent], absent
