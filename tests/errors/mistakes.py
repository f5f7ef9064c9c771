"""Mistakes that users make: a short program each, the error it must meet, and what it must say.

``says`` are fragments of the message: the rule in words, the operands as the user knows them, the
fix as code. The programs are run as files, so that messages can name their lines. A line marked
with ``# <--`` is the one that the message must point at; what exists before it must be unchanged
after it.
"""

from __future__ import annotations

import os
import re
import tempfile
import textwrap
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import contraflow as cf

PRELUDE = """\
import numpy as np
import contraflow as cf
from contraflow import nn

"""
MARK = "  # <--"


@dataclass(frozen=True)
class Mistake:
    """A program, the class of its error, and fragments of the message."""

    title: str
    program: str
    error: str
    says: tuple[str, ...]
    page: bool = False  # stands on the page of errors in the documentation

    @property
    def code(self) -> str:
        """The program without the mark."""
        return self.program.replace(MARK, "")

    @property
    def culprit(self) -> str:
        """The line that is wrong, as messages show it."""
        (line,) = [line for line in self.program.splitlines() if line.endswith(MARK)]
        number = PRELUDE.count("\n") + self.program.splitlines().index(line) + 1
        return f"train.py:{number}: {line.removesuffix(MARK).strip()}"


@dataclass
class Meeting:
    """What happened: the error, and the state before the culprit's line and after the error."""

    error: Exception | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def state_of(variables: dict[str, Any]) -> dict[str, Any]:
    """The numbers of every tensor, model and optimiser among the variables, and the stream's."""
    found: dict[str, Any] = {"random": cf.get_rng_state().numpy().copy()}

    def take(name: str, t: Any) -> None:
        found[name] = t.detach().numpy().copy()
        found[f"{name}.grad"] = None if t.grad is None else t.grad.numpy().copy()

    for name, value in variables.items():
        if isinstance(value, cf.Tensor):
            take(name, value)
        elif isinstance(value, cf.nn.Module):
            for path, t in [*value.named_parameters(), *value.named_buffers()]:
                take(f"{name}.{path}", t)
        elif isinstance(value, cf.optim.Optimizer):
            for p, state in value.state_dict()["state"].items():
                for key, t in state.items():
                    take(f"{name}.{p}.{key}", t)
    return found


def meet(planted: Mistake) -> Meeting:
    """Run a program as a file of its own."""
    meeting = Meeting()

    def watch() -> None:
        meeting.before = state_of(variables)

    variables: dict[str, Any] = {"__name__": "__main__", "watch": watch}
    # the same lines as in the file, but the state is taken before the culprit's
    plain = re.compile(rf"^(?!if|for|with|class|def|\s)(.*{MARK})$", re.MULTILINE)
    watched = PRELUDE + plain.sub(r"watch(); \1", planted.program)
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder) / "train.py"
        path.write_text(PRELUDE + planted.code)
        os.chdir(folder)
        cf.manual_seed(0)
        try:
            exec(compile(watched, str(path), "exec"), variables)
        except Exception as error:
            meeting.error = error
            str(error)
        finally:
            os.chdir(here)
    if meeting.before:
        meeting.after = {k: v for k, v in state_of(variables).items() if k in meeting.before}
    return meeting


def unchanged(meeting: Meeting) -> bool:
    """Whether the culprit's line left everything as it was."""
    pairs = [(value, meeting.after[name]) for name, value in meeting.before.items()]
    return all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True))
        for a, b in pairs
    )


MISTAKES: list[Mistake] = []


def mistake(title: str, program: str, error: str, *says: str, page: bool = False) -> None:
    MISTAKES.append(Mistake(title, textwrap.dedent(program).strip() + "\n", error, says, page))


# ---- shapes --------------------------------------------------------------------------------------

