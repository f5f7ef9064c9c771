import math

import torch

results = {}
x = torch.ones(5)
y = torch.zeros(3)
w = torch.linspace(-1, 1, 15).view(5, 3).requires_grad_()
b = torch.zeros(3, requires_grad=True)
z = torch.matmul(x, w) + b
loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
results["has grad_fn"] = [
    z.grad_fn is not None,
    x.grad_fn is None,
    z.requires_grad,
    w.is_leaf,
    z.is_leaf,
]
loss.backward()
results["grads"] = [w.grad, b.grad]
with torch.no_grad():
    z = torch.matmul(x, w) + b
results["no grad"] = [z.requires_grad, torch.matmul(x, w).detach().requires_grad]

inp = torch.eye(4, 5, requires_grad=True)
out = (inp + 1).pow(2).t()
out.backward(torch.ones_like(out), retain_graph=True)
first = inp.grad.clone()
out.backward(torch.ones_like(out), retain_graph=True)
second = inp.grad.clone()
inp.grad.zero_()
out.backward(torch.ones_like(out), retain_graph=True)
results["accumulated"] = [first, second, inp.grad]

a = torch.tensor([2.0, 3.0], requires_grad=True)
c = torch.tensor([6.0, 4.0], requires_grad=True)
q = 3 * a**3 - c**2
q.backward(gradient=torch.tensor([1.0, 1.0]))
results["q"] = [a.grad, bool((9 * a**2 == a.grad).all()), c.grad]

t = torch.tensor(0.7, requires_grad=True)
v = torch.sin(t) * torch.exp(-t)
(d1,) = torch.autograd.grad(v, t, create_graph=True)
(d2,) = torch.autograd.grad(d1, t, create_graph=True)
d3 = torch.autograd.grad(d2, t)[0]
results["derivatives"] = [v.item(), d1.item(), d2.item(), d3.item()]
results["by hand"] = math.exp(-0.7) * (math.cos(0.7) - math.sin(0.7))


class LegendrePolynomial3(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, threshold: float):
        ctx.threshold = threshold
        return (x > threshold).float()

    @staticmethod
    def backward(ctx, g):
        return g.clone(), None


x = torch.linspace(-math.pi, math.pi, 200)
y = torch.sin(x)
coefficients = [torch.full((), value, requires_grad=True) for value in (0.0, -1.0, 0.0, 0.3)]
for step in range(60):
    a, b, c, d = coefficients
    y_pred = a + b * LegendrePolynomial3.apply(c + d * x)
    loss = (y_pred - y).pow(2).sum()
    loss.backward()
    with torch.no_grad():
        for p in coefficients:
            p -= 5e-6 * p.grad
            p.grad = None
results["legendre"] = [loss.item(), *(p.item() for p in coefficients)]
s = torch.tensor([0.2, 0.8], requires_grad=True)
StraightThrough.apply(s, 0.5).mul(torch.tensor([2.0, 5.0])).sum().backward()
results["straight"] = s.grad
x = torch.rand(3, dtype=torch.float64, requires_grad=True)
results["checked"] = torch.autograd.gradcheck(LegendrePolynomial3.apply, (x,), eps=1e-6, atol=1e-4)
jacobian = torch.autograd.functional.jacobian(
    lambda x: x**2 * torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
)
hessian = torch.autograd.functional.hessian(lambda x: (x**3).sum(), torch.tensor([3.0, 4.0]))
results["functional"] = [jacobian, hessian]
