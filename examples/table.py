"""A table: 569 breast tissue samples, 30 measurements each, benign or malignant (UCI, CC BY 4.0).

Standardised columns, a part held out to stop early by, and a report for each class at the end.
"""

import contraflow as cf
from contraflow import nn

cf.manual_seed(0)
cancer = cf.data.load_breast_cancer()
rest, test = cancer.train_test_split(test=0.25, seed=0)
train, valid = cf.data.random_split(rest, [0.8, 0.2])
x_train, y_train = rest[train.indices]
x_valid, y_valid = rest[valid.indices]
x_test, y_test = test.tensors

# The columns are on very different scales; the numbers to divide by come from the training part
standardize = cf.data.Normalize.fit(x_train)
x_train, x_valid, x_test = map(standardize, (x_train, x_valid, x_test))

model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
criterion = nn.CrossEntropyLoss()
optimizer = cf.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.01)
loader = cf.data.DataLoader(cf.data.TensorDataset(x_train, y_train), batch_size=32, shuffle=True)

PATIENCE = 15
best, best_epoch, weights = float("inf"), 0, None
for epoch in range(300):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    model.eval()
    with cf.no_grad():
        loss = criterion(model(x_valid), y_valid).item()
    if loss < best:
        best, best_epoch = loss, epoch
        weights = {name: value.clone() for name, value in model.state_dict().items()}
    elif epoch - best_epoch >= PATIENCE:
        break
print(f"Stopped after epoch {epoch}; the best was {best_epoch}, validation loss {best:.4f}")

model.load_state_dict(weights)
with cf.no_grad():
    said = model(x_test).argmax(dim=1)
print(f"{'class':<10} precision  recall  samples")
for label, name in enumerate(cancer.class_names):
    hit = ((said == label) & (y_test == label)).sum().item()
    claimed, present = (said == label).sum().item(), (y_test == label).sum().item()
    print(f"{name:<10} {hit / claimed:9.1%} {hit / present:7.1%} {present:8d}")
accuracy = (said == y_test).float().mean().item()
print(f"Test accuracy: {accuracy:.1%}")
