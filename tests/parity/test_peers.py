"""The benchmark compares the same work: from the same weights and data, all peers' steps give the
same losses, three steps long. Dropout, which each draws by itself, is left out here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import contraflow
from bench.floors import cost
from bench.peers import PEERS, missing
from bench.workloads import WORKLOADS

STEPS = 3
DENSE = [w for w in WORKLOADS if w.batches]


@pytest.fixture(autouse=True)
def the_mode_of_before():
    before = contraflow.get_default_mode()
    yield
    contraflow.set_default_mode(before)


def losses(peer, what, w):
    if peer.options.get("mode") == "auto":  # three steps are too few for it to begin
        peer = replace(peer, options={**peer.options, "mode": "lazy"})
    run = peer.make(what, w)
    return None if run is None else [run().item() for _ in range(STEPS)]


def small(w):
    """With batches that do not take long, and epochs of a few."""
    # a deep network with batch norm wants its own batch: statistics of 8 images are so noisy that
    # the rounding of two PyTorch layouts alone moves the third loss by a third of a per cent
    w = replace(w.without_dropout(), batches=3)
    return replace(w, batch=w.batch if w.name == "W8" else min(w.batch, 8))


def in_order(peer):
    """An epoch that does not shuffle, because every library draws its own permutation."""
    return replace(peer, options={**peer.options, "shuffle": False})


@pytest.fixture(scope="module")
def expected():
    kept = {}

    def of(what, w):
        if (what, w.name) not in kept:
            peer = PEERS["PyTorch"] if what == "step" else in_order(PEERS["PyTorch"])
            kept[what, w.name] = losses(peer, what, small(w))
        return kept[what, w.name]

    return of


def contestants(what):
    # torch.compile is the same lines, but takes half a minute for each network
    names = [name for name, peer in PEERS.items() if getattr(peer, what)]
    return [name for name in names if name not in ("PyTorch", "torch.compile")]


def need(name):
    if (why := missing(name)) is not None:
        pytest.skip(why)


@pytest.mark.parametrize("w", WORKLOADS, ids=lambda w: w.name)
@pytest.mark.parametrize("peer", contestants("step"))
def test_the_same_losses(peer, w, expected):
    need(peer)
    if peer == "tinygrad" and w.name in ("W3", "W5", "W8"):
        pytest.skip("takes minutes to compile")
    found = losses(PEERS[peer], "step", small(w))
    if found is None:
        assert peer == "NumPy by hand"
        assert any(kind in ("conv", "residual") for kind, *_ in w.layers)
        return
    assert len(set(found)) == STEPS  # something is learned
    np.testing.assert_allclose(found[:2], expected("step", w)[:2], rtol=2e-4)
    deep = w.name == "W8"  # twenty layers with batch norm make more of a rounding
    np.testing.assert_allclose(found, expected("step", w), rtol=2e-3 if deep else 2e-4)


@pytest.mark.parametrize("w", DENSE, ids=lambda w: w.name)
@pytest.mark.parametrize("peer", contestants("epoch"))
def test_the_same_losses_of_epochs(peer, w, expected):
    need(peer)
    found = losses(in_order(PEERS[peer]), "epoch", small(w))
    assert len(set(found)) == STEPS
    np.testing.assert_allclose(found, expected("epoch", w), rtol=5e-4)


# The parameters of the ten workloads as the design counts them.
SIZES = {"W1": 9, "W2": 4_866, "W3": 83_200, "W4": 235_146, "W5": 1_863_690, "W6": 20_490,
         "W7": 61_706, "W8": 272_474}  # fmt: skip


@pytest.mark.parametrize("w", WORKLOADS, ids=lambda w: w.name)
def test_floors_count_the_parameters(w):
    parameters = cost(w.layers, w.shape)[0].parameters
    assert parameters == SIZES[w.name]
    assert sum(a.size for a in _arrays(w.weights())) == parameters


def _arrays(weights):
    for item in weights:
        yield from _arrays(item) if isinstance(item, list) else [item]
