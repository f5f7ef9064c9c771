"""Losses without PyTorch: hand-computed values, finite differences, shapes refused, capture."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import contraflow as cf
from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError
from contraflow.capture import capture
from contraflow.nn import loss as modules
from contraflow.ops import class_loss, loss, margin_loss
from contraflow.ops.record import OPS

FUSED = (
    "mse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
    "cross_entropy_grad",
)  # fmt: skip
rng = np.random.default_rng(3)


def t(*shape, low=-2.0, high=2.0):
    return cf.tensor(rng.uniform(low, high, shape), requires_grad=True)


# ---- fused records ---------------------------------------------------------------------------


def samples():
    for name in FUSED:
        for i, sample in enumerate(OPS[name].samples(np.random.default_rng(1))):
            if sample.error is None:
                yield pytest.param(OPS[name], sample, id=f"{name}-{i}")


@pytest.mark.parametrize(("op", "sample"), list(samples()))
def test_fused_is_its_definition(op, sample):
    operands = [cf.tensor(a, requires_grad=a.dtype.kind == "f") for a in sample.args]
    fused, plain = op(*operands, **sample.attrs), op.definition(*operands, **sample.attrs)
    np.testing.assert_allclose(fused.detach().numpy(), plain.detach().numpy(), atol=1e-12)
    cf.autograd.gradcheck(lambda *xs: op(*xs, **sample.attrs), operands)
    cf.autograd.gradgradcheck(lambda *xs: op(*xs, **sample.attrs), operands)


# ---- composed losses: finite differences -----------------------------------------------------

labels = cf.tensor([2, 0, 1, 2])
holes = cf.tensor([2, -100, 1, 2])
weight = cf.tensor([0.5, 1.5, 1.0], dtype=cf.float64)
signs = cf.tensor([1.0, -1.0, 1.0, -1.0], dtype=cf.float64)
COMPOSED = {
    "l1": (lambda x, y: loss.l1_loss(x, y), (t(4), t(4, low=3, high=4))),
    "smooth_l1": (lambda x, y: loss.smooth_l1_loss(x, y, beta=0.7), (t(8), t(8))),
    "huber": (lambda x, y: loss.huber_loss(x, y, delta=0.7), (t(8), t(8))),
    "kl": (lambda x, y: loss.kl_div(x, y), (t(4, 3), t(4, 3, low=0.1, high=1))),
    "kl log": (lambda x, y: loss.kl_div(x, y, log_target=True), (t(4, 3), t(4, 3))),
    "poisson": (lambda x, y: loss.poisson_nll_loss(x, y, full=True), (t(4), t(4, low=2, high=5))),
    "gaussian": (
        lambda x, y, v: loss.gaussian_nll_loss(x, y, v),
        (t(4), t(4), t(4, low=0.5, high=2)),
    ),
    "bce pos_weight": (
        lambda x, y, w: loss.binary_cross_entropy_with_logits(x, y, pos_weight=w),
        (t(4, 3), t(4, 3, low=0.1, high=0.9), t(3, low=0.5, high=2)),
    ),
    "cross entropy weight": (
        lambda x: class_loss.cross_entropy(x, holes, weight, label_smoothing=0.2),
        (t(4, 3),),
    ),
    "cross entropy probabilities": (class_loss.cross_entropy, (t(4, 3), t(4, 3, low=0.1, high=1))),
    "nll": (lambda x: class_loss.nll_loss(x, holes, weight), (t(4, 3),)),
    "hinge": (lambda x: margin_loss.hinge_embedding_loss(x, signs), (t(4),)),
    "ranking": (lambda x, y: margin_loss.margin_ranking_loss(x, y, signs), (t(4), t(4))),
    "cosine": (lambda x, y: margin_loss.cosine_embedding_loss(x, y, signs), (t(4, 3), t(4, 3))),
    "triplet": (
        lambda a, p, n: margin_loss.triplet_margin_loss(a, p, n, swap=True),
        (t(4, 3), t(4, 3), t(4, 3)),
    ),
    "soft margin": (lambda x: margin_loss.soft_margin_loss(x, signs), (t(4),)),
    "multi margin": (lambda x: margin_loss.multi_margin_loss(x, labels, p=2), (t(4, 3),)),
    "multilabel margin": (
        lambda x: margin_loss.multilabel_margin_loss(x, cf.tensor([[2, 0, -1], [1, -1, 0]])),
        (t(2, 3),),
    ),
    "multilabel soft margin": (
        lambda x, y: margin_loss.multilabel_soft_margin_loss(x, y, weight),
        (t(4, 3), t(4, 3, low=0.1, high=0.9)),
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_gradients(name):
    function, operands = COMPOSED[name]
    cf.autograd.gradcheck(function, operands)
    cf.autograd.gradgradcheck(function, operands)


# ---- values by hand --------------------------------------------------------------------------


def test_cross_entropy_by_hand():
    """Two classes with logits (log 3, 0): p = (3/4, 1/4)."""
    x = cf.tensor([[math.log(3.0), 0.0]], dtype=cf.float64, requires_grad=True)
    value = class_loss.cross_entropy(x, cf.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(math.log(4.0))
    np.testing.assert_allclose(x.grad.numpy(), [[0.75, -0.75]])


def test_label_smoothing_by_hand():
    """s = 0.2 over two classes: q = (0.1, 0.9)."""
    x = cf.tensor([[math.log(3.0), 0.0]], dtype=cf.float64)
    value = class_loss.cross_entropy(x, cf.tensor([1]), label_smoothing=0.2)
    assert value.item() == pytest.approx(-0.1 * math.log(0.75) - 0.9 * math.log(0.25))


def test_class_weights_divide_the_mean():
    """Losses 2 and 4 with weights 1 and 3: (2 + 12) / 4."""
    log_p = cf.tensor([[-2.0, -9.0], [-9.0, -4.0]])
    value = class_loss.nll_loss(log_p, cf.tensor([0, 1]), cf.tensor([1.0, 3.0]))
    assert value.item() == 3.5


def test_ignored_labels_count_nowhere():
    x = t(4, 3)
    some = class_loss.cross_entropy(x, holes)
    rest = class_loss.cross_entropy(cf.tensor(x.detach().numpy()[[0, 2, 3]]), cf.tensor([2, 1, 2]))
    assert some.item() == pytest.approx(rest.item(), rel=1e-12)
    some.backward()
    assert not x.grad.numpy()[1].any()
    assert class_loss.cross_entropy(x, holes, reduction="none").tolist()[1] == 0.0


def test_nothing_left_to_average_is_nan_without_a_warning():
    x = t(2, 3)
    value = class_loss.cross_entropy(x, cf.full((2,), -100))
    assert math.isnan(value.item())
    assert math.isnan(loss.mse_loss(cf.zeros(0), cf.zeros(0)).item())


def test_huge_logits_do_not_overflow():
    x = cf.tensor([[1e30, -1e30]], requires_grad=True)
    value = class_loss.cross_entropy(x, cf.tensor([0]))
    value.backward()
    assert value.item() == 0.0
    assert x.grad.tolist() == [[0.0, 0.0]]
    y = loss.binary_cross_entropy_with_logits(cf.tensor([1e30, -1e30]), cf.tensor([1.0, 1.0]))
    assert y.item() == pytest.approx(5e29)


def test_bce_is_finite_at_zero_and_one():
    value = loss.binary_cross_entropy(cf.tensor([0.0]), cf.tensor([1.0]))
    assert value.item() == 100.0


def test_rarer_integer_dtypes_are_labels_too():
    x = t(4, 3)
    expected = class_loss.cross_entropy(x, labels).item()
    for dtype in (cf.uint8, cf.int8, cf.int32):
        assert class_loss.cross_entropy(x, labels.to(dtype)).item() == expected


# ---- refused: nothing broadcasts silently, values and labels are checked ----------------------

x, x1 = cf.zeros(8), cf.zeros(8, 1)
PAIRS = (
    loss.mse_loss, loss.l1_loss, loss.smooth_l1_loss, loss.huber_loss, loss.binary_cross_entropy,
    loss.binary_cross_entropy_with_logits, loss.kl_div, loss.poisson_nll_loss,
    margin_loss.hinge_embedding_loss, margin_loss.soft_margin_loss,
    margin_loss.multilabel_soft_margin_loss,
)  # fmt: skip


@pytest.mark.parametrize("function", PAIRS, ids=lambda f: f.__name__)
def test_a_column_against_a_vector(function):
    with pytest.raises(ShapeError, match=r"target\.unsqueeze\(1\), or input\.squeeze\(1\)"):
        function(x1, x)
    with pytest.raises(ShapeError, match=r"target\.squeeze\(1\), or input\.unsqueeze\(1\)"):
        function(x, x1)
    with pytest.raises(ValueError, match=r"\[8\] is not \[\]"):
        function(x, cf.tensor(0.0))
    with pytest.raises(DTypeError, match="input must be a tensor, not list"):
        function([1.0], x)
    with pytest.raises(DTypeError, match="input must be floating point, not int64"):
        function(x.long(), x)


@pytest.mark.parametrize("function", [*PAIRS, class_loss.cross_entropy, class_loss.nll_loss],
                         ids=lambda f: f.__name__)  # fmt: skip
def test_unknown_reduction(function):
    with pytest.raises(
        ArgumentError, match=r"unknown reduction 'avg'\n(.*\n)*  fix: reduction='mean'"
    ):
        function(x, x, reduction="avg")


REFUSED = [
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.tensor([0, 3])), IndexOutOfRange,
     r"label 3 does not exist among 3 classes \(0..2\)", r"at least 4 outputs"),
    (lambda: class_loss.cross_entropy(cf.zeros(3, 3), cf.tensor([1, 2, 3])), IndexOutOfRange,
     r"target\[2\] = 3", "target - 1"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.tensor([0, -1])), IndexOutOfRange,
     r"target\[1\] = -1", "ignore_index=-1"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.zeros(2)), DTypeError,
     "must be integers, not float32", r"target\.long\(\)"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.tensor([[0], [1]])), ShapeError,
     r"take labels \[2\], received \[2, 1\]", r"target\.squeeze\(1\)"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.zeros(2, 3).long()), ShapeError,
     r"received \[2, 3\]", r"target\.argmax\(1\)"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 5, 3), cf.zeros(2, 5).long()), ShapeError,
     "classes seem to stand last", r"movedim\(-1, 1\)"),
    (lambda: class_loss.cross_entropy(cf.zeros(4, 3), cf.zeros(2).long()), ShapeError,
     "4 examples, 2 labels", "same batch"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.tensor([0, 1]), cf.ones(4)), ShapeError,
     r"3 classes, the weight has shape \[4\]", r"shape \[3\]"),
    (lambda: class_loss.cross_entropy(cf.zeros(2, 3), cf.tensor([0, 1]), label_smoothing=1.5),
     ArgumentError, "received 1.5", "0.1"),
    (lambda: loss.binary_cross_entropy(cf.tensor([0.5, 1.5]), cf.tensor([0.0, 1.0])),
     ArgumentError, r"input\[1\] = 1.5", "with_logits"),
    (lambda: loss.binary_cross_entropy(cf.tensor([0.5]), cf.tensor([255.0])),
     ArgumentError, r"received 255", "scale"),
    (lambda: loss.binary_cross_entropy_with_logits(cf.tensor([0.5]), cf.tensor([-1.0])),
     ArgumentError, "received -1", "target > 0"),
    (lambda: loss.binary_cross_entropy_with_logits(cf.tensor([0.5]), cf.tensor([1])),
     DTypeError, "not int64", r"target\.float\(\)"),
    (lambda: loss.binary_cross_entropy_with_logits(
        cf.zeros(4, 2), cf.zeros(4, 2), pos_weight=cf.ones(4)),
     ShapeError, r"pos_weight \[4\] does not broadcast", "sizes 1"),
    (lambda: loss.gaussian_nll_loss(x, x, x - 1), ArgumentError, "received -1", "exp"),
    (lambda: loss.huber_loss(x, x, delta=0), ArgumentError, "received 0", "delta=1.0"),
    (lambda: loss.smooth_l1_loss(x, x, beta=-1), ArgumentError, "received -1", "beta=1.0"),
    (lambda: margin_loss.cosine_embedding_loss(cf.ones(2, 3), cf.ones(2, 3), cf.tensor([0, 1])),
     ArgumentError, "must be 1 or -1, received 0", r"2 \* target - 1"),
    (lambda: margin_loss.triplet_margin_loss(cf.ones(2, 3), cf.ones(2, 3), cf.ones(3)),
     ShapeError, r"\[2, 3\] is not \[3\]", "expand_as"),
    (lambda: margin_loss.multi_margin_loss(cf.ones(2, 3), cf.tensor([0, 5])), IndexOutOfRange,
     "label 5", "6 outputs"),
    (lambda: margin_loss.multilabel_margin_loss(cf.ones(1, 3), cf.tensor([[0, 7, -1]])),
     IndexOutOfRange, r"target\[0, 1\] = 7", "8 outputs"),
    (lambda: modules.MSELoss(reduction="average"), ArgumentError, "MSELoss", "'mean'"),
    (lambda: modules.KLDivLoss(reduction="batch"), ArgumentError, "KLDivLoss", "'batchmean'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "says", "fix"), REFUSED)
def test_refused(call, kind, says, fix):
    with pytest.raises(kind, match=says) as caught:
        call()
    assert "  fix: " in str(caught.value)
    assert re.search(fix, str(caught.value).split("fix: ")[-1])


# ---- modules and capture ---------------------------------------------------------------------


def test_weights_are_buffers():
    criterion = modules.BCEWithLogitsLoss(pos_weight=cf.tensor([2.0]))
    assert list(criterion.state_dict()) == ["pos_weight"]
    assert criterion.to(cf.float64).pos_weight.dtype is cf.float64
    assert repr(modules.CrossEntropyLoss(cf.ones(3))) == "CrossEntropyLoss()"


@pytest.mark.parametrize("name", COMPOSED)
def test_losses_can_be_captured(name):
    """No loss looks at values: captured once, it computes the loss of other numbers."""
    function, operands = COMPOSED[name]
    step = capture(function, *[cf.tensor(np.abs(o.detach().numpy())) for o in operands])
    got = step(*[o.detach() for o in operands])
    np.testing.assert_allclose(got.numpy(), function(*operands).detach().numpy(), rtol=1e-12)


def test_captured_cross_entropy_has_the_gradient_of_eager():
    data = rng.normal(size=(4, 3))

    def step(x, y):
        p = x.detach().requires_grad_()
        value = class_loss.cross_entropy(p, y, label_smoothing=0.1)
        return value, cf.autograd.grad(value, p)[0]

    captured = capture(step, cf.tensor(data * 2), cf.tensor([0, 0, 0, 0]))
    for got, want in zip(
        captured(cf.tensor(data), labels), step(cf.tensor(data), labels), strict=True
    ):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12)
