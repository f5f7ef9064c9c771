import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, images

results = {}
model = fill(
    nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4))
)
x, y = map(torch.from_numpy, images(0, 16))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(8):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
model.eval()


def fgsm_attack(image, epsilon, data_grad):
    sign_data_grad = data_grad.sign()
    perturbed_image = image + epsilon * sign_data_grad
    return torch.clamp(perturbed_image, -1, 2)


correct = {}
for eps in (0.0, 0.1, 0.5):
    data = x.clone()
    data.requires_grad = True
    output = model(data)
    loss = F.nll_loss(F.log_softmax(output, dim=1), y)
    model.zero_grad()
    loss.backward()
    data_grad = data.grad.data
    perturbed = fgsm_attack(data, eps, data_grad)
    with torch.no_grad():
        correct[f"{eps}"] = (model(perturbed).max(1, keepdim=True)[1].squeeze() == y).sum().item()
results["fgsm"] = correct


def pgd(images, labels, eps=0.3, alpha=0.1, steps=4):
    adv = images.clone().detach()
    for _ in range(steps):
        adv.requires_grad_(True)
        cost = F.cross_entropy(model(adv), labels)
        grad = torch.autograd.grad(cost, adv, retain_graph=False, create_graph=False)[0]
        adv = adv.detach() + alpha * grad.sign()
        delta = torch.clamp(adv - images, min=-eps, max=eps)
        adv = torch.clamp(images + delta, min=-1, max=2).detach()
    return adv


results["pgd"] = pgd(x, y)
image = x[:1].clone().requires_grad_()
scores = model(image)
score, index = torch.max(scores, 1)
score.backward()
saliency, _ = torch.max(image.grad.data.abs(), dim=1)
results["saliency"] = [saliency, index, score]

# integrated gradients, smooth grad
baseline = torch.zeros_like(x[:1])
alphas = torch.linspace(0, 1, 9).view(-1, 1, 1, 1)
path = (baseline + alphas * (x[:1] - baseline)).requires_grad_(True)
grads = torch.autograd.grad(model(path)[:, index.item()].sum(), path)[0]
ig = (x[:1] - baseline) * ((grads[:-1] + grads[1:]) / 2).mean(0, keepdim=True)
results["integrated"] = [ig.sum(), (model(x[:1]) - model(baseline))[0, index]]
# an image that excites a class
canvas = torch.zeros(1, 1, 8, 8, requires_grad=True)
optimizer = torch.optim.SGD([canvas], lr=0.5)
for _ in range(5):
    optimizer.zero_grad()
    loss = -model(canvas)[0, 2] + 0.01 * canvas.norm()
    loss.backward()
    optimizer.step()
results["canvas"] = [canvas, canvas.grad.shape]
