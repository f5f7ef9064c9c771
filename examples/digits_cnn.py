"""A small convolutional network on the 1,797 bundled handwritten digits (UCI, CC BY 4.0)."""

import contraflow as cf
from contraflow import nn

cf.manual_seed(0)
digits = cf.data.load_digits()
train, test = digits.train_test_split(test=0.2, seed=0)
x_test, y_test = test.tensors
print(f"{digits}: {len(train)} to learn from, {len(test)} to be tested on")

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),  # 8 x 8 -> 4 x 4
    nn.Conv2d(16, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),  # 4 x 4 -> 2 x 2
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(32 * 2 * 2, 10),
)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")


def accuracy(x, y):
    """In evaluation mode: no dropout, batch norm by its running averages."""
    model.eval()
    with cf.no_grad():
        said = model(x).argmax(dim=1)
    model.train()
    return (said == y).float().mean().item()


EPOCHS = 8
criterion = nn.CrossEntropyLoss()
optimizer = cf.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
scheduler = cf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
for epoch in range(EPOCHS):
    total = 0.0
    for x, y in cf.data.DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    scheduler.step()
    mean = total / len(train)
    print(f"Epoch {epoch + 1:2d}: loss {mean:.4f}, test accuracy {accuracy(x_test, y_test):.1%}")

model.eval()
wrong = (model(x_test).argmax(dim=1) != y_test).nonzero().flatten().tolist()
print(f"Mistakes: {len(wrong)} of {len(x_test)}")
print(f"Test accuracy: {accuracy(x_test, y_test):.1%}")
