"""Modules against PyTorch, from the same weights: output, gradients, text, keys of the state dict,
hooks in their order, reparametrised weights over training steps."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

rng = np.random.default_rng(17)


def x(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def quiet(make, library):
    """Make a module without PyTorch's warnings (lazy layers, deprecated spellings)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(library)


def pair(make):
    """The same module twice, in float64 and with PyTorch's weights: ours and PyTorch's."""
    theirs = quiet(make, torch.nn).double()
    ours = quiet(make, cf.nn).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    return ours, theirs


def both(value):
    """An operand twice; what has floating numbers requires a gradient."""
    value = np.asarray(value)
    floating = value.dtype.kind == "f"
    return (
        cf.tensor(value, requires_grad=floating),
        torch.tensor(value, requires_grad=floating),
    )


def agree(ours, theirs, **tolerance):
    assert (ours is None) == (theirs is None)
    if theirs is not None:
        ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, **{"rtol": 1e-9, "atol": 1e-11} | tolerance)


def steps(ours, theirs, operands, count=3, lr=0.1):
    """Some steps of gradient descent in both: equal outputs, gradients and states throughout."""
    for _ in range(count):
        made = [both(value) for value in operands]
        y, ty = ours(*(a for a, _ in made)), theirs(*(b for _, b in made))
        agree(y, ty)
        if not ty.requires_grad:
            return
        g = np.cos(np.arange(y.numel())).reshape(tuple(y.shape))
        y.backward(cf.tensor(g))
        ty.backward(torch.tensor(g))
        for a, b in made:
            agree(a.grad, b.grad)
        for (name, p), (tname, tp) in zip(
            ours.named_parameters(), theirs.named_parameters(), strict=True
        ):
            assert name == tname
            agree(p.grad, tp.grad)
            if tp.grad is not None:
                p.data -= lr * p.grad
                tp.data -= lr * tp.grad
        ours.zero_grad()
        theirs.zero_grad()
        for (key, a), (tkey, b) in zip(
            ours.state_dict().items(), theirs.state_dict().items(), strict=True
        ):
            assert key == tkey
            agree(a, b)


