import torch
from torch import nn

from tests.parity.seeded import fill, images

results = {}


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(True),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(True),
            nn.Conv2d(16, 12, 2),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(12, 16, 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        encoded = self.encoder(x)
        return self.decoder(encoded), encoded


model = fill(Autoencoder(), scale=0.2)
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
data = torch.sigmoid(torch.from_numpy(images(0, 32)[0]))


def train_step(img):
    recon, _ = model(img)
    loss = criterion(recon, img)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


outputs = []
for epoch in range(5):
    for img in data.split(8):
        loss = train_step(img)
    outputs.append((epoch, loss.item()))
results["outputs"] = outputs
recon, code = model(data[:2])
results["shapes"] = [recon.shape, code.shape, recon.min().item() >= 0]
noisy = (data + 0.3 * torch.randn_like(data)).clamp(0.0, 1.0)
results["noisy"] = [bool(noisy.max() <= 1), noisy.shape]
grid = recon[:2].permute(0, 2, 3, 1).squeeze(-1).detach().cpu().numpy()
results["grid"] = grid
