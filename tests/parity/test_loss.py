"""Every loss against PyTorch: value and the gradients of all floating inputs."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.nn import loss as modules
from contraflow.ops import class_loss, loss, margin_loss

torch = pytest.importorskip("torch")

FUNCTIONS = {
    name: getattr(family, name)
    for family in (loss, class_loss, margin_loss)
    for name in family.__all__
}
rng = np.random.default_rng(7)


def x(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def p(*shape: int) -> np.ndarray:
    return rng.uniform(0.05, 0.95, shape)


def simplex(*shape: int, dim: int = 1) -> np.ndarray:
    raw = rng.uniform(0.1, 1, shape)
    return raw / raw.sum(dim, keepdims=True)


def labels(classes: int, *shape: int) -> np.ndarray:
    return rng.integers(0, classes, shape)


def signs(*shape: int) -> np.ndarray:
    return np.where(rng.uniform(size=shape) > 0.5, 1.0, -1.0)


def holes(target: np.ndarray, mark: int = -100) -> np.ndarray:
    flat = target.reshape(-1)
    flat[:: max(2, flat.size // 2)] = mark
    return target


HEAVY = {"weight": p(4), "label_smoothing": 0.1}

# (function, positional operands, options); options that are arrays become tensors
CASES = [
    *[(f, (x(5, 3), x(5, 3)), {}) for f in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")],
    *[(f, (x(4), x(4)), {"weight": p(4)}) for f in ("mse_loss", "l1_loss", "huber_loss")],
    *[(f, (x(), x()), {}) for f in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")],
    ("mse_loss", (x(0, 3), x(0, 3)), {}),
    ("mse_loss", (x(4), labels(3, 4)), {}),
    ("smooth_l1_loss", (x(6), x(6)), {"beta": 0.3}),
    ("smooth_l1_loss", (x(6), x(6)), {"beta": 0.0}),
    ("huber_loss", (x(6), x(6)), {"delta": 0.4}),
    ("binary_cross_entropy", (p(4, 3), p(4, 3)), {}),
    ("binary_cross_entropy", (p(4, 3), p(4, 3)), {"weight": p(3)}),
    ("binary_cross_entropy_with_logits", (x(4, 3) * 3, p(4, 3)), {}),
    ("binary_cross_entropy_with_logits", (x(4, 3), p(4, 3)), {"weight": p(4, 1)}),
    ("binary_cross_entropy_with_logits", (x(4, 3), p(4, 3)), {"pos_weight": p(3) * 4}),
    ("binary_cross_entropy_with_logits", (x(4, 3), p(4, 3)), {"weight": p(3), "pos_weight": p(3)}),
    ("binary_cross_entropy_with_logits", (x(3) * 800, p(3)), {}),
    ("cross_entropy", (x(6, 4), labels(4, 6)), {}),
    ("cross_entropy", (x(4), labels(4)), {}),
    ("cross_entropy", (x(2, 4, 3, 5), labels(4, 2, 3, 5)), {}),
    ("cross_entropy", (x(2, 4, 3), holes(labels(4, 2, 3))), {}),
    ("cross_entropy", (x(6, 4), holes(labels(4, 6), 2)), {"ignore_index": 2}),
    ("cross_entropy", (x(6, 4), holes(labels(4, 6), -1)), {"ignore_index": -1}),
    ("cross_entropy", (x(6, 4), labels(4, 6)), {"label_smoothing": 0.2}),
    ("cross_entropy", (x(2, 4, 3), holes(labels(4, 2, 3))), {"label_smoothing": 0.3}),
    ("cross_entropy", (x(6, 4), labels(4, 6)), {"weight": p(4)}),
    ("cross_entropy", (x(2, 4, 3), holes(labels(4, 2, 3))), {"weight": p(4)}),
    ("cross_entropy", (x(2, 4, 3), holes(labels(4, 2, 3))), HEAVY),
    ("cross_entropy", (x(4), labels(4)), HEAVY),
    ("cross_entropy", (x(6, 4), simplex(6, 4)), {}),
    ("cross_entropy", (x(4), simplex(4, dim=0)), {}),
    ("cross_entropy", (x(2, 4, 3), simplex(2, 4, 3)), {"weight": p(4), "label_smoothing": 0.2}),
    ("cross_entropy", (x(3, 4), np.full(3, -100)), {}),
    ("cross_entropy", (x(3, 4) * 1000, labels(4, 3)), {}),
    ("nll_loss", (x(6, 4), labels(4, 6)), {}),
    ("nll_loss", (x(4), labels(4)), {}),
    ("nll_loss", (x(2, 4, 3, 5), labels(4, 2, 3, 5)), {"weight": p(4)}),
    ("nll_loss", (x(6, 4), holes(labels(4, 6), 1)), {"weight": p(4), "ignore_index": 1}),
    ("kl_div", (x(4, 3), simplex(4, 3)), {}),
    ("kl_div", (x(4, 3), simplex(4, 3)), {"reduction": "batchmean"}),
    ("kl_div", (x(4, 3), x(4, 3)), {"log_target": True}),
    ("kl_div", (x(4, 3), x(4, 3)), {"log_target": True, "reduction": "batchmean"}),
    ("poisson_nll_loss", (x(5), labels(6, 5) + 0.0), {}),
    ("poisson_nll_loss", (x(5), labels(6, 5) + 0.0), {"full": True}),
    ("poisson_nll_loss", (p(5), labels(6, 5) + 0.0), {"log_input": False, "eps": 1e-3}),
    ("gaussian_nll_loss", (x(4, 3), x(4, 3), p(4, 3)), {}),
    ("gaussian_nll_loss", (x(4, 3), x(4, 3), p(4, 1)), {"full": True}),
    ("gaussian_nll_loss", (x(4, 3), x(4, 3), p(4)), {}),
    ("gaussian_nll_loss", (x(3), x(3), np.array([0.0, 0.5, 1e-9])), {"eps": 1e-2}),
    ("hinge_embedding_loss", (x(8), signs(8)), {}),
    ("hinge_embedding_loss", (x(4, 2), signs(4, 2)), {"margin": 0.3}),
    ("margin_ranking_loss", (x(6), x(6), signs(6)), {}),
    ("margin_ranking_loss", (x(6), x(6), signs(6)), {"margin": 0.7}),
    ("cosine_embedding_loss", (x(6, 4), x(6, 4), signs(6)), {}),
    ("cosine_embedding_loss", (x(6, 4), x(6, 4), signs(6)), {"margin": 0.2}),
    ("cosine_embedding_loss", (x(4), x(4), signs()), {}),
    ("triplet_margin_loss", (x(6, 4), x(6, 4), x(6, 4)), {}),
    ("triplet_margin_loss", (x(6, 4), x(6, 4), x(6, 4)), {"p": 1, "margin": 0.5}),
    ("triplet_margin_loss", (x(6, 4), x(6, 4), x(6, 4)), {"p": 3.0, "swap": True}),
    ("triplet_margin_loss", (x(4), x(4), x(4)), {"p": float("inf")}),
    ("triplet_margin_with_distance_loss", (x(6, 4), x(6, 4), x(6, 4)), {"swap": True}),
    ("soft_margin_loss", (x(6), signs(6)), {}),
    ("multi_margin_loss", (x(6, 4), labels(4, 6)), {}),
    ("multi_margin_loss", (x(6, 4), labels(4, 6)), {"p": 2, "margin": 0.5, "weight": p(4)}),
    ("multi_margin_loss", (x(4), labels(4)), {}),
    ("multilabel_margin_loss", (x(2, 4), np.array([[3, 0, -1, 1], [2, -1, 2, -1]])), {}),
    ("multilabel_margin_loss", (x(3), np.array([0, 2, 1])), {}),
    ("multilabel_margin_loss", (x(1, 3), np.array([[-1, 1, 2]])), {}),
    ("multilabel_soft_margin_loss", (x(5, 4), p(5, 4)), {}),
    ("multilabel_soft_margin_loss", (x(5, 4), p(5, 4)), {"weight": p(4)}),
]  # fmt: skip


def name_of(case: object) -> str:
    return case if isinstance(case, str) else ""


def graded(make, operands, skip=()):
    """Tensors of the operands; the floating ones require a gradient."""
    made = [make(a) for a in operands]
    for i, (t, a) in enumerate(zip(made, operands, strict=True)):
        if a.dtype.kind == "f" and i not in skip:
            t.requires_grad_()
    return made


# PyTorch has no gradient for the target of these
CONSTANT_TARGET = {
    "hinge_embedding_loss": {1}, "margin_ranking_loss": {2}, "cosine_embedding_loss": {2},
    "soft_margin_loss": {1}, "poisson_nll_loss": {1},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch's, of kl_div
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "operands", "options"), CASES, ids=name_of)
def test_loss(name, operands, options, reduction, dtype):
    if options.get("reduction", reduction) != reduction and reduction != "mean":
        return  # batchmean: once is enough
    options = {"reduction": reduction} | options
    cast = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(np.asarray, operands)]

    def run(function, make):
        ready = {
            k: make(v.astype(dtype)) if isinstance(v, np.ndarray) else v for k, v in options.items()
        }
        tensors = graded(make, cast, CONSTANT_TARGET.get(name, ()))
        out = function(*tensors, **ready)
        g = np.random.default_rng(0).uniform(0.5, 1.5, tuple(out.shape)).astype(dtype)
        out.backward(make(g))
        return out, [t.grad for t in tensors if t.requires_grad]

    ours, our_grads = run(FUNCTIONS[name], cf.tensor)
    theirs, their_grads = run(getattr(torch.nn.functional, name), torch.tensor)
    tight = {"rtol": 1e-8, "atol": 1e-10} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-5}
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.dtype.name == dtype
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), **tight)
    for a, b in zip(our_grads, their_grads, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), **tight)


def test_binary_cross_entropy_is_finite_at_the_ends():
    """At p = 0 and 1 (the target's gradient, infinite in PyTorch, follows the clamped log here)."""
    edges, target = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])

    def run(function, make):
        p = make(edges).requires_grad_()
        out = function(p, make(target), reduction="none")
        out.sum().backward()
        return out.detach().numpy(), p.grad.numpy()

    ours = run(loss.binary_cross_entropy, cf.tensor)
    theirs = run(torch.nn.functional.binary_cross_entropy, torch.tensor)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)


