"""Capture: a whole training step as a graph with state; the same numbers as eager."""

import copy

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.capture import capture
from contraflow.graph import parse, to_text, verify


def problem():
    rng = np.random.default_rng(0)
    x = cf.tensor(rng.normal(size=(16, 8)).astype(np.float32))
    return x, cf.tensor((rng.normal(size=16) > 0).astype(np.int64))


def mlp(*extra):
    cf.manual_seed(1)
    return nn.Sequential(
        nn.Linear(8, 16),
        *extra,
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 16),
        nn.Tanh(),
        nn.Linear(16, 2),
    )


def make_step(model, optimizer):
    criterion = nn.CrossEntropyLoss()

    def train_step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return train_step


OPTIMIZERS = {
    "adam": lambda p: cf.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: cf.optim.AdamW(p, lr=0.01, amsgrad=True),
    "sgd": lambda p: cf.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: cf.optim.RMSprop(p, lr=0.01, centered=True),
    "radam": lambda p: cf.optim.RAdam(p, lr=0.01),
    "lion": lambda p: cf.optim.Lion(p, lr=0.001),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("normed", [False])
def test_a_captured_step_gives_the_numbers_of_eager(name, normed):
    x, y = problem()
    model = mlp(nn.BatchNorm1d(16)) if normed else mlp()
    twin = copy.deepcopy(model)
    optimizer = OPTIMIZERS[name](model.parameters())
    other = OPTIMIZERS[name](twin.parameters())
    scheduler = cf.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    other_scheduler = cf.optim.lr_scheduler.StepLR(other, 2, gamma=0.5)
    captured = capture(make_step(model, optimizer), x, y)
    eager = make_step(twin, other)
    for before, after in zip(model.parameters(), twin.parameters(), strict=True):
        assert (before == after).all()  # capturing changed nothing

    cf.manual_seed(7)
    losses = []
    for _ in range(5):
        losses.append(captured(x, y).item())
        scheduler.step()
    position = cf.get_rng_state()
    cf.manual_seed(7)
    for loss in losses:
        assert eager(x, y).item() == pytest.approx(loss, rel=1e-6)
        other_scheduler.step()
    assert (cf.get_rng_state() == position).all()
    theirs = dict(twin.state_dict())
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), theirs[key].numpy(), rtol=2e-5, atol=1e-7)
    for ours, their in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad.numpy(), their.grad.numpy(), rtol=2e-5, atol=1e-7)


def test_the_graph_prints_parses_back_and_verifies():
    x, y = problem()
    model = mlp()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    captured = capture(make_step(model, optimizer), x, y)
    text = str(captured)
    assert to_text(parse(text)) == text
    verify(captured.graph)
    written = [v.label for v, _ in captured.graph.writes]
    assert {"weight", "bias"} <= set(written)
    assert "random_uniform" in text
    assert len(captured.graph.writes) == 6 * 3 + 6 + 1 or "exp_avg" in text


def test_gradient_accumulation_adds_to_dot_grad():
    w = cf.ones(3, requires_grad=True)
    w.sum().backward()
    captured = capture(lambda x: (w * x).sum().backward(), cf.ones(3))
    captured(cf.full((3,), 2.0))
    captured(cf.full((3,), 2.0))
    assert w.grad.tolist() == [5.0, 5.0, 5.0]


def test_a_gradient_that_was_not_there_is_not_replaced():
    w = cf.ones(3, requires_grad=True)
    captured = capture(lambda x: (w * x).sum().backward(), cf.ones(3))
    captured(cf.ones(3))
    with pytest.raises(cf.CaptureError, match=r"found no \.grad"):
        captured(cf.ones(3))  # eager would add
    assert w.grad.tolist() == [1.0, 1.0, 1.0]
    w.grad = None
    captured(cf.full((3,), 2.0))
    assert w.grad.tolist() == [2.0, 2.0, 2.0]


def test_gradient_penalty_is_captured():
    w = cf.tensor([1.0, 2.0], requires_grad=True)

    def penalty(x):
        w.grad = None
        (g,) = cf.autograd.grad((cf.tanh(w * x)).sum(), w, create_graph=True)
        (g * g).sum().backward()
        return g

    x = cf.tensor([0.5, -1.0])
    captured = capture(penalty, x)
    returned = captured(x)
    ours = w.grad.clone()
    expected = penalty(x)
    np.testing.assert_allclose(returned.numpy(), expected.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.numpy(), w.grad.numpy(), rtol=1e-6)


def test_writes_through_views_reach_the_base():
    w = cf.zeros(3, 2)
    row = w[1]

    def step(x):
        w[0] = x
        row.add_(x)
        w.T[1].mul_(10.0)
        return w.sum()

    captured = capture(step, cf.ones(2))
    assert w.tolist() == [[0, 0]] * 3
    total = captured(cf.tensor([1.0, 2.0]))
    assert w.tolist() == [[1.0, 20.0], [1.0, 20.0], [0.0, 0.0]]
    assert row.tolist() == [1.0, 20.0]
    assert total.item() == 42.0


def test_random_numbers_move_on():
    captured = capture(lambda: cf.rand(3))
    cf.manual_seed(3)
    a, b = captured(), captured()
    cf.manual_seed(3)
    assert (cf.rand(3) == a).all()
    assert (cf.rand(3) == b).all()


def test_returned_structures():
    captured = capture(lambda x: {"a": x + 1, "b": [x * 2, "text"]}, cf.ones(2))
    out = captured(cf.zeros(2))
    assert out["a"].tolist() == [1.0, 1.0]
    assert out["b"][0].tolist() == [0.0, 0.0]
    assert out["b"][1] == "text"


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: 1 if (x > 0).all() else 0,
        lambda x: f"{x.sum():.2f}",
    ],
)
def test_looking_at_a_value_is_a_lesson_and_changes_nothing(look):
    w = cf.ones(2)

    def step(x):
        w.add_(1)
        return look(w * x)

    with pytest.raises(cf.CaptureError, match="while the step is being captured") as caught:
        capture(step, cf.ones(2))
    assert "test_capture.py" in str(caught.value)
    assert w.tolist() == [1.0, 1.0]
    assert (w + 1).tolist() == [2.0, 2.0]


def test_another_shape_is_refused_before_any_work():
    w = cf.zeros(2)

    def step(x):
        w.add_(x)

    captured = capture(step, cf.ones(2))
    with pytest.raises(cf.CaptureError, match="another shape"):
        captured(cf.ones(3))
    assert w.tolist() == [0.0, 0.0]


def test_a_module_is_captured_under_the_name_of_its_class():
    model, (x, _) = mlp().eval(), problem()
    step = capture(model, x)
    assert str(step).startswith("graph Sequential\n")
    assert cf.equal(step(x), model(x))