mistake(
    "a layer that expects another number of features",
    """
    model = nn.Sequential(
        nn.Sequential(nn.Linear(784, 256), nn.ReLU()),
        nn.Sequential(nn.Linear(512, 10)),
    )
    x = cf.rand(32, 784)
    logits = model(x)  # <--
    """,
    "ShapeError",
    "linear: the input has 256 features, the layer expects 512",
    "float32[32, 256]",
    "float32[10, 512]   model.1.0.weight",
    "model.1.0: Linear(in_features=512, out_features=10, bias=True)",
    "fix: nn.Linear(256, 10)",
    page=True,
)
mistake(
    "images given to a dense layer without flattening",
    """
    model = nn.Sequential(nn.Linear(64, 10))
    images = cf.rand(32, 8, 8)
    model(images)  # <--
    """,
    "ShapeError",
    "8 features, the layer expects 64",
    "float32[32, 8, 8]",
    "x.flatten(1)",
)
mistake(
    "a prediction of n by 1 against a target of n",
    """
    model = nn.Linear(4, 1)
    x, y = cf.rand(32, 4), cf.rand(32)
    loss = nn.MSELoss()(model(x), y)  # <--
    """,
    "ShapeError",
    "mse_loss: input and target must have the same shape, [32, 1] is not [32]",
    "they would broadcast to [32, 32]",
    "float32[32]",
    "fix: target.unsqueeze(1), or input.squeeze(1)",
    page=True,
)
mistake(
    "matrices whose inner sizes differ",
    """
    a, b = cf.rand(3, 4), cf.rand(3, 5)
    a @ b  # <--
    """,
    "ShapeError",
    "matmul",
    "float32[3, 4]   a",
    "float32[3, 5]   b",
    "fix: ",
)
mistake(
    "shapes that do not broadcast",
    """
    features, weights = cf.rand(32, 10), cf.rand(32)
    features * weights  # <--
    """,
    "ShapeError",
    "mul: shapes do not broadcast: sizes 10 and 32 meet in dimension -1",
    "float32[32, 10]   features",
    "float32[32]   weights",
    "x.unsqueeze(dim)",
)
mistake(
    "a reshape into another number of elements",
    """
    x = cf.rand(32, 10)
    x.reshape(32, 5)  # <--
    """,
    "ShapeError",
    "reshape: 320 elements cannot become [32, 5], which holds 160",
    "fix: use -1",
)
mistake(
    "tensors of different widths joined",
    """
    a, b = cf.rand(4, 3), cf.rand(4, 5)
    cf.cat([a, b])  # <--
    """,
    "ShapeError",
    "cat",
    "float32[4, 3]   a",
    "float32[4, 5]   b",
    "fix: ",
)
mistake(
    "tensors of different shapes stacked",
    """
    rows = [cf.rand(3), cf.rand(4)]
    cf.stack(rows)  # <--
    """,
    "ShapeError",
    "stack",
    "float32[3]",
    "float32[4]",
)
mistake(
    "a convolution with other channels than the image",
    """
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(16, 32, 3))
    images = cf.rand(4, 1, 28, 28)
    net(images)  # <--
    """,
    "ShapeError",
    "8 channels",
    "16",
    "net.2: Conv2d(16, 32, kernel_size=(3, 3), stride=(1, 1))",
    "received  float32[4, 8, 26, 26]",
    "fix: ",
    page=True,
)
mistake(
    "images with the channels last",
    """
    conv = nn.Conv2d(3, 8, 3)
    images = cf.rand(4, 32, 32, 3)
    conv(images)  # <--
    """,
    "ShapeError",
    "32 channels",
    "float32[4, 32, 32, 3]",
    "x.movedim(-1, 1): the channels come before the image",
    page=True,
)
mistake(
    "a kernel that is larger than the image",
    """
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 7))
    net(cf.rand(2, 1, 8, 8))  # <--
    """,
    "ShapeError",
    "kernel",
    "net.1",
    "float32[2, 4, 6, 6]",
    "fix: ",
)
mistake(
    "a vector where a layer takes images",
    """
    conv = nn.Conv2d(1, 4, 3)
    row = cf.rand(64)
    conv(row)  # <--
    """,
    "ShapeError",
    "conv2d",
    "float32[64]",
    "fix: ",
)
mistake(
    "an image without its batch given to batch norm",
    """
    norm = nn.BatchNorm2d(3)
    image = cf.rand(3, 8, 8)
    norm(image)  # <--
    """,
    "ShapeError",
    "BatchNorm2d takes [N, C, H, W]; the input has 3 dimensions",
    "float32[3, 8, 8]   image",
    "fix: x.unsqueeze(0) for a single sample",
)
mistake(
    "batch norm of another number of features",
    """
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(4))
    model(cf.rand(16, 4))  # <--
    """,
    "ShapeError",
    "8",
    "4",
    "model.1: BatchNorm1d",
    "fix: ",
)
mistake(
    "layer norm over another size",
    """
    norm = nn.LayerNorm(10)
    norm(cf.rand(4, 8))  # <--
    """,
    "ShapeError",
    "[10]",
    "float32[4, 8]",
    "fix: ",
)
mistake(
    "a write of a value that does not fit",
    """
    table = cf.zeros(3, 4)
    table[0] = cf.ones(5)  # <--
    """,
    "ShapeError",
    "does not fit",
    "float32[5]",
    "fix: ",
)
mistake(
    "rows of different lengths",
    """
    data = cf.tensor([[1.0, 2.0], [3.0]])  # <--
    """,
    "ShapeError",
    "nested lists must have equal lengths",
    "data[0] has 2 elements",
    "data[1] has 1 element",
    "fix: pad the short ones",
)
mistake(
    "a target of other images",
    """
    output, target = cf.rand(8, 3, 16, 16), cf.rand(8, 3, 32, 32)
    nn.functional.l1_loss(output, target)  # <--
    """,
    "ShapeError",
    "l1_loss: input and target must have the same shape",
    "float32[8, 3, 16, 16]   output",
    "fix: ",
)

