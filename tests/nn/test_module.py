"""Module: what an attribute becomes, how it is found, modes, dtypes, hooks, copies, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import (
    ArgumentError,
    AttributeMissing,
    ContraflowError,
    DTypeError,
    GradError,
    ShapeError,
)
from contraflow.base.modes import local


class Leaf(nn.Module):
    def __init__(self, size=2):
        super().__init__()
        self.w = nn.Parameter(cf.ones(size))
        self.register_buffer("seen", cf.zeros(1))

    def forward(self, x):
        return x * self.w


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = Leaf(), Leaf(1)
        self.tied = self.left
        self.top = nn.Parameter(cf.zeros(3))
        self.layers = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))

    def forward(self, x):
        return self.layers(self.left(x))


def names(pairs):
    return [name for name, _ in pairs]


# ---- attributes ------------------------------------------------------------------------------


def test_attributes_find_their_holder():
    m = nn.Module()
    m.p, m.m, m.b, m.t, m.n = (
        nn.Parameter(cf.ones(1)),
        nn.ReLU(),
        nn.Buffer(cf.ones(1)),
        cf.ones(1),
        5,
    )
    assert names(m.named_parameters()) == ["p"]
    assert names(m.named_children()) == ["m"]
    assert names(m.named_buffers()) == ["b"]
    assert {"t", "n"} <= set(vars(m))
    assert {"p", "m", "b", "t", "n"} <= set(dir(m))
    for name in ("p", "m", "b", "t", "n"):
        delattr(m, name)
        assert not hasattr(m, name)
    assert not names(m.named_parameters()) + names(m.named_children()) + names(m.named_buffers())
    with pytest.raises(AttributeError):
        del m.p


@pytest.mark.parametrize("before", ["parameter", "module", "buffer", "plain"])
@pytest.mark.parametrize("after", ["parameter", "module", "buffer"])
def test_a_name_changes_its_kind(before, after):
    make = {
        "parameter": lambda: nn.Parameter(cf.ones(1)), "module": nn.ReLU,
        "buffer": lambda: nn.Buffer(cf.ones(1)), "plain": lambda: 3,
    }  # fmt: skip
    m = nn.Module()
    m.name = make[before]()
    m.name = new = make[after]()
    assert m.name is new
    found = {"parameter": m.parameters(), "module": m.children(), "buffer": m.buffers()}
    assert {kind for kind, values in found.items() if list(values)} == {after}


def test_a_parameters_name_takes_none_and_parameters_only():
    m = Leaf()
    with pytest.raises(DTypeError, match=r"no_grad\(\): module.w.copy_"):
        m.w = cf.ones(2)
    assert m.w.tolist() == [1.0, 1.0]
    m.w = None
    assert m.w is None
    assert not list(m.parameters())
    m.w = nn.Parameter(cf.zeros(1))
    assert names(m.named_parameters()) == ["w"]


def test_a_childs_and_a_buffers_name():
    net = Net()
    with pytest.raises(DTypeError, match="expected +nn.Module or None"):
        net.left = 3
    net.left = None
    assert net.left is None
    assert "left" not in names(net.named_children())
    with pytest.raises(DTypeError, match="a tensor or None"):
        net.right.seen = 3
    net.right.seen = cf.ones(4)
    assert net.right.get_buffer("seen").tolist() == [1.0] * 4
    net.right.seen = None
    assert not list(net.right.buffers())


class Forgetful(nn.Module):
    def __init__(self, what):
        self.x = what


@pytest.mark.parametrize("what", [cf.nn.Parameter(cf.ones(1)), nn.ReLU(), nn.Buffer(cf.ones(1))])
def test_without_super_init(what):
    with pytest.raises(AttributeMissing, match=r"super\(\).__init__\(\)"):
        Forgetful(what)


def test_missing_attributes_are_attribute_errors():
    with pytest.raises(AttributeError, match="'Leaf' object has no attribute 'nope'") as error:
        _ = Leaf().nope
    assert error.value.name == "nope"
    assert getattr(Leaf(), "nope", 7) == 7


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("register_parameter", nn.Parameter(cf.ones(1))),
        ("register_buffer", cf.ones(1)),
        ("add_module", nn.ReLU()),
        ("register_module", nn.ReLU()),
    ],
)
@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("a.b", ArgumentError, "dot"),
        ("", ArgumentError, "empty"),
        ("forward", ArgumentError, "already"),
        (3, DTypeError, "string"),
    ],
)
def test_registration_refuses_names(register, value, name, error, says):
    m = nn.Module()
    with pytest.raises(error, match=says):
        getattr(m, register)(name, value)
    assert not m.state_dict()
    assert not list(m.children())


@pytest.mark.parametrize(
    ("register", "value", "says"),
    [
        ("register_parameter", cf.ones(1), "nn.Parameter"),
        ("register_buffer", 3.0, "tensor"),
        ("add_module", nn.ReLU, "not nn.ReLU"),
        ("add_module", cf.relu, "nn.Module"),
    ],
)
def test_registration_refuses_values(register, value, says):
    with pytest.raises(DTypeError, match=says):
        getattr(nn.Module(), register)("name", value)


def test_a_computed_tensor_is_no_parameter():
    p = nn.Parameter(cf.ones(2))
    computed = nn.Parameter(cf.ones(2))
    with cf.enable_grad():
        computed._node = (p * 2)._node
    with pytest.raises(ArgumentError, match="leaf"):
        nn.Module().register_parameter("p", computed)


def test_parameter_needs_a_floating_tensor():
    with pytest.raises(DTypeError, match=r"cf.tensor\(data\)"):
        nn.Parameter([1.0])
    with pytest.raises(GradError, match="floating"):
        nn.Parameter(cf.tensor([1]))
    whole = nn.Parameter(cf.tensor([1]), requires_grad=False)
    assert not whole.requires_grad
    shared = cf.zeros(2)
    nn.Parameter(shared).data.fill_(3)
    assert shared.tolist() == [3.0, 3.0]


def test_registering_none_keeps_the_name():
    m = nn.Module()
    m.register_parameter("p", None)
    m.register_buffer("b", None)
    m.add_module("m", None)
    assert (m.p, m.b, m.m) == (None, None, None)
    assert not m.state_dict()
    m.p = nn.Parameter(cf.ones(1))
    m.m = nn.ReLU()
    assert names(m.named_parameters()) == ["p"]
    assert names(m.named_children()) == ["m"]


# ---- finding ---------------------------------------------------------------------------------


def test_named_walks():
    net = Net()
    assert names(net.named_parameters()) == [
        "top", "left.w", "right.w", "layers.0.weight", "layers.0.bias",
    ]  # fmt: skip
    assert names(net.named_parameters("net", recurse=False)) == ["net.top"]
    assert names(net.named_parameters(remove_duplicate=False))[:4] == [
        "top",
        "left.w",
        "right.w",
        "tied.w",
    ]
    assert names(net.named_modules()) == ["", "left", "right", "layers", "layers.0", "layers.1"]
    assert names(net.named_modules(remove_duplicate=False))[3] == "tied"
    assert names(net.named_children()) == ["left", "right", "layers"]
    assert names(net.named_buffers()) == ["left.seen", "right.seen"]
    assert list(net.modules())[0] is net
    assert len(list(net.parameters())) == 5


def test_a_shared_parameter_is_found_once_and_learns_once():
    a, b = Leaf(), Leaf()
    b.w = a.w
    both = nn.ModuleList([a, b])
    assert names(both.named_parameters()) == ["0.w"]
    assert names(both.named_parameters(remove_duplicate=False)) == ["0.w", "1.w"]
    assert list(both.state_dict()) == ["0.w", "0.seen", "1.w", "1.seen"]
    (a(cf.ones(2)) + b(cf.ones(2))).sum().backward()
    assert a.w.grad.tolist() == [2.0, 2.0]


def test_get_by_path():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("layers.0") is net.layers[0]
    assert net.get_parameter("layers.0.weight") is net.layers[0].weight
    assert net.get_buffer("right.seen") is net.right.seen
    for get, path, says in (
        (net.get_submodule, "layers.7", "children +0 1"),
        (net.get_submodule, "left.w", "no submodule 'w'"),
        (net.get_parameter, "left.x", "parameters +w"),
        (net.get_parameter, "left.seen", "no parameter 'seen'"),
        (net.get_buffer, "left.w", "buffers +seen"),
    ):
        with pytest.raises(AttributeError, match=says):
            get(path)


def test_set_submodule():
    net = Net()
    new = nn.Linear(2, 5)
    net.set_submodule("layers.0", new)
    assert net.layers[0] is new
    with pytest.raises(AttributeError, match="no submodule 'x'"):
        net.set_submodule("layers.x", new, strict=True)
    with pytest.raises(ArgumentError):
        net.set_submodule("", new)
    with pytest.raises(ArgumentError):
        net.set_submodule("layers.0", "no module")


# ---- modes -----------------------------------------------------------------------------------


def test_train_and_eval_reach_everything():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert net.layers[1](cf.ones(1000)).tolist() == [1.0] * 1000
    net.train()
    assert all(m.training for m in net.modules())
    with pytest.raises(ArgumentError, match="bool"):
        net.train("eval")
    assert net.training


def test_requires_grad_and_zero_grad():
    net = Net()
    net(cf.ones(1, 2)).sum().backward()
    kept = net.left.w.grad
    net.zero_grad(set_to_none=False)
    assert net.left.w.grad is not None
    assert not net.left.w.grad.any()
    assert net.right.w.grad is None
    assert kept is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    assert not net(cf.ones(1, 2)).requires_grad


def test_apply_goes_from_the_leaves_up():
    seen = []
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.ReLU())
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Sequential", "ReLU", "Sequential"]


# ---- dtypes ----------------------------------------------------------------------------------


def test_conversion_keeps_parameters_what_they_are():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net(cf.randn(4, 2)).sum().backward()
    before = list(net.parameters())
    for convert, dtype in (
        (lambda: net.double(), cf.float64), (lambda: net.half(), cf.float16),
        (lambda: net.float(), cf.float32), (lambda: net.to(cf.float64), cf.float64),
        (lambda: net.to(dtype=cf.float32), cf.float32), (lambda: net.to("cpu", cf.float64), cf.float64),
        (lambda: net.to(cf.ones(1)), cf.float32), (lambda: net.to("cpu", non_blocking=True), cf.float32),
        (lambda: net.type(cf.float64), cf.float64),
    ):  # fmt: skip
        assert convert() is net
        assert {p.dtype for p in net.parameters()} == {dtype}
        assert {p.grad.dtype for p in net.parameters()} == {dtype}
        assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
        assert net[1].running_mean.dtype is dtype
    assert net.cpu() is net


def test_conversion_leaves_integers():
    net = nn.BatchNorm1d(2).double()
    assert net.num_batches_tracked.dtype is cf.int64
    assert net.type(cf.float32).num_batches_tracked.dtype is cf.float32, "type() converts all"


def test_shared_parameters_stay_shared_when_converted():
    a, b = Leaf(), Leaf()
    b.w = a.w
    nn.ModuleList([a, b]).double()
    assert b.w is a.w
    assert a.w.dtype is cf.float64


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((cf.int64,), {}, DTypeError),
        (("cuda",), {}, ArgumentError),
        ((), {"speed": 3}, ArgumentError),
    ],
)
def test_to_refuses(args, kwargs, error):
    net = Net()
    with pytest.raises(error):
        net.to(*args, **kwargs)
    assert net.top.dtype is cf.float32


# ---- hooks -----------------------------------------------------------------------------------


def test_hook_handles_are_context_managers_and_removed_twice():
    layer, calls = nn.Identity(), []
    with layer.register_forward_hook(lambda *args: calls.append(1)) as handle:
        layer(cf.ones(1))
    layer(cf.ones(1))
    handle.remove()
    assert calls == [1]


def test_forward_pre_hook_with_kwargs_must_return_a_pair():
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(ArgumentError, match="return args, kwargs"):
        layer(cf.ones(1))


@pytest.mark.parametrize(
    ("returns", "error"),
    [(lambda gi, go: (gi[0], gi[0]), ShapeError), (lambda gi, go: (), ShapeError)],
)
def test_backward_hooks_must_return_one_gradient_an_input(returns, error):
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, gi, go: returns(gi, go))
    y = layer(cf.ones(1, 2, requires_grad=True))
    with pytest.raises(error, match="return a tuple of 1"):
        y.sum().backward()


def test_backward_hook_without_input_gradient_cannot_replace_it():
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, gi, go: (cf.ones(1, 2),))
    with pytest.raises(GradError, match="return None"):
        layer(cf.ones(1, 2)).sum().backward()


def test_backward_hooks_of_a_module_without_gradients():
    calls = []
    layer = nn.ReLU()
    layer.register_full_backward_hook(lambda *args: calls.append(1))
    with cf.no_grad():
        assert not layer(cf.ones(1, requires_grad=True)).requires_grad
    assert not layer(cf.ones(1)).requires_grad
    assert not calls


def test_backward_hooks_keep_the_type_of_the_output():
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")
    for kind in (tuple, list, lambda pair: Pair(*pair)):

        class Twice(nn.Module):
            make = staticmethod(kind)

            def forward(self, x):
                return self.make((x, x * 2))

        layer, seen = Twice(), []
        layer.register_full_backward_hook(lambda m, gi, go, seen=seen: seen.append(len(go)))
        out = layer(cf.ones(1, requires_grad=True))
        assert type(out) is type(kind((1, 2)))
        (out[0] + out[1]).backward()
        assert seen == [2]


def test_second_derivatives_pass_backward_hooks():
    layer, calls = nn.Tanh(), []
    layer.register_full_backward_hook(lambda *args: calls.append(1))
    x = cf.tensor([0.3], dtype=cf.float64, requires_grad=True)
    (first,) = cf.autograd.grad(layer(x), x, create_graph=True)
    (second,) = cf.autograd.grad(first, x)
    t = np.tanh(0.3)
    np.testing.assert_allclose(second.numpy(), [-2 * t * (1 - t * t)], rtol=1e-12)
    assert calls


# ---- copies ----------------------------------------------------------------------------------


def test_deepcopy_shares_nothing_but_what_is_shared_inside():
    net = Net()
    net.right.w = net.left.w
    net(cf.ones(1, 2)).sum().backward()
    net.left.register_forward_hook(lambda m, args, y: y + 1)
    other = copy.deepcopy(net)
    assert other.right.w is other.left.w
    assert other.tied is other.left
    assert other.left.w is not net.left.w
    assert type(other.left.w) is nn.Parameter
    assert other.left.w.grad is None and net.left.w.grad is not None  # as in PyTorch
    before = net.left.w.tolist()
    other.left.w.data.fill_(9)
    other.left.seen.fill_(9)
    assert net.left.w.tolist() == before
    assert net.left.seen.tolist() == [0.0]
    other.eval(), net.eval()
    np.testing.assert_array_equal(
        other.left(cf.ones(2)).detach().numpy(), [10.0, 10.0], "the hook was copied too"
    )


def test_copy_shares_the_weights():
    net = Leaf()
    assert copy.copy(net).w is net.w


def test_modules_are_not_pickled():
    with pytest.raises(DTypeError, match=r"cf.save\(model.state_dict\(\)"):
        pickle.dumps(Net())


# ---- errors on their way out -----------------------------------------------------------------


def test_an_error_names_the_layer_and_what_it_received():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(9, 2)))
    with pytest.raises(ShapeError) as error:
        model(cf.ones(5, 4))
    text = str(error.value)
    assert "in        model.2.0: Linear(in_features=9, out_features=2, bias=True)" in text
    assert "received  float32[5, 8]" in text
    assert text.count("in        ") == 1
    assert text.split("\n")[-1].startswith("  fix: ")


def test_other_errors_pass_untouched():
    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nn.Sequential(Broken())(cf.ones(1))
    assert not local.modes.modules, "the stack of modules is empty again"


def test_a_module_without_forward():
    with pytest.raises(ContraflowError, match=r"def forward\(self, x\)"):
        nn.Module()(cf.ones(1))
    with pytest.raises(ContraflowError, match="no forward"):
        nn.ModuleList()(cf.ones(1))
