"""XOR: the smallest task that no single layer can do. Two hidden neurons are enough."""

import contraflow as cf
from contraflow import nn

x = cf.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = cf.tensor([[0.0], [1.0], [1.0], [0.0]])


def train(model, steps=2000):
    """Full-batch Adam on the four rows; returns the last loss."""
    criterion = nn.BCEWithLogitsLoss()
    optimizer = cf.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def accuracy(model):
    return ((model(x) > 0) == (y > 0.5)).float().mean().item()


cf.manual_seed(1)
line = nn.Linear(2, 1)
loss = train(line)
print(f"One layer:          loss {loss:.4f}, which is log 2: it says one half to everything,")
print(f"                    {cf.sigmoid(line(x)).flatten().tolist()}")

net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
loss = train(net)
print(f"Two hidden neurons: loss {loss:.4f}, accuracy {accuracy(net):.0%}")

print("What each hidden neuron has become:")
for row, hidden, out in zip(x.tolist(), net[:2](x).tolist(), net(x).tolist(), strict=True):
    first, second = hidden
    said = int(out[0] > 0)
    print(f"  {row[0]:.0f} xor {row[1]:.0f}: hidden {first:+.2f} {second:+.2f}  ->  {said}")
