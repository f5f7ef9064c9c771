"""The benchmark's own sums, its tables, and that by hand and by autograd are the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import report
from bench.peers import PEERS
from bench.timing import interleaved, timing
from bench.workloads import LATER, WORKLOADS, Workload, floor, mlp

ROOT = Path(__file__).resolve().parent.parent.parent
DENSE = [w for w in WORKLOADS if w.name in ("W1", "W2", "W3", "W4")]


@pytest.mark.parametrize("w", DENSE, ids=lambda w: w.name)
def test_by_hand_and_by_autograd_give_the_same_losses(w):
    w = replace(w.without_dropout(), batch=min(w.batch, 8))
    ours, by_hand = (PEERS[name][1](w) for name in ("contraflow", "NumPy by hand"))
    for _ in range(3):
        np.testing.assert_allclose(ours().item(), by_hand(), rtol=1e-4)


def test_a_floor_by_hand():
    w = Workload("W0", "", mlp(3, 4, 2, act="relu"), (3,), batch=10, optimizer="momentum")
    seconds, parameters = floor(w, flop_rate=1e3, byte_rate=1e4)
    assert parameters == 3 * 4 + 4 + 4 * 2 + 2
    products = 10 * 2 * (3 * 4 * 2 + 4 * 2 * 3)  # the first layer's input needs no gradient
    traffic = 16 * parameters + 10 * 8 * (4 + 4 + 2)
    assert seconds == pytest.approx(products / 1e3 + traffic / 1e4)


def test_every_workload_of_the_ten_is_there_or_named():
    assert {w.name for w in WORKLOADS} | set(LATER) == {f"W{i}" for i in range(1, 11)}


def test_quartiles():
    assert timing([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 3.0, 4.0)
    assert timing([7.0]) == (7.0, 7.0, 7.0)


def test_contestants_take_turns():
    seen: list[str] = []
    steps = {name: lambda name=name: seen.append(name) for name in "ab"}
    found = interleaved(steps, rounds=3, seconds=0.0)
    assert set(found) == {"a", "b"}
    assert "".join(seen[-6:]) == "ababab"


RESULTS = {
    "date": "2026-01-02", "commit": "abc1234", "threads": 1, "flops": 5e10, "bytes": 6e10,
    "machine": {"processor": "a processor", "cores": 2, "system": "a system"},
    "versions": {"python": "3.11", "numpy": "2.4"},
    "steps": [
        {"name": "W1", "title": "small", "parameters": 9, "floor": 2e-6,
         "peers": {"contraflow": [9e-5, 1e-4, 1.1e-4], "PyTorch": [2e-4, 3e-4, 4e-4]}},
        {"name": "W5", "title": "wide", "parameters": 1_000_000, "floor": 0.02,
         "peers": {"contraflow": [0.2, 0.2, 0.2]}},
    ],
    "absent": {"JAX jit": "jax is not installed"}, "later": LATER,
    "ops": {"mul": {"contraflow forward": [1e-6] * 3, "contraflow both": [4e-6] * 3,
                    "PyTorch forward": [2e-6] * 3, "PyTorch both": [8e-6] * 3}},
    "import": {"numpy": [0.1] * 3, "contraflow": [0.14] * 3},
    "loader": {"take": [0.02] * 3, "32": [0.03] * 3},
}  # fmt: skip


def test_the_tables():
    page = report.page(RESULTS)
    assert "| 100 µs ±10% |" in page
    assert "300 µs ±33% (3.00×)" in page
    assert "JAX jit: jax is not installed." in page
    assert "W9: LSTM" in page
    assert "median 0.50, from 0.50 to 0.50; above 1 (slower than PyTorch) in 0 of 1." in page
    assert "40.0 ms" in page  # the import above NumPy's
    assert "50 GFLOP/s" in page
    assert "commit abc1234" in page
    rows = [line for line in report.short(RESULTS).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert "3.00×" in rows[2]


def test_the_pages_are_filled_between_the_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text(text)
    for _ in range(2):
        report.write(RESULTS)
    for name in ("README.md", "docs/benchmarks.md"):
        new = (tmp_path / name).read_text()
        assert new.startswith("before\n")
        assert new.endswith("after\n")
        assert "old" not in new
        assert new.count("a processor") == 1
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(SystemExit, match="must have one place"):
        report.write(RESULTS)


def test_the_pages_of_the_project_have_the_marks():
    for name in ("README.md", "docs/benchmarks.md"):
        text = (ROOT / name).read_text()
        assert text.count(report.BEGIN) == text.count(report.END) == 1


def run(*args):
    command = [sys.executable, "-m", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_from_the_command_line(tmp_path):
    path = tmp_path / "results.json"
    peers = ("PyTorch", "PyTorch fused", "JAX jit")
    done = run("steps", "--workloads", "W1", "--rounds", "1", "--out", str(path),
               "--without", *peers)  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text())
    (row,) = results["steps"]
    assert list(row["peers"]) == ["contraflow", "contraflow eager", "NumPy by hand"]
    assert "- PyTorch: left out on request." in done.stdout
    assert row["parameters"] == 9
    assert results["versions"]["numpy"] == np.__version__
    again = run("report", str(path))
    assert again.stdout == done.stdout


def test_what_does_not_exist_is_refused():
    for args, text in ((["speed"], "no part speed"), (["report"], "report takes one file")):
        done = run(*args)
        assert done.returncode == 2
        assert text in done.stderr
