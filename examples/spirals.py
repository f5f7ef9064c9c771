"""Two spirals, one inside the other: a border that winds, learned from 400 points."""

import math

import contraflow as cf
from contraflow import nn


def spirals(n, noise=0.06):
    """[n, 2] points on two arms, and which arm each is on."""
    arm = cf.arange(n) % 2
    turn = cf.rand(n).sqrt() * 3 * math.pi
    angle = turn + math.pi * arm
    points = cf.stack([turn * cf.cos(angle), turn * cf.sin(angle)], dim=1) / (3 * math.pi)
    return points + noise * cf.randn(n, 2) / 2, arm


def picture(model, size=25):
    """What the model says on a grid, as text."""
    axis = cf.linspace(-1.1, 1.1, size)
    down, right = cf.meshgrid(-axis, axis, indexing="ij")
    grid = cf.stack([right.flatten(), down.flatten()], dim=1)
    said = model(grid).argmax(dim=1).reshape(size, size).tolist()
    return "\n".join("  " + "".join(".#"[arm] * 2 for arm in row) for row in said)


cf.manual_seed(0)
x, y = spirals(400)
x_test, y_test = spirals(1000)
model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
criterion = nn.CrossEntropyLoss()
optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
scheduler = cf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=150)
loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=64, shuffle=True)

for epoch in range(150):
    total = 0.0
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(xb)
    scheduler.step()
    if epoch % 30 == 0:
        print(f"Epoch {epoch:3d}: loss {total / len(x):.4f}")

with cf.no_grad():
    print(picture(model))
    accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean().item()
print(f"Test accuracy: {accuracy:.1%}")
