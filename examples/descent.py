"""Gradient descent: how far to step, and on how many samples to look before each step.

A line through 256 noisy points: two numbers to learn, so every step can be drawn.
"""

import contraflow as cf
from contraflow import nn

RATES = {"too low": 0.01, "about right": 0.25, "too high": 0.45}
SIZES = {"batch": 256, "mini-batch": 32, "stochastic": 1}


def points():
    """y = 2 x - 1 and a little noise."""
    cf.manual_seed(0)
    x = 1 + 0.8 * cf.randn(256, 1)
    return x, 2 * x - 1 + 0.5 * cf.randn(256, 1)


def descend(batch_size, lr, samples, start=(0.5, 2.5)):
    """Train until so many samples were seen; (samples seen, slope, offset, loss) of every step."""
    x, y = points()
    model, criterion = nn.Linear(1, 1), nn.MSELoss()
    with cf.no_grad():
        model.weight.fill_(start[0])
        model.bias.fill_(start[1])
    optimizer = cf.optim.SGD(model.parameters(), lr=lr)
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=batch_size, shuffle=True)
    seen, path = 0, []
    while True:
        for xb, yb in loader:
            with cf.no_grad():
                whole = criterion(model(x), y).item()
            path.append((seen, model.weight.item(), model.bias.item(), whole))
            if seen >= samples:
                return path
            optimizer.zero_grad()
            criterion(model(xb), yb).backward()
            optimizer.step()
            seen += len(xb)


if __name__ == "__main__":
    print("Batch gradient descent, 12 steps, by learning rate")
    for name, lr in RATES.items():
        path = descend(256, lr, samples=12 * 256)
        print(f"  {name:<12} {lr:<5} loss {path[0][3]:.3f} -> {path[-1][3]:.3f}")
    print("Learning rate 0.03, 2 passes over the 256 points, by size of the batch")
    for name, size in SIZES.items():
        path = descend(size, 0.03, samples=2 * 256)
        print(f"  {name:<12} {len(path) - 1:3d} steps, loss {path[0][3]:.3f} -> {path[-1][3]:.3f}")
