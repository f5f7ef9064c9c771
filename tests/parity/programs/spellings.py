import torch
from tests.parity.seeded import floats

results = {}
x = torch.from_numpy(floats(0, 2, 3))
results["axis"] = [
    torch.sum(x, axis=0), torch.mean(x, axis=1, keepdims=True), torch.var(x, axis=0), torch.cumsum(x, axis=1),
    torch.concatenate([x, x], axis=0), torch.all(x > 0, axis=1), torch.any(x > 1, axis=0), torch.prod(x, axis=0),
    torch.amax(x, axis=1), x.sum(axis=(0, 1)), x.argmin(axis=0), x.squeeze(axis=0), x.unsqueeze(axis=0), x.softmax(dim=0),
    x[:, torch.newaxis].shape, x.max(axis=1), x.median(axis=0), torch.unbind(x, axis=0), torch.stack((x, x), axis=-1),
]  # fmt: skip
results["names"] = [
    torch.flip(x, dims=(0,)), torch.zeros(size=(2, 2)), torch.ones(size=[3]), torch.rand(size=(2, 3)).shape,
    torch.randn(size=(4,)).shape, torch.full(size=(2,), fill_value=1.5), torch.add(input=x, other=x, alpha=2),
    torch.reshape(input=x, shape=(3, 2)), torch.clamp(input=x, min=0, max=1), torch.transpose(input=x, dim0=0, dim1=1),
    torch.exp(input=x), torch.matmul(input=x, other=x.T), torch.randint(low=0, high=5, size=(3,)).shape, torch.permute(x, dims=(1, 0)),
]  # fmt: skip
y, values, indices = torch.empty(0), torch.empty(0), torch.empty(0, dtype=torch.long)
torch.exp(x, out=y)
torch.max(x, 1, out=(values, indices))
buffer = torch.zeros(2, 3)
torch.add(x, x, out=buffer)
torch.matmul(x, x.T, out=(square := torch.empty(2, 2)))
torch.cat([x[:1], x[1:]], out=(joined := torch.empty(2, 3)))
results["out"] = [y, values, indices, buffer, square, joined]
refused = []
for wrong in (
    lambda: torch.exp(x.clone().requires_grad_(), out=torch.empty(2, 3)),
    lambda: torch.exp(x, out=torch.empty(2, 3, dtype=torch.long)),
    lambda: torch.zeros(2).sum(dim=0, axis=0),
):
    try:
        wrong()
        refused.append(False)
    except (RuntimeError, TypeError, ValueError):
        refused.append(True)
results["refused"] = refused
