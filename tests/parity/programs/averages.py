import copy

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from tests.parity.seeded import fill, floats

results = {}
x, y = torch.from_numpy(floats(0, 40, 4)), torch.from_numpy(floats(1, 40, 1))
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)


def make():
    return fill(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)))


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = {}
        self.backup = {}
        for name, param in model.named_parameters():
            if param.requires_grad:
                self.shadow[name] = param.data.clone()

    @torch.no_grad()
    def update(self, model):
        for name, param in model.named_parameters():
            if param.requires_grad:
                new_average = (1.0 - self.decay) * param.data + self.decay * self.shadow[name]
                self.shadow[name] = new_average.clone()

    def apply_shadow(self, model):
        for name, param in model.named_parameters():
            self.backup[name] = param.data
            param.data = self.shadow[name]

    def restore(self, model):
        for name, param in model.named_parameters():
            param.data = self.backup[name]


model = make()
ema = EMA(model, 0.9)
target = copy.deepcopy(model)
target.requires_grad_(False)
swa_model = AveragedModel(model)
ema_model = AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
swa_scheduler = SWALR(optimizer, swa_lr=0.01, anneal_epochs=2)
criterion = nn.MSELoss()
for epoch in range(4):
    for xb, yb in loader:
        optimizer.zero_grad()
        criterion(model(xb), yb).backward()
        optimizer.step()
        ema.update(model)
        ema_model.update_parameters(model)
        with torch.no_grad():
            for t, s in zip(target.parameters(), model.parameters()):
                t.data.mul_(0.95).add_(s.data, alpha=0.05)
                t.lerp_(s, 0.01)
    swa_model.update_parameters(model)
    swa_scheduler.step()
update_bn(loader, swa_model)
model.eval(), swa_model.eval(), target.eval(), ema_model.eval()
results["swa"] = [swa_model(x[:3]), swa_model.n_averaged, optimizer.param_groups[0]["lr"]]
results["ema"] = [ema_model(x[:3]), target(x[:3])]
before = model(x[:3])
ema.apply_shadow(model)
results["shadow"] = model(x[:3])
ema.restore(model)
results["restored"] = torch.allclose(before, model(x[:3]))
results["requires"] = [
    any(p.requires_grad for p in target.parameters()),
    all(p.requires_grad for p in model.parameters()),
]


class EarlyStopping:
    def __init__(self, patience=2, delta=0.0):
        self.patience, self.delta = patience, delta
        self.best, self.counter, self.state = None, 0, None

    def __call__(self, loss, model):
        if self.best is None or loss < self.best - self.delta:
            self.best, self.counter = loss, 0
            self.state = copy.deepcopy(model.state_dict())
            return False
        self.counter += 1
        return self.counter >= self.patience


model = make()
stopper = EarlyStopping()
optimizer = torch.optim.SGD(model.parameters(), lr=1.2)
history = []
for epoch in range(12):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    history.append(loss.item())
    if stopper(loss.item(), model):
        break
model.load_state_dict(stopper.state)
results["stopped"] = [history, epoch, stopper.best, model[0].weight]