TABLE = x(6, 3)
CASES = {
    "Linear": (lambda nn: nn.Linear(3, 4), [x(5, 3)]),
    "Linear without bias": (lambda nn: nn.Linear(3, 4, bias=False), [x(2, 5, 3)]),
    "Linear of a vector": (lambda nn: nn.Linear(3, 4), [x(3)]),
    "Linear of nothing": (lambda nn: nn.Linear(3, 4), [x(0, 3)]),
    "Bilinear": (lambda nn: nn.Bilinear(3, 2, 4), [x(5, 3), x(5, 2)]),
    "Bilinear without bias": (lambda nn: nn.Bilinear(3, 2, 4, bias=False), [x(2, 5, 3), x(2, 5, 2)]),
    "Identity": (lambda nn: nn.Identity(54, unused="argument"), [x(5, 3)]),
    "Flatten": (lambda nn: nn.Flatten(), [x(2, 3, 4)]),
    "Flatten some": (lambda nn: nn.Flatten(0, 1), [x(2, 3, 4)]),
    "Flatten from the end": (lambda nn: nn.Flatten(-2), [x(2, 3, 4)]),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, 3)), [x(4, 6)]),
    "Unflatten with -1": (lambda nn: nn.Unflatten(-1, [2, -1]), [x(4, 6)]),
    "Embedding": (lambda nn: nn.Embedding(6, 3), [np.array([[1, 5], [0, 1]])]),
    "Embedding with padding": (lambda nn: nn.Embedding(6, 3, padding_idx=1), [np.array([[1, 5], [0, 1]])]),
    "Embedding by frequency": (lambda nn: nn.Embedding(6, 3, scale_grad_by_freq=True), [np.array([1, 5, 1])]),
    "Embedding of given rows": (
        lambda nn: nn.Embedding.from_pretrained(module_of(nn).tensor(TABLE), freeze=False), [np.array([1, 5])]
    ),
    "EmbeddingBag": (lambda nn: nn.EmbeddingBag(6, 3), [np.array([[1, 5], [0, 1]])]),
    "EmbeddingBag sum": (lambda nn: nn.EmbeddingBag(6, 3, mode="sum", padding_idx=0), [np.array([1, 5, 0]), np.array([0, 2])]),
    "EmbeddingBag max": (lambda nn: nn.EmbeddingBag(6, 3, mode="max"), [np.array([1, 5, 0]), np.array([0, 2])]),
    "CosineSimilarity": (lambda nn: nn.CosineSimilarity(dim=-1, eps=1e-6), [x(5, 3), x(5, 3)]),
    "PairwiseDistance": (lambda nn: nn.PairwiseDistance(p=3.0, keepdim=True), [x(5, 3), x(5, 3)]),
    "Dropout in evaluation": (lambda nn: nn.Dropout(0.3).eval(), [x(5, 3)]),
    "AlphaDropout of nothing": (lambda nn: nn.AlphaDropout(0.0), [x(5, 3)]),
    "deep": (
        lambda nn: nn.Sequential(
            nn.Linear(3, 5), nn.Tanh(),
            nn.Sequential(OrderedDict(a=nn.Linear(5, 5), b=nn.SiLU(), c=nn.LayerNorm(5))),
            nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(10, 2),
        ), [x(7, 3)],
    ),
}  # fmt: skip
for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero"):
    for n in (1, 2, 3):
        sides = tuple(range(1, 2 * n + 1)) if n < 3 else (1, 2, 0, 1, 2, 0)
        extra = (2.5,) if kind == "Constant" else ()
        CASES[f"{kind}Pad{n}d"] = (
            lambda nn, name=f"{kind}Pad{n}d", args=(sides, *extra): getattr(nn, name)(*args),
            [x(2, 2, *(6,) * n)],
        )
        CASES[f"{kind}Pad{n}d of one side"] = (
            lambda nn, name=f"{kind}Pad{n}d", args=(1, *extra): getattr(nn, name)(*args),
            [x(2, *(4,) * n)],
        )


def module_of(nn):
    return cf if nn is cf.nn else torch


@pytest.mark.parametrize("name", CASES)
def test_three_steps(name):
    make, operands = CASES[name]
    steps(*pair(make), operands)


@pytest.mark.parametrize("norm_type", [2.0, 1.0])
def test_embedding_with_a_greatest_norm(norm_type):
    ours, theirs = pair(lambda nn: nn.Embedding(6, 4, max_norm=0.7, norm_type=norm_type))
    at = np.array([[1, 5], [0, 1]])
    for _ in range(2):
        y, ty = ours(cf.tensor(at)), theirs(torch.tensor(at))
        agree(y, ty, rtol=1e-6)
        y.sum().backward()
        ty.sum().backward()
        agree(ours.weight, theirs.weight, rtol=1e-6)
        agree(ours.weight.grad, theirs.weight.grad)


# ---- reparametrised weights ----------------------------------------------------------------------


def old_spelling(what, layer, **options):
    return lambda nn: getattr(nn.utils, what)(layer(nn), **options)


def new_spelling(what, layer, **options):
    return lambda nn: getattr(nn.utils.parametrizations, what)(layer(nn), **options)


def linear(nn):
    return nn.Linear(4, 5)


def convolution(nn):
    return nn.Conv2d(2, 3, 3)


def adjoint(nn):
    return nn.ConvTranspose2d(2, 3, 3)


IMAGES = [x(2, 2, 5, 5)]
WEIGHTS = {
    "linear": (linear, [x(6, 4)], {}),
    "rows of the other side": (linear, [x(6, 4)], {"dim": 1}),
    "convolution": (convolution, IMAGES, {}),
    "adjoint": (adjoint, IMAGES, {}),
    "bias": (linear, [x(6, 4)], {"name": "bias"}),
}


