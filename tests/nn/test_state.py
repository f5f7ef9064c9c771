"""state_dict and load_state_dict: what is in it, and that nothing changes when anything is wrong."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import DTypeError, StateError


class Net(nn.Module):
    def __init__(self, hidden=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, hidden), nn.BatchNorm1d(hidden))
        self.head = nn.Linear(hidden, 1)
        self.register_buffer("scale", cf.ones(1))
        self.register_buffer("scratch", cf.zeros(1), persistent=False)


KEYS = [
    "scale", "body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "body.1.running_mean",
    "body.1.running_var", "body.1.num_batches_tracked", "head.weight", "head.bias",
]  # fmt: skip


def values(module):
    return {key: t.numpy().copy() for key, t in module.state_dict().items()}


def unchanged(module, before):
    after = values(module)
    assert list(after) == list(before)
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


# ---- saving ----------------------------------------------------------------------------------


def test_keys_and_prefix():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert list(net.state_dict(prefix="net.")) == [f"net.{key}" for key in KEYS]
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert state._metadata["body.1"] == {"version": 2}
    into = OrderedDict(other=1)
    assert net.head.state_dict(destination=into, prefix="h.") is into
    assert list(into) == ["other", "h.weight", "h.bias"]


def test_entries_share_memory_and_lose_their_history():
    net = Net()
    state = net.state_dict()
    assert not any(t.requires_grad for t in state.values())
    assert type(state["head.weight"]) is cf.Tensor
    state["head.weight"].fill_(7)
    assert set(net.head.weight.detach().numpy().ravel()) == {7.0}
    kept = net.state_dict(keep_vars=True)
    assert kept["head.weight"] is net.head.weight


def test_persistence_can_change():
    net = Net()
    net.register_buffer("scratch", cf.zeros(1))
    assert "scratch" in net.state_dict()
    net.register_buffer("scratch", cf.zeros(1), persistent=False)
    assert "scratch" not in net.state_dict()
    net.scratch = nn.Buffer(cf.ones(2))
    assert net.state_dict()["scratch"].tolist() == [1.0, 1.0]
    net.scratch = nn.Buffer(cf.ones(2), persistent=False)
    assert "scratch" not in net.state_dict()


def test_extra_state():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 3

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    a, b = nn.Sequential(Counting()), nn.Sequential(Counting())
    a[0].count = 8
    assert list(a.state_dict()) == ["0._extra_state"]
    b.load_state_dict(a.state_dict())
    assert b[0].count == 8
    with pytest.raises(StateError, match='Missing key.*"0._extra_state"'):
        b.load_state_dict({})
    with pytest.raises(StateError, match="both"):
        nn.Linear(1, 1).get_extra_state()
    with pytest.raises(StateError, match="both"):
        nn.Linear(1, 1).set_extra_state(1)


# ---- loading ---------------------------------------------------------------------------------


def test_loading_copies_into_the_same_parameters():
    a, b = Net(), Net()
    known = list(b.parameters())
    keys = b.load_state_dict(a.state_dict())
    assert str(keys) == "<All keys matched successfully>"
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert all(p is q for p, q in zip(known, b.parameters(), strict=True))
    unchanged(b, values(a))
    a.head.weight.data.fill_(5)
    assert not (b.head.weight == 5).any()


@pytest.mark.parametrize(
    "convert",
    [lambda t: t.numpy(), lambda t: t.numpy().astype(np.float64) if t.ndim else t, lambda t: t],
)
def test_loading_takes_arrays_and_other_precisions(convert):
    a, b = Net(), Net()
    b.load_state_dict({key: convert(t) for key, t in a.state_dict().items()})
    unchanged(b, values(a))
    assert b.head.weight.dtype is cf.float32


def damage(state, how):
    state = OrderedDict(state)
    if how == "missing":
        del state["head.bias"]
    elif how == "unexpected":
        state["head.other"] = cf.ones(1)
    elif how == "unexpected child":
        state["tail.weight"] = cf.ones(1)
    elif how == "size":
        state["head.weight"] = cf.ones(4, 4)
    elif how == "nothing":
        state["head.weight"] = None
    elif how == "text":
        state["head.weight"] = "weights"
    elif how == "scalar":
        state["scale"] = cf.tensor(1.0)
    return state


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", r'Missing key\(s\) in state_dict: "head.bias"'),
        ("unexpected", r'Unexpected key\(s\) in state_dict: "head.other"'),
        ("unexpected child", r'Unexpected key\(s\) in state_dict: "tail.weight"'),
        ("size", r"size mismatch for head.weight: the state_dict has \[4, 4\], the model \[1, 3\]"),
        ("nothing", "head.weight: expected a tensor"),
        ("text", "head.weight: expected a tensor"),
        ("scalar", r"size mismatch for scale: the state_dict has \[\], the model \[1\]"),
    ],
)
@pytest.mark.parametrize("assign", [False, True])
def test_nothing_changes_when_anything_is_wrong(how, says, assign):
    net, before = Net(), None
    before = values(net)
    state = damage(Net().state_dict(), how)
    for _ in range(2):
        with pytest.raises(StateError, match=says) as error:
            net.load_state_dict(state, assign=assign)
        assert "no weight was changed" in str(error.value)
    unchanged(net, before)


def test_one_message_lists_everything():
    state = Net().state_dict()
    del state["scale"], state["body.0.bias"]
    state.update({"x.y": cf.ones(1), "head.weight": cf.ones(2), "body.0.weight": cf.ones(2)})
    with pytest.raises(StateError) as error:
        Net().load_state_dict(state)
    text = str(error.value)
    for part in (
        'Missing key(s) in state_dict: "scale", "body.0.bias".', 'Unexpected key(s) in state_dict: "x.y".',
        "size mismatch for head.weight", "size mismatch for body.0.weight",
    ):  # fmt: skip
        assert part in text
    assert "fix: build the same architecture" in text


def test_not_strict_loads_what_matches_but_never_a_wrong_size():
    net, other = Net(), Net()
    state = damage(damage(other.state_dict(), "missing"), "unexpected")
    bias = net.head.bias.tolist()
    keys = net.load_state_dict(state, strict=False)
    assert keys == (["head.bias"], ["head.other"])
    assert net.head.bias.tolist() == bias
    np.testing.assert_array_equal(
        net.head.weight.detach().numpy(), other.head.weight.detach().numpy()
    )
    before = values(net)
    with pytest.raises(StateError, match="size mismatch"):
        net.load_state_dict(damage(Net().state_dict(), "size"), strict=False)
    unchanged(net, before)


def test_a_list_is_no_state():
    with pytest.raises(DTypeError, match="dict"):
        Net().load_state_dict([1, 2])


def test_integers_do_not_take_fractions():
    norm = nn.BatchNorm1d(2)
    state = norm.state_dict()
    state["num_batches_tracked"] = cf.tensor(1.5)
    with pytest.raises(StateError, match="dtype mismatch for num_batches_tracked"):
        norm.load_state_dict(state)


def test_assign_takes_the_tensors_themselves():
    net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    net.bias.requires_grad_(False)
    state = other.double().state_dict()
    known = net.weight
    net.load_state_dict(state, assign=True)
    assert net.weight is not known
    assert net.weight.dtype is cf.float64
    assert isinstance(net.weight, nn.Parameter)
    assert net.weight.requires_grad
    assert not net.bias.requires_grad
    state["weight"].fill_(4)
    assert set(net.weight.detach().numpy().ravel()) == {4.0}


def test_loading_bumps_the_version_that_backward_checks():
    net = nn.Linear(2, 2)
    y = (net(cf.ones(1, 2)) ** 2).sum() + (net.weight**3).sum()
    net.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(cf.GradError, match="overwritten|in place|changed"):
        y.backward()


def test_batch_norm_of_a_time_before_its_counter():
    norm = nn.BatchNorm1d(2)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    del state._metadata
    norm.load_state_dict(state)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(StateError, match="num_batches_tracked"):
        norm.load_state_dict(state)


# ---- hooks -----------------------------------------------------------------------------------


def test_state_dict_hooks():
    net, calls = Net(), []
    net.head.register_state_dict_pre_hook(
        lambda m, prefix, keep: calls.append(("pre", prefix, keep))
    )
    net.head.register_state_dict_post_hook(
        lambda m, state, prefix, local: calls.append(("post", prefix, local["version"]))
    )
    net.state_dict()
    assert calls == [("pre", "head.", False), ("post", "head.", 1)]


def test_pre_hook_may_rename_keys_and_leaves_the_given_dict_alone():
    net, other = Net(), Net()
    state = OrderedDict(
        (key.replace("head.", "top.") if key.startswith("head.") else key, t)
        for key, t in other.state_dict().items()
    )

    def rename(module, state, prefix, *rest):
        for key in [k for k in state if k.startswith("top.")]:
            state["head." + key[4:]] = state.pop(key)

    handle = net.register_load_state_dict_pre_hook(rename)
    net.load_state_dict(state)
    assert "top.weight" in state
    unchanged(net, values(other))
    handle.remove()
    with pytest.raises(StateError, match="top.weight"):
        net.load_state_dict(state)


def test_post_hook_sees_loaded_values_and_may_forgive():
    net, other, seen = Net(), Net(), []
    state = damage(other.state_dict(), "missing")

    def forgive(module, keys):
        seen.append(module.weight.tolist())
        keys.missing_keys.clear()

    handle = net.head.register_load_state_dict_post_hook(forgive)
    net.load_state_dict(state)
    assert seen == [other.head.weight.tolist()]
    handle.remove()
    net.head.register_load_state_dict_post_hook(lambda m, keys: None)  # does not forgive
    before = values(net)
    with pytest.raises(StateError, match="head.bias"):
        net.load_state_dict(damage(Net().state_dict(), "missing"))
    unchanged(net, before)


# ---- tied and lazy ---------------------------------------------------------------------------


def test_tied_weights_are_saved_under_both_names():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

    net = Tied()
    state = net.state_dict()
    assert list(state) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    net.load_state_dict({key: np.full(t.shape, 3.0, np.float32) for key, t in state.items()})
    assert net.a.weight is net.b.weight
    assert set(net.a.weight.detach().numpy().ravel()) == {3.0}


def test_lazy_layers():
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert lazy.state_dict()["0.weight"] is lazy[0].weight
    with pytest.raises(StateError, match="call the model on one batch first"):
        _ = lazy[0].weight.shape
    assert repr(lazy[0].weight) == "<UninitializedParameter>"
    other = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    other.load_state_dict(lazy.state_dict())  # both still wait
    assert other[0].has_uninitialized_params()
    known = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    lazy.load_state_dict(known.state_dict())
    x = cf.randn(4, 2)
    np.testing.assert_array_equal(lazy(x).detach().numpy(), known(x).detach().numpy())
    with pytest.raises(StateError, match="0.weight: .* before the lazy layer had seen"):
        known.load_state_dict(other.state_dict())
    assert type(lazy[0]) is nn.Linear


def test_lazy_layers_need_an_input_with_their_size():
    with pytest.raises(cf.ShapeError, match="cannot read its size"):
        nn.LazyConv2d(3, 3)(cf.ones(5, 5))
