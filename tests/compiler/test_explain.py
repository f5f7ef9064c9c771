"""``step.explain``: what was compiled, why, how fast it is; measuring changes nothing."""

from __future__ import annotations

import re

import numpy as np

import contraflow as cf
from contraflow import nn
from contraflow.compiler.link import optimised
from contraflow.compiler.rates import CHAINS, spin
from contraflow.nn import functional as F


def training():
    cf.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.2), nn.Tanh(), nn.Linear(32, 3))
    optimizer = cf.optim.Adam(model.parameters(), lr=0.01)

    @cf.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def data():
    rng = np.random.default_rng(0)
    return cf.tensor(rng.standard_normal((16, 6)).astype(np.float32)), cf.tensor(np.arange(16) % 3)


def test_explain_measures_every_kernel_on_copies():
    x, y = data()
    found = []
    for explaining in (False, True):
        model, optimizer, step = training()
        losses = []
        for _ in range(3):
            losses.append(step(x, y).item())
            kept = model[0].weight.grad.numpy().copy()
            if explaining:
                text = step.explain()
                np.testing.assert_array_equal(model[0].weight.grad.numpy(), kept)
        moments = [t.numpy().copy() for s in optimizer.state.values() for t in s.values()]
        found.append((losses, moments, cf.get_rng_state().tolist()))
    (losses, moments, position), (others, theirs, same) = found
    assert losses == others
    assert position == same
    for a, b in zip(moments, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = re.findall(r"^ *\d+ \w+ +\[.*\] +\S+ +\S+ +(\d+\.\d+) +(\d+)%  \w+", text, re.MULTILINE)
    version = step.all_versions()[0]
    assert len(rows) == len(version.native.program.kernels)
    assert all(float(time) > 0.0 for time, _ in rows)
    assert re.search(r"in all [\d.]+ us .*; floor [\d.]+ us \(\d+%\) of one core", text)
    assert "in 1 native call and one that looks at indices" in text
    assert "compiled because: the first call" in text
    assert "everything is native" in text


def test_explain_without_times_and_before_the_first_call():
    x, y = data()
    _, _, step = training()
    assert "call it once" in step.explain()
    step(x, y)
    step(x[:5], y[:5])
    text = step.explain(times=False)
    assert " us " not in text
    assert text.count("compiled because") == 2
    assert "x: float32[16, 6] -> float32[5, 6]" in text
    assert re.search(r"memory: an arena of \S+B \(\S+B if nothing shared its place\)", text)


def test_explain_names_what_is_left_to_numpy():
    step = cf.compile(lambda x: cf.linalg.inv(x) * 2.0)
    step(cf.eye(3))
    text = step.explain()
    assert re.search(r"left to NumPy, because they have no native form: \w+ \(1\)", text)
    assert re.search(r"\d NumPy +\[", text)


def test_the_peak_is_measured_with_all_of_its_chains():
    """Chains that begin alike would become one, and the peak would be more than a core can do."""
    text = str(optimised(spin(8)))
    assert len(re.findall(r"= (?:tail )?call <8 x float> @llvm\.fma", text)) == CHAINS
