import math

import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

results = {}


def trace(make, steps=12, metric=None, lr=0.1):
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    lrs = []
    for i in range(steps):
        optimizer.step()
        lrs.append(optimizer.param_groups[0]["lr"])
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric(i))
    return lrs


results["step"] = trace(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.5))
results["multi"] = trace(lambda o: lr_scheduler.MultiStepLR(o, milestones=[3, 8], gamma=0.1))
results["exponential"] = trace(lambda o: lr_scheduler.ExponentialLR(o, 0.9))
results["cosine"] = trace(lambda o: CosineAnnealingLR(o, T_max=6, eta_min=1e-3))
results["restarts"] = trace(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2))
results["one cycle"] = trace(
    lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=13, pct_start=0.4)
)
results["cyclic"] = trace(
    lambda o: lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=3, mode="triangular2")
)
results["lambda"] = trace(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.95**epoch))
results["multiplicative"] = trace(
    lambda o: lr_scheduler.MultiplicativeLR(o, lr_lambda=lambda epoch: 0.9)
)
results["polynomial"] = trace(lambda o: lr_scheduler.PolynomialLR(o, total_iters=8, power=2.0))
results["plateau"] = trace(
    lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="min", factor=0.5, patience=1, min_lr=1e-3),
    metric=lambda i: 1.0 if i else 2.0,
)
results["warm"] = trace(
    lambda o: SequentialLR(
        o,
        schedulers=[LinearLR(o, start_factor=0.1, total_iters=4), CosineAnnealingLR(o, T_max=8)],
        milestones=[4],
    )
)
results["chained"] = trace(
    lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, factor=0.5, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)]
    )
)


def warmup_cosine(step, warmup=3, total=12):
    if step < warmup:
        return float(step) / float(max(1, warmup))
    progress = float(step - warmup) / float(max(1, total - warmup))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


results["warmup"] = trace(lambda o: lr_scheduler.LambdaLR(o, warmup_cosine))


class WarmupLR(lr_scheduler.LRScheduler):
    """A scheduler of one's own."""

    def __init__(self, optimizer, warmup_steps, last_epoch=-1):
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [
            base_lr * min(1.0, (self.last_epoch + 1) / self.warmup_steps)
            for base_lr in self.base_lrs
        ]


results["own"] = trace(lambda o: WarmupLR(o, 5))
optimizer = optim.Adam(
    [
        {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1},
        {"params": [torch.nn.Parameter(torch.ones(1))]},
    ],
    lr=0.01,
)
scheduler = lr_scheduler.StepLR(optimizer, 1, 0.1)
optimizer.step()
scheduler.step()
results["two groups"] = scheduler.get_last_lr()
state = scheduler.state_dict()
results["state"] = [state["step_size"], state["gamma"], state["last_epoch"]]
for g in optimizer.param_groups:
    g["lr"] = 0.5
results["by hand"] = [g["lr"] for g in optimizer.param_groups]
results["repr"] = str(optimizer)