# ---- dtypes --------------------------------------------------------------------------------------

mistake(
    "integers given to a dense layer",
    """
    model = nn.Linear(3, 2)
    x = cf.tensor([[1, 2, 3]])
    model(x)  # <--
    """,
    "DTypeError",
    "int64",
    "float32",
    "linear: input is int64, the weight is float32",
    "int64[1, 3]   x",
    "fix: input.to(cf.float32)",
    page=True,
)
mistake(
    "float64 data from numpy given to a float32 layer",
    """
    model = nn.Linear(3, 2)
    x = cf.from_numpy(np.random.default_rng(0).normal(size=(5, 3)))
    model(x)  # <--
    """,
    "DTypeError",
    "float64",
    "float32",
    "float64[5, 3]   x",
    "fix: input.to(cf.float32)",
)
mistake(
    "labels that are floating point",
    """
    logits, labels = cf.randn(4, 3), cf.tensor([0.0, 2.0, 1.0, 1.0])
    nn.functional.cross_entropy(logits, labels)  # <--
    """,
    "DTypeError",
    "cross_entropy",
    "float32[4]   labels",
    ".long()",
)
mistake(
    "labels that are one hot and integers",
    """
    logits = cf.randn(4, 3)
    labels = nn.functional.one_hot(cf.tensor([0, 2, 1, 1]), 3)
    nn.functional.cross_entropy(logits, labels)  # <--
    """,
    "ShapeError",
    "cross_entropy: logits [4, 3] take labels [4], received [4, 3]",
    "int64[4, 3]   labels",
    "target.argmax(1) for one-hot labels, or target.float() for probabilities",
)
mistake(
    "indices that are floating point",
    """
    table = nn.Embedding(10, 4)
    words = cf.tensor([1.0, 2.0])
    table(words)  # <--
    """,
    "DTypeError",
    "embedding",
    "float32[2]",
    ".long()",
)
mistake(
    "a list where a tensor is meant",
    """
    model = nn.Linear(3, 2)
    model([1.0, 2.0, 3.0])  # <--
    """,
    "DTypeError",
    "must be a tensor",
    "list",
    "fix: ",
)
mistake(
    "a list of numbers added to a tensor",
    """
    x = cf.ones(3)
    y = cf.add(x, [1.0, 2.0, 3.0])  # <--
    """,
    "DTypeError",
    "add",
    "list [1.0, 2.0, 3.0]",
    "cf.tensor(",
)
mistake(
    "text turned into a tensor",
    """
    labels = cf.tensor(["cat", "dog"])  # <--
    """,
    "DTypeError",
    "a tensor holds numbers, not text",
    "['cat', 'dog']",
    "names.index(word)",
)
mistake(
    "a number that does not fit into a small integer",
    """
    pixels = cf.tensor([1, 2, 3], dtype=cf.uint8)
    brighter = pixels + 300  # <--
    """,
    "ArgumentError",
    "300 does not fit into uint8",
    "fix: ",
)
mistake(
    "a float result written into integers",
    """
    counts = cf.tensor([1, 2, 3])
    counts /= 2  # <--
    """,
    "DTypeError",
    "a float32 result cannot be stored into a int64 tensor",
    "int64[3]   counts",
    "fix: ",
)
mistake(
    "gradients of integers",
    """
    w = cf.tensor([1, 2, 3], requires_grad=True)  # <--
    """,
    "GradError",
    "only floating-point tensors can require a gradient",
    "fix: ",
)
mistake(
    "a mask that is an array of floats",
    """
    x, mask = cf.rand(4), cf.tensor([1.0, 0.0, 1.0, 0.0])
    x[mask]  # <--
    """,
    "IndexTypeError",
    "an index must be integer or bool",
    "float32[4]   mask",
    "fix: ",
)