MODULES = [
    ("MSELoss", {}, (x(3), x(3))),
    ("L1Loss", {"reduction": "sum"}, (x(3), x(3))),
    ("SmoothL1Loss", {"beta": 0.5}, (x(3), x(3))),
    ("HuberLoss", {"delta": 0.5}, (x(3), x(3))),
    ("BCELoss", {"weight": p(3)}, (p(3), p(3))),
    ("BCEWithLogitsLoss", {"pos_weight": p(3)}, (x(3), p(3))),
    ("CrossEntropyLoss", {"weight": p(3), "label_smoothing": 0.1}, (x(4, 3), labels(3, 4))),
    ("NLLLoss", {"ignore_index": 0}, (x(4, 3), labels(3, 4))),
    ("KLDivLoss", {"reduction": "batchmean"}, (x(4, 3), simplex(4, 3))),
    ("PoissonNLLLoss", {"full": True}, (x(4), labels(4, 4) + 0.0)),
    ("GaussianNLLLoss", {"full": True}, (x(4), x(4), p(4))),
    ("HingeEmbeddingLoss", {"margin": 0.5}, (x(4), signs(4))),
    ("MarginRankingLoss", {"margin": 0.5}, (x(4), x(4), signs(4))),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (x(4, 3), x(4, 3), signs(4))),
    ("TripletMarginLoss", {"margin": 2.0, "p": 1}, (x(4, 3), x(4, 3), x(4, 3))),
    ("TripletMarginWithDistanceLoss", {"swap": True}, (x(4, 3), x(4, 3), x(4, 3))),
    ("SoftMarginLoss", {}, (x(4), signs(4))),
    ("MultiMarginLoss", {"p": 2, "weight": p(3)}, (x(4, 3), labels(3, 4))),
    ("MultiLabelMarginLoss", {}, (x(1, 3), np.array([[1, -1, 0]]))),
    ("MultiLabelSoftMarginLoss", {"weight": p(3)}, (x(4, 3), p(4, 3))),
]


