import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.parity.seeded import fill, floats

results = {}
X_np = floats(0, 120, 2)
y_np = (X_np[:, 0] - 0.5 * X_np[:, 1] > 0).astype(np.float32)
X, y = torch.from_numpy(X_np), torch.from_numpy(y_np).view(-1, 1)
n_samples, n_features = X.shape

mean, std = X.mean(dim=0, keepdim=True), X.std(dim=0, keepdim=True)
X = (X - mean) / std
X_train, X_test = X[:100], X[100:]
y_train, y_test = y[:100], y[100:]


class LogisticRegression(nn.Module):
    def __init__(self, n_input_features):
        super().__init__()
        self.linear = nn.Linear(n_input_features, 1)

    def forward(self, x):
        return torch.sigmoid(self.linear(x))


model = fill(LogisticRegression(n_features))
criterion = nn.BCELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train_step():
    y_predicted = model(X_train)
    loss = criterion(y_predicted, y_train)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


for epoch in range(60):
    loss = train_step()
    if (epoch + 1) % 20 == 0:
        results[f"epoch {epoch + 1}"] = f"epoch: {epoch + 1}, loss = {loss.item():.4f}"
with torch.no_grad():
    y_predicted = model(X_test)
    y_predicted_cls = y_predicted.round()
    acc = y_predicted_cls.eq(y_test).sum() / float(y_test.shape[0])
    results["accuracy"] = f"accuracy = {acc:.4f}"
    predicted = (y_predicted > 0.5).float()
    results["counts"] = [
        ((predicted == 1) & (y_test == 1)).sum().item(), ((predicted == 0) & (y_test == 1)).sum().item(),
        torch.logical_and(predicted == 1, y_test == 0).sum().item(), int((predicted != y_test).sum()),
    ]  # fmt: skip

# the same with weights of its own, softmax over two classes
W = torch.zeros(2, 2, requires_grad=True)
b = torch.zeros(2, requires_grad=True)
labels = y_train.squeeze().long()
for _ in range(50):
    loss = F.cross_entropy(X_train @ W + b, labels)
    loss.backward()
    with torch.no_grad():
        W -= W.grad * 0.5
        b -= b.grad * 0.5
        W.grad.zero_()
        b.grad.zero_()
preds = torch.argmax(X_train @ W + b, dim=1)
results["softmax"] = [loss, (preds == labels).float().mean().item(), W, b]


def nll(input, target):
    return -input[range(target.shape[0]), target].mean()


log_probs = (X_train @ W + b) - (X_train @ W + b).exp().sum(-1).log().unsqueeze(-1)
results["nll"] = [nll(log_probs, labels), F.nll_loss(F.log_softmax(X_train @ W + b, -1), labels)]
weights = torch.tensor([3.0])
results["pos_weight"] = nn.BCEWithLogitsLoss(pos_weight=weights)(model.linear(X_train), y_train)