# ---- labels and indices --------------------------------------------------------------------------

mistake(
    "labels that count from one",
    """
    logits, labels = cf.randn(4, 3), cf.tensor([1, 2, 3, 1])
    nn.functional.cross_entropy(logits, labels)  # <--
    """,
    "IndexOutOfRange",
    "label 3 does not exist among 3 classes (0..2)",
    "[2] = 3",
    "int64[4]   labels",
    "- 1: labels count from 0",
    page=True,
)
mistake(
    "more labels than outputs",
    """
    model = nn.Linear(4, 5)
    loss = nn.CrossEntropyLoss()(model(cf.rand(3, 4)), cf.tensor([0, 9, 4]))  # <--
    """,
    "IndexOutOfRange",
    "label 9 does not exist among 5 classes (0..4)",
    "at least 10 outputs in the last layer",
)
mistake(
    "a label of minus one",
    """
    logits, labels = cf.randn(3, 4), cf.tensor([0, -1, 2])
    nn.functional.nll_loss(logits.log_softmax(1), labels)  # <--
    """,
    "IndexOutOfRange",
    "label -1",
    "ignore_index=-1",
)
mistake(
    "probabilities that are not between zero and one",
    """
    scores, target = cf.tensor([[0.5], [7.25]]), cf.ones(2, 1)
    loss = nn.BCELoss()(scores, target)  # <--
    """,
    "ArgumentError",
    "binary_cross_entropy: input must be between 0 and 1, received 7.25",
    "input[1, 0] = 7.25",
    "float32[2, 1]   scores",
    "fix: cf.sigmoid(input), or binary_cross_entropy_with_logits(input, target)",
    page=True,
)
mistake(
    "a word that is not in the vocabulary",
    """
    table = nn.Embedding(100, 8)
    words = cf.tensor([[3, 100]])
    table(words)  # <--
    """,
    "IndexOutOfRange",
    "embedding: the table has 100 rows (0..99), there is no row 100",
    "int64[1, 2]   words",
    "float32[100, 8]   table.weight",
    "fix: nn.Embedding(101, 8), or indices below 100",
)
mistake(
    "an index past the end",
    """
    x = cf.rand(5, 3)
    x[5]  # <--
    """,
    "IndexOutOfRange",
    "index 5 is out of range for dimension 0 of size 5",
    "float32[5, 3]   x",
    "fix: x[4] is the last",
)
mistake(
    "more indices than dimensions",
    """
    x = cf.rand(5, 3)
    x[0, 1, 2]  # <--
    """,
    "IndexOutOfRange",
    "3 indices for a tensor of 2 dimensions",
    "float32[5, 3]   x",
    "fix: at most 2: x[i, j]",
)
mistake(
    "a dimension that is not there",
    """
    x = cf.rand(5, 3)
    x.sum(dim=2)  # <--
    """,
    "IndexOutOfRange",
    "dim=2 does not exist in a tensor of 2 dimensions",
    "fix: dim=1",
)
mistake(
    "rows that are chosen by wrong numbers",
    """
    x = cf.rand(5, 3)
    x.index_select(0, cf.tensor([0, 7]))  # <--
    """,
    "IndexOutOfRange",
    "index_select: index 7 does not exist in dimension 0 of size 5",
    "fix: indices from 0 to 4",
)

# ---- gradients -----------------------------------------------------------------------------------

