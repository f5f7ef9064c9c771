"""Matrix products by themselves: values, any division gives the same bits, code for other CPUs."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.capture import capture
from contraflow.compiler.link import compiled, link, optimised
from contraflow.compiler.loops import Contraction
from contraflow.compiler.lower import lower
from contraflow.compiler.product import panel_of, product
from contraflow.compiler.schedule import schedule
from contraflow.compiler.targets import machine, target
from contraflow.compiler.tiling import block_of, fitted, plan_of


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def kernels_of(function, *args):
    """The products of a function's graph."""
    captured = capture(lambda args, kwargs: function(*args), args, {}, name="f")
    kernels = schedule(lower(captured.graph)).kernels
    return [kernel for kernel in kernels if isinstance(kernel.anchor, Contraction)]


def module(text):
    head = f"define void @kernel({text.parameters}) nounwind {{\nentry:"
    return "\n".join([*sorted(text.declared), head, *text.lines, "}"])


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*range(1, 10), 11, 13, 15, 21])
@pytest.mark.parametrize("m", [3, 50])
def test_every_width_that_is_not_a_multiple_of_a_vector(m, n):
    a, b = normal(m, 6), normal(6, n)

    def step(a, b):
        y = a @ b
        return cf.tanh(y) + cf.exp(-y), y > 0.5, cf.where(y > 0, y, 0.5 * y), y.sum(0), y.amax(0)

    y = a @ b
    exact = [np.tanh(y) + np.exp(-y), y > 0.5, np.where(y > 0, y, 0.5 * y), y.sum(0), y.max(0)]
    for ours, theirs in zip(cf.compile(step)(*map(cf.from_numpy, (a, b))), exact, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shapes", [((0, 5), (5, 3)), ((3, 0), (0, 4)), ((0, 3, 4), (4, 5)),
                                    ((2, 0, 4), (4, 5)), ((2, 3, 4), (2, 4, 0))], ids=str)  # fmt: skip
