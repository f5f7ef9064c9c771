import torch
import torch.nn as nn

from tests.parity.seeded import fill

results = {}
true_y0 = torch.tensor([[2.0, 0.0]])
t = torch.linspace(0.0, 1.0, 20)
true_A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])


def odeint(func, y0, t):
    ys = [y0]
    y = y0
    for t0, t1 in zip(t[:-1], t[1:]):
        h = t1 - t0
        k1 = func(t0, y)
        k2 = func(t0 + h / 2, y + h / 2 * k1)
        k3 = func(t0 + h / 2, y + h / 2 * k2)
        k4 = func(t1, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        ys.append(y)
    return torch.stack(ys)


class Lambda(nn.Module):
    def forward(self, t, y):
        return torch.mm(y**3, true_A)


with torch.no_grad():
    true_y = odeint(Lambda(), true_y0, t)
results["true"] = true_y


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y**3)


func = fill(ODEFunc(), scale=0.1)
optimizer = torch.optim.RMSprop(func.parameters(), lr=1e-3)
losses = []
for itr in range(4):
    optimizer.zero_grad()
    pred_y = odeint(func, true_y0, t)
    loss = torch.mean(torch.abs(pred_y - true_y))
    loss.backward()
    optimizer.step()
    losses.append(f"Iter {itr:04d} | Total Loss {loss.item():.4f}")
results["losses"] = losses

# an Euler loop in a step
euler = fill(ODEFunc(), 1, 0.1)
opt = torch.optim.SGD(euler.parameters(), lr=0.01)


def train_step(y0, target):
    opt.zero_grad()
    y = y0
    for _ in range(10):
        y = y + 0.05 * euler(None, y)
    loss = (y - target).pow(2).mean()
    loss.backward()
    opt.step()
    return loss


results["euler"] = [train_step(true_y0, true_y[10]).item() for _ in range(5)]
