import os
import random

import numpy as np
import torch
import torch.backends.cudnn as cudnn
from torch import nn

results = {}


def set_seed(seed: int = 42) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    os.environ["PYTHONHASHSEED"] = str(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


set_seed()
cudnn.benchmark = True
torch.set_float32_matmul_precision("high")
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if torch.backends.mps.is_available():
    device = torch.device("mps")
device = (
    "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
)
results["device"] = f"Using {device} device, {torch.cuda.device_count()} GPUs"
results["device object"] = [
    torch.device("cpu").type,
    torch.device("cpu") == torch.device("cpu"),
    str(torch.device(device)),
]
device = torch.device(device)
model = nn.Linear(3, 2).to(device)
x = torch.ones(4, 3, device=device)
y = model(x.to(device, non_blocking=True))
results["where"] = [
    y.device,
    next(model.parameters()).device.type,
    y.is_cuda,
    x.cpu().shape,
    x.device.index is None,
]
results["moved"] = [
    x.to(device=device, dtype=torch.float64).dtype, x.to("cpu").dtype, torch.zeros(2, device="cpu"),
    torch.tensor([1.0, 2.0], device=device), torch.arange(3, device=x.device), x.to(x.device) is x,
]  # fmt: skip
if torch.cuda.is_available():
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    print(torch.cuda.get_device_name(0), torch.cuda.memory_allocated() / 2**20)
model = model.cpu()
if torch.cuda.device_count() > 1:
    model = nn.DataParallel(model)
torch.set_num_threads(torch.get_num_threads())
results["threads"] = isinstance(torch.get_num_threads(), int)
results["version"] = isinstance(torch.__version__, str) and torch.__version__.count(".") >= 2
results["names"] = [torch.typename(x), torch.get_default_dtype(), torch.is_grad_enabled()]
torch.use_deterministic_algorithms(False)
results["flags"] = torch.backends.cudnn.is_available() and torch.cuda.is_available()
torch.set_default_dtype(torch.float64)
results["double"] = [torch.zeros(2).dtype, nn.Linear(2, 2).weight.dtype]
torch.set_default_dtype(torch.float32)
generator = torch.Generator(device=device).manual_seed(3)
results["generated"] = torch.equal(
    torch.randn(5, generator=generator), torch.randn(5, generator=torch.Generator().manual_seed(3))
)
with torch.device("cpu"):
    results["under"] = nn.Linear(2, 2).weight.device
