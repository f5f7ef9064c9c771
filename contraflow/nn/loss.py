"""Losses as modules: each keeps its options and calls the function of the same name.

Shapes and errors are those of the function. Class weights are buffers, so they follow
``model.to(dtype)`` and stand in the state dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.nn.distance import PairwiseDistance
from contraflow.nn.module import Module
from contraflow.ops import class_loss, loss, margin_loss
from contraflow.ops.checks import REDUCTIONS, check_reduction

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss",
    "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]  # fmt: skip


class Loss(Module):
    """What all losses keep: the reduction, checked when the module is made."""

    reductions: tuple[str, ...] = REDUCTIONS

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, self.reductions)
        self.reduction = reduction


class WeightedLoss(Loss):
    """A loss with a weight for each class (or element)."""

    weight: Any

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


# ---- regression ------------------------------------------------------------------------------


class MSELoss(Loss):
    """Mean squared error, (input - target)^2.

    >>> import contraflow as cf
    >>> cf.nn.MSELoss()(cf.tensor([0.5, 2.0]), cf.tensor([1.0, 2.0]))
    tensor(0.1250)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return loss.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """Mean absolute error, |input - target|.

    >>> import contraflow as cf
    >>> cf.nn.L1Loss()(cf.tensor([0.5, 2.0]), cf.tensor([1.0, 2.0]))
    tensor(0.2500)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return loss.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Squared below ``beta``, absolute above: d^2 / (2 beta), or d - beta / 2.

    >>> import contraflow as cf
    >>> cf.nn.SmoothL1Loss(reduction="sum")(cf.tensor([0.5, 4.0]), cf.zeros(2))
    tensor(3.6250)
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        return loss.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """Squared up to ``delta``, absolute above: d^2 / 2, or delta (d - delta / 2).

    >>> import contraflow as cf
    >>> cf.nn.HuberLoss(delta=2.0, reduction="sum")(cf.tensor([0.5, 4.0]), cf.zeros(2))
    tensor(6.1250)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        return loss.huber_loss(input, target, self.reduction, self.delta)


# ---- probabilities ---------------------------------------------------------------------------