@pytest.mark.parametrize("spelling", [old_spelling, new_spelling])
@pytest.mark.parametrize("case", [*WEIGHTS, "one length"])
def test_weight_norm(case, spelling):
    layer, operands, options = WEIGHTS.get(case, (linear, [x(6, 4)], {"dim": None}))
    steps(*pair(spelling("weight_norm", layer, **options)), operands)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("spelling", [old_spelling, new_spelling])
@pytest.mark.parametrize("case", [*WEIGHTS, "more power", "large eps"])
def test_spectral_norm(case, spelling, mode):
    layer, operands, options = WEIGHTS.get(case, (linear, [x(6, 4)], {"n_power_iterations": 3}))
    if case == "large eps":
        options = {"eps": 1.5}
    if case == "bias" and spelling is old_spelling:
        return  # PyTorch's first spelling takes matrices and more
    ours, theirs = pair(spelling("spectral_norm", layer, **options))
    steps(getattr(ours, mode)(), getattr(theirs, mode)(), operands)


MAPS = [
    *[(m, True, shape) for m in ("matrix_exp", "cayley", "householder", None) for shape in ((4, 4), (5, 3), (3, 5), (1, 1))],
    ("householder", False, (4, 4)), ("householder", False, (5, 3)), ("householder", False, (3, 5)),
    ("matrix_exp", False, (4, 4)), ("cayley", False, (5, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("orthogonal_map", "trivial", "shape"), MAPS)
def test_orthogonal(orthogonal_map, trivial, shape):
    options = {"orthogonal_map": orthogonal_map, "use_trivialization": trivial}
    plain = torch.nn.Linear(shape[1], shape[0], bias=False).double()
    mine = cf.nn.Linear(shape[1], shape[0], bias=False, dtype=cf.float64)
    mine.load_state_dict(plain.state_dict())
    mine = cf.nn.utils.parametrizations.orthogonal(mine, **options)
    theirs = torch.nn.utils.parametrizations.orthogonal(plain, **options)
    agree(mine.weight, theirs.weight)
    ours, theirs = pair(
        lambda nn: nn.utils.parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), **options)
    )
    steps(ours, theirs, [x(6, shape[1])], lr=0.3)
    w = ours.weight.detach().numpy()
    product = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-6)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_removing_leaves_the_present_weight(name):
    ours, theirs = pair(old_spelling(name, linear))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for nn, layer in ((cf.nn, ours), (torch.nn, theirs)):
            getattr(nn.utils, f"remove_{name}")(layer)
    assert type(ours) is cf.nn.Linear
    assert list(ours.state_dict()) == list(theirs.state_dict())
    agree(ours.weight, theirs.weight)
    steps(ours, theirs, [x(6, 4)])


class Symmetric:
    """The parametrisation of PyTorch's tutorial, for both libraries."""

    def __new__(cls, nn):
        def forward(self, w):
            return w.triu() + w.triu(1).transpose(-1, -2)

        def right_inverse(self, w):
            return w.triu()

        body = {"forward": forward, "right_inverse": right_inverse}
        return type("Symmetric", (nn.Module,), body)()


class Doubled:
    def __new__(cls, nn):
        body = {"forward": lambda self, w: 2 * w, "right_inverse": lambda self, w: w / 2}
        return type("Doubled", (nn.Module,), body)()


def parametrized(*kinds):
    def make(nn):
        layer = nn.Linear(3, 3)
        for kind in kinds:
            nn.utils.parametrize.register_parametrization(layer, "weight", kind(nn))
        return layer

    return make


