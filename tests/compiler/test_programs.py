"""Random programs with state: compiled, they leave the numbers of eager, call after call.

Each program draws a few dozen operations over tensors of a handful of shapes: arithmetic, reductions,
products, views, selections, joins; and it writes some results back to its state, whole or through
views, so that the schedule must respect who still reads the old values.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

import contraflow as cf

SHAPES = [(4, 6), (6,), (1, 6), (4, 1), (), (6, 4), (2, 4, 6), (2, 1, 6), (1, 1), (3, 2, 1)]


class Program:
    """A list of operations drawn from a seed, run over the values that exist so far."""

    def __init__(self, seed, dtype):
        self.seed, self.dtype = seed, dtype
        rng = np.random.default_rng(seed)
        self.state = [cf.tensor(rng.uniform(-1, 1, s).astype(dtype)) for s in SHAPES]

    def step(self, x, y):
        draw = random.Random(self.seed)
        pool = [*self.state, x, y]
        for _ in range(draw.randint(8, 30)):
            made = self.operation(draw, pool)
            if made is not None and made.numel():
                pool.append(made)
            if draw.random() < 0.2:
                self.write(draw, pool)
        for _ in range(2):
            self.write(draw, pool)
        return tuple(pool[-3:])

    def operation(self, draw, pool):
        a, b = draw.choice(pool), draw.choice(pool)
        kind = draw.choice(
            ["binary", "binary", "unary", "unary", "reduce", "matmul", "view", "where", "cat", "pad",
             "softmax", "compare", "take", "clamp"]
        )  # fmt: skip
        if kind == "binary":
            if not broadcasts(a, b):
                return None
            return draw.choice([cf.add, cf.sub, cf.mul, cf.maximum, cf.minimum])(a, b)
        if kind == "unary":
            f = draw.choice([cf.tanh, cf.sigmoid, cf.relu, cf.neg, cf.abs, cf.square, cf.sin])
            return f(a)
        if kind == "reduce":
            dim = draw.choice([None, *range(a.ndim)])
            f = draw.choice(["sum", "mean", "amax", "amin"])
            keep = draw.random() < 0.5
            if dim is None:
                return getattr(a, f)() if f in ("sum", "mean") else None
            return getattr(a, f)(dim, keepdim=keep)
        if kind == "matmul":
            if a.ndim == 2 and b.ndim in (2, 3) and a.shape[1] == b.shape[-2]:
                return a @ b
            return None
        if kind == "view":
            return view(draw, a)
        if kind == "where":
            return cf.where(a > 0, a, b) if broadcasts(a, b) else None
        if kind == "cat":
            return cf.cat([a, a * 2.0], draw.randrange(a.ndim))[..., ::2] if a.ndim else None
        if kind == "pad":
            return cf.nn.functional.pad(a, (1, 2))[..., 1:-2] if a.ndim else None
        if kind == "softmax":
            return a.softmax(-1) if a.ndim else None
        if kind == "compare":
            return (a > b).to(a.dtype) if broadcasts(a, b) else None
        if kind == "take":
            index = cf.tensor([0, 0])
            return a.index_select(0, index).sum(0) if a.ndim else None
        return a.clamp(-0.5, 0.5)

    def write(self, draw, pool):
        target = draw.choice(self.state)
        fitting = [t for t in pool if t.shape == target.shape]
        how = draw.choice(["copy", "add", "slice", "scale"])
        if how == "copy" and fitting:
            target.copy_(draw.choice(fitting))
        elif how == "add" and fitting:
            target.mul_(0.5).add_(draw.choice(fitting).clamp(-1, 1), alpha=0.25)
        elif how == "slice" and target.ndim:
            target[..., 0] = target[..., -1] * 0.5
        else:
            target.mul_(0.9)


def broadcasts(a, b):
    try:
        return np.prod(np.broadcast_shapes(tuple(a.shape), tuple(b.shape)), dtype=int) <= 200
    except ValueError:
        return False


def view(draw, a):
    options = [a.reshape(-1)]
    if a.ndim == 2:
        options += [a.t(), a[1:], a[:, ::2], a[0], a.unsqueeze(1)]
    if a.ndim == 3:
        options += [a.permute(2, 0, 1), a[:, -1], a.flatten(1)]
    if a.ndim == 1:
        options += [a.expand(4, a.shape[0]), a.flip(0), a[None]]
    return draw.choice(options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block", range(6))
def test_compiled_programs_are_eager(block, dtype):
    for seed in range(block * 20, block * 20 + 20):
        eager, compiled = Program(seed, dtype), Program(seed, dtype)
        step = cf.compile(compiled.step)
        for call in range(3):
            rng = np.random.default_rng([seed, call])
            x = cf.tensor(rng.uniform(-1, 1, (4, 6)).astype(dtype))
            y = cf.tensor(rng.uniform(-1, 1, (6, 4)).astype(dtype))
            theirs, ours = eager.step(x, y), step(x, y)
            pairs = [
                *zip(ours, theirs, strict=True),
                *zip(compiled.state, eager.state, strict=True),
            ]
            for a, b in pairs:
                assert a.aval == b.aval
                np.testing.assert_allclose(
                    a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4 if dtype == "float32" else 1e-9,
                    err_msg=f"program {seed}, call {call}",
                )  # fmt: skip
        assert sum(map(len, step.versions.values())) == 1
