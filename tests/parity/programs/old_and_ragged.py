import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils.rnn import pad_sequence, unpad_sequence
from torch.utils.data import DataLoader
from tests.parity.seeded import fill, floats, integers

results = {}

# sequences of different lengths, put together by collate_fn
rows = [(torch.tensor(floats(k, 2 + k % 3, 4)), k % 2) for k in range(6)]


def collate(items):
    lengths = torch.tensor([len(x) for x, _ in items])
    padded = pad_sequence([x for x, _ in items], batch_first=True, padding_value=-1.0)
    return padded, lengths, torch.tensor([y for _, y in items])


batches = list(DataLoader(rows, batch_size=3, collate_fn=collate))
results["padded"] = [list(batch) for batch in batches]
results["back"] = unpad_sequence(batches[0][0], batches[0][1], batch_first=True)
results["time first"] = pad_sequence([x for x, _ in rows], padding_side="left")

# a program from before 0.4, with tensors wrapped in Variable
model = fill(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
x, y = Variable(torch.tensor(floats(7, 6, 4))), Variable(torch.tensor(integers(8, 3, 6)))
w = Variable(torch.ones(3), requires_grad=True)
results["is one"] = [isinstance(x, Variable), x.requires_grad, w.requires_grad, w.is_leaf]
loss = F.cross_entropy(model(x) * w, y)
loss.backward()
results["gradients"] = [w.grad, model[0].weight.grad]

# both directions of one matrix of similarities
a, b = model(x), model(x * 0.5)
logits = a @ b.t()
labels = torch.arange(6)
model.zero_grad()
(F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)).backward()
results["contrastive"] = [p.grad for p in model.parameters()]

# a copy has no gradients; what is frozen after forward gets none
twin = copy.deepcopy(model)
results["twin"] = [p.grad is None for p in twin.parameters()]
out = twin(x)
twin[0].weight.requires_grad = False
F.cross_entropy(out, y).backward()
results["frozen"] = [p.grad is None for p in twin.parameters()]
results["text"] = [str(twin[2].bias), repr(twin[2].bias)]

# weights that share memory, each a parameter of its own
first, second = fill(nn.Linear(3, 3)), fill(nn.Linear(3, 3))
second.weight.data = first.weight.data.t()
optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
for k in range(4):
    given = torch.tensor(floats(20 + k, 5, 3))
    optimizer.zero_grad()
    F.mse_loss(second(torch.tanh(first(given))), given).backward()
    optimizer.step()
results["tied"] = [first.weight, second.weight]

# an ensemble in one call
models = [fill(nn.Linear(4, 2), seed) for seed in (1, 2, 3)]
params, buffers = stack_module_state(models)
results["ensemble"] = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(params, buffers)
results["stacked"] = [[k, v.shape, v.requires_grad] for k, v in params.items()]

# an order of memory changes no value
image = torch.tensor(floats(30, 2, 3, 5, 4)).to(memory_format=torch.channels_last)
conv = fill(nn.Conv2d(3, 2, 3)).to(memory_format=torch.channels_last)
results["image"] = [
    image.contiguous(memory_format=torch.contiguous_format),
    conv(image),
    image.shape,
]
