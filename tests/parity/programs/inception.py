import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, images

results = {}


class BasicConv2d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, **kwargs) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionA(nn.Module):
    def __init__(self, in_channels, pool_features):
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 3, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(in_channels, 2, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(2, 3, kernel_size=5, padding=2)
        self.branch7x7 = BasicConv2d(in_channels, 2, kernel_size=(1, 7), padding=(0, 3))
        self.branch_pool = BasicConv2d(in_channels, pool_features, kernel_size=1)

    def forward(self, x):
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch7x7 = self.branch7x7(x)
        branch_pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branch_pool = self.branch_pool(branch_pool)
        branch_max = F.max_pool2d(x, 3, 1, 1)
        outputs = [branch1x1, branch5x5, branch7x7, branch_pool, branch_max]
        return torch.cat(outputs, 1)


class Net(nn.Module):
    def __init__(self, aux_logits=True):
        super().__init__()
        self.aux_logits = aux_logits
        self.block1 = InceptionA(1, 2)
        self.block2 = InceptionA(11, 2)
        self.aux = nn.Linear(11, 4)
        self.head = nn.Linear(21, 4)

    def forward(self, x):
        x = self.block1(x)
        aux = self.aux(x.mean((2, 3))) if self.training and self.aux_logits else None
        x = self.block2(x)
        out = self.head(x.amax(dim=(-2, -1)))
        return (out, aux) if aux is not None else out


model = fill(Net())
x, y = map(torch.from_numpy, images(0, 8))
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.002, alpha=0.9, eps=1.0)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.94)


def train_step(x, y):
    optimizer.zero_grad()
    out, aux = model(x)
    loss = F.cross_entropy(out, y) + 0.4 * F.cross_entropy(aux, y)
    loss.backward()
    optimizer.step()
    return loss


losses = []
for _ in range(4):
    losses.append(train_step(x, y).item())
    scheduler.step()
results["losses"] = [*losses, scheduler.get_last_lr()]
model.eval()
results["eval"] = [model(x), F.softmax(model(x), dim=1).max(dim=1).indices]
