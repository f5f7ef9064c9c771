import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

from tests.parity.seeded import fill, floats, integers

results = {}


class TabularDataset(Dataset):
    def __init__(self, features, categories, target):
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.categories = torch.as_tensor(categories, dtype=torch.long)
        self.target = torch.as_tensor(target, dtype=torch.float32)

    def __len__(self):
        return len(self.target)

    def __getitem__(self, idx):
        return self.features[idx], self.categories[idx], self.target[idx]


class TabularModel(nn.Module):
    def __init__(self, n_cont, emb_sizes, hidden=(32, 16), p=0.0):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(c, s) for c, s in emb_sizes])
        n_emb = sum(e.embedding_dim for e in self.embeds)
        self.bn_cont = nn.BatchNorm1d(n_cont)
        layers = []
        sizes = [n_emb + n_cont, *hidden]
        for n_in, n_out in zip(sizes[:-1], sizes[1:]):
            layers += [
                nn.Linear(n_in, n_out),
                nn.ReLU(inplace=True),
                nn.BatchNorm1d(n_out),
                nn.Dropout(p),
            ]
        layers.append(nn.Linear(sizes[-1], 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x_cont, x_cat):
        x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.embeds)], 1)
        x = torch.cat([x, self.bn_cont(x_cont)], dim=1)
        return self.layers(x).squeeze(-1)


features, categories = floats(0, 64, 4), integers(1, 5, 64, 2)
target = features[:, 0] * 2 + (categories[:, 0] == 3) - features[:, 1] ** 2
loader = DataLoader(TabularDataset(features, categories, target), batch_size=20, drop_last=False)
model = TabularModel(4, [(5, 3), (5, 2)])
fill(model)
optimizer = optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3, weight_decay=1e-2)
scheduler = optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.02, steps_per_epoch=len(loader), epochs=4
)
criterion = nn.SmoothL1Loss()


def train_step(cont, cat, yb):
    optimizer.zero_grad()
    loss = criterion(model(cont, cat), yb)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    return loss.detach()


losses, lrs = [], []
for epoch in range(4):
    model.train()
    for batch in loader:
        losses.append(train_step(*batch).item())
        scheduler.step()
        lrs.append(scheduler.get_last_lr()[0])
results["losses"], results["lrs"] = losses, lrs
model.eval()
with torch.no_grad():
    predictions = torch.cat([model(x_cont, x_cat) for x_cont, x_cat, _ in loader])
results["rmse"] = torch.sqrt(((predictions - torch.from_numpy(target)) ** 2).mean())
results["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
results["model"] = repr(model)
results["state"] = {k: list(v.shape) for k, v in model.state_dict().items()}
