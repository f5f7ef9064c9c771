"""A zoo of whole training steps: each builds a step, its batches, and the state to compare.

``ZOO[name]()`` builds everything anew from one seed, so that two builds are twins: one is run
eagerly, the other captured and interpreted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import contraflow as cf
from contraflow import nn
from contraflow.nn import functional as F
from contraflow.utils.checkpoint import checkpoint

ZOO: dict[str, Callable[[], Twin]] = {}


@dataclass
class Twin:
    """One build of a zoo animal.

    ``holders`` are modules, optimisers and tensors whose state is compared after every call;
    ``between`` runs outside the step after each call, as a scheduler does.
    """

    step: Callable[..., Any]
    batches: list[tuple[Any, ...]]
    holders: list[Any]
    between: Callable[[], None] = field(default=lambda: None)

    def state(self) -> dict[str, np.ndarray]:
        """Parameters, buffers, gradients, optimiser state and the random position."""
        found: dict[str, Any] = {"rng": cf.get_rng_state()}
        for i, holder in enumerate(self.holders):
            found.update({f"{i}.{key}": t for key, t in tensors_of(holder)})
        return {k: np.array(t.detach().numpy()) for k, t in found.items() if t is not None}


def tensors_of(holder: Any) -> list[tuple[str, Any]]:
    if isinstance(holder, cf.Tensor):
        return [("value", holder), ("grad", holder.grad)]
    if isinstance(holder, nn.Module):
        params = dict(holder.named_parameters())
        buffers = list(holder.named_buffers())
        return [*params.items(), *buffers, *((f"{k}.grad", p.grad) for k, p in params.items())]
    saved = holder.state_dict()["state"]
    return [(f"{p}.{k}", t) for p, state in saved.items() for k, t in state.items()]


def animal(build: Callable[[], Twin]) -> Callable[[], Twin]:
    """Take a step into the zoo under the name of the function that builds it."""
    ZOO[build.__name__] = build
    return build


def seeded(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Any:
    return cf.tensor(np.random.default_rng(seed).uniform(low, high, shape))


def batches(*shape: int, classes: int = 3, count: int = 5) -> list[tuple[Any, Any]]:
    """Inputs and labels for each of the calls."""
    rngs = [np.random.default_rng(100 + i) for i in range(count)]
    return [
        (cf.tensor(r.normal(size=shape)), cf.tensor(r.integers(0, classes, shape[0]))) for r in rngs
    ]


def fitting(
    model: Any,
    data: list[tuple[Any, ...]],
    loss: Callable[..., Any] = F.cross_entropy,
    optimizer: Callable[..., Any] = lambda p: cf.optim.SGD(p, lr=0.1, momentum=0.9),
    clip: Callable[[Any], Any] = lambda params: None,
    set_to_none: bool = True,
) -> Twin:
    """The usual loop body: zero_grad, forward, loss, backward, clip, step."""
    model = model.double()
    rule = optimizer([p for p in model.parameters() if p.requires_grad])

    def step(x: Any, y: Any) -> Any:
        rule.zero_grad(set_to_none=set_to_none)
        prediction = model(x)
        error = loss(prediction, y)
        error.backward()
        clip(list(model.parameters()))
        rule.step()
        return {"loss": error, "prediction": prediction}

    return Twin(step, data, [model, rule])


def mlp(*extra: Any, inputs: int = 6, outputs: int = 3) -> Any:
    return nn.Sequential(nn.Linear(inputs, 8), *extra, nn.ReLU(), nn.Linear(8, outputs))


# ---- networks ------------------------------------------------------------------------------------


@animal
def dense() -> Twin:
    return fitting(mlp(), batches(4, 6))


@animal
def dense_of_many_activations() -> Twin:
    parts = [
        nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ELU(), nn.SELU(),
        nn.Softplus(), nn.Mish(), nn.Hardswish(), nn.LeakyReLU(), nn.PReLU(), nn.LogSigmoid(),
        nn.Softsign(), nn.Hardtanh(), nn.Softmax(dim=-1), nn.Tanhshrink(), nn.ReLU6(),
    ]  # fmt: skip
    return fitting(mlp(*parts), batches(4, 6))


@animal
def dropout() -> Twin:
    return fitting(mlp(nn.Dropout(0.3), nn.AlphaDropout(0.1)), batches(4, 6))


@animal
def dropout_that_is_off() -> Twin:
    return fitting(mlp(nn.Dropout(0.3)).eval(), batches(4, 6))


@animal
def batch_norm() -> Twin:
    return fitting(mlp(nn.BatchNorm1d(8)), batches(5, 6))


@animal
def batch_norm_with_a_cumulative_mean() -> Twin:
    return fitting(mlp(nn.BatchNorm1d(8, momentum=None)), batches(5, 6))


@animal
def batch_norm_in_evaluation() -> Twin:
    twin = fitting(mlp(nn.BatchNorm1d(8)), batches(5, 6))
    for module in twin.holders[0]:
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return twin


@animal
def other_norms() -> Twin:
    model = mlp(nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(2, 8))
    return fitting(model, batches(4, 6))


@animal
def convolutions() -> Twin:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 3),
    )  # fmt: skip
    return fitting(model, batches(3, 2, 7, 7))


@animal
def convolutions_with_pools() -> Twin:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding="same", dilation=2, padding_mode="circular"), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(3, 4, 1), nn.AvgPool2d(2, stride=1), nn.Dropout2d(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    return fitting(model, batches(3, 1, 8, 8))


@animal
def convolutions_of_signals() -> Twin:
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ELU(), nn.ConvTranspose1d(4, 2, 4, stride=2),
        nn.InstanceNorm1d(2, affine=True), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip
    model(cf.zeros(1, 2, 8))
    return fitting(model, batches(3, 2, 8))


@animal
def upsampling() -> Twin:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2), nn.ReLU(),
        nn.Upsample(size=(5, 5), mode="bilinear"), nn.Flatten(), nn.Linear(50, 3),
    )  # fmt: skip
    return fitting(model, batches(2, 1, 5, 5))


@animal
def residual() -> Twin:
    block = nn.Residual(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    return fitting(nn.Sequential(nn.Linear(6, 8), block, block, nn.Linear(8, 3)), batches(4, 6))


@animal
def deep() -> Twin:
    layers = [part for _ in range(20) for part in (nn.Linear(6, 6), nn.Tanh())]
    return fitting(nn.Sequential(*layers, nn.Linear(6, 3)), batches(4, 6))


@animal
def embedding() -> Twin:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(7, 5, padding_idx=0)
            self.head = nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.table(x).mean(1))

    rngs = [np.random.default_rng(i) for i in range(5)]
    data = [(cf.tensor(r.integers(0, 7, (4, 6))), cf.tensor(r.integers(0, 3, 4))) for r in rngs]
    return fitting(Words(), data)


@animal
def tied_weights() -> Twin:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 4), nn.Linear(4, 6)
            self.decode.weight = nn.Parameter(cf.zeros(6, 4))
            self.scale = nn.Parameter(cf.ones(1))

        def forward(self, x: Any) -> Any:
            hidden = cf.tanh(self.encode(x))
            return F.linear(hidden, self.encode.weight.T, self.decode.bias) * self.scale

    return fitting(Tied(), [(x, x) for x, _ in batches(4, 6)], F.mse_loss)


@animal
def frozen_layers() -> Twin:
    model = mlp(nn.BatchNorm1d(8))
    model[0].requires_grad_(False)
    return fitting(model, batches(4, 6))


# ---- the usual extras ----------------------------------------------------------------------------


@animal
def clipped_by_norm() -> Twin:
    return fitting(mlp(), batches(4, 6), clip=lambda p: nn.utils.clip_grad_norm_(p, 0.05))


@animal
def clipped_by_value() -> Twin:
    return fitting(mlp(), batches(4, 6), clip=lambda p: nn.utils.clip_grad_value_(p, 0.01))


@animal
def gradients_set_to_zero() -> Twin:
    twin = fitting(mlp(), batches(4, 6), set_to_none=False)
    for p in twin.holders[0].parameters():
        p.grad = cf.ones_like(p)
    return twin


@animal
def gradients_accumulated_within_a_step() -> Twin:
    twin = fitting(mlp(), batches(4, 6))
    model, rule = twin.holders

    def step(x: Any, y: Any) -> Any:
        rule.zero_grad()
        for rows in (slice(0, 2), slice(2, 4)):
            (F.cross_entropy(model(x[rows]), y[rows]) / 2).backward()
        rule.step()

    twin.step = step
    return twin


@animal
def gradients_accumulated_over_steps() -> Twin:
    twin = fitting(mlp(), batches(4, 6))
    model, _ = twin.holders
    for p in model.parameters():
        p.grad = cf.zeros_like(p)

    def step(x: Any, y: Any) -> Any:
        error = F.cross_entropy(model(x), y)
        error.backward()
        return error

    twin.step = step
    return twin


@animal
def weight_decay_for_weights_only() -> Twin:
    def groups(params: list[Any]) -> Any:
        decayed = [p for p in params if p.ndim > 1]
        plain = [p for p in params if p.ndim == 1]
        options = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "lr": 0.02}]
        return cf.optim.AdamW(options, lr=0.01)

    return fitting(mlp(), batches(4, 6), optimizer=groups)


@animal
def a_schedule_of_learning_rates() -> Twin:
    twin = fitting(mlp(), batches(4, 6), optimizer=lambda p: cf.optim.Adam(p, lr=0.02))
    schedule = cf.optim.lr_scheduler.CosineAnnealingLR(twin.holders[1], 4)
    twin.between = schedule.step
    return twin


@animal
def a_cycle_of_rate_and_momentum() -> Twin:
    twin = fitting(mlp(), batches(4, 6), optimizer=lambda p: cf.optim.Adam(p, lr=0.02))
    schedule = cf.optim.lr_scheduler.OneCycleLR(twin.holders[1], 0.05, total_steps=8)
    twin.between = schedule.step
    return twin


@animal
def recomputation_with_dropout() -> Twin:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh())
            self.last = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.last(checkpoint(self.first, x))

    return fitting(Deep(), batches(4, 6))


@animal
def noise_on_the_inputs() -> Twin:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: Any) -> Any:
            keep = cf.bernoulli(cf.full_like(x, 0.9))
            return self.body((x + 0.1 * cf.randn_like(x)) * keep)

    return fitting(Noisy(), batches(4, 6))


@animal
def two_networks_against_each_other() -> Twin:
    maker, judge = mlp(inputs=4, outputs=2).double(), mlp(inputs=2, outputs=1).double()
    makes = cf.optim.Adam(maker.parameters(), lr=0.01, betas=(0.5, 0.9))
    judges = cf.optim.RMSprop(judge.parameters(), lr=0.01)

    def step(real: Any) -> Any:
        made = maker(cf.randn(4, 4, dtype=cf.float64))
        judges.zero_grad()
        one, none = cf.ones(4, 1, dtype=cf.float64), cf.zeros(4, 1, dtype=cf.float64)
        wrong = F.binary_cross_entropy_with_logits(judge(real), one)
        wrong = wrong + F.binary_cross_entropy_with_logits(judge(made.detach()), none)
        wrong.backward()
        judges.step()
        makes.zero_grad()
        fooled = F.binary_cross_entropy_with_logits(judge(made), one)
        fooled.backward()
        makes.step()
        return wrong, fooled

    return Twin(step, [(x,) for x, _ in batches(4, 2)], [maker, judge, makes, judges])


@animal
def a_penalty_on_gradients() -> Twin:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    rule = cf.optim.Adam(model.parameters(), lr=0.01)

    def step(x: Any) -> Any:
        rule.zero_grad()
        x = x.detach().requires_grad_()
        y = model(x).sum()
        (slope,) = cf.autograd.grad(y, x, create_graph=True)
        error = y.square() + ((slope.norm(dim=1) - 1) ** 2).mean()
        error.backward()
        rule.step()
        return error, slope

    return Twin(step, [(x,) for x, _ in batches(4, 6)], [model, rule])


@animal
def an_average_of_weights() -> Twin:
    model, mean = mlp().double(), mlp().double()
    rule = cf.optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> None:
        rule.zero_grad()
        F.cross_entropy(model(x), y).backward()
        rule.step()
        with cf.no_grad():
            for slow, fast in zip(mean.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 0.1)

    return Twin(step, batches(4, 6), [model, mean, rule])


@animal
def a_copy_of_the_weights_before_the_step() -> Twin:
    model = nn.Linear(6, 3).double()
    before = cf.zeros(3, 6, dtype=cf.float64)

    def step(x: Any, y: Any) -> Any:
        model.zero_grad()
        before.copy_(model.weight.detach())
        F.cross_entropy(model(x), y).backward()
        with cf.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        return before

    return Twin(step, batches(4, 6), [model, before])


@animal
def two_tensors_that_change_places() -> Twin:
    a, b = seeded(3), seeded(3, seed=1)

    def step() -> Any:
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)
        return kept

    return Twin(step, [()] * 5, [a, b])


@animal
def views_and_writes_in_place() -> Twin:
    w, table = seeded(4, 3).requires_grad_(), seeded(5, 3, seed=1)
    row, turned = table[1], table.T

    def step(x: Any) -> Any:
        h = x @ w
        h[0] = h[1] * 2
        h[:, 1].mul_(3)
        h += 1
        error = (h.relu_() * table[:2]).sum()
        w.grad = None
        error.backward()
        table[3:] = 0.5 * table[:2] + x.mean()
        row.add_(1)
        turned[2].neg_()
        table[table > 2] = -1.0
        with cf.no_grad():
            w[1:] -= 0.1 * w.grad[1:]
        return error, row, turned

    return Twin(step, [(seeded(2, 4, seed=i),) for i in range(5)], [w, table])


@animal
def a_custom_function() -> Twin:
    class Straight(cf.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return (x > 0).double()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * (x.abs() < 1).double()

    class Steps(nn.Module):
        def forward(self, x: Any) -> Any:
            return Straight.apply(x)

    return fitting(mlp(Steps()), batches(4, 6))


@animal
def hooks_that_change_gradients() -> Twin:
    model = mlp()
    model[0].weight.register_hook(lambda g: g * 0.5)
    model[2].register_full_backward_hook(lambda m, gx, gy: (gx[0] * 2,))
    return fitting(model, batches(4, 6))


# ---- every loss ----------------------------------------------------------------------------------

TARGETS: dict[str, Callable[[np.random.Generator], Any]] = {
    "real": lambda r: r.normal(size=(4, 3)),
    "unit": lambda r: r.uniform(0.1, 0.9, (4, 3)),
    "counts": lambda r: r.poisson(2.0, (4, 3)).astype(float),
    "signs": lambda r: r.choice([-1.0, 1.0], (4, 3)),
    "labels": lambda r: r.integers(0, 3, 4),
    "shares": lambda r: r.dirichlet(np.ones(3), 4),
    "several": lambda r: np.array([[0, 2, -1], [1, -1, 0], [2, 1, 0], [-1, 0, 0]]),
}
LOSSES: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "mse": ("real", F.mse_loss),
    "l1": ("real", F.l1_loss),
    "smooth_l1": ("real", F.smooth_l1_loss),
    "huber": ("real", lambda p, y: F.huber_loss(p, y, delta=0.5)),
    "bce": ("unit", lambda p, y: F.binary_cross_entropy(p.sigmoid(), y)),
    "bce_with_logits": (
        "unit", lambda p, y: F.binary_cross_entropy_with_logits(p, y, pos_weight=y + 1)),
    "cross_entropy_smoothed": (
        "labels", lambda p, y: F.cross_entropy(p, y, weight=cf.tensor([1.0, 2.0, 0.5]).double(),
                                               label_smoothing=0.1, ignore_index=2)),
    "cross_entropy_of_shares": ("shares", F.cross_entropy),
    "nll": ("labels", lambda p, y: F.nll_loss(p.log_softmax(1), y)),
    "kl_div": ("shares", lambda p, y: F.kl_div(p.log_softmax(1), y, reduction="batchmean")),
    "poisson_nll": ("counts", lambda p, y: F.poisson_nll_loss(p, y, full=True)),
    "gaussian_nll": ("real", lambda p, y: F.gaussian_nll_loss(p, y, p.exp() + 0.1)),
    "hinge_embedding": ("signs", F.hinge_embedding_loss),
    "margin_ranking": ("signs", lambda p, y: F.margin_ranking_loss(p, p.flip(1), y)),
    "cosine_embedding": ("signs", lambda p, y: F.cosine_embedding_loss(p, p.roll(1, 0), y[:, 0])),
    "triplet_margin": ("real", lambda p, y: F.triplet_margin_loss(p, y, p.flip(0))),
    "soft_margin": ("signs", F.soft_margin_loss),
    "multi_margin": ("labels", F.multi_margin_loss),
    "multilabel_margin": ("several", F.multilabel_margin_loss),
    "multilabel_soft_margin": ("unit", lambda p, y: F.multilabel_soft_margin_loss(p, y.round())),
}  # fmt: skip


def with_loss(target: str, loss: Callable[[Any, Any], Any]) -> Callable[[], Twin]:
    def build() -> Twin:
        data = [
            (x, cf.tensor(TARGETS[target](np.random.default_rng(i))))
            for i, (x, _) in enumerate(batches(4, 6))
        ]
        return fitting(mlp(), data, loss)

    return build


for _name, (_target, _loss) in LOSSES.items():
    ZOO[f"loss_{_name}"] = with_loss(_target, _loss)


# ---- every update rule ---------------------------------------------------------------------------

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}],
    "Adam": [{"amsgrad": True, "weight_decay": 0.1}, {"maximize": True}],
    "RMSprop": [{"centered": True, "momentum": 0.5}],
    "ASGD": [{"t0": 1, "lambd": 0.1}],
}


def with_rule(name: str, options: dict[str, Any]) -> Callable[[], Twin]:
    def build() -> Twin:
        # Muon takes matrices only
        model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))
        rule = cf.optim.RULES[name]
        twin = fitting(model, batches(4, 6), optimizer=lambda p: rule(p, **options))
        if hasattr(twin.holders[1], "train"):
            twin.holders[1].train()
        return twin

    return build


for _rule in cf.optim.RULES:
    for _number, _options in enumerate([{}, *OPTIONS.get(_rule, [])]):
        ZOO[f"rule_{_rule}{_number or ''}"] = with_rule(_rule, _options)
