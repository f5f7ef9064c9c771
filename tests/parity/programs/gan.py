import torch
import torch.nn as nn

from tests.parity.seeded import fill, floats

results = {}
nz, ngf = 5, 16


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        torch.nn.init.normal_(m.weight, 0.0, 0.02)
        torch.nn.init.zeros_(m.bias)
    elif classname.find("BatchNorm") != -1:
        m.weight.data.normal_(1.0, 0.02)
        m.bias.data.fill_(0)


netG = nn.Sequential(
    nn.Linear(nz, ngf), nn.BatchNorm1d(ngf), nn.LeakyReLU(0.2, inplace=True), nn.Linear(ngf, 2)
)
netD = nn.Sequential(
    nn.Linear(2, ngf), nn.LeakyReLU(0.2, inplace=True), nn.Linear(ngf, 1), nn.Sigmoid()
)
netG.apply(weights_init)
netD.apply(weights_init)
results["initial"] = [bool((netG[1].weight - 1).abs().max() < 0.2), netD[0].bias.abs().sum().item()]
fill(netG, 0)
fill(netD, 1)
criterion = nn.BCELoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=0.01, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=0.01, betas=(0.5, 0.999))
real_label, fake_label = 1.0, 0.0
log = []


def train_step(real, noise):
    netD.zero_grad()
    label = torch.full((real.size(0),), real_label, dtype=torch.float)
    output = netD(real).view(-1)
    errD_real = criterion(output, label)
    errD_real.backward()
    fake = netG(noise)
    label.fill_(fake_label)
    output = netD(fake.detach()).view(-1)
    errD_fake = criterion(output, label)
    errD_fake.backward()
    errD = errD_real + errD_fake
    optimizerD.step()
    netG.zero_grad()
    label.fill_(real_label)
    errG = criterion(netD(fake).view(-1), label)
    errG.backward()
    optimizerG.step()
    return errD, errG, output.mean()


for i in range(15):
    real = torch.from_numpy(floats(i, 16, 2)) + torch.tensor([2.0, -1.0])
    errD, errG, D_G_z = train_step(real, torch.from_numpy(floats(100 + i, 16, nz)))
    log.append((errD.item(), errG.item(), D_G_z.mean().item()))
results["log"] = log

# WGAN with gradient penalty
netD = fill(nn.Sequential(nn.Linear(2, ngf), nn.Tanh(), nn.Linear(ngf, 1)), 2)
optimizerD = torch.optim.RMSprop(netD.parameters(), lr=5e-3)


def compute_gradient_penalty(D, real_samples, fake_samples, alpha):
    interpolates = (alpha * real_samples + ((1 - alpha) * fake_samples)).requires_grad_(True)
    d_interpolates = D(interpolates)
    fake = torch.ones(real_samples.shape[0], 1, requires_grad=False)
    gradients = torch.autograd.grad(
        outputs=d_interpolates, inputs=interpolates, grad_outputs=fake,
        create_graph=True, retain_graph=True, only_inputs=True,
    )[0]  # fmt: skip
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


penalties = []
for i in range(5):
    real = torch.from_numpy(floats(i, 16, 2)) + 2
    with torch.no_grad():
        fake = netG(torch.from_numpy(floats(50 + i, 16, nz)))
    optimizerD.zero_grad()
    gp = compute_gradient_penalty(netD, real, fake, torch.linspace(0, 1, 16).view(16, 1))
    d_loss = -torch.mean(netD(real)) + torch.mean(netD(fake)) + 10 * gp
    d_loss.backward()
    optimizerD.step()
    for p in netD.parameters():
        p.data.clamp_(-0.5, 0.5)
    penalties.append([gp.item(), d_loss.item()])
results["penalties"] = penalties
