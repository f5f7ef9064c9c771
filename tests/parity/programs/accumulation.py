import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.parity.seeded import fill, floats, integers

results = {}
x, y = torch.from_numpy(floats(0, 48, 6)), torch.from_numpy(integers(1, 3, 48))
loader = DataLoader(TensorDataset(x, y), batch_size=8)
model = fill(nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.LayerNorm(12), nn.Linear(12, 3)))
decay, no_decay = [], []
for name, param in model.named_parameters():
    if not param.requires_grad:
        continue
    (no_decay if param.ndim <= 1 or name.endswith(".bias") else decay).append(param)
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0, "lr": 2e-3}],
    lr=1e-2, betas=(0.9, 0.95), eps=1e-8,
)  # fmt: skip
results["groups"] = [
    [len(g["params"]), g["lr"], g["weight_decay"], g["betas"]] for g in optimizer.param_groups
]
accumulation_steps = 3
warmup_iters, total = 2, 8
scheduler = torch.optim.lr_scheduler.LambdaLR(
    optimizer,
    lr_lambda=lambda it: (
        (it + 1) / warmup_iters if it < warmup_iters else 1 - (it - warmup_iters) / total
    ),
)
scaler = torch.amp.GradScaler("cuda", enabled=False)
criterion = nn.CrossEntropyLoss()
norms, losses, lrs = [], [], []
optimizer.zero_grad(set_to_none=True)
for epoch in range(2):
    for i, (inputs, labels) in enumerate(loader):
        with torch.amp.autocast(device_type="cpu", enabled=False):
            loss = criterion(model(inputs), labels) / accumulation_steps
        scaler.scale(loss).backward()
        losses.append(loss.item())
        if (i + 1) % accumulation_steps == 0 or i + 1 == len(loader):
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            norms.append(norm.item())
            lrs.append([group["lr"] for group in optimizer.param_groups])
results["losses"], results["norms"], results["lrs"] = losses, norms, lrs

loss = criterion(model(x), y)
loss.backward()
torch.nn.utils.clip_grad_value_(model.parameters(), clip_value=0.01)
results["clipped"] = max(p.grad.abs().max().item() for p in model.parameters())
total_norm = 0
for p in model.parameters():
    param_norm = p.grad.detach().data.norm(2)
    total_norm += param_norm.item() ** 2
results["total_norm"] = total_norm**0.5
flat = torch.cat([p.grad.view(-1) for p in model.parameters()])
results["flat"] = [flat.norm(), flat.abs().max(), flat.numel()]
vector = torch.nn.utils.parameters_to_vector(model.parameters())
torch.nn.utils.vector_to_parameters(vector * 0.5, model.parameters())
results["vector"] = [vector.shape, model[0].bias, len(list(model.parameters()))]