mistake(
    "backward a second time",
    """
    model = nn.Linear(3, 1)
    loss = model(cf.rand(8, 3)).square().mean()
    loss.backward()
    loss.backward()  # <--
    """,
    "GradError",
    "a second time",
    "freed",
    "loss.backward(retain_graph=True) for the first call",
    page=True,
)
mistake(
    "backward of many numbers",
    """
    model = nn.Linear(3, 2)
    loss = (model(cf.rand(8, 3)) - 1) ** 2
    loss.backward()  # <--
    """,
    "GradError",
    "backward needs a scalar",
    "float32[8, 2]   loss",
    "loss.mean().backward()",
    page=True,
)
mistake(
    "weights that do not require a gradient",
    """
    w = cf.zeros(3)
    loss = (w - 1).square().sum()
    loss.backward()  # <--
    """,
    "GradError",
    "nothing that requires a gradient leads to this tensor",
    "float32[]   loss",
    "requires_grad=True",
)
mistake(
    "a loss computed without recording",
    """
    model = nn.Linear(3, 1)
    with cf.no_grad():
        loss = model(cf.rand(8, 3)).mean()
    loss.backward()  # <--
    """,
    "GradError",
    "nothing that requires a gradient leads to this tensor",
    "cf.no_grad()",
)
mistake(
    "weights changed in place while recording",
    """
    w = cf.ones(3, requires_grad=True)
    (w * w).sum().backward()
    w -= 0.1 * w.grad  # <--
    """,
    "GradError",
    "a leaf that requires a gradient cannot be changed in place",
    "float32[3]   w",
    "with cf.no_grad(): ...",
)
mistake(
    "a value changed in place that backward needs",
    """
    w = cf.rand(3, requires_grad=True)
    h = w * 2
    loss = (h * h).sum()
    h += 1
    loss.backward()  # <--
    """,
    "GradError",
    "backward of mul needs operand a, which was overwritten in place after it was used",
    "float32[3]   h",
    "written at  train.py:8: h += 1",
    "x.clone() before writing",
    page=True,
)
mistake(
    "numpy of a tensor with a history",
    """
    model = nn.Linear(3, 1)
    prediction = model(cf.rand(8, 3))
    prediction.numpy()  # <--
    """,
    "GradError",
    "numpy() of a tensor that requires a gradient",
    "float32[8, 1]   prediction",
    "x.detach().numpy()",
)
mistake(
    "a gradient of another shape",
    """
    model = nn.Linear(3, 2)
    y = model(cf.rand(8, 3))
    y.backward(cf.ones(8))  # <--
    """,
    "ShapeError",
    "the gradient must have the tensor's shape",
    "float32[8, 2]   y",
    "float32[8]",
    "fix: y.backward(cf.ones_like(y))",
)
mistake(
    "the gradient by something that was not used",
    """
    a, b = cf.ones(2, requires_grad=True), cf.ones(2, requires_grad=True)
    cf.autograd.grad((a * a).sum(), [a, b])  # <--
    """,
    "GradError",
    "input 1 was not used",
    "float32[2]   b",
    "allow_unused=True",
)
mistake(
    "a copy of a tensor with a history",
    """
    import copy
    model = nn.Linear(3, 1)
    best = copy.deepcopy(model(cf.rand(2, 3)))  # <--
    """,
    "GradError",
    "only leaves can be deep-copied",
    "train.py:7: best = copy.deepcopy",
    "x.detach().clone()",
)
mistake(
    "a custom function that forgets a gradient",
    """
    class Scale(cf.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.save_for_backward(x, factor)
            return x * factor

        @staticmethod
        def backward(ctx, g):
            x, factor = ctx.saved_tensors
            return g * factor

    x, factor = cf.ones(3, requires_grad=True), cf.ones(3, requires_grad=True)
    Scale.apply(x, factor).sum().backward()  # <--
    """,
    "GradError",
    "Scale.backward returned 1 gradients for 2 inputs of forward",
    "one gradient (or None) for each argument",
)

# ---- values --------------------------------------------------------------------------------------

mistake(
    "an item of many numbers",
    """
    losses = cf.rand(8)
    losses.item()  # <--
    """,
    "ShapeError",
    "item() needs one element, the tensor has 8",
    "float32[8]   losses",
    "x.mean().item()",
)
mistake(
    "an if on many numbers",
    """
    x = cf.rand(4)
    if x > 0.5:  # <--
        print("large")
    """,
    "ArgumentError",
    "the truth of a tensor with 4 elements is ambiguous",
    "x.any() or x.all()",
)
mistake(
    "a tensor of one number made by its class",
    """
    x = cf.Tensor(2.5)  # <--
    """,
    "DTypeError",
    "sizes or a list of numbers",
    "fix: cf.tensor(2.5)",
)
mistake(
    "a device that is not here",
    """
    model = nn.Linear(3, 2).to("cuda")  # <--
    """,
    "ArgumentError",
    "cuda",
    "cpu",
    "fix: ",
    page=True,
)
mistake(
    "a tensor moved to the gpu",
    """
    x = cf.rand(3).cuda()  # <--
    """,
    "ArgumentError",
    "cuda",
    "fix: ",
)
mistake(
    "a pickled model",
    """
    import pickle
    pickle.dumps(nn.Linear(3, 2))  # <--
    """,
    "DTypeError",
    "a pickle can run code when it is opened",
    "cf.save(model.state_dict(), 'model.safetensors')",
)