@pytest.mark.parametrize(
    "kinds", [(Symmetric,), (Doubled,), (Symmetric, Doubled), (Doubled, Symmetric)]
)
def test_parametrization(kinds):
    ours, theirs = pair(parametrized(*kinds))
    steps(ours, theirs, [x(6, 3)])
    value = x(3, 3)
    value = value + value.T
    ours.weight, theirs.weight = cf.tensor(value), torch.tensor(value)
    agree(ours.weight, theirs.weight)
    np.testing.assert_allclose(ours.weight.detach().numpy(), value, rtol=1e-12)
    steps(ours, theirs, [x(6, 3)])
    again = copy.deepcopy(ours)
    again.parametrizations.weight.original.data.zero_()
    assert not again.weight.any()
    assert ours.weight.any()
    for leave in (True, False):
        a, b = pair(parametrized(*kinds))  # copies of one layer share their class in PyTorch
        cf.nn.utils.parametrize.remove_parametrizations(a, "weight", leave)
        torch.nn.utils.parametrize.remove_parametrizations(b, "weight", leave)
        assert repr(a) == repr(b)
        assert list(a.state_dict()) == list(b.state_dict())
        agree(a.weight, b.weight)


# ---- text ----------------------------------------------------------------------------------------


def subclass(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.again = self.first
            self.nothing = None
            self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)] + [nn.ReLU()])
            self.heads = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Sequential(nn.Dropout(0.1))})
            self.scale = nn.Parameter(module_of(nn).ones(2))

        def extra_repr(self):
            return "first line\nsecond line"

    return Net()


def registered_none(nn):
    module = nn.Sequential(nn.ReLU())
    module.add_module("absent", None)
    return module


TEXTS = [
    lambda nn: nn.Sequential(),
    lambda nn: nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1, bias=False)),
    lambda nn: nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 8, 3, padding=1, stride=(2, 1)), head=nn.Flatten())),
    lambda nn: nn.Sequential(nn.Sequential(nn.Sequential(nn.Identity()))),
    lambda nn: nn.ModuleList(),
    lambda nn: nn.ModuleList([nn.Linear(2, 2)]),
    lambda nn: nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)]),
    lambda nn: nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(12)]),
    lambda nn: nn.ModuleDict(),
    lambda nn: nn.ModuleDict({"one": nn.GELU("tanh"), "two": nn.ModuleList([nn.Tanh()] * 2)}),
    lambda nn: nn.ModuleDict([("one", nn.GELU()), ("two", nn.Tanh())]),
    lambda nn: nn.ParameterList(),
    lambda nn: nn.ParameterList([module_of(nn).ones(2, 3), module_of(nn).ones(1)]),
    lambda nn: nn.ParameterDict(),
    lambda nn: nn.ParameterDict({"w": module_of(nn).ones(2, 3), "b": module_of(nn).ones(())}),
    subclass,
    registered_none,
    lambda nn: nn.Bilinear(2, 3, 4),
    lambda nn: nn.Embedding(5, 2, padding_idx=-1, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, sparse=True),
    lambda nn: nn.EmbeddingBag(5, 2, max_norm=1.0, norm_type=1.0, mode="sum", padding_idx=3),
    lambda nn: nn.LazyLinear(4),
    lambda nn: nn.Sequential(nn.LazyConv2d(4, 3, groups=2, bias=False), nn.LazyBatchNorm2d(momentum=None)),
    lambda nn: nn.LazyConvTranspose1d(4, 3, stride=2, output_padding=1),
    lambda nn: nn.LazyInstanceNorm3d(affine=False),
    lambda nn: nn.Softmax2d(),
    lambda nn: nn.CrossEntropyLoss(),
    lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    lambda nn: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv1d(2, 2, 3)), nn.ReLU()),
    lambda nn: nn.utils.spectral_norm(nn.Linear(2, 2)),
    parametrized(Symmetric, Doubled),
    lambda nn: nn.Dropout(0.2),
    lambda nn: nn.FeatureAlphaDropout(0.2, inplace=True),
    lambda nn: nn.Module(),
]  # fmt: skip


