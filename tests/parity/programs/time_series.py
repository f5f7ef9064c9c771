import warnings

import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils import weight_norm
from torch.utils.data import DataLoader, Dataset

from tests.parity.seeded import fill

results = {}
series = np.sin(np.arange(120) * 0.3).astype(np.float32) + 0.1 * np.cos(np.arange(120)).astype(
    np.float32
)


class WindowDataset(Dataset):
    def __init__(self, series, window, horizon=1):
        self.series = torch.from_numpy(series)
        self.window, self.horizon = window, horizon

    def __len__(self):
        return len(self.series) - self.window - self.horizon + 1

    def __getitem__(self, i):
        return self.series[i : i + self.window].unsqueeze(0), self.series[
            i + self.window + self.horizon - 1
        ]


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs, n_outputs, kernel_size, dilation):
        super().__init__()
        padding = (kernel_size - 1) * dilation
        self.net = nn.Sequential(
            nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=padding, dilation=dilation),
            Chomp1d(padding), nn.ReLU(), nn.Dropout(0.0),
        )  # fmt: skip
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()

    def forward(self, x):
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(self.net(x) + res)


class TCN(nn.Module):
    def __init__(self, num_channels=(4, 8), kernel_size=3):
        super().__init__()
        layers = []
        for i, out in enumerate(num_channels):
            layers.append(
                TemporalBlock(1 if i == 0 else num_channels[i - 1], out, kernel_size, 2**i)
            )
        self.network = nn.Sequential(*layers)
        self.linear = nn.Linear(num_channels[-1], 1)

    def forward(self, x):
        return self.linear(self.network(x)[:, :, -1])


dataset = WindowDataset(series, 16)
loader = DataLoader(dataset, batch_size=32, shuffle=False, drop_last=True)
results["sizes"] = [len(dataset), len(loader), dataset[0][0].shape, dataset[3][1]]
model = fill(TCN())
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
criterion = nn.HuberLoss()


def train_step(xb, yb):
    optimizer.zero_grad()
    loss = criterion(model(xb).squeeze(-1), yb)
    loss.backward()
    optimizer.step()
    return loss


losses = []
for epoch in range(3):
    for xb, yb in loader:
        losses.append(train_step(xb, yb).item())
results["losses"] = losses
model.eval()
window = torch.from_numpy(series[:16])
forecast = []
with torch.no_grad():
    for _ in range(5):
        y = model(window.view(1, 1, -1))
        forecast.append(y.item())
        window = torch.cat((window[1:], y.view(1)))
results["forecast"] = forecast
windows = torch.from_numpy(series).unfold(0, 8, 4)
results["unfold"] = [windows.shape, windows.mean(1)[:5], torch.diff(torch.from_numpy(series[:5]))]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    layer = fill(weight_norm(nn.Conv1d(1, 2, 3)), 2)
results["weight_norm"] = [
    layer(torch.from_numpy(series[:10]).view(1, 1, -1)),
    sorted(n for n, _ in layer.named_parameters()),
]


# a recurrent cell by hand
class RNNCell(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.h2o = nn.Linear(hidden_size, 1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        return self.h2o(hidden), hidden

    def initHidden(self, n):
        return torch.zeros(n, self.hidden_size)


rnn = fill(RNNCell(1, 6), 3)
hidden = rnn.initHidden(4)
inputs = torch.from_numpy(series[:40]).view(4, 10)
for i in range(10):
    output, hidden = rnn(inputs[:, i : i + 1], hidden)
loss = criterion(output, torch.ones_like(output))
loss.backward()
for p in rnn.parameters():
    p.data.add_(p.grad.data, alpha=-0.1)
results["rnn"] = [loss, hidden.detach(), rnn.i2h.weight.grad]