# ---- modules -------------------------------------------------------------------------------------

mistake(
    "a module without super().__init__()",
    """
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 2)  # <--

    Net()
    """,
    "AttributeMissing",
    "Net: cannot assign",
    "super().__init__()",
    page=True,
)
mistake(
    "a forward that returns nothing",
    """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            self.layer(x)

    net = Net()
    prediction = net(cf.rand(4, 3))
    loss = nn.functional.mse_loss(prediction, cf.rand(4, 2))  # <--
    """,
    "DTypeError",
    "mse_loss: input must be a tensor, not NoneType",
    "a forward, that ends without `return`",
)
mistake(
    "a module without forward",
    """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()

    Net()(cf.rand(2))  # <--
    """,
    "ArgumentError",
    "Net has no forward",
    "def forward(self, x)",
)
mistake(
    "layers in a plain list",
    """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(3, 2)]

        def forward(self, x):
            return self.layers[0](x)

    optimizer = cf.optim.SGD(Net().parameters(), lr=0.1)  # <--
    """,
    "ArgumentError",
    "SGD got an empty list of parameters",
    "nn.ModuleList([...]) registers them",
)
mistake(
    "an attribute that a module does not have",
    """
    model = nn.Sequential(nn.Linear(3, 2))
    model.layer1(cf.rand(3))  # <--
    """,
    "AttributeMissing",
    "'Sequential' object has no attribute 'layer1'",
)
mistake(
    "weights of another model",
    """
    saved = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    model.load_state_dict(saved)  # <--
    """,
    "StateError",
    "2.weight",
    "1.weight",
    "[2, 4]",
    "[5, 4]",
    page=True,
)
mistake(
    "a dropout probability in per cent",
    """
    nn.Dropout(20)  # <--
    """,
    "ArgumentError",
    "between 0 and 1",
    "20",
    "fix: ",
)
mistake(
    "batch norm of a single value",
    """
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = cf.rand(1, 3)
    model(x)  # <--
    """,
    "ArgumentError",
    "more than one value",
    "float32[1, 4]",
    "model.1: BatchNorm1d",
    "model.eval()",
    page=True,
)
mistake(
    "groups that do not divide the channels",
    """
    nn.Conv2d(3, 8, 3, groups=2)  # <--
    """,
    "ArgumentError",
    "groups",
    "3",
    "2",
    "fix: ",
)
mistake(
    "softmax without a dimension",
    """
    scores = cf.rand(4, 3)
    nn.functional.softmax(scores)  # <--
    """,
    "UserWarning",
    "softmax without dim",
    "say dim=-1",
)
mistake(
    "a reduction that does not exist",
    """
    nn.MSELoss(reduction="average")  # <--
    """,
    "ArgumentError",
    "unknown reduction 'average'",
    "'mean', 'sum' or 'none'",
)

# ---- optimisers ----------------------------------------------------------------------------------

