import torch
import torch.nn.functional as F
from torch import nn, optim

from tests.parity.seeded import fill, floats, images

results = {}


class VAE(nn.Module):
    def __init__(self, latent=4):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc21 = nn.Linear(32, latent)
        self.fc22 = nn.Linear(32, latent)
        self.fc3 = nn.Linear(latent, 32)
        self.fc4 = nn.Linear(32, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar, eps=None):
        std = torch.exp(0.5 * logvar)
        if eps is None:
            eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x, eps=None):
        mu, logvar = self.encode(x.view(-1, 64))
        z = self.reparameterize(mu, logvar, eps)
        return self.decode(z), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


model = fill(VAE(), scale=0.1)
optimizer = optim.Adam(model.parameters(), lr=1e-2)
data = torch.from_numpy(images(0, 40)[0]).sigmoid()


def train_step(x, eps):
    optimizer.zero_grad()
    recon_batch, mu, logvar = model(x, eps=eps)
    loss = loss_function(recon_batch, x, mu, logvar)
    loss.backward()
    optimizer.step()
    return loss, mu


train_loss = 0
for epoch in range(4):
    for i, x in enumerate(torch.utils.data.DataLoader(data, batch_size=20)):
        loss, mu = train_step(x, torch.from_numpy(floats(10 * epoch + i, 20, 4)))
        train_loss += loss.item()
results["loss"] = [train_loss / len(data), loss, mu]
model.eval()
with torch.no_grad():
    sample = model.decode(torch.from_numpy(floats(5, 3, 4))).view(3, 1, 8, 8)
    results["sample"] = sample
    recon, _, _ = model(data[:2])
    results["shape"] = recon.shape
