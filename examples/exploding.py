"""Exploding gradients: weights twice too large, ten layers deep, and three cures.

Every layer doubles what passes through it, forward and backward. Each cure changes one thing.
"""

from math import sqrt

import contraflow as cf
from contraflow import nn

DEPTH, WIDTH = 10, 64

RUNS = {
    "weights twice too large": {},
    "gradient clipping": {"clip": 5.0},
    "He initialisation": {"scale": 1.0},
    "lower learning rate": {"lr": 0.002},
}


def network(scale, depth=DEPTH):
    """ReLU layers whose weights have ``scale`` times the standard deviation of He et al. (2015)."""
    layers, fan_in = [nn.Flatten()], 64
    for _ in range(depth):
        layer = nn.Linear(fan_in, WIDTH)
        nn.init.normal_(layer.weight, std=scale * sqrt(2 / fan_in))
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
        fan_in = WIDTH
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def error_norms(model, x, y):
    """The norm of the error signal where it reaches each layer's output, first layer first."""
    outputs = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            x.retain_grad()
            outputs.append(x)
    nn.CrossEntropyLoss()(x, y).backward()
    return [output.grad.norm().item() for output in outputs]


def train(model, data, epochs, lr, clip):
    """Plain SGD; the loss of every step and the norm of its gradient before clipping."""
    criterion, losses, norms = nn.CrossEntropyLoss(), [], []
    optimizer = cf.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for x, y in cf.data.DataLoader(data, batch_size=64, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
            norms.append(norm.item())
    return losses, norms


def study(epochs, scale=2.0, lr=0.05, clip=float("inf"), seed=0):
    """One network: its error signal before training, losses and norms of the steps, accuracy."""
    cf.manual_seed(seed)
    data, test = cf.data.load_digits().train_test_split(test=0.2, seed=0)
    model = network(scale)
    layers = error_norms(model, *(t[:256] for t in data.tensors))
    losses, norms = train(model, data, epochs, lr, clip)
    with cf.no_grad():
        said = model(test.tensors[0]).argmax(dim=1)
    accuracy = (said == test.tensors[1]).float().mean().item()
    return {"layers": layers, "losses": losses, "norms": norms, "accuracy": accuracy}


if __name__ == "__main__":
    print("The norm of the gradient of the first step; the loss of the first and the last")
    for name, options in RUNS.items():
        found = study(epochs=10, **options)
        print(
            f"{name:<24} gradient {found['norms'][0]:8.1f}   "
            f"loss {found['losses'][0]:6.2f} -> {found['losses'][-1]:4.2f}   "
            f"test accuracy {found['accuracy']:.1%}"
        )