mistake(
    "an optimiser of a generator that is used up",
    """
    model = nn.Linear(3, 2)
    params = model.parameters()
    count = sum(p.numel() for p in params)
    optimizer = cf.optim.Adam(params)  # <--
    """,
    "ArgumentError",
    "Adam got an empty list of parameters",
    "params = list(model.parameters()): a generator is empty after its first use",
)
mistake(
    "an optimiser of a model",
    """
    model = nn.Linear(3, 2)
    optimizer = cf.optim.Adam(model)  # <--
    """,
    "DTypeError",
    "Linear",
    "model.parameters()",
)
mistake(
    "an optimiser of something computed",
    """
    w = cf.ones(3, requires_grad=True)
    scaled = w * 2
    optimizer = cf.optim.SGD([scaled], lr=0.1)  # <--
    """,
    "ArgumentError",
    "leaf",
    "float32[3]   scaled",
    "fix: ",
)
mistake(
    "a negative learning rate",
    """
    model = nn.Linear(3, 2)
    optimizer = cf.optim.Adam(model.parameters(), lr=-0.1)  # <--
    """,
    "ArgumentError",
    "Adam: lr must be a number >= 0",
    "-0.1",
    "fix: cf.optim.Adam(params, lr=",
)
mistake(
    "betas that are out of range",
    """
    model = nn.Linear(3, 2)
    optimizer = cf.optim.Adam(model.parameters(), betas=(0.9, 1.0))  # <--
    """,
    "ArgumentError",
    "Adam: betas must be two numbers in [0, 1)",
    "(0.9, 1.0)",
    "fix: cf.optim.Adam(params, betas=(0.9, 0.999))",
)
mistake(
    "the same parameter in two groups",
    """
    model = nn.Linear(3, 2)
    groups = [{"params": model.parameters()}, {"params": [model.weight], "lr": 0.1}]
    optimizer = cf.optim.Adam(groups)  # <--
    """,
    "ArgumentError",
    "appears twice",
    "float32[2, 3]   weight",
)
mistake(
    "a scheduler of no optimiser",
    """
    model = nn.Linear(3, 2)
    scheduler = cf.optim.lr_scheduler.StepLR(model, step_size=10)  # <--
    """,
    "DTypeError",
    "optimizer",
    "Linear",
)
mistake(
    "a scheduler without its step size",
    """
    optimizer = cf.optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    scheduler = cf.optim.lr_scheduler.StepLR(optimizer, step_size=0)  # <--
    """,
    "ArgumentError",
    "step_size",
    "0",
)
mistake(
    "the state of another optimiser",
    """
    a, b = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    saved = cf.optim.Adam(a.parameters()).state_dict()
    optimizer = cf.optim.Adam(b.parameters())
    optimizer.load_state_dict(saved)  # <--
    """,
    "StateError",
    "2",
    "4",
)

# ---- data ----------------------------------------------------------------------------------------

mistake(
    "a batch size of zero",
    """
    from contraflow.data import DataLoader, TensorDataset
    dataset = TensorDataset(cf.rand(10, 3))
    loader = DataLoader(dataset, batch_size=0)  # <--
    """,
    "ArgumentError",
    "batch_size",
    "0",
    "fix: ",
)
mistake(
    "inputs and labels of different lengths",
    """
    from contraflow.data import TensorDataset
    x, y = cf.rand(100, 3), cf.rand(99)
    dataset = TensorDataset(x, y)  # <--
    """,
    "ShapeError",
    "100",
    "99",
)
mistake(
    "a file that is a pickle",
    """
    import pickle
    with open("model.pt", "wb") as file:
        pickle.dump({"weight": [1.0, 2.0]}, file)
    weights = cf.load("model.pt")  # <--
    """,
    "FileError",
    "model.pt",
    "fix: ",
    page=True,
)
mistake(
    "a file that is not there",
    """
    weights = cf.load("model.safetensors")  # <--
    """,
    "FileError",
    "model.safetensors",
    "check the path",
)
mistake(
    "shares of a split that do not add up",
    """
    from contraflow.data import TensorDataset, random_split
    dataset = TensorDataset(cf.rand(10, 3))
    train, test = random_split(dataset, [8, 3])  # <--
    """,
    "ArgumentError",
    "11",
    "10",
)

# ---- capture -------------------------------------------------------------------------------------

mistake(
    "a value that is looked at during capture",
    """
    model = nn.Linear(3, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()  # <--

    captured = cf.capture.capture(step, cf.rand(8, 3))
    """,
    "CaptureError",
    "item() looks at a value while the step is being captured",
    "float32[]",
    "return the tensor from the step and look at it outside",
    page=True,
)
mistake(
    "a decision by value during capture",
    """
    model = nn.Linear(3, 1)

    def step(x):
        loss = model(x).square().mean()
        if loss > 1:  # <--
            loss = loss.sqrt()
        return loss

    captured = cf.capture.capture(step, cf.rand(8, 3))
    """,
    "CaptureError",
    "looks at a value while the step is being captured",
    "cf.where(condition, a, b)",
)
mistake(
    "a captured step called with another batch",
    """
    model = nn.Linear(3, 1)
    step = cf.capture.capture(model, cf.rand(8, 3))
    step(cf.rand(5, 3))  # <--
    """,
    "CaptureError",
    "captured for another shape or dtype",
    "float32[8, 3]",
    "float32[5, 3]",
    "fix: ",
)
