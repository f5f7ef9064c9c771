import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, floats, integers

results = {}


class MultiTask(nn.Module):
    def __init__(
        self, tasks: dict[str, int], hidden: int = 8, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [nn.Linear(5, hidden, dtype=dtype), nn.Linear(hidden, hidden, dtype=dtype)]
        )
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, n) for name, n in tasks.items()})
        self.log_vars = nn.Parameter(torch.zeros(len(tasks)))
        self.gates = nn.ParameterList([nn.Parameter(torch.ones(hidden)) for _ in range(2)])
        self.scales = nn.ParameterDict(
            {"a": nn.Parameter(torch.tensor(1.0)), "b": nn.Parameter(torch.tensor(2.0))}
        )
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("unsaved", torch.ones(1), persistent=False)
        self.register_parameter("nothing", None)

    def forward(
        self, x: torch.Tensor, *, task: str | None = None, mask: torch.Tensor | None = None
    ):
        h = (x - self.mean) * self.unsaved
        for layer, gate in zip(self.body, self.gates):
            h = F.elu(layer(h)) * gate
        if mask is not None:
            h = h * mask
        if task is not None:
            return self.heads[task](h) * self.scales["a"]
        return {name: head(h) * self.scales["b"] for name, head in self.heads.items()}


model = MultiTask({"regression": 1, "classes": 3})
fill(model)
x = torch.from_numpy(floats(0, 16, 5))
targets = {
    "regression": torch.from_numpy(floats(1, 16, 1)),
    "classes": torch.from_numpy(integers(2, 3, 16)),
}
optimizer = torch.optim.Adamax(
    [
        {"params": model.body.parameters()},
        {"params": model.heads.parameters(), "lr": 0.01},
        {"params": [model.log_vars, *model.gates, *model.scales.values()], "weight_decay": 0.01},
    ],
    lr=0.005,
)


def train_step(x, regression, classes):
    out = model(x, mask=None)
    losses = torch.stack(
        [F.mse_loss(out["regression"], regression), F.cross_entropy(out["classes"], classes)]
    )
    loss = (torch.exp(-model.log_vars) * losses + model.log_vars).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, losses.detach()


results["losses"] = [
    train_step(x, targets["regression"], targets["classes"])[0].item() for _ in range(5)
]
results["kwargs"] = [
    model(x, task="classes").shape,
    model(x=x, task="regression", mask=torch.ones(8)).shape,
]
results["keys"] = list(model.state_dict())
results["repr"] = repr(model)
results["structure"] = [
    [n for n, _ in model.named_children()], [n for n, _ in model.named_buffers()], "classes" in model.heads, len(model.body),
    list(model.heads.keys()), model.nothing is None, isinstance(model.body[0], nn.Module), model.training,
    [type(m).__name__ for m in model.modules()], model.get_submodule("heads.classes").out_features, hasattr(model, "mean"),
    model.get_parameter("gates.0").shape, model.heads["classes"].extra_repr(),
]  # fmt: skip
model.heads["extra"] = nn.Linear(8, 2)
model.body.append(nn.Linear(8, 8))
model.body.extend([nn.Identity()])
del model.heads["extra"]
results["changed"] = [len(model.heads), len(model.body), sum(p.numel() for p in model.parameters())]
model.apply(lambda m: m.weight.data.fill_(0.5) if isinstance(m, nn.Linear) else None)
results["applied"] = model.body[2].weight.mean().item()
model.double()
results["dtypes"] = [
    model.mean.dtype,
    model(x.double(), task="classes").dtype,
    next(model.parameters()).dtype,
]
model.float().half().to(torch.float32)
results["zeroed"] = [p.grad is None for p in model.parameters()][:2]
model.train(False)
results["eval"] = [model.training, model.body[0].training]


def shapes(*tensors: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(t.shape) for t in tensors]


results["annotated"] = shapes(x, model.mean)
