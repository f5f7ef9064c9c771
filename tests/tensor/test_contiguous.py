"""``contiguous`` puts the elements one after the other, whatever their order in memory was."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

VIEWS = {
    "transposed": lambda x: x.T, "permuted": lambda x: x.reshape(2, 3, 4).permute(2, 0, 1),
    "expanded": lambda x: x.reshape(1, 24).expand(3, 24), "every other": lambda x: x[:, ::2],
    "backwards": lambda x: cf.flip(x, [1]), "as it is": lambda x: x,
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_contiguous(name):
    x = cf.arange(24.0).reshape(4, 6).requires_grad_()
    view = VIEWS[name](x)
    y = view.contiguous()
    assert y.is_contiguous()
    assert y.detach().numpy().flags.c_contiguous
    np.testing.assert_array_equal(y.detach().numpy(), view.detach().numpy())
    (y * y).sum().backward()
    ours = x.grad.numpy().copy()
    x.grad = None
    (VIEWS[name](x) ** 2).sum().backward()
    np.testing.assert_array_equal(ours, x.grad.numpy())


def test_contiguous_is_itself_if_it_can():
    x = cf.ones(2, 3)
    assert x.contiguous() is x
