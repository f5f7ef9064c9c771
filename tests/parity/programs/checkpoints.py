import copy
import os

import torch
import torch.nn as nn
import torch.optim as optim

from tests.parity.seeded import fill, floats, integers

results = {}


class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.fc1 = nn.Linear(4, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.bn(self.fc1(x))))


x, y = torch.from_numpy(floats(0, 20, 4)), torch.from_numpy(integers(1, 3, 20))
criterion = nn.CrossEntropyLoss()


def make():
    model = fill(Net())
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    return model, optimizer, optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def epochs(model, optimizer, scheduler, start, stop):
    losses = []
    for _ in range(start, stop):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


whole = epochs(*make(), 0, 6)
model, optimizer, scheduler = make()
first = epochs(model, optimizer, scheduler, 0, 3)
PATH = os.path.join(".", "checkpoint.pt")
torch.save(
    {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "loss": first[-1],
        "args": {"lr": 0.05, "name": "net"},
    },
    PATH,
)
model = Net()
optimizer = optim.Adam(model.parameters(), lr=0.05)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
checkpoint = torch.load(PATH, map_location="cpu", weights_only=True)
model.load_state_dict(checkpoint["model_state_dict"])
optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
results["resumed"] = [whole, [*first, *epochs(model, optimizer, scheduler, checkpoint["epoch"], 6)]]
results["kept"] = [checkpoint["epoch"], checkpoint["loss"], checkpoint["args"], sorted(checkpoint)]
torch.save(model.state_dict(), "model.pth")
again = Net()
results["loaded"] = str(again.load_state_dict(torch.load("model.pth", weights_only=True)))
again.eval()
model.eval()
results["same"] = torch.equal(model(x), again(x))
for name, tensor in list(model.state_dict().items())[:3]:
    results[name] = [tensor.size(), tensor.dtype]

# other shapes, other names
state = copy.deepcopy(model.state_dict())
state["extra"] = torch.zeros(1)
del state["fc2.bias"]
report = again.load_state_dict(state, strict=False)
results["not strict"] = [report.missing_keys, report.unexpected_keys]
try:
    again.load_state_dict(state)
except RuntimeError as error:
    results["strict"] = [
        "Missing key(s)" in str(error),
        '"fc2.bias"' in str(error),
        "Unexpected key(s)" in str(error),
    ]
try:
    Net(hidden=9).load_state_dict(model.state_dict())
except RuntimeError as error:
    results["shapes"] = "size mismatch for fc1.weight" in str(error)
pretrained = {
    k: v
    for k, v in model.state_dict().items()
    if k in again.state_dict() and v.size() == again.state_dict()[k].size()
}
merged = again.state_dict()
merged.update(pretrained)
again.load_state_dict(merged)
results["merged"] = torch.equal(model(x), again(x))
prefixed = {f"module.{k}": v for k, v in model.state_dict().items()}
again.load_state_dict({k.replace("module.", ""): v for k, v in prefixed.items()})
clone = copy.deepcopy(model)
clone.fc1.weight.data.zero_()
results["cloned"] = [model.fc1.weight.abs().sum().item() > 0, clone.fc1.weight.sum().item()]
torch.save({"a": torch.arange(3), "b": [torch.ones(2), 2.5]}, "tensors.pt")
back = torch.load("tensors.pt", weights_only=True)
results["tensors"] = [back["a"], back["b"]]
torch.save(torch.eye(2), "eye.pt")
results["eye"] = torch.load("eye.pt", weights_only=True)
results["optimizer"] = [sorted(optimizer.state_dict()), sorted(optimizer.state_dict()["state"][0])]
