"""``python -m bench [ops|steps|import|loader|all] [--workloads W2 W4] [--rounds 7]``.

Peers that are not installed are left out and named. Everything runs with one thread unless
``--threads`` says otherwise. Only the ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

THREADS = next((a.split("=")[1] for a in sys.argv if a.startswith("--threads=")), "1")
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, THREADS)
if THREADS == "1":
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table, columns aligned."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    print(line(head))
    print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    for row in rows:
        print(line(row))
    print()


def peer(name: str) -> Any:
    """A peer's module, or None with a notice when it is not installed."""
    if find_spec(name) is None:
        print(f"({name} is not installed: left out)")
        return None
    return import_module(name)


def bench_ops(rounds: int) -> None:
    """Small eager ops against PyTorch."""
    import contraflow
    from bench.eager_ops import CASES, steps
    from bench.timing import interleaved, microseconds

    torch = peer("torch")
    if torch is not None:
        torch.set_num_threads(int(THREADS))
    rows, ratios = [], []
    for name, case in CASES.items():
        contestants = dict(zip(("f", "fb"), steps(contraflow, case), strict=True))
        if torch is not None:
            contestants |= dict(zip(("tf", "tfb"), steps(torch, case), strict=True))
        times = interleaved(contestants, rounds, 0.02)
        row = [name, microseconds(times["f"]), microseconds(times["fb"])]
        if torch is not None:
            ratio = times["fb"] / times["tfb"]
            ratios.append(ratio)
            row += [microseconds(times["tf"]), microseconds(times["tfb"]),
                    f"{times['f'] / times['tf']:.2f}", f"{ratio:.2f}"]  # fmt: skip
        rows.append(row)
    head = ["op on 4x4", "forward", "forward+backward"]
    if torch is not None:
        head += ["PyTorch f", "PyTorch f+b", "ratio f", "ratio f+b"]
    table(head, rows)
    if ratios:
        print(f"median ratio, forward + backward: {statistics.median(ratios):.2f}\n")


def contestants_for(w: Any, peers: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The step of every peer that can express the workload."""
    import contraflow
    from bench.peers import by_hand, spelled

    found: dict[str, Callable[[], Any]] = {"contraflow": spelled.train_step(contraflow, w)}
    if peers["torch"] is not None:
        found["PyTorch"] = spelled.train_step(peers["torch"], w)
        found["PyTorch fused"] = spelled.train_step(peers["torch"], w, fused=True)
    if peers["jax"] is not None:
        found["JAX jit"] = import_module("bench.peers.with_jax").train_step(w)
    if by_hand.dense(w):
        found["NumPy by hand"] = by_hand.train_step(w)
    return found


def bench_steps(rounds: int, chosen: list[str]) -> None:
    """Whole training steps against every peer, with the floor of this machine."""
    from bench.machine import measure
    from bench.timing import interleaved, microseconds
    from bench.workloads import WORKLOADS, floor

    peers = {name: peer(name) for name in ("torch", "jax")}
    if peers["torch"] is not None:
        peers["torch"].set_num_threads(int(THREADS))
    machine = measure()
    print(
        f"{machine.name}, {THREADS} thread(s): {machine.flops / 1e9:.0f} GFLOP/s, "
        f"{machine.bytes / 1e9:.0f} GB/s measured\n"
    )
    names = ["contraflow", "PyTorch", "PyTorch fused", "JAX jit", "NumPy by hand"]
    rows = []
    for w in WORKLOADS:
        if chosen and w.name not in chosen:
            continue
        times = interleaved(contestants_for(w, peers), rounds)
        least, parameters = floor(w, machine.flops, machine.bytes)
        ours = times["contraflow"]
        cells = [
            f"{microseconds(times[n])} ({times[n] / ours:.2f})" if n in times else "-"
            for n in names[1:]
        ]
        rows.append([f"{w.name} {w.title}", f"{parameters:,}", microseconds(least),
                     microseconds(ours), f"{ours / least:.1f}", *cells])  # fmt: skip
        print(f"... {w.name} done", file=sys.stderr)
    table(["step", "parameters", "floor", "contraflow", "x floor",
           *(f"{n} (x ours)" for n in names[1:])], rows)  # fmt: skip


def bench_import(rounds: int) -> None:
    """Import time in fresh processes, above NumPy's own, with bytecode as installed code has it."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    modules = ["numpy", "contraflow", *(m for m in ("torch", "jax") if find_spec(m))]
    samples: dict[str, list[float]] = {m: [] for m in modules}
    with tempfile.TemporaryDirectory() as bytecode:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(max(rounds, 7) + 1):
            for module in modules:
                done = subprocess.run([sys.executable, "-c", code.format(module)], check=True,
                                      capture_output=True, text=True, env=env)  # fmt: skip
                if turn:  # the first one writes the bytecode
                    samples[module].append(float(done.stdout))
    medians = {m: statistics.median(s) for m, s in samples.items()}
    table(["import", "ms", "above NumPy"],
          [[m, f"{t * 1e3:.0f}", f"{(t - medians['numpy']) * 1e3:.0f}"]
           for m, t in medians.items()])  # fmt: skip


def main() -> None:
    """Read the arguments, run what was asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", nargs="*", default=["all"])
    parser.add_argument("--workloads", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", default="1")
    args = parser.parse_args()
    what = {"ops", "steps", "import", "loader"} if "all" in args.what else set(args.what)
    if "import" in what:
        bench_import(args.rounds)
    if "loader" in what:
        import_module("bench.loader").main()
    if "ops" in what:
        bench_ops(args.rounds)
    if "steps" in what:
        bench_steps(args.rounds, args.workloads)


if __name__ == "__main__":
    main()
