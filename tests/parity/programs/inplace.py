import torch

results = {}
x = torch.arange(12.0).reshape(3, 4)
y = x.clone()
y += 1
y -= 0.5
y *= 2
y /= 4
y **= 2
y[0] = 0
y[:, -1] *= 10
y[y > 20] = 20
y[1, 1:3] += torch.tensor([1.0, 2.0])
results["arithmetic"] = y
z = torch.zeros(3, 4)
z[torch.arange(3), torch.tensor([0, 2, 1])] = 1
z.scatter_(1, torch.tensor([[3], [3], [3]]), 5.0)
z.index_fill_(0, torch.tensor([1]), -1)
z.clamp_(max=4).neg_()
z.t_()
z.unsqueeze_(0).squeeze_(0)
results["scattered"] = z
results["filled"] = [
    torch.empty(2, 2).fill_(3), torch.ones(3).zero_(), torch.empty(2).copy_(torch.tensor([1, 2])), torch.zeros(2, 3).fill_diagonal_(1),
    torch.ones(4).masked_fill_(torch.tensor([True, False, True, False]), 9), torch.tensor([3.0, 1.0]).sqrt_().exp_(),
    torch.ones(3).add_(torch.ones(3), alpha=2), torch.ones(3).addcdiv_(torch.ones(3), torch.full((3,), 2.0), value=-1),
    torch.ones(2).lerp_(torch.zeros(2), 0.3), torch.rand(3).mul_(0), torch.ones(2, 2).tril_(), torch.ones(3).sub_(2).abs_(),
]  # fmt: skip
results["random"] = [
    bool((torch.empty(100).uniform_(2, 3) >= 2).all()), torch.empty(5).normal_(mean=0, std=1).shape,
    set(torch.empty(50).bernoulli_(0.5).tolist()) <= {0.0, 1.0}, torch.empty(10, dtype=torch.long).random_(0, 5).max().item() < 5,
    torch.randint(0, 3, (2, 4)).dtype, torch.randint(5, (3,)).shape, torch.normal(0.0, 1.0, size=(2, 2)).shape,
    torch.normal(torch.zeros(3), torch.ones(3)).shape, torch.randperm(4).sum().item(), torch.rand(2, 3).shape, torch.randn((2, 3)).shape,
]  # fmt: skip
a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
b = a * 2
b[0] = 0
b.mul_(3)
b.relu_()
b.sum().backward()
results["grad"] = a.grad
errors = []
for bad in (lambda: a.add_(1), lambda: a.numpy(), lambda: torch.ones(2) @ torch.ones(3), lambda: torch.ones(3)[5], lambda: torch.ones(2, 3).view(4),
            lambda: torch.zeros(2, 3) + torch.zeros(2, 2), lambda: torch.cat([torch.ones(2), torch.ones(1, 2)]), lambda: (a * 2).backward()):  # fmt: skip
    try:
        bad()
        errors.append("nothing")
    except (RuntimeError, IndexError) as error:
        errors.append(IndexError if isinstance(error, IndexError) else RuntimeError)
results["errors"] = [e.__name__ if isinstance(e, type) else e for e in errors]
c = (a**2).sum()
c.backward()
try:
    c.backward()
except RuntimeError:
    results["twice"] = "RuntimeError"
with torch.no_grad():
    a -= 0.1 * a.grad
    a.grad.zero_()
results["updated"] = [a, a.grad, a.requires_grad]
torch.set_grad_enabled(False)
results["disabled"] = (a * 2).requires_grad
torch.set_grad_enabled(True)


@torch.inference_mode()
def predict(x):
    return x * a


results["decorated"] = [predict(torch.ones(3)).requires_grad, torch.is_grad_enabled()]
view = x.view(-1)
view[0] = 100
row = x[1]
row.zero_()
results["views"] = [
    x,
    view.data_ptr() == x.data_ptr(),
    x.is_contiguous(),
    x.t().is_contiguous(),
    x.stride(),
    x.T.contiguous().stride(),
]
m = torch.tensor([[1, 2], [3, 4]])
results["integers"] = [
    m // 2,
    m % 2,
    -m,
    m / 2,
    m**2,
    m.float().mean(),
    ~(m > 2),
    m & 1,
    m.prod(),
    torch.floor_divide(m, 3),
    2**m,
    1 - m,
    1 / m,
]
results["loops"] = [[v.item() for v in row] for row in m]
results["unpacked"] = [
    *m.unbind(),
    *m.size(),
    m.tolist(),
    max(m.flatten()).item(),
    sum(m).tolist(),
    list(m.shape),
    int(m[0, 0]),
    float(m[1, 1]),
]
results["bool"] = [
    bool(torch.tensor(0.0)),
    bool(m.any()),
    (m == m).all().item(),
    3 in m,
    torch.tensor([1]) in m,
]
results["where"] = [
    torch.where(m > 2, m, 0),
    torch.where(m > 2),
    m.nonzero(as_tuple=True),
    torch.nonzero(m > 2),
    (m > 2).nonzero().squeeze(),
]
results["hash"] = len({a: 1, b: 2})