@pytest.mark.parametrize("make", TEXTS)
def test_text(make):
    ours, theirs = (repr(quiet(make, nn)) for nn in (cf.nn, torch.nn))
    assert ours == theirs.replace("torch", "contraflow")


# ---- hooks ---------------------------------------------------------------------------------------


def shown(value):
    """An argument of a hook in a form that both libraries share."""
    if isinstance(value, tuple | list):
        return [shown(v) for v in value]
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, cf.Tensor | torch.Tensor):
        return np.round(value.detach().numpy(), 8).tolist()
    return type(value).__name__


def two_by_two(nn):
    """Two inputs, two outputs, keyword arguments."""

    class Cross(nn.Module):
        def forward(self, a, b, scale=1.0):
            return a * b * scale, a + b

    return Cross()


def diary(module, nn):
    """Two forward and backward passes with hooks of every kind: what each was called with."""
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.Tanh(), last=nn.Linear(3, 1)))
    with module.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(module.tensor(np.cos(np.arange(p.numel()) + i)).reshape(p.shape))
    events = []
    for path, child in net.named_modules():

        def say(kind, path=path):
            return lambda *args: events.append((path, kind, shown(args[1:])))

        child.register_forward_pre_hook(say("pre"))
        child.register_forward_hook(say("after"))
        child.register_forward_hook(say("before after"), prepend=True)
        child.register_full_backward_pre_hook(say("backward pre"))
        child.register_full_backward_hook(say("backward"))
        child.register_full_backward_hook(say("backward first"), prepend=True)
    value = module.tensor(np.array([[0.5, -1.0], [2.0, 0.3]]), dtype=module.float32)
    net(value).sum().backward()  # no gradient for the input: grad_input holds None
    value = value.clone().requires_grad_()
    (net(value) ** 2).sum().backward()
    return events, [p.grad for p in net.parameters()]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch's
def test_hooks_are_called_in_pytorchs_order_with_its_arguments():
    ours, our_grads = diary(cf, cf.nn)
    theirs, their_grads = diary(torch, torch.nn)
    assert [event[:2] for event in ours] == [event[:2] for event in theirs]
    for (path, kind, a), (_, _, b) in zip(ours, theirs, strict=True):
        assert_nested(a, b, f"{path} {kind}")
    for a, b in zip(our_grads, their_grads, strict=True):
        agree(a, b, rtol=1e-5)


def assert_nested(a, b, where):
    if isinstance(b, list):
        assert isinstance(a, list), where
        assert len(a) == len(b), where
        for i, j in zip(a, b, strict=True):
            assert_nested(i, j, where)
    elif isinstance(b, float):
        assert a == pytest.approx(b, abs=1e-5), where
    else:
        assert a == b, where


def several(module, nn):
    """A module with two inputs and outputs, one of which is not used, and replaced gradients."""
    net, events = two_by_two(nn), []
    net.register_full_backward_hook(
        lambda m, gi, go: events.append(("first", shown(gi), shown(go)))
    )
    net.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10, None))
    net.register_full_backward_hook(lambda m, gi, go: events.append(("last", shown(gi), shown(go))))
    net.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {**kwargs, "scale": 3.0}), with_kwargs=True
    )
    net.register_forward_hook(
        lambda m, args, kwargs, out: events.append(("forward", shown(args), shown(kwargs))),
        with_kwargs=True,
    )
    a = module.tensor([1.0, 2.0], requires_grad=True)
    b = module.tensor([3.0, 5.0], requires_grad=True)
    product, _ = net(a, b, scale=2.0)
    product.sum().backward()
    one, fixed = module.tensor([1.0], requires_grad=True), module.tensor([4.0])
    product, total = net(one, fixed)
    (product + total).sum().backward()
    return events, [shown(a.grad), shown(b.grad), shown(one.grad), fixed.grad]


def test_hooks_of_several_inputs_and_outputs():
    ours, theirs = several(cf, cf.nn), several(torch, torch.nn)
    assert ours == theirs


