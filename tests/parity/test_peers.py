"""The benchmark compares the same work: from the same weights and data, all peers' steps give the
same losses, three steps long. Dropout, which each draws by itself, is left out here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from bench.peers import ON_REQUEST, PEERS, missing
from bench.workloads import WORKLOADS, floor

STEPS = 3
NAMES = [name for name in PEERS if name not in ("PyTorch", *ON_REQUEST)]


def losses(peer, w):
    step = PEERS[peer][1](w)
    return None if step is None else [float(np.asarray(detached(step()))) for _ in range(STEPS)]


def detached(loss):
    return loss.detach() if hasattr(loss, "detach") else loss


def small(w):
    """With batches that do not take long."""
    # a deep network with batch norm wants its own batch: statistics of 8 images are so noisy that
    # the rounding of two PyTorch layouts alone moves the third loss by a third of a per cent
    return replace(w.without_dropout(), batch=w.batch if w.name == "W8" else min(w.batch, 8))


@pytest.fixture(scope="module")
def expected():
    kept = {}

    def of(w):
        if w.name not in kept:
            kept[w.name] = losses("PyTorch", small(w))
        return kept[w.name]

    return of


@pytest.mark.parametrize("w", WORKLOADS, ids=lambda w: w.name)
@pytest.mark.parametrize("peer", [*NAMES, "tinygrad"])
def test_the_same_losses(peer, w, expected):
    if (why := missing(peer)) is not None:
        pytest.skip(why)
    if peer == "tinygrad" and w.name in ("W3", "W5", "W8"):
        pytest.skip("takes minutes to compile")
    found = losses(peer, small(w))
    if found is None:
        assert peer == "NumPy by hand"
        assert any(kind in ("conv", "residual") for kind, *_ in w.layers)
        return
    assert len(set(found)) == STEPS  # something is learned
    np.testing.assert_allclose(found[:2], expected(w)[:2], rtol=2e-4)
    deep = w.name == "W8"  # twenty layers with batch norm make more of a rounding
    np.testing.assert_allclose(found, expected(w), rtol=2e-3 if deep else 2e-4)


# The parameters of the ten workloads as the design counts them.
SIZES = {"W1": 9, "W2": 4_866, "W3": 83_200, "W4": 235_146, "W5": 1_863_690, "W6": 20_490,
         "W7": 61_706, "W8": 272_474}  # fmt: skip


@pytest.mark.parametrize("w", WORKLOADS, ids=lambda w: w.name)
def test_floors_count_the_parameters(w):
    seconds, parameters = floor(w, 1e11, 7e10)
    assert parameters == SIZES[w.name]
    assert sum(a.size for a in _arrays(w.weights())) == parameters
    assert seconds > 0


def _arrays(weights):
    for item in weights:
        yield from _arrays(item) if isinstance(item, list) else [item]
