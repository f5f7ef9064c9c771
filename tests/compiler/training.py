"""A model with its training step, for tests that look at all that a step leaves."""

from __future__ import annotations

import numpy as np

import contraflow as cf
from contraflow.nn import functional as F


class TrainingStep:
    """The step that one writes by hand, plain or compiled, and all the state that it may leave."""

    def __init__(self, model, optimizer, compiled=True):
        self.model, self.optimizer = model, optimizer
        self.step = cf.compile(self.plain) if compiled else self.plain

    def plain(self, x, y):
        self.optimizer.zero_grad()
        output = self.model(x)
        loss = F.cross_entropy(output, y)
        loss.backward()
        self.optimizer.step()
        return self.returns(loss, output)

    def returns(self, loss, output):
        return loss

    def state(self):
        params = list(self.model.parameters())
        moments = [t for s in self.optimizer.state.values() for t in s.values()]
        found = [*params, *(p.grad for p in params), *moments, *self.model.buffers()]
        found.append(cf.get_rng_state())
        return [None if t is None else np.array(t.detach().numpy()) for t in found]


def random_batch(rows, features, classes, dtype=np.float32):
    """Inputs and classes, always the same."""
    rng = np.random.default_rng(0)
    x = cf.tensor(rng.standard_normal((rows, features)).astype(dtype))
    return x, cf.tensor(rng.integers(0, classes, rows))


def assert_close_state(a, b):
    """The numbers of eager, to rounding."""
    for x, y in zip(a.state(), b.state(), strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


def versions(step):
    """How many versions of a compiled step are kept."""
    return sum(map(len, step.versions.values()))
