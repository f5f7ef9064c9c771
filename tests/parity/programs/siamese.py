import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, images

results = {}


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn1 = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(1, 4, kernel_size=3), nn.ReLU(inplace=True), nn.BatchNorm2d(4),
            nn.ReflectionPad2d(1), nn.Conv2d(4, 8, kernel_size=3), nn.ReLU(inplace=True), nn.BatchNorm2d(8),
        )  # fmt: skip
        self.fc1 = nn.Sequential(nn.Linear(8 * 8 * 8, 20), nn.ReLU(inplace=True), nn.Linear(20, 5))

    def forward_once(self, x):
        output = self.cnn1(x)
        output = output.view(output.size()[0], -1)
        return self.fc1(output)

    def forward(self, input1, input2):
        return self.forward_once(input1), self.forward_once(input2)


class ContrastiveLoss(torch.nn.Module):
    def __init__(self, margin=2.0):
        super().__init__()
        self.margin = margin

    def forward(self, output1, output2, label):
        euclidean_distance = F.pairwise_distance(output1, output2, keepdim=True)
        return torch.mean(
            (1 - label) * torch.pow(euclidean_distance, 2)
            + label * torch.pow(torch.clamp(self.margin - euclidean_distance, min=0.0), 2)
        )


x, labels = images(0, 24)
x, labels = torch.from_numpy(x), torch.from_numpy(labels)
net = fill(SiameseNetwork(), scale=0.1)
criterion = ContrastiveLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)


def train_step(a, b, label):
    optimizer.zero_grad()
    output1, output2 = net(a, b)
    loss = criterion(output1, output2, label)
    loss.backward()
    optimizer.step()
    return loss


losses = []
for i in range(6):
    perm = torch.roll(torch.arange(24), i + 1)
    different = (labels != labels[perm]).float().unsqueeze(1)
    losses.append(train_step(x, x[perm], different).item())
results["contrastive"] = losses

net = fill(SiameseNetwork(), 1, 0.1)
triplet = nn.TripletMarginLoss(margin=1.0, p=2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
order = torch.argsort(labels, stable=True)
anchor, positive, negative = x[order[:6]], x[order[1:7]], x[order[-6:]]
losses = []
for _ in range(4):
    optimizer.zero_grad()
    a, p, n = (net.forward_once(t) for t in (anchor, positive, negative))
    loss = triplet(a, p, n)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
results["triplet"] = losses
net.eval()
emb = F.normalize(net.forward_once(x), p=2, dim=1)
similarity = emb @ emb.t()
similarity.fill_diagonal_(-1)
nearest = similarity.topk(3, dim=1, largest=True, sorted=True)
results["nearest"] = [
    nearest.values,
    torch.cdist(emb, emb).shape,
    F.cosine_similarity(emb[:3], emb[3:6]),
]
dist = torch.cdist(emb[:4], emb[4:8], p=2.0)
results["cdist"] = dist
# in-batch negatives
logits = emb[:8] @ emb[8:16].T / 0.07
results["info nce"] = F.cross_entropy(logits, torch.arange(8))
