import torch
import torch.nn as nn

from tests.parity.seeded import fill, floats

results = {}


class FCN(nn.Module):
    def __init__(self, N_INPUT, N_OUTPUT, N_HIDDEN, N_LAYERS):
        super().__init__()
        activation = nn.Tanh
        self.fcs = nn.Sequential(*[nn.Linear(N_INPUT, N_HIDDEN), activation()])
        self.fch = nn.Sequential(
            *[
                nn.Sequential(*[nn.Linear(N_HIDDEN, N_HIDDEN), activation()])
                for _ in range(N_LAYERS - 1)
            ]
        )
        self.fce = nn.Linear(N_HIDDEN, N_OUTPUT)

    def forward(self, x):
        x = self.fcs(x)
        x = self.fch(x)
        return self.fce(x)


d, w0 = 2, 10
mu, k = 2 * d, w0**2
pinn = fill(FCN(1, 1, 16, 2))
t_boundary = torch.tensor(0.0).view(-1, 1).requires_grad_(True)
t_physics = torch.linspace(0, 1, 20).view(-1, 1).requires_grad_(True)
optimiser = torch.optim.Adam(pinn.parameters(), lr=1e-3)


def train_step(t_boundary, t_physics):
    optimiser.zero_grad()
    u = pinn(t_boundary)
    loss1 = (torch.squeeze(u) - 1) ** 2
    dudt = torch.autograd.grad(u, t_boundary, torch.ones_like(u), create_graph=True)[0]
    loss2 = (torch.squeeze(dudt) - 0) ** 2
    u = pinn(t_physics)
    dudt = torch.autograd.grad(u, t_physics, torch.ones_like(u), create_graph=True)[0]
    d2udt2 = torch.autograd.grad(dudt, t_physics, torch.ones_like(dudt), create_graph=True)[0]
    loss3 = torch.mean((d2udt2 + mu * dudt + k * u) ** 2)
    loss = loss1 + 1e-1 * loss2 + 1e-4 * loss3
    loss.backward()
    optimiser.step()
    return loss


losses = []
for i in range(8):
    losses.append(train_step(t_boundary, t_physics).item())
results["losses"] = losses

# Burgers' equation in two variables, and a Laplacian by a loop
net = fill(FCN(2, 1, 12, 2), 1)
xt = torch.from_numpy(floats(0, 10, 2))
x, t = xt[:, 0:1].clone().requires_grad_(), xt[:, 1:2].clone().requires_grad_()
u = net(torch.cat([x, t], dim=1))
u_t = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
u_x = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0]
residual = u_t + u * u_x - 0.01 * u_xx
results["residual"] = residual
loss = residual.square().mean()
loss.backward()
results["grads"] = [p.grad for p in net.parameters()][:3]


def laplacian(f, x):
    x = x.clone().requires_grad_(True)
    g = torch.autograd.grad(f(x).sum(), x, create_graph=True)[0]
    total = 0
    for i in range(x.shape[1]):
        total += torch.autograd.grad(g[:, i].sum(), x, create_graph=True)[0][:, i]
    return total


results["laplacian"] = laplacian(lambda x: (x**3).prod(dim=1, keepdim=True), xt)
