import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from tests.parity.seeded import fill, floats

results = {}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(1, 10)
        self.fc2 = nn.Linear(10, 1)

    def forward(self, x, params=None):
        if params is None:
            params = list(self.parameters())
        h = torch.tanh(F.linear(x, params[0], params[1]))
        return F.linear(h, params[2], params[3])


model = fill(Net())
meta_optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
inner_lr = 0.1
history = []
for it in range(4):
    meta_loss = 0.0
    for task in range(2):
        amplitude, phase = 1.0 + task, 0.3 * it
        support, query = (
            torch.from_numpy(floats(it + task, 8, 1)),
            torch.from_numpy(floats(50 + it + task, 8, 1)),
        )
        params = list(model.parameters())
        for _ in range(2):
            loss = F.mse_loss(model(support, params), amplitude * torch.sin(support + phase))
            grads = torch.autograd.grad(loss, params, create_graph=True)
            params = [p - inner_lr * g for p, g in zip(params, grads)]
        meta_loss = meta_loss + F.mse_loss(
            model(query, params), amplitude * torch.sin(query + phase)
        )
    meta_optimizer.zero_grad()
    meta_loss.backward()
    meta_optimizer.step()
    history.append(meta_loss.item())
results["history"] = history

# the same through torch.func
params = {k: v.detach() for k, v in model.named_parameters()}
x, y = torch.from_numpy(floats(7, 6, 1)), torch.from_numpy(floats(8, 6, 1))


def compute_loss(params, x, y):
    return F.mse_loss(functional_call(model, params, (x,)), y)


grads = torch.func.grad(compute_loss)(params, x, y)
results["func"] = {k: g for k, g in grads.items()}
per_sample = torch.vmap(torch.func.grad(compute_loss), in_dims=(None, 0, 0))(
    params, x.unsqueeze(1), y.unsqueeze(1)
)
results["per sample"] = per_sample["fc1.weight"]


def hvp(loss, params, v):
    grads = torch.autograd.grad(loss, params, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in grads])
    out = torch.autograd.grad(flat @ v, params)
    return torch.cat([o.reshape(-1) for o in out])


params = [p for p in model.parameters()]
n = sum(p.numel() for p in params)
v = torch.ones(n) / n**0.5
eigenvalues = []
for _ in range(4):
    Hv = hvp(F.mse_loss(model(x), y), params, v)
    eigenvalues.append(torch.dot(v, Hv).item())
    v = Hv / Hv.norm()
results["power iteration"] = eigenvalues
# Newton's method on a function of two variables
z = torch.tensor([-1.0, 1.5], requires_grad=True)


def rosenbrock(z):
    return (1 - z[0]) ** 2 + 10 * (z[1] - z[0] ** 2) ** 2


for _ in range(6):
    (g,) = torch.autograd.grad(rosenbrock(z), z)
    H = torch.autograd.functional.hessian(rosenbrock, z.detach())
    z = (z - torch.linalg.solve(H, g)).detach().requires_grad_()
results["newton"] = z
w = torch.tensor([-1.0, 1.5], requires_grad=True)
optimizer = torch.optim.LBFGS([w], lr=0.5, max_iter=10, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = rosenbrock(w)
    loss.backward()
    return loss


for _ in range(3):
    loss = optimizer.step(closure)
results["lbfgs"] = [w, loss.item()]
