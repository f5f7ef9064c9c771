"""Beyond plain gradient descent: a narrow valley, and digits, by several optimisers."""

import contraflow as cf
from contraflow import nn

VALLEY = {
    "SGD": lambda params: cf.optim.SGD(params, lr=0.07),
    "SGD, momentum": lambda params: cf.optim.SGD(params, lr=0.03, momentum=0.8),
    "Adam": lambda params: cf.optim.Adam(params, lr=0.4),
}
DIGITS = {
    "SGD": lambda params: cf.optim.SGD(params, lr=0.1),
    "SGD, momentum": lambda params: cf.optim.SGD(params, lr=0.1, momentum=0.9),
    "RMSprop": lambda params: cf.optim.RMSprop(params, lr=0.003),
    "Adam": lambda params: cf.optim.Adam(params, lr=0.003),
}


def valley(w):
    """25 times as steep in one direction as in the other."""
    return 0.5 * (w[0] ** 2 + 25 * w[1] ** 2)


def walk(make, steps=40, start=(-4.0, 1.0)):
    """(w0, w1, loss) of every step through the valley."""
    w = cf.tensor(start, requires_grad=True)
    optimizer, path = make([w]), []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = valley(w)
        path.append((*w.tolist(), loss.item()))
        loss.backward()
        optimizer.step()
    return path


def train(make, epochs=15):
    """The mean loss of every epoch of a small network on digits; the first weights are the same."""
    cf.manual_seed(0)
    data, _ = cf.data.load_digits().train_test_split(test=0.2, seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer, losses = make(model.parameters()), []
    for _ in range(epochs):
        total = 0.0
        for x, y in cf.data.DataLoader(data, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        losses.append(total / len(data))
    return losses


if __name__ == "__main__":
    print("A valley, 40 steps")
    for name, make in VALLEY.items():
        path = walk(make)
        print(f"  {name:<14} loss {path[0][2]:.2f} -> {path[-1][2]:.5f}")
    print("Digits, 15 epochs")
    for name, make in DIGITS.items():
        losses = train(make)
        print(f"  {name:<14} loss {losses[0]:.3f} -> {losses[-1]:.4f}")
