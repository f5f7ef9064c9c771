"""What all optimisers share: groups, hooks, state dicts, and the mistakes that they explain."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import contraflow as cf
from contraflow.interop import load, save

# ---- mistakes in what is given ---------------------------------------------------------------


def leaf(*shape):
    return cf.ones(*shape, requires_grad=True)


MISTAKES = {
    "nothing": (list, cf.ArgumentError, "empty list", "model.parameters()"),
    "a used-up generator": (lambda: iter(()), cf.ArgumentError, "empty list", "generator"),
    "one tensor": (lambda: leaf(2), cf.DTypeError, "not one tensor", "cf.optim.SGD([p]"),
    "a model": (lambda: cf.nn.Linear(2, 1), cf.DTypeError, "not a Linear", "model.parameters"),
    "a set": (lambda: {leaf(2)}, cf.DTypeError, "no order", "list"),
    "a number": (lambda: 3, cf.DTypeError, "not int", "model.parameters"),
    "numbers": (lambda: [1.0, 2.0], cf.DTypeError, "not float", "model.parameters"),
    "names": (lambda: cf.nn.Linear(2, 1).state_dict(), cf.DTypeError, "not str", "parameters"),
    "an array": (lambda: [np.ones(2)], cf.DTypeError, "not ndarray", "model.parameters"),
    "a computed tensor": (lambda: [leaf(2) * 2], cf.ArgumentError, "only a leaf", "detach"),
    "a group without params": (lambda: [{"lr": 1.0}], cf.DTypeError, "with params", "params"),
    "half of them named": (lambda: [("w", leaf(2)), leaf(2)], cf.ArgumentError, "all parameters",
                           "named_parameters"),
    "a group of text": (lambda: [{"params": "w"}], cf.DTypeError, "not str", "parameters"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_no_parameter_is_refused(case):
    make, error, rule, fix = MISTAKES[case]
    with pytest.raises(error, match=rule) as caught:
        cf.optim.SGD(make(), lr=0.1)
    _, _, advice = str(caught.value).partition("fix: ")
    assert fix in advice


def test_the_same_parameter_twice_is_refused():
    w = leaf(2)
    with pytest.raises(cf.ArgumentError, match="appears twice"):
        cf.optim.SGD([w, w], lr=0.1)
    with pytest.raises(cf.ArgumentError, match="appears twice"):
        cf.optim.SGD([{"params": [w]}, {"params": [w], "lr": 1.0}], lr=0.1)
    optimizer = cf.optim.SGD([w], lr=0.1)
    with pytest.raises(cf.ArgumentError, match="appears twice"):
        optimizer.add_param_group({"params": [w]})
    assert len(optimizer.param_groups) == 1


def test_a_group_with_wrong_options_changes_nothing():
    optimizer = cf.optim.SGD([leaf(2)], lr=0.1)
    for group, error, text in (
        ({"params": leaf(2), "lr": -1}, cf.ArgumentError, "lr must be"),
        ({"params": leaf(2), "nesterov": True}, cf.ArgumentError, "needs a momentum"),
        ({"params": [leaf(2) + 1]}, cf.ArgumentError, "only a leaf"),
        ({"params": [("w", leaf(2))]}, cf.ArgumentError, "named parameters"),
        ([leaf(2)], cf.DTypeError, "is a dict"),
    ):
        with pytest.raises(error, match=text):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == 1


def test_muon_takes_matrices_and_says_what_to_do_with_the_rest():
    model = cf.nn.Linear(3, 2)
    with pytest.raises(cf.ShapeError, match="1 dimension") as caught:
        cf.optim.Muon(model.parameters())
    assert "p.ndim == 2" in str(caught.value)
    assert "AdamW" in str(caught.value)


def test_tensors_that_want_no_gradient_are_taken_and_left_alone():
    frozen, w = cf.ones(2), leaf(2)
    optimizer = cf.optim.Adam([frozen, w], lr=0.1)
    (w * frozen).sum().backward()
    optimizer.step()
    assert frozen.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(w.tolist(), [0.9, 0.9], rtol=1e-6)


# ---- gradients -------------------------------------------------------------------------------


def test_zero_grad():
    w, v = leaf(2), leaf(2)
    optimizer = cf.optim.SGD([w, v], lr=0.1)
    (w * 3).sum().backward(create_graph=True)
    held = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0, 0.0]
    assert not w.grad.requires_grad
    assert held.tolist() == [0.0, 0.0]
    assert v.grad is None
    optimizer.zero_grad()
    assert w.grad is None


def test_gradients_accumulate_until_they_are_forgotten():
    w = leaf(2)
    optimizer = cf.optim.SGD([w], lr=1.0)
    for _ in range(3):
        (w * 0.1).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(w.tolist(), [0.7, 0.7], rtol=1e-6)


# ---- hooks -----------------------------------------------------------------------------------


def test_step_hooks_come_in_order_and_can_be_removed():
    w, seen = leaf(1), []
    optimizer = cf.optim.SGD([w], lr=1.0)
    w.grad = cf.ones(1)
    before = optimizer.register_step_pre_hook(lambda o, a, k: seen.append(("pre", w.item())))
    after = optimizer.register_step_post_hook(lambda o, a, k: seen.append(("post", w.item())))
    optimizer.step()
    assert seen == [("pre", 1.0), ("post", 0.0)]
    before.remove()
    optimizer.step()
    assert seen[2:] == [("post", -1.0)]
    after.remove()
    optimizer.step()
    assert len(seen) == 3


def test_a_step_pre_hook_may_replace_the_closure():
    optimizer = cf.optim.SGD([leaf(1)], lr=1.0)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7,), {}))
    assert optimizer.step(lambda: 3) == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 5)
    with pytest.raises(cf.DTypeError, match="new \\(args, kwargs\\)"):
        optimizer.step()


def test_hooks_around_state_dicts():
    optimizer = cf.optim.SGD([leaf(1)], lr=1.0)
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("make"))
    optimizer.register_state_dict_post_hook(lambda o, saved: {**saved, "note": 1})
    saved = optimizer.state_dict()
    assert seen == ["make"]
    assert saved["note"] == 1
    changed = copy.deepcopy(saved["param_groups"])
    changed[0]["lr"] = 0.5
    optimizer.register_load_state_dict_pre_hook(lambda o, s: {**s, "param_groups": changed})
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    optimizer.load_state_dict(saved)
    assert seen == ["make", 0.5]


# ---- state dicts -----------------------------------------------------------------------------


def trained(**options):
    w, v = leaf(2, 3), leaf(3)
    optimizer = cf.optim.Adam([{"params": [w]}, {"params": [v], "lr": 0.3}], lr=0.1, **options)
    ((w + v) ** 2).sum().backward()
    optimizer.step()
    return optimizer, (w, v)


def broken(change):
    saved = copy.deepcopy(trained()[0].state_dict())
    change(saved)
    return saved


BROKEN = {
    "no dict": (lambda: 3, "'state' and 'param_groups'"),
    "nothing in it": (dict, "'state' and 'param_groups'"),
    "one group less": (lambda: broken(lambda s: s["param_groups"].pop()), "1 parameter groups"),
    "a parameter more": (lambda: broken(lambda s: s["param_groups"][0]["params"].append(7)),
                         "2 parameters in the state dict"),
    "state of nobody": (lambda: broken(lambda s: s["state"].update({9: {}})), "in no group"),
    "another shape": (lambda: broken(lambda s: s["state"][0].update(exp_avg=cf.ones(4))),
                      "does not fit its parameter"),
    "a state is missing": (lambda: broken(lambda s: s["state"][0].pop("exp_avg")),
                           "another optimiser"),
    "a state too much": (lambda: broken(lambda s: s["state"][1].update(sum=cf.ones(3))),
                         "another optimiser"),
    "text for a state": (lambda: broken(lambda s: s["state"][0].update(exp_avg="zero")),
                         "not made of numbers"),
    "a negative rate": (lambda: broken(lambda s: s["param_groups"][1].update(lr=-1.0)),
                        "lr must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_state_dict_that_does_not_fit_changes_nothing(case):
    make, text = BROKEN[case]
    optimizer, params = trained()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(cf.ContraflowError, match=text):
        optimizer.load_state_dict(make())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, state in before["state"].items():
        for key, value in state.items():
            np.testing.assert_array_equal(after["state"][i][key].numpy(), value.numpy())


def test_loading_fills_the_tensors_that_are_there():
    optimizer, params = trained()
    held = optimizer.state[params[0]]["exp_avg"]
    other, _ = trained()
    other.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.state[params[0]]["exp_avg"] is held


def test_names_travel_with_the_groups():
    model = cf.nn.Linear(2, 1)
    optimizer = cf.optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_options_survive_a_file(tmp_path):
    optimizer, _ = trained(betas=(0.5, 0.6), amsgrad=True)
    save(optimizer.state_dict(), tmp_path / "optimizer")
    other, _ = trained(amsgrad=True)
    other.load_state_dict(load(tmp_path / "optimizer"))
    assert repr(other) == repr(optimizer)


# ---- LBFGS, which is no rule -----------------------------------------------------------------


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def lbfgs_closure(optimizer, p):
    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(p)
        loss.backward()
        return loss

    return closure


def test_lbfgs_finds_rosenbrocks_minimum_to_nine_digits():
    p = cf.tensor([-1.2, 1.0], dtype=cf.float64, requires_grad=True)
    optimizer = cf.optim.LBFGS(
        [p], line_search_fn="strong_wolfe", max_iter=100, tolerance_change=1e-18
    )
    assert optimizer.step(lbfgs_closure(optimizer, p)).item() == pytest.approx(24.2)
    np.testing.assert_allclose(p.detach().numpy(), [1.0, 1.0], rtol=1e-9)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_goes_on_from_a_file_with_the_same_bits(search, tmp_path):
    def begin(at=(-1.2, 1.0)):
        p = cf.tensor(at, dtype=cf.float64, requires_grad=True)
        lr = 1.0 if search else 1e-3
        return p, cf.optim.LBFGS([p], lr=lr, max_iter=5, line_search_fn=search)

    whole, optimizer = begin()
    for _ in range(4):
        optimizer.step(lbfgs_closure(optimizer, whole))
    p, optimizer = begin()
    for _ in range(2):
        optimizer.step(lbfgs_closure(optimizer, p))
    save({"p": p, "optimizer": optimizer.state_dict()}, tmp_path / "half")
    saved = load(tmp_path / "half")
    q, other = begin(saved["p"].tolist())
    other.load_state_dict(saved["optimizer"])
    for _ in range(2):
        other.step(lbfgs_closure(other, q))
    assert q.tolist() == whole.tolist()


def test_lbfgs_explains_what_it_needs():
    p = leaf(2)
    with pytest.raises(cf.ArgumentError, match="closure"):
        cf.optim.LBFGS([p]).step()
    with pytest.raises(cf.ArgumentError, match="one group"):
        cf.optim.LBFGS([{"params": [p]}, {"params": [leaf(1)]}])
    for key, value in (("max_iter", 0), ("history_size", -1), ("lr", -1),
                       ("line_search_fn", "armijo"), ("tolerance_grad", -1)):  # fmt: skip
        with pytest.raises(cf.ArgumentError, match=f"LBFGS: {key} must be"):
            cf.optim.LBFGS([p], **{key: value})
    optimizer = cf.optim.LBFGS([p])
    with pytest.raises(cf.StateError, match="another optimiser"):
        optimizer.load_state_dict(
            {"state": {0: {"exp_avg": cf.ones(2)}}, "param_groups": [{"params": [0]}]}
        )
    with pytest.raises(cf.StateError, match="does not fit"):
        optimizer.load_state_dict(
            {"state": {0: {"d": cf.ones(3)}}, "param_groups": [{"params": [0]}]}
        )


def test_an_optimiser_of_ones_own():
    class Fixed(cf.optim.Optimizer):
        @cf.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"]

    w = leaf(2)
    optimizer = Fixed([w], {"lr": 0.25})
    optimizer.step()
    assert w.tolist() == [0.75, 0.75]
    with pytest.raises(cf.ContraflowError, match="does not say how to step"):
        cf.optim.Optimizer([w], {}).step()
