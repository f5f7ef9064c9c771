"""Overfitting: 100 digits learned by heart, and the cures.

A large network sees 100 digits. 400 others decide when to stop, the remaining 1,297 are the test.
"""

import contraflow as cf
from contraflow import nn

WIDTH = 256
WOBBLE = cf.data.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.9, 1.1))

CURES = {
    "nothing": {},
    "dropout": {"dropout": 0.5},
    "weight decay": {"decay": 1.0},
    "augmentation": {"augment": WOBBLE},
    "all three": {"dropout": 0.3, "decay": 0.3, "augment": WOBBLE},
}


def parts():
    """Training, validation and test set: (x, y) with 100, 400 and 1,297 digits."""
    rest, train = cf.data.load_digits().train_test_split(test=100 / 1797, seed=0)
    valid, test = cf.data.random_split(rest, [400, 1297], cf.Generator().manual_seed(0))
    return train.tensors, rest[valid.indices], rest[test.indices]


def network(dropout):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, WIDTH), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(WIDTH, 10),
    )  # fmt: skip


def measure(model, x, y):
    """Loss and accuracy in evaluation mode."""
    model.eval()
    with cf.no_grad():
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y).item()
    model.train()
    return loss, (logits.argmax(dim=1) == y).float().mean().item()


def study(epochs, dropout=0.0, decay=0.0, augment=None, seed=0):
    """Train on the 100; the curves, and what early stopping by the validation loss would give."""
    cf.manual_seed(seed)
    (x, y), valid, test = parts()
    model = network(dropout)
    optimizer = cf.optim.AdamW(model.parameters(), lr=0.003, weight_decay=decay)
    curves, best, stopped = [], float("inf"), None
    for epoch in range(epochs):
        optimizer.zero_grad()
        seen = x if augment is None else augment(x)
        nn.functional.cross_entropy(model(seen), y).backward()
        optimizer.step()
        here, there = measure(model, x, y), measure(model, *valid)
        curves.append((*here, *there))
        if there[0] < best:
            best, stopped = there[0], (epoch + 1, measure(model, *test))
    return {"curves": curves, "stopped": stopped, "test": measure(model, *test)}


if __name__ == "__main__":
    print("Accuracy on the 100 training digits and on 1,297 others; loss on the others")
    for name, options in CURES.items():
        found = study(epochs=100, **options)
        epoch, (early_loss, early) = found["stopped"]
        loss, accuracy = found["test"]
        print(
            f"{name:<13} training {found['curves'][-1][1]:.1%}, test {accuracy:.1%}, "
            f"loss {loss:.2f}; stopped early, after {epoch:3d}: {early:.1%}, {early_loss:.2f}"
        )
