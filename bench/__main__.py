"""contraflow and its peers on the same work, in one run, interleaved.

python -m bench                          measure everything, print the tables
python -m bench ops steps                only the overhead of small ops, and training steps
python -m bench steps --workloads W2 W4  only these
python -m bench --out results.json       keep the numbers; also of a run that Ctrl-C ends
python -m bench --write                  also put the tables into README.md and docs/benchmarks.md
python -m bench report results.json      print the tables of an earlier run (with --write too)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = ("steps", "epochs", "calls", "busy", "cold", "ops", "loader", "import")


def arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["all"], metavar="part",
                        help=f"all, {', '.join(PARTS)}; or: report FILE")  # fmt: skip
    parser.add_argument("--workloads", nargs="*", default=[], help="W1 ... W8")
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each figure")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2],
                        help="each contestant with each of these")  # fmt: skip
    parser.add_argument("--torch-compile", action="store_true", help="its column too (minutes)")
    parser.add_argument("--tinygrad", action="store_true", help="its column too (minutes)")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--write", action="store_true", help="put the tables into the pages")
    args = parser.parse_args()
    if args.what[0] == "report":
        if len(args.what) != 2:
            parser.error("report takes one file: python -m bench report results.json")
    elif unknown := set(args.what) - {"all", *PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are all, {', '.join(PARTS)}")
    return args


def measure(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Run the parts that were asked for; this process itself keeps to one core."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # before any library is imported
    machine = import_module("bench.machine")
    cores, others, began = machine.usable(), machine.busy(), time.monotonic()
    threads = tuple(n for n in args.threads if n <= len(cores))
    turns = import_module("bench.turns").Turns(threads, cores)
    machine.pin(cores[:1])
    results.update(machine.describe(threads, cores), partial=True)
    try:
        parts(args, results, turns, cores)
        results["partial"] = False
    finally:
        turns.close()
        if others is not None:
            spent = (time.monotonic() - began) * results["machine"]["cores"]
            results["others"] = max(0.0, machine.busy() - others) / spent


def parts(args: argparse.Namespace, results: dict[str, Any], turns: Any, cores: list[int]) -> None:
    """The parts one after the other, each into its place among the results."""
    peers, steps = import_module("bench.peers"), import_module("bench.steps")
    extra = [n for n, on in (("torch.compile", args.torch_compile), ("tinygrad", args.tinygrad))
             if on]  # fmt: skip
    names = [n for n, peer in peers.PEERS.items()
             if (not peer.on_request or n in extra) and n not in args.without]  # fmt: skip
    results["absent"] = dict.fromkeys(args.without, "left out on request")
    alone = {
        "import": lambda: import_module("bench.imports").run(args.rounds),
        "loader": lambda: import_module("bench.loader").run(args.rounds),
        "ops": lambda: steps.ops(args.rounds),
        "calls": lambda: steps.calls(args.rounds),
        "busy": lambda: import_module("bench.busy").run(args.rounds, cores),
        "cold": lambda: import_module("bench.cold").run(min(args.rounds, 5), cores, names),
    }
    for part in PARTS if "all" in args.what else [p for p in PARTS if p in args.what]:
        if part in alone:
            import_module("bench.turns").say(part)
            results[part] = alone[part]()
        else:
            steps.rows(part.removesuffix("s"), turns, args.rounds, args.workloads, names, results,
                       lambda: keep(args.out, results))  # fmt: skip
        keep(args.out, results)


def keep(path: Path | None, results: dict[str, Any]) -> None:
    """What was measured so far, as a file."""
    if path:
        path.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Measure or read, print, keep, write."""
    args = arguments()
    results: dict[str, Any] = {}
    stopped = False
    if args.what[0] == "report":
        results = json.loads(Path(args.what[1]).read_text())
    else:
        try:
            measure(args, results)
        except KeyboardInterrupt:
            stopped = True
        print(file=sys.stderr)
        keep(args.out, results)
    results = json.loads(json.dumps(results))
    report = import_module("bench.report")
    if results:
        print(report.page(results))
    if stopped:
        raise SystemExit("stopped: the tables show what was measured until then")
    if args.write:
        for path in report.write(results):
            print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
