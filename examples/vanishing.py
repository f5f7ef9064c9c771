"""Vanishing gradients: 20 layers of sigmoids do not learn, and three cures that make them.

The same digits, the same depth and width, the same optimiser; each cure changes one thing.
"""

import contraflow as cf
from contraflow import nn

DEPTH, WIDTH = 20, 32


def he(fan_in, fan_out):
    """A layer initialised for ReLU: weights of variance 2 / fan_in (He et al. 2015)."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


BLOCKS = {
    "sigmoid": lambda n: [nn.Linear(n, WIDTH), nn.Sigmoid()],
    "ReLU, He initialisation": lambda n: [he(n, WIDTH), nn.ReLU()],
    "sigmoid, batch norm": lambda n: [nn.Linear(n, WIDTH), nn.BatchNorm1d(WIDTH), nn.Sigmoid()],
    "sigmoid, skip connections": lambda n: (
        [nn.Residual(nn.Linear(n, WIDTH), nn.Sigmoid())]
        if n == WIDTH
        else [nn.Linear(n, WIDTH), nn.Sigmoid()]
    ),
}


def network(kind, depth=DEPTH):
    """``depth`` hidden layers of one kind between 64 pixels and 10 classes."""
    block = BLOCKS[kind]
    hidden = [layer for i in range(depth) for layer in block(WIDTH if i else 64)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, 10))


def gradient_norms(model, x, y):
    """The norm of the gradient of each layer's weights, first layer first."""
    model.zero_grad()
    nn.CrossEntropyLoss()(model(x), y).backward()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return [layer.weight.grad.norm().item() for layer in layers]


def train(model, data, epochs, lr=0.003):
    """Adam on mini-batches; returns the mean loss of each epoch."""
    criterion, losses = nn.CrossEntropyLoss(), []
    optimizer = cf.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        total = 0.0
        for x, y in cf.data.DataLoader(data, batch_size=64, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / (len(data) // 64))
    return losses


def accuracy(model, x, y):
    model.eval()
    with cf.no_grad():
        said = model(x).argmax(dim=1)
    model.train()
    return (said == y).float().mean().item()


def study(kind, epochs, seed=0, depth=DEPTH):
    """One network: its gradients before training, its losses, its accuracy after."""
    cf.manual_seed(seed)
    data, test = cf.data.load_digits().train_test_split(test=0.2, seed=0)
    model = network(kind, depth)
    norms = gradient_norms(model, *(t[:256] for t in data.tensors))
    losses = train(model, data, epochs)
    return {"norms": norms, "losses": losses, "accuracy": accuracy(model, *test.tensors)}


if __name__ == "__main__":
    print(f"{DEPTH} hidden layers; gradient of the first layer / of the last, before training")
    for kind in BLOCKS:
        found = study(kind, epochs=8)
        ratio = found["norms"][0] / found["norms"][-1]
        print(
            f"{kind:<27} first/last {ratio:7.0e}   "
            f"loss {found['losses'][0]:.2f} -> {found['losses'][-1]:.2f}   "
            f"test accuracy {found['accuracy']:.1%}"
        )
