import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, images

results = {}
activation = {}


def get_activation(name):
    def hook(model, input, output):
        activation[name] = output.detach()

    return hook


model = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
)  # fmt: skip
fill(model)
handles = [
    m.register_forward_hook(get_activation(f"{i}_{type(m).__name__}")) for i, m in enumerate(model)
]
x, y = map(torch.from_numpy, images(0, 6))
out = model(x)
results["activations"] = {
    k: [tuple(v.shape), v.mean().item(), (v == 0).float().mean().item()]
    for k, v in activation.items()
}
for h in handles:
    h.remove()
activation.clear()
model(x)
results["removed"] = len(activation)

# gradients of the parameters, of inner values, of modules
grads = {}
for name, p in model.named_parameters():
    p.register_hook(lambda grad, name=name: grads.__setitem__(name, grad.norm().item()))
seen = []
handle = model[2].register_full_backward_hook(
    lambda m, gin, gout: seen.append((gin[0].shape, gout[0].norm().item()))
)
F.cross_entropy(model(x), y).backward()
results["grads"] = dict(sorted(grads.items()))
results["seen"] = seen
handle.remove()


# Grad-CAM
class GradCAM:
    def __init__(self, model, layer):
        self.model = model
        self.gradients, self.activations = None, None
        layer.register_forward_hook(self.save_activation)
        layer.register_full_backward_hook(self.save_gradient)

    def save_activation(self, module, input, output):
        self.activations = output

    def save_gradient(self, module, grad_input, grad_output):
        self.gradients = grad_output[0]

    def __call__(self, x, index=None):
        self.model.zero_grad()
        output = self.model(x)
        if index is None:
            index = output.argmax(dim=-1)
        output[:, index[0]].sum().backward(retain_graph=True)
        weights = self.gradients.mean(dim=(2, 3), keepdim=True)
        cam = F.relu((weights * self.activations).sum(dim=1, keepdim=True))
        cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
        return (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)


results["cam"] = GradCAM(model, model[2])(x[:1])
pre = model[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
results["pre"] = torch.allclose(model[0](x), model[0].forward(x * 2))
pre.remove()
shapes = []


def print_shape(module, args, kwargs, output):
    shapes.append((module.__class__.__name__, [tuple(a.shape) for a in args], tuple(output.shape)))


for module in model.modules():
    if not isinstance(module, nn.Sequential):
        module.register_forward_hook(print_shape, with_kwargs=True)
model(x[:2])
results["shapes"] = shapes

# gradient reversal and clipping in the flow
z = torch.ones(3, requires_grad=True)
w = z * 2
w.register_hook(lambda g: -0.5 * g)
w.retain_grad()
(w**2).sum().backward()
results["reversed"] = [z.grad, w.grad]
