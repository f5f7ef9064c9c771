"""contraflow and its peers on the same work, in one run, interleaved.

python -m bench                          measure everything, print the tables
python -m bench ops steps                only the overhead of small ops, and training steps
python -m bench steps --workloads W2 W4  only these
python -m bench --out results.json       keep the numbers
python -m bench --write                  also put the tables into README.md and docs/benchmarks.md
python -m bench report results.json      print the tables of an earlier run (with --write too)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = ("ops", "steps", "import", "loader")


def arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["all"], metavar="part",
                        help=f"all, {', '.join(PARTS)}; or: report FILE")  # fmt: skip
    parser.add_argument("--workloads", nargs="*", default=[], help="W1 ... W8")
    parser.add_argument("--without", nargs="*", default=[], help="peers to leave out: PyTorch ...")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each figure")
    parser.add_argument("--threads", type=int, default=1, help="cores that every peer may use")
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


def limit(threads: int) -> int:
    """Hold every library to the same cores; before any of them is imported."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if threads == 1:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    cores = os.cpu_count() or 1
    import_module("bench.machine").pin(threads)
    return cores


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for."""
    cores = limit(args.threads)
    parts = PARTS if "all" in args.what else args.what
    results = import_module("bench.machine").describe(args.threads, cores)
    if "import" in parts:
        results["import"] = import_module("bench.imports").run(args.rounds)
    if "loader" in parts:
        results["loader"] = import_module("bench.loader").run(args.rounds)
    steps = import_module("bench.steps")
    if "ops" in parts:
        results["ops"] = steps.ops(args.threads, args.rounds)
    if "steps" in parts:
        extra = [n for n, on in (("torch.compile", args.torch_compile),
                                 ("tinygrad", args.tinygrad)) if on]  # fmt: skip
        results |= steps.steps(
            args.threads, args.rounds, args.workloads, extra, args.without, results
        )
    return results


def main() -> None:
    """Measure or read, print, keep, write."""
    args = arguments()
    if args.what[0] == "report":
        results = json.loads(Path(args.what[1]).read_text())
    else:
        results = measure(args)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")
        results = json.loads(args.out.read_text())
    report = import_module("bench.report")
    print(report.page(results))
    if args.write:
        for path in report.write(results):
            print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