class BCELoss(WeightedLoss):
    """Binary cross entropy of probabilities, -(t log p + (1 - t) log(1 - p)).

    >>> import contraflow as cf
    >>> cf.nn.BCELoss()(cf.tensor([0.5, 1.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return loss.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """Binary cross entropy of sigmoid(input), stable for every logit.

    ``pos_weight`` multiplies the part of the positive answers.

    >>> import contraflow as cf
    >>> cf.nn.BCEWithLogitsLoss()(cf.tensor([0.0, 100.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    pos_weight: Any

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        return loss.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(Loss):
    """Kullback-Leibler divergence of a target distribution from log-probabilities.

    ``reduction="batchmean"`` is the divergence of mathematics.

    >>> import contraflow as cf
    >>> p = cf.tensor([[0.5, 0.5]])
    >>> cf.nn.KLDivLoss(reduction="batchmean")(cf.log(p), cf.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    reductions = (*REDUCTIONS, "batchmean")

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Any:
        return loss.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(Loss):
    """-log likelihood of counts under a Poisson distribution, e^x - t x.

    >>> import contraflow as cf
    >>> cf.nn.PoissonNLLLoss()(cf.tensor([0.0, 1.0]), cf.tensor([1.0, 2.0]))
    tensor(0.8591)
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        *,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Any, target: Any) -> Any:
        return loss.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(Loss):
    """-log likelihood under a Gaussian, (log var + (input - target)^2 / var) / 2.

    >>> import contraflow as cf
    >>> cf.nn.GaussianNLLLoss()(cf.tensor([1.0]), cf.tensor([3.0]), cf.tensor([4.0]))
    tensor(1.1931)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Any, target: Any, var: Any) -> Any:
        return loss.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


# ---- classes ---------------------------------------------------------------------------------


class CrossEntropyLoss(WeightedLoss):
    """The cross entropy of softmax(input) against class indices or probabilities.

    >>> import contraflow as cf
    >>> cf.nn.CrossEntropyLoss()(cf.tensor([[2.0, 0.0], [0.0, 2.0]]), cf.tensor([0, 1]))
    tensor(0.1269)
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        return class_loss.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(WeightedLoss):
    """-log p of the right class, from log-probabilities (``nn.LogSoftmax``).

    >>> import contraflow as cf
    >>> cf.nn.NLLLoss()(cf.log(cf.tensor([[0.25, 0.75]])), cf.tensor([1]))
    tensor(0.2877)
    """

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:
        return class_loss.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


# ---- margins ---------------------------------------------------------------------------------


class HingeEmbeddingLoss(Loss):
    """The input (a distance) for target 1, max(0, margin - input) for -1.

    >>> import contraflow as cf
    >>> cf.nn.HingeEmbeddingLoss()(cf.tensor([0.2, 0.7]), cf.tensor([1, -1]))
    tensor(0.2500)
    """

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Any:
        return margin_loss.hinge_embedding_loss(
            input, target, self.margin, reduction=self.reduction
        )


class MarginRankingLoss(Loss):
    """max(0, margin - t (input1 - input2)).

    >>> import contraflow as cf
    >>> cf.nn.MarginRankingLoss()(cf.tensor([1.0]), cf.tensor([3.0]), cf.tensor([1]))
    tensor(2.)
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        return margin_loss.margin_ranking_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class CosineEmbeddingLoss(Loss):
    """1 - cos for target 1, max(0, cos - margin) for -1.

    >>> import contraflow as cf
    >>> a, b = cf.tensor([[1.0, 0.0]]), cf.tensor([[0.0, 1.0]])
    >>> cf.nn.CosineEmbeddingLoss()(a, b, cf.tensor([1]))
    tensor(1.)
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        return margin_loss.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class TripletMarginLoss(Loss):
    """max(0, margin + |anchor - positive|_p - |anchor - negative|_p).

    >>> import contraflow as cf
    >>> a, far = cf.tensor([[0.0, 0.0]]), cf.tensor([[3.0, 4.0]])
    >>> cf.nn.TripletMarginLoss()(a, far, a)
    tensor(6.0000)
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return margin_loss.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class TripletMarginWithDistanceLoss(Loss):
    """``TripletMarginLoss`` with any distance function (the Euclidean one if left out).

    >>> import contraflow as cf
    >>> city = lambda x, y: (x - y).abs().sum(-1)
    >>> loss = cf.nn.TripletMarginWithDistanceLoss(distance_function=city)
    >>> loss(cf.tensor([[0.0]]), cf.tensor([[2.0]]), cf.tensor([[0.0]]))
    tensor(3.)
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.distance_function = distance_function or PairwiseDistance()
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return margin_loss.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction,
        )  # fmt: skip


class SoftMarginLoss(Loss):
    """log(1 + exp(-t x)) with targets 1 and -1.

    >>> import contraflow as cf
    >>> cf.nn.SoftMarginLoss()(cf.tensor([0.0, 100.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return margin_loss.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(WeightedLoss):
    """sum over the wrong classes i of max(0, margin - x_y + x_i)^p / C.

    >>> import contraflow as cf
    >>> cf.nn.MultiMarginLoss()(cf.tensor([[0.1, 0.2, 0.4, 0.8]]), cf.tensor([3]))
    tensor(0.3250)
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.p, self.margin = p, margin

    def forward(self, input: Any, target: Any) -> Any:
        return margin_loss.multi_margin_loss(
            input, target, self.p, self.margin, self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(Loss):
    """sum over right classes j and wrong classes i of max(0, 1 - (x_j - x_i)) / C.

    >>> import contraflow as cf
    >>> x = cf.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> cf.nn.MultiLabelMarginLoss()(x, cf.tensor([[3, 0, -1, 1]]))
    tensor(0.8500)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return margin_loss.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """The mean over the classes of the binary cross entropy of each logit.

    >>> import contraflow as cf
    >>> cf.nn.MultiLabelSoftMarginLoss()(cf.tensor([[0.0, 100.0]]), cf.tensor([[1.0, 1.0]]))
    tensor(0.3466)
    """

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return margin_loss.multilabel_soft_margin_loss(
            input, target, self.weight, reduction=self.reduction
        )
