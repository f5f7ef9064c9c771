import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset, random_split

from tests.parity.seeded import fill, floats

results = {}
X = torch.tensor(floats(0, 100, 3))
true_w = torch.tensor([[2.0], [-3.4], [0.5]])
y = X.mm(true_w) + 4.2 + 0.01 * torch.tensor(floats(1, 100, 1))

# the normal equations and least squares
A = torch.hstack([X, torch.ones(len(X), 1)])
results["normal"] = torch.inverse(A.T @ A) @ A.T @ y
results["lstsq"] = torch.linalg.lstsq(A, y).solution
results["solve"] = torch.linalg.solve(A.T @ A + 0.1 * torch.eye(4), A.T @ y)


class LinearRegression(nn.Module):
    def __init__(self, in_features: int, out_features: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


model = fill(LinearRegression(3))
criterion = nn.MSELoss()
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train_step(xb, yb):
    optimizer.zero_grad()
    loss = criterion(model(xb), yb)
    loss.backward()
    optimizer.step()
    return loss


train_set, test_set = random_split(TensorDataset(X, y), [80, 20])
results["lengths"] = [len(train_set), len(test_set)]
loader = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=False)
history = []
for epoch in range(10):
    running_loss = 0.0
    for i, (xb, yb) in enumerate(loader):
        running_loss += train_step(xb, yb).item() * xb.size(0)
    history.append(running_loss / len(loader.dataset))
results["history"] = history
results["learned"] = [model.linear.weight.data, model.linear.bias.data]
results["named"] = [(name, tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()]
results["repr"] = str(model)
model.eval()
with torch.inference_mode():
    predicted = model(X[:5]).squeeze(1)
ss_res = torch.sum((y[:5, 0] - predicted) ** 2)
ss_tot = torch.sum((y[:5, 0] - torch.mean(y[:5])) ** 2)
results["r2"] = (1 - ss_res / ss_tot).item()

# with L1 and L2 penalties written out
model = fill(LinearRegression(3), 1)
optimizer = optim.Adam(model.parameters(), lr=0.1)
for _ in range(20):
    l1 = sum(p.abs().sum() for p in model.parameters())
    l2 = sum(p.pow(2.0).sum() for p in model.parameters())
    loss = criterion(model(X), y) + 1e-3 * l1 + 1e-3 * l2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
results["penalised"] = loss.item()
