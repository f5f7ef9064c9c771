import numpy as np
import torch

results = {}
data = [[1, 2], [3, 4]]
x_data = torch.tensor(data)
x_np = torch.from_numpy(np.array(data))
x_ones = torch.ones_like(x_data)
x_float = torch.ones_like(x_data, dtype=torch.float)
results["made"] = [x_data, x_np, x_ones, x_float, torch.zeros((2, 3)), torch.empty(2, 0)]
results["ones"] = f"Ones Tensor: \n {x_ones} \n"
tensor = torch.arange(12, dtype=torch.float32).view(3, 4)
results["facts"] = f"Shape {tensor.shape}, type {tensor.dtype}, on {tensor.device}"
results["rows"] = [f"{tensor[0]}", f"{tensor[:, 0]}", f"{tensor[..., -1]}"]
tensor[:, 1] = 0
t1 = torch.cat([tensor, tensor, tensor], dim=1)
y1 = tensor @ tensor.T
y2 = tensor.matmul(tensor.T)
y3 = torch.rand_like(y1)
torch.matmul(tensor, tensor.T, out=y3)
z3 = torch.empty_like(tensor)
torch.mul(tensor, tensor, out=z3)
results["products"] = [t1, y1, y2, y3, z3, tensor * tensor]
agg = tensor.sum()
results["item"] = [agg.item(), type(agg.item()).__name__]
tensor.add_(5)
n = tensor.numpy()
tensor.mul_(2)
results["shared"] = n
n = np.ones(5)
t = torch.from_numpy(n)
np.add(n, 1, out=n)
results["bridge"] = [t, f"t: {t}", f"n: {n}"]
results["lists"] = [torch.LongTensor([1, 2, 3]), torch.FloatTensor([1.5, 2]), torch.Tensor([1, 2])]
results["sizes"] = [
    tensor.size(),
    tensor.size(0),
    len(tensor),
    tensor.numel(),
    tensor.ndim,
    tensor.dim(),
]
results["axis"] = [
    tensor.sum(axis=0), torch.sum(tensor, axis=1, keepdim=True), tensor.mean(axis=-1),
    torch.argmax(tensor, axis=1), tensor.max(axis=1).values, tensor.std(axis=0, keepdims=True),
    torch.cat((tensor, tensor), axis=1), torch.stack([tensor, tensor], axis=0).shape,
    tensor.softmax(dim=-1), torch.unsqueeze(tensor, axis=0).shape, tensor.sum((0, 1)),
]  # fmt: skip
a, b = torch.split(tensor, 2, dim=1)
results["split"] = [a, b, *tensor.chunk(2, dim=-1), *torch.unbind(tensor, dim=0)]
results["view"] = [
    tensor.view(-1),
    tensor.reshape(2, -1),
    tensor.permute(1, 0),
    tensor.t(),
    tensor.flatten(),
]
results["types"] = [
    tensor.to(torch.int64), tensor.type(torch.double), tensor.long(), tensor.bool(), tensor.int().dtype,
    tensor.type(), (tensor > 12).sum(), torch.tensor(3).dtype, torch.tensor([True]).dtype, tensor.type(torch.LongTensor),
]  # fmt: skip
results["news"] = [
    tensor.new_tensor([1, 2]), tensor.new_zeros(2, 2), tensor.new_ones((3,)), tensor.new_full((2,), 7.0),
    tensor.new_empty((2, 5)).shape,
]  # fmt: skip
results["compare"] = [
    torch.allclose(y1, y2), torch.equal(a, b), (a == b), torch.is_tensor(a), isinstance(a, torch.Tensor), a is b,
    torch.eq(a, b).float().mean(),
]  # fmt: skip
results["repr"] = [
    repr(torch.tensor(1.0)), repr(torch.tensor([1.0], requires_grad=True)), repr(torch.zeros(2, 2, dtype=torch.int32)),
    repr(torch.arange(3) / 3), repr(torch.tensor([1e-8, 1.0])), str(tensor.shape), repr(torch.float32), str(torch.Size([2, 3])),
    repr(torch.device("cpu")), f"{torch.tensor(3.14159):.2f}", repr(torch.tensor([])), repr(torch.eye(2) > 0),
    repr((torch.ones(2, requires_grad=True) * 2).sum()),
]  # fmt: skip