@pytest.mark.parametrize(("name", "options", "operands"), MODULES, ids=name_of)
def test_module(name, options, operands):
    def build(library, make):
        ready = {k: make(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return getattr(library, name)(**ready)

    ours, theirs = build(modules, cf.tensor), build(torch.nn, torch.tensor)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    operands = [np.asarray(a) for a in operands]
    value = ours(*map(cf.tensor, operands)).item()
    assert value == pytest.approx(theirs(*map(torch.tensor, operands)).item(), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"p": 1.0}, {"p": 3.0, "keepdim": True}])
def test_pairwise_distance(options):
    a, b = x(5, 3), x(5, 3)
    ours = margin_loss.pairwise_distance(cf.tensor(a), cf.tensor(b), **options)
    theirs = torch.nn.functional.pairwise_distance(torch.tensor(a), torch.tensor(b), **options)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 3)), ((5, 1, 3), (1, 4, 3))])
def test_cosine_similarity(shapes):
    arrays = [x(*shape) for shape in shapes]

    def run(function, make):
        tensors = [make(a).requires_grad_() for a in arrays]
        out = function(*tensors, dim=-1)
        out.sum().backward()
        return [out.detach(), *(t.grad for t in tensors)]

    ours = run(margin_loss.cosine_similarity, cf.tensor)
    theirs = run(torch.nn.functional.cosine_similarity, torch.tensor)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)