def test_products_without_elements(shapes):
    a, b = (normal(*shape) for shape in shapes)
    y, total = cf.compile(lambda a, b: (a @ b, (a @ b).sum(-2)))(*map(cf.from_numpy, (a, b)))
    np.testing.assert_array_equal(y.numpy(), a @ b)
    np.testing.assert_array_equal(total.numpy(), (a @ b).sum(-2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operands_with_any_strides(dtype):
    a, b = normal(30, 7, 24, dtype=dtype), normal(24, 30, 40, dtype=dtype)
    ways = [
        lambda a, b: a[:, 0, ::2] @ b[::2, 3],
        lambda a, b: a.permute(1, 0, 2) @ b[:, 0, :20],
        lambda a, b: a.permute(1, 2, 0) @ b.permute(1, 0, 2)[:, 0],
        lambda a, b: a[:, 0].expand(4, 30, 24) @ b[:, :4].permute(1, 0, 2),
        lambda a, b: a[:, 2, :1] @ b[:1, 0],
    ]
    for way in ways:
        exact = way(cf.from_numpy(a), cf.from_numpy(b))
        ours = cf.compile(way)(cf.from_numpy(a), cf.from_numpy(b))
        np.testing.assert_allclose(ours.numpy(), exact.numpy(), rtol=1e-5, atol=2e-5)


def test_a_large_layer_trains_as_eager_does():
    """Deep, packed on both sides, and the optimiser's update of whole rows at once."""
    finals = []
    for native in (False, True):
        cf.manual_seed(0)
        model = nn.Sequential(nn.Linear(512, 260), nn.Tanh(), nn.Linear(260, 40))
        optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
        x, y = cf.from_numpy(normal(66, 512)), cf.from_numpy(normal(66, 40))

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = cf.compile(step) if native else step
        losses = [run(x, y).item() for _ in range(4)]
        finals.append((losses, [p.detach().numpy().copy() for p in model.parameters()]))
    (losses, weights), (ours, mine) = finals
    np.testing.assert_allclose(ours, losses, rtol=1e-4)
    for a, b in zip(weights, mine, strict=True):
        np.testing.assert_allclose(b, a, atol=5e-4)


# ---- divided -----------------------------------------------------------------------------------


def training(features, classes, batch):
    model = nn.Sequential(nn.Linear(features, 72), nn.ReLU(), nn.Linear(72, classes))
    optimizer = cf.optim.Adam(model.parameters(), lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    x, y = cf.from_numpy(normal(batch, features)), cf.arange(batch) % classes
    step(x, y)
    return step, x, y


def matrices(function, *shapes, dtype=np.float32):
    return function, *(cf.from_numpy(normal(*shape, dtype=dtype)) for shape in shapes)


DIVIDED = {
    "layers": lambda: training(40, 10, 50),
    "deep layers": lambda: training(600, 70, 130),
    "columns": lambda: matrices(lambda a, b: ((a @ b), (a @ b).sum(0)), (50, 20), (20, 150)),
    "rows": lambda: matrices(lambda a, b: cf.tanh(a @ b), (75, 31), (31, 9)),
    "turned": lambda: matrices(lambda a, b: cf.relu(a.t() @ b.t()), (300, 260), (90, 300)),
    "pages": lambda: matrices(lambda a, b: a @ b.t(), (140, 512), (70, 512)),
    "float64": lambda: matrices(lambda a, b: (a @ b).amax(0), (29, 300), (300, 50),
                                dtype=np.float64),
    "batch": lambda: matrices(lambda a, b: cf.exp(a @ b), (9, 1, 5, 7), (3, 7, 18)),
    "wide": lambda: matrices(lambda a, b: a @ b, (1, 30), (30, 900)),
}  # fmt: skip


def outcome(call, text, parts):
    """What all memory but the scratch holds after the parts were done one by one."""
    arrays = {}
    for n, buffer in enumerate(text.buffers):
        made = np.abs(normal(max(buffer.size, 1), seed=n + 1)) * 0.5
        arrays[buffer] = made.astype(buffer.dtype)
    for part in parts:
        for buffer in text.private:  # whatever another part left there
            arrays[buffer] = np.full(max(buffer.size, 1), np.nan, buffer.dtype)
        call(*(arrays[buffer].ctypes.data for buffer in text.buffers), *part)
    return [arrays[b].tobytes() for b in text.buffers if b not in text.private]


@pytest.mark.parametrize("name", DIVIDED)
def test_any_division_gives_the_same_bits(name):
    function, *args = DIVIDED[name]()
    texts = [product(kernel, panel_of(kernel)) for kernel in kernels_of(function, *args)]
    divided = [text for text in texts if text.split]
    assert divided
    rng = np.random.default_rng(0)
    for text in divided:
        assert text.split > 1
        library = link(compiled(module(text)), ["kernel"])
        kinds = [ctypes.c_void_p] * len(text.buffers) + [ctypes.c_int64] * 2
        call = ctypes.CFUNCTYPE(None, *kinds)(library["kernel"])
        n = text.split
        whole = outcome(call, text, [(0, n)])
        assert outcome(call, text, [(k, k + 1) for k in reversed(range(n))]) == whole
        for pieces in (2, 3, 5):
            inner = sorted(rng.choice(np.arange(1, n), min(pieces, n) - 1, replace=False).tolist())
            parts = list(pairwise([0, *inner, n]))
            assert outcome(call, text, parts[::-1]) == whole, parts


def test_a_dimension_that_is_reduced_is_not_divided():
    (kernel,) = kernels_of(*matrices(lambda a, b: (a @ b).sum(0), (50, 20), (20, 8)))
    assert product(kernel, panel_of(kernel)).split == 0


# ---- plans -------------------------------------------------------------------------------------


def test_blocks_of_depth_are_equal_where_they_can_be():
    for k in range(1, 5000):
        depth = block_of(k)
        assert 1 <= depth <= 420
        if k > 420:
            assert depth >= 120
    assert [k // block_of(k) for k in (256, 512, 784, 1024)] == [1, 2, 2, 4]


def test_tiles_fit_the_registers_and_the_matrix():
    most = target().tile("f32")
    for m in range(1, 70):
        for n in (1, 2, 8, 10, 17, 64, 1000):
            tile = fitted(most, m, n)
            assert tile.rows <= m
            assert tile.rows * tile.vectors <= most.rows * most.vectors
            assert tile.lanes == most.lanes
    assert fitted(most, 1, 1000).vectors > most.vectors


def test_expressions_that_read_much_run_over_whole_rows():
    step, x, y = training(200, 10, 40)
    update = next(k for k in kernels_of(step, x, y) if k.dims == (72, 200))
    plan = plan_of(update, "f32")
    assert plan.unit >= 200
    assert not plan.written


def test_updates_join_the_products_of_the_gradients_whatever_the_loss():
    model = nn.Linear(20, 3)
    optimizer = cf.optim.Adam(model.parameters())

    def step(x, y):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    x, y = cf.ones(8, 20), cf.ones(8, 3)
    step(x, y)
    (update,) = (k for k in kernels_of(step, x, y) if k.dims == (3, 20))
    assert "sqrt" in update.ops


# ---- other CPUs --------------------------------------------------------------------------------

CPUS = {
    "x86-64": ("%xmm", "mulps", 8),
    "x86-64-v2": ("%xmm", "mulps", 8),
    "sandybridge": ("%ymm", "mulps", 8),
    "x86-64-v3": ("%ymm", "vfmadd", 12),
    "x86-64-v4": ("%zmm", "vfmadd", 24),
    "aarch64-unknown-linux-gnu:neoverse-n1": (".4s", "fmla", 24),
    "arm64-apple-darwin:apple-m1": (".4s", "fmla", 24),
}


def innermost(assembly):
    """The loops of an assembly text that hold no other loop, as texts."""
    lines = [line.split("##")[0].split("//")[0].rstrip() for line in assembly.split("\n")]
    labels = {m[1]: n for n, line in enumerate(lines) if (m := re.match(r"(\.?LBB\w+):", line))}
    loops = []
    for n, line in enumerate(lines):
        jump = re.search(r"\s(\.?LBB\w+)$", line)
        if jump and labels[jump[1]] <= n:
            loops.append((labels[jump[1]], n))
    return [
        "\n".join(lines[begin : end + 1])
        for begin, end in loops
        if not any(begin <= b and e <= end and (b, e) != (begin, end) for b, e in loops)
    ]


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiles_stay_in_registers(cpu, dtype, monkeypatch):
    if cpu.startswith("x86") and os.uname().machine != "x86_64":
        cpu = f"x86_64-unknown-linux-gnu:{cpu}"
    register, multiply, sums = CPUS[cpu]
    monkeypatch.setenv("CONTRAFLOW_CPU", cpu)
    step, *args = matrices(lambda a, b: a @ b.t(), (120, 64), (240, 64), dtype=dtype)
    (kernel,) = kernels_of(step, *args)
    code = machine().emit_assembly(optimised(module(product(kernel, panel_of(kernel)))))
    if dtype is np.float64:
        register, multiply = register.replace("4s", "2d"), multiply.replace("ps", "pd")
    hot = [loop for loop in innermost(code) if loop.count(multiply) >= 2 * sums]
    assert hot
    for loop in hot:
        assert register in loop
        stack = re.findall(r"\(%rsp|\[sp", loop)
        assert not stack, loop


PROGRAM = """
import numpy as np, contraflow as cf
rng = np.random.default_rng(0)
for m, k, n in [(1, 2, 2), (13, 5, 17), (64, 70, 33), (50, 520, 40)]:
    for dtype, within in ((np.float32, 1e-4), (np.float64, 1e-11)):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((n, k)).astype(dtype)
        ours = cf.compile(lambda a, b: (cf.relu(a @ b.t()), b @ a.t(), (b @ a.t()).sum(0)))
        got = ours(cf.from_numpy(a), cf.from_numpy(b))
        for x, y in zip(got, (np.maximum(a @ b.T, 0), b @ a.T, (b @ a.T).sum(0))):
            assert np.abs(x.numpy() - y).max() < within * 10, (m, k, n, dtype)
print("right")
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="names x86-64 CPUs",
)
@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v2"])
def test_products_on_a_lesser_cpu(cpu):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "CONTRAFLOW_CPU": cpu, "CONTRAFLOW_CACHE": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "right", done.stderr