def replacing(module, nn):
    layer = nn.Linear(2, 2)
    with module.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.5)
    layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    layer.register_forward_hook(lambda m, args, y: y + 1)
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 5,))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] - 1,))
    value = module.tensor([[1.0, 2.0]], requires_grad=True)
    y = layer(value)
    y.sum().backward()
    return [shown(t) for t in (y, value.grad, layer.weight.grad, layer.bias.grad)]


def test_hooks_that_replace():
    assert replacing(cf, cf.nn) == replacing(torch, torch.nn)


def removing(module, nn):
    """Hooks that remove themselves and each other while they are called."""
    layer, events, handles = nn.Identity(), [], {}

    def once(m, args):
        events.append("once")
        handles["once"].remove()

    def killer(m, args):
        events.append("killer")
        handles["victim"].remove()

    handles["once"] = layer.register_forward_pre_hook(once)
    handles["killer"] = layer.register_forward_pre_hook(killer)
    handles["victim"] = layer.register_forward_pre_hook(lambda m, args: events.append("victim"))
    for _ in range(3):
        layer(module.ones(1))
        events.append("|")
    return events


def failing(module, nn):
    """A hook with always_call sees a forward that fails, and the error goes on."""
    layer, events = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda m, args, y: events.append("normal"))
    layer.register_forward_hook(
        lambda m, args, y: events.append(type(y).__name__), always_call=True
    )
    try:
        layer(module.ones(1, 3))
    except RuntimeError:
        events.append("error")
    layer(module.ones(1, 2))
    return events


@pytest.mark.parametrize("story", [removing, failing])
def test_hooks_in_trouble(story):
    assert story(cf, cf.nn) == story(torch, torch.nn)


# ---- the tree --------------------------------------------------------------------------------------


def tree(module, nn):
    """A module with a shared child, a shared parameter, buffers and names of all kinds."""

    class Leaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(module.ones(2))
            self.register_buffer("kept", module.zeros(1))
            self.register_buffer("passing", module.zeros(1), persistent=False)
            self.register_buffer("none", None)
            self.register_parameter("absent", None)
            self.after = nn.Buffer(module.zeros(3))

    root = nn.Module()
    root.a, root.b = Leaf(), Leaf()
    root.c = root.a
    root.b.w = root.a.w
    root.own = nn.Parameter(module.ones(()))
    root.more = nn.ModuleList([root.b, Leaf()])
    return root


WALKS = {
    "named_parameters": [{}, {"prefix": "p"}, {"recurse": False}, {"remove_duplicate": False}],
    "named_buffers": [{}, {"prefix": "p"}, {"recurse": False}, {"remove_duplicate": False}],
    "named_modules": [{}, {"prefix": "p"}, {"remove_duplicate": False}],
    "named_children": [{}],
    "state_dict": [{}, {"prefix": "p."}, {"keep_vars": True}],
}


@pytest.mark.parametrize(("walk", "options"), [(w, o) for w, all_ in WALKS.items() for o in all_])
def test_walks_find_the_same_names(walk, options):
    ours, theirs = (getattr(tree(m, m.nn), walk)(**options) for m in (cf, torch))
    ours, theirs = (
        list(dict(t)) if walk == "state_dict" else [n for n, _ in t] for t in (ours, theirs)
    )
    assert ours == theirs


def test_metadata_of_the_state_dict():
    def make(nn):
        return nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Linear(2, 2)))

    ours, theirs = (make(nn).state_dict()._metadata for nn in (cf.nn, torch.nn))
    assert dict(ours) == dict(theirs)


def test_incompatible_keys():
    ours, theirs = cf.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    state = {"weight": np.ones((2, 2), np.float32), "wrong": np.ones(1, np.float32)}
    a = ours.load_state_dict(state, strict=False)
    b = theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    assert (a.missing_keys, a.unexpected_keys) == (b.missing_keys, b.unexpected_keys)
    assert str(a).split("(", 1)[1] == str(b).split("(", 1)[1]


