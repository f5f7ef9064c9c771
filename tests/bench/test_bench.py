"""The benchmark's own sums, its tables, and that by hand and by autograd are the same work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import report
from bench.floors import cost, floor
from bench.peers import PEERS
from bench.rates import Cores, together
from bench.timing import calls_for, interleaved, timing
from bench.turns import Turns
from bench.wanted import LIMITS, starts, wanted
from bench.workloads import LATER, WORKLOADS, Workload, mlp

ROOT = Path(__file__).resolve().parent.parent.parent
DENSE = [w for w in WORKLOADS if w.name in ("W1", "W2", "W3", "W4")]


@pytest.mark.parametrize("w", DENSE, ids=lambda w: w.name)
def test_by_hand_and_by_autograd_give_the_same_losses(w):
    w = replace(w.without_dropout(), batch=min(w.batch, 8))
    ours, by_hand = (PEERS[name].make("step", w) for name in ("contraflow", "NumPy by hand"))
    for _ in range(3):
        np.testing.assert_allclose(ours().item(), by_hand(), rtol=1e-4)


RATES = {"flops": 1e11, "latency": 1e-9, "cache": 1e11, "memory": 2e10}
ALONE = {"1": RATES}


def test_a_floor_by_hand():
    w = Workload("W0", "", mlp(300, 400, 2, act="tanh"), (300,), batch=100, optimizer="momentum")
    c, out = cost(w.layers, w.shape)
    assert out == (2,)
    assert c.parameters == 300 * 400 + 400 + 400 * 2 + 2
    products = 100 * 2 * (300 * 400 * 2 + 400 * 2 * 3)  # the first layer's input needs no gradient
    functions = 60 * 100 * (400 + 2)  # tanh, and the exponentials of the softmax
    traffic = 16 * c.parameters + 100 * 8 * (400 + 2)  # tanh writes over what it reads
    assert floor(w, ALONE) == pytest.approx((products + functions) / 1e11 + traffic / 1e11)
    both = {"1": RATES, "2": {**RATES, "flops": 1.9e11, "cache": 1.7e11}}
    five_kernels = 5 * 2 * 0.25e-6
    expected = (products + functions) / 1.9e11 + traffic / 1.7e11 + five_kernels
    assert floor(w, both, threads=2) == pytest.approx(expected)


def test_what_does_not_fit_the_cache_moves_at_the_memory_s_rate():
    w = Workload("W0", "", (("linear", 2000, 2000),), (2000,), batch=1, optimizer="momentum")
    slow = floor(w, ALONE) - floor(w, {"1": {**RATES, "memory": 1e11}})
    assert slow == pytest.approx((16 * 2000 * 2001 + 8 * 2000) * (1 / 2e10 - 1 / 1e11))


def test_a_tiny_step_takes_as_long_as_its_longest_chain():
    w = WORKLOADS[0]
    # two layers with a sigmoid each, the loss, the way back through one layer, the update
    assert floor(w, ALONE) == pytest.approx((2 * (8 + 20) + 8 + 8 + 8) * 1e-9)
    assert floor(w, {**ALONE, "2": RATES}, threads=2) == floor(w, ALONE)


def test_an_epoch_gathers_its_rows():
    w = WORKLOADS[3]
    rows = 4 * 784 * w.batch / RATES["memory"]  # all of the data do not fit the cache
    assert floor(w, ALONE, epoch=True) == pytest.approx(floor(w, ALONE) + rows)


# What the ten workloads need on a core with 102 GFLOP/s, 75 GB/s in the cache and 20 in memory, in
# microseconds, as they were estimated one by one, kernel for kernel, before there was any code.
ESTIMATED = {"W1": 0.10, "W2": 14, "W3": 352, "W4": 766, "W5": 25_000, "W6": 3_900, "W8": 81_000}


@pytest.mark.parametrize("w", [w for w in WORKLOADS if w.name in ESTIMATED], ids=lambda w: w.name)
def test_floors_agree_with_estimates_by_hand(w):
    rates = {"flops": 102e9, "latency": 1.25e-9, "cache": 75e9, "memory": 20e9}
    assert floor(w, {"1": rates}) == pytest.approx(ESTIMATED[w.name] * 1e-6, rel=0.02)


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


def test_an_estimate_does_not_count_what_was_compiled_in_the_middle():
    made = []  # the calls of each turn

    def turn(calls):
        made.append(calls)
        compiling = 0.3 if len(made) in (1, 5, 6) else 0.0
        return 0.001 + compiling / calls

    assert calls_for(turn, 0.1) == 100
    assert sum(made) < 600
    assert calls_for(lambda calls: 0.3, 0.1) == 1


RESULTS = {
    "date": "2026-01-02", "commit": "abc1234", "threads": [1, 2], "partial": False, "others": 0.004,
    "machine": {"processor": "a processor", "cores": 4, "usable": 2, "system": "a system"},
    "versions": {"python": "3.11", "numpy": "2.4"},
    "steps": [
        {"name": "W2", "title": "tiny", "parameters": 9, "batches": 1,
         "floor": {"1": 2e-5, "2": 1e-5}, "failed": {"tinygrad": "OSError: no compiler"},
         "rates": {"1": {**RATES, "product": 9e10}, "2": {**RATES, "product": 1.7e11, "handoff": 6e-8}},
         "peers": {"contraflow": {"1": [3e-5] * 3, "2": [1.8e-5, 2e-5, 2.2e-5]},
                   "PyTorch": {"1": [2e-4, 3e-4, 4e-4], "2": [4e-4] * 3},
                   "PyTorch fused": {"1": [8e-5] * 3},
                   "JAX jit": {"1": [5e-5] * 3, "2": [3e-5] * 3}}},
        {"name": "W5", "title": "wide", "parameters": 1_000_000, "batches": 1, "failed": {},
         "floor": {"1": 0.02, "2": 0.01}, "peers": {"contraflow": {"1": [0.024] * 3}}},
        {"name": "W6", "title": "broken", "parameters": 1, "batches": 1,
         "floor": {"1": 1.0, "2": 1.0}, "failed": {"contraflow": "ValueError: x"}, "peers": {}},
    ],
    "epochs": [
        {"name": "W1", "title": "small", "parameters": 9, "batches": 10, "failed": {},
         "floor": {"1": 1e-7, "2": 1e-7},
         "peers": {"contraflow": {"1": [2e-7] * 3}, "PyTorch": {"1": [3e-4] * 3},
                   "JAX scan": {"1": [9e-7] * 3}, "JAX scan, one function": {"1": [5e-7] * 3}}},
    ],
    "absent": {"torch.compile": "there is no compiler"}, "later": LATER,
    "calls": {"W1": {"call": [3e-6] * 3, "native": [5e-7] * 3}},
    "cold": {"contraflow": {"cold build": [0.1] * 3, "cold first": [0.8] * 3,
                            "warm build": [0.1] * 3, "warm first": [0.06] * 3}},
    "ops": {"mul": {"contraflow forward": [1e-6] * 3, "contraflow both": [4e-6] * 3,
                    "PyTorch forward": [2e-6] * 3, "PyTorch both": [8e-6] * 3}},
    "import": {"numpy": [0.1] * 3, "contraflow": [0.14] * 3},
    "loader": {"take": [0.02] * 3, "32": [0.03] * 3},
}  # fmt: skip


def cells(text, first):
    """The cells of the row that begins with ``first``."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_tables():
    page = report.page(RESULTS)
    # the floor of two threads, our time with two, and their ratio; the best peer with two as well
    assert cells(page, "W2 tiny") == [
        "W2 tiny", "10.0 µs", "20.0 µs ²", "2.00", "15.0×", "4.00×", "**1.50×** ²",
    ]  # fmt: skip
    assert "20.0 µs ±10% | 400 µs ±0%" in page
    assert "W6 broken" not in page
    assert "- contraflow in W6 (steps): ValueError: x." in page
    assert "- tinygrad in W2 (steps): OSError: no compiler." in page
    assert "- torch.compile: there is no compiler." in page
    assert "W9: LSTM" in page
    assert "median 0.50, from 0.50 to 0.50; above 1 (slower than PyTorch) in 0 of 1." in page
    assert "40.0 ms" in page  # the import above NumPy's
    assert "2.50 µs" in page  # the call around the native code
    assert "One core, in the same rounds: 100 GFLOP/s in registers and 90 in NumPy's" in page
    assert "Two cores together, in the same rounds: 100 GFLOP/s in registers and 170 in" in page
    assert "the other one sees after 60.0 ns to 60.0 ns" in page
    assert "Other programs took 0.4% of the machine" in page
    assert "commit abc1234" in page
    text = report.short(RESULTS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert cells(text, "W2 tiny")[-2:] == ["30.0 µs ² JAX jit", "1.50×"]
    assert cells(text, "W1 within")[1:4] == ["100 ns", "200 ns", "2.00"]
    assert cells(text, "W5 wide")[-2:] == ["–", "–"]


def test_what_is_wanted_is_judged():
    text = wanted(RESULTS)
    assert cells(text, "W1, native loop") == [
        "W1, native loop", "2.00 (≤ 3) ✓", "", "1,500× (≥ 20) ✓", "2.50× (≥ 3) ✗", "",
    ]  # fmt: skip
    assert cells(text, "W2") == [
        "W2", "2.00 (≤ 2) ✓", "1.50× (≥ 2) ✗", "4.00× (≥ 5) ✗", "", "0.67 (≤ 1.05) ✓",
    ]  # fmt: skip
    assert cells(text, "W5")[1] == "1.20 (≤ 1.25) ✓"
    assert "cold 900 ms (< 1.00 s) ✓ and warm 160 ms (< 150 ms) ✗." in text
    assert starts({"steps": []}) == []
    assert {name for _, name in LIMITS} == {w.name for w in WORKLOADS}


def test_a_part_of_a_run_says_so_and_is_not_written():
    part = {**RESULTS, "partial": True}
    assert report.page(part).startswith("**Part of a run that was stopped.**")
    with pytest.raises(SystemExit, match="is not written"):
        report.write(part)


def test_the_pages_are_filled_between_the_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    text = f"before\n{report.BEGIN}\nof last year\n{report.END}\nafter\n"
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text(text)
    for _ in range(2):
        report.write(RESULTS)
    for name in ("README.md", "docs/benchmarks.md"):
        new = (tmp_path / name).read_text()
        assert new.startswith("before\n")
        assert new.endswith("after\n")
        assert "of last year" not in new
        assert new.count("a processor") == 1
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(SystemExit, match="must have one place"):
        report.write(RESULTS)


def test_the_pages_of_the_project_have_the_marks():
    for name in ("README.md", "docs/benchmarks.md"):
        text = (ROOT / name).read_text()
        assert text.count(report.BEGIN) == text.count(report.END) == 1


@pytest.fixture
def turns():
    started = Turns((1,), [0])
    yield started
    started.close()


def test_what_fails_is_named_and_the_others_go_on(turns):
    row = {"batches": 1}
    turns.row("W1", "step", {"no such peer": {}, "NumPy by hand": {}}, 2, row)
    assert row["failed"] == {"no such peer": "its process ended"}
    assert set(row["peers"]["NumPy by hand"]) == {"1"}


def test_what_was_measured_until_ctrl_c_is_kept(turns, monkeypatch):
    rounds = []

    def stopped(*args):
        if len(rounds) == 2:
            raise KeyboardInterrupt
        rounds.append(whole(turns, *args))

    whole = Turns.round
    monkeypatch.setattr(turns, "round", stopped)
    row = {"batches": 2}
    with pytest.raises(KeyboardInterrupt):
        turns.row("W1", "step", {"NumPy by hand": {}}, 5, row)
    low, median, high = row["peers"]["NumPy by hand"]["1"]
    assert 0 < low <= median <= high
    assert row["rates"]["1"]["flops"] > 1e8


def test_rates_add_up_over_the_cores():
    def nap():
        time.sleep(0.004)

    one, two = (together([nap] * n, 10.0, 0.2) for n in (1, 2))
    assert 1000 < one < 2500
    assert 1.5 * one < two < 2.5 * one
    found = Cores(2).rates(0.001)
    assert set(found) == {"flops", "latency", "product", "cache", "memory", "handoff"}
    assert 1e-9 < found["handoff"] < 1e-3
    assert 1e-10 < found["latency"] < 1e-6


def run(*args):
    command = [sys.executable, "-m", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_from_the_command_line(tmp_path):
    path = tmp_path / "results.json"
    peers = ("PyTorch", "PyTorch fused", "JAX jit", "contraflow loop")
    done = run("steps", "--workloads", "W1", "--rounds", "1", "--threads", "1", "--out", str(path),
               "--without", *peers)  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text())
    (row,) = results["steps"]
    assert list(row["peers"]) == ["contraflow", "contraflow eager", "NumPy by hand"]
    assert "- PyTorch: left out on request." in done.stdout
    assert row["parameters"] == 9
    assert row["failed"] == {}
    assert not results["partial"]
    assert results["versions"]["numpy"] == np.__version__
    again = run("report", str(path))
    assert again.stdout == done.stdout


def test_what_does_not_exist_is_refused():
    for args, text in ((["speed"], "no part speed"), (["report"], "report takes one file")):
        done = run(*args)
        assert done.returncode == 2
        assert text in done.stderr
