"""Containers: as lists and dicts of Python behave, with numbers as names; and the shortcut."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import DTypeError, IndexOutOfRange, ShapeError, StateError

rng = np.random.default_rng(3)


def layers(count):
    return [nn.Linear(1, 1) for _ in range(count)]


def is_list(container, expected):
    """The container holds just these modules, in order, under the names 0, 1, ..."""
    assert len(container) == len(expected)
    assert all(a is b for a, b in zip(container, expected, strict=True))
    assert [name for name, _ in container.named_children()] == [
        str(i) for i in range(len(expected))
    ]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
@pytest.mark.parametrize("seed", range(15))
def test_a_row_behaves_as_a_list(kind, seed):
    """Random operations on a container and on a list."""
    random = np.random.default_rng(seed)
    start = layers(3)
    row, expected = (kind(*start) if kind is nn.Sequential else kind(start)), list(start)
    for _ in range(25):
        operation = random.choice(
            ["append", "insert", "extend", "set", "del", "pop", "slice", "cut", "iadd"]
        )
        new = nn.Linear(1, 1)
        n = len(expected)
        if operation == "append":
            assert row.append(new) is row
            expected.append(new)
        elif operation == "insert":
            at = int(random.integers(-n, n + 1))
            row.insert(at, new)
            expected.insert(at, new)
        elif operation == "extend":
            assert row.extend([new, nn.ReLU()]) is row
            expected.extend(list(row)[-2:])
        elif operation == "iadd" and kind is nn.ModuleList:
            row += [new]
            expected += [new]
        elif n and operation == "set":
            at = int(random.integers(-n, n))
            row[at] = expected[at] = new
        elif n and operation == "del":
            at = int(random.integers(-n, n))
            del row[at]
            del expected[at]
        elif n and operation == "pop":
            at = int(random.integers(-n, n))
            assert row.pop(at) is expected.pop(at)
        elif n > 4 and operation == "cut":
            del row[1:4:2]
            del expected[1:4:2]
        elif operation == "slice":
            a, b = random.integers(-n - 1, n + 2, 2)
            part = row[a:b:2]
            assert type(part) is kind
            assert all(p is q for p, q in zip(part, expected[a:b:2], strict=True))
        is_list(row, expected)
        assert all(m in row for m in expected)
        assert nn.ReLU() not in row


@pytest.mark.parametrize("row", [nn.Sequential(*layers(2)), nn.ModuleList(layers(2))])
def test_a_row_refuses(row):
    for at in (2, -3):
        with pytest.raises(IndexOutOfRange, match="does not exist in a"):
            row[at]
        with pytest.raises(IndexOutOfRange):
            del row[at]
    with pytest.raises(IndexOutOfRange):
        row.insert(3, nn.ReLU())
    with pytest.raises(DTypeError, match="integers and slices"):
        row["0"]
    for bad in (nn.ReLU, cf.relu, None):
        if bad is not None:
            with pytest.raises(DTypeError, match="nn.Module"):
                row.append(bad)
    with pytest.raises(DTypeError, match=r"append\(module\)"):
        row.extend(3)
    assert len(row) == 2


# ---- Sequential ------------------------------------------------------------------------------


def test_sequential_computes_in_order():
    x = rng.normal(size=(5, 3))
    a, b = nn.Linear(3, 4, dtype=cf.float64), nn.Linear(4, 2, dtype=cf.float64)
    y = nn.Sequential(a, nn.Tanh(), b)(cf.tensor(x)).detach().numpy()
    wa, ba, wb, bb = (p.detach().numpy() for p in (a.weight, a.bias, b.weight, b.bias))
    np.testing.assert_allclose(y, np.tanh(x @ wa.T + ba) @ wb.T + bb, rtol=1e-12)
    assert nn.Sequential()(3) == 3


def test_sequential_by_name():
    net = nn.Sequential(OrderedDict(a=nn.Linear(1, 2), b=nn.ReLU()))
    assert list(net.state_dict()) == ["a.weight", "a.bias"]
    assert net.a is net[0]
    part = net[1:]
    assert [name for name, _ in part.named_children()] == ["b"]
    net.append(nn.Tanh())
    assert [name for name, _ in net.named_children()] == ["a", "b", "2"]
    del net[1]
    assert [name for name, _ in net.named_children()] == ["a", "2"]


def test_sequential_arithmetic():
    a, b = nn.Sequential(*layers(2)), nn.Sequential(nn.ReLU())
    is_list(a + b, [*a, *b])
    assert len(b * 3) == len(3 * b) == 3
    assert (b * 3)[2] is b[0]
    kept = a
    a += b
    assert a is kept
    is_list(a, [*a])
    assert len(a) == 3
    for bad in (0, -1, 1.5):
        with pytest.raises(DTypeError, match="positive integer"):
            b * bad
    with pytest.raises(TypeError):
        a + [nn.ReLU()]


def test_sequential_of_a_list_shows_the_fix():
    with pytest.raises(DTypeError, match=r"nn.Sequential\(\*layers\)"):
        nn.Sequential(layers(2))


def test_slices_share_their_modules():
    net = nn.Sequential(*layers(3))
    net[:2][0].weight.data.fill_(5.0)
    assert net[0].weight.item() == 5.0


# ---- ModuleList and ModuleDict -----------------------------------------------------------------


def test_module_list_adds():
    a = nn.ModuleList(layers(2))
    is_list(a + layers(1)[:0], list(a))
    assert len(a + nn.ModuleList(layers(2))) == 4
    assert len(a) == 2


def test_module_dict_behaves_as_a_dict():
    one, two = nn.Linear(1, 1), nn.ReLU()
    d = nn.ModuleDict({"one": one})
    d["two"] = two
    d.update([("three", nn.Tanh())])
    d.update(nn.ModuleDict({"four": nn.Tanh()}))
    assert list(d) == list(d.keys()) == ["one", "two", "three", "four"]
    assert d["one"] is d.one is one
    assert next(iter(d.values())) is one
    assert dict(d.items())["two"] is two
    assert "two" in d
    assert "five" not in d
    assert d.pop("two") is two
    del d["three"]
    assert len(d) == 2
    assert list(d.state_dict()) == ["one.weight", "one.bias"]
    for call in (lambda: d["nope"], lambda: d.pop("nope")):
        with pytest.raises(StateError, match="modules +one four"):
            call()
    with pytest.raises(DTypeError, match="pairs"):
        d.update(3)
    with pytest.raises(DTypeError, match="pairs"):
        d.update([(1, 2, 3)])
    with pytest.raises(DTypeError, match="nn.Module"):
        d["bad"] = 3
    with pytest.raises(DTypeError, match="string"):
        d[3] = nn.ReLU()
    d.clear()
    assert not len(d)


# ---- parameters --------------------------------------------------------------------------------


def test_parameter_list_behaves_as_a_list():
    p = nn.ParameterList([cf.ones(2), nn.Parameter(cf.zeros(1))])
    assert all(isinstance(v, nn.Parameter) for v in p)
    p.append(cf.ones(3)).extend([cf.tensor([1, 2])])
    p += [7]
    assert len(p) == 5
    assert p[-1] == 7
    assert not p[3].requires_grad, "integers do not learn"
    assert [tuple(v.shape) for v in p[:3]] == [(2,), (1,), (3,)]
    assert isinstance(p[1:3], nn.ParameterList)
    p[0] = cf.zeros(4)
    assert p[0].shape == (4,)
    assert list(p.state_dict()) == ["0", "1", "2", "3"]
    assert len(list(p.parameters())) == 4
    for bad in (5, -6):
        with pytest.raises(IndexOutOfRange, match="ParameterList of 5"):
            p[bad]
    with pytest.raises(DTypeError, match=r"append\(value\)"):
        p.extend(cf.ones(2))


def test_parameter_dict_behaves_as_a_dict():
    p = nn.ParameterDict({"b": cf.ones(2), "a": cf.ones(1)})
    assert list(p) == ["a", "b"], "a plain dict by name, as in PyTorch"
    p.update(OrderedDict(z=cf.ones(1), y=cf.ones(1)))
    p.update([("x", cf.zeros(3))])
    assert list(p.keys()) == ["a", "b", "z", "y", "x"]
    assert p["b"] is p.b
    assert p.get("nope", 4) == 4
    assert p.get("b") is p.b
    assert [name for name, _ in p.items()] == list(p)
    assert all(isinstance(v, nn.Parameter) for v in p.values())
    assert p.pop("z").shape == (1,)
    del p["y"]
    assert "y" not in p
    assert len(p) == 3
    assert list(p.state_dict()) == ["a", "b", "x"]
    with pytest.raises(StateError, match="parameters +a b x"):
        p["nope"]
    for copied in (nn.ParameterDict(p), p.copy()):
        assert list(copied) == list(p)
        assert copied["a"] is p["a"]
        copied.clear()
        assert not len(copied)
        assert not list(copied.parameters())
        with pytest.raises(StateError, match="no parameter left"):
            copied.popitem()
    assert list(reversed(p)) == ["x", "b", "a"]
    assert p.setdefault("a", cf.zeros(9)) is p["a"]
    assert p.setdefault("new", cf.zeros(9)).shape == (9,)
    assert p.popitem()[0] == "new"
    assert list(p | {"c": cf.ones(1)}) == ["a", "b", "x", "c"]
    assert list({"c": cf.ones(1)} | p) == ["c", "a", "b", "x"]
    p |= {"a": cf.zeros(5)}
    assert p["a"].shape == (5,)
    assert list(p.fromkeys(["m", "n"], 3).items()) == [("m", 3), ("n", 3)]


def test_parameters_in_containers_learn():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = nn.ParameterList([cf.ones(2), cf.ones(2)])
            self.shifts = nn.ParameterDict({"in": cf.zeros(2)})

        def forward(self, x):
            for scale in self.scales:
                x = x * scale
            return x + self.shifts["in"]

    net = Scaled()
    net(cf.tensor([2.0, 3.0])).sum().backward()
    assert [p.grad.tolist() for p in net.parameters()] == [[2.0, 3.0], [2.0, 3.0], [1.0, 1.0]]


# ---- Residual ----------------------------------------------------------------------------------


def test_residual_adds_what_came_in():
    x = cf.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    inner = nn.Linear(3, 3, dtype=cf.float64)
    block = nn.Residual(inner, nn.Tanh())
    y = block(x)
    w, b = inner.weight.detach().numpy(), inner.bias.detach().numpy()
    z = np.tanh(x.detach().numpy() @ w.T + b)
    np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy() + z, rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 + (1 - z * z) @ w, rtol=1e-12)
    assert list(block.state_dict()) == ["layers.0.weight", "layers.0.bias"]


def test_residual_with_a_layer_in_the_shortcut():
    block = nn.Residual(nn.Linear(3, 5), shortcut=nn.Linear(3, 5))
    assert block(cf.ones(2, 3)).shape == (2, 5)
    assert len(list(block.parameters())) == 4


@pytest.mark.parametrize(
    ("block", "shape", "fix"),
    [
        (nn.Residual(nn.Linear(3, 5)), (2, 3), r"shortcut=nn.Linear\(3, 5\)"),
        (nn.Residual(nn.Conv2d(3, 8, 3, stride=2, padding=1)), (1, 3, 8, 8), r"shortcut=nn.Conv2d\(3, 8, 1, stride=2\)"),
        (nn.Residual(nn.Flatten()), (2, 3, 4), "layers that keep the shape"),
        (nn.Residual(nn.Linear(1, 3)), (3, 1), r"shortcut=nn.Linear\(1, 3\)"),
    ],
)  # fmt: skip
def test_residual_never_broadcasts(block, shape, fix):
    with pytest.raises(ShapeError, match=fix):
        block(cf.ones(*shape))