# ---- lazy layers -----------------------------------------------------------------------------------

LAZY = [
    (lambda nn: nn.LazyLinear(4), x(5, 3)),
    (lambda nn: nn.LazyConv1d(4, 3), x(2, 3, 8)),
    (lambda nn: nn.LazyConv2d(4, 3, groups=2), x(2, 6, 5, 5)),
    (lambda nn: nn.LazyConv3d(4, 2, bias=False), x(2, 3, 4, 4, 4)),
    (lambda nn: nn.LazyConvTranspose1d(4, 3, stride=2), x(2, 3, 8)),
    (lambda nn: nn.LazyConvTranspose2d(4, 3), x(2, 3, 5, 5)),
    (lambda nn: nn.LazyConvTranspose3d(4, 2), x(2, 3, 4, 4, 4)),
    (lambda nn: nn.LazyBatchNorm1d(), x(5, 3)),
    (lambda nn: nn.LazyBatchNorm2d(), x(2, 3, 5, 5)),
    (lambda nn: nn.LazyBatchNorm3d(affine=False), x(2, 3, 4, 4, 4)),
    (lambda nn: nn.LazyInstanceNorm1d(), x(2, 3, 8)),
    (lambda nn: nn.LazyInstanceNorm2d(track_running_stats=False), x(2, 3, 5, 5)),
    (lambda nn: nn.LazyInstanceNorm3d(affine=False), x(2, 3, 4, 4, 4)),
]


@pytest.mark.parametrize(("make", "value"), LAZY)
def test_lazy_layers_become_the_layer(make, value):
    ours, theirs = quiet(make, cf.nn).double(), quiet(make, torch.nn).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    known = list(ours.parameters())
    theirs(torch.tensor(value))
    ours(cf.tensor(value))
    assert repr(ours) == repr(theirs)
    assert type(ours).__name__ == type(theirs).__name__
    assert all(a is b for a, b in zip(known, ours.parameters(), strict=True))
    ours.load_state_dict(theirs.state_dict())
    steps(ours, theirs, [value])


@pytest.mark.parametrize(("make", "value"), LAZY)
def test_lazy_layers_take_the_shapes_of_a_state(make, value):
    theirs = quiet(make, torch.nn).double()
    theirs(torch.tensor(value))
    ours = quiet(make, cf.nn).double()
    ours.load_state_dict(theirs.state_dict())
    assert not ours.has_uninitialized_params()
    steps(ours, theirs, [value])
    assert repr(ours) == repr(theirs)


# ---- clipping --------------------------------------------------------------------------------------

GRADIENTS = [x(3, 4), np.zeros(5), x(5), x()]


@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, float("inf"), -float("inf"), 0.0])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 100.0])
def test_clip_grad_norm(norm_type, max_norm):
    def run(module):
        parameters = [module.tensor(g * 0, requires_grad=True) for g in GRADIENTS]
        for p, g in zip(parameters, GRADIENTS, strict=True):
            p.grad = module.tensor(g)
        norm = module.nn.utils.get_total_norm([p.grad for p in parameters], norm_type)
        again = module.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
        return [norm, again, *(p.grad for p in parameters)]

    for a, b in zip(run(cf), run(torch), strict=True):
        agree(a, b)


def test_vectors_of_parameters():
    ours, theirs = pair(lambda nn: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    agree(
        cf.nn.utils.parameters_to_vector(ours.parameters()),
        torch.nn.utils.parameters_to_vector(theirs.parameters()),
    )
    vector = x(13)
    cf.nn.utils.vector_to_parameters(cf.tensor(vector), ours.parameters())
    torch.nn.utils.vector_to_parameters(torch.tensor(vector), theirs.parameters())
    for p, tp in zip(ours.parameters(), theirs.parameters(), strict=True):
        agree(p, tp)
