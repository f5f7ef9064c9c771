"""What a captured step takes for granted is checked at every call, before any work."""

import pytest

import contraflow as cf
from contraflow import nn
from contraflow.capture import capture


def test_arguments_are_written_and_get_their_gradients():
    x, y = cf.ones(3), cf.ones(3, requires_grad=True)

    def step(a, b):
        a.add_(1)
        a[0] = 5.0
        (a * b).sum().backward()

    captured = capture(step, x, y)
    assert x.tolist() == [1, 1, 1]
    assert y.grad is None
    captured(x, y)
    assert x.tolist() == [5, 2, 2]
    assert y.grad.tolist() == [5, 2, 2]
    z = cf.zeros(3, requires_grad=True)  # other tensors, other results
    captured(x, z)
    assert x.tolist() == [5, 3, 3]
    assert z.grad.tolist() == [5, 3, 3]
    assert y.grad.tolist() == [5, 2, 2]


def test_a_view_as_an_argument_is_written_through():
    table = cf.zeros(2, 3)
    capture(lambda row: row.add_(1), table[0])(table[1])
    assert table.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_results_are_not_views_of_parameters():
    w = cf.ones(3)

    def step():
        before = w.detach().clone()
        w.mul_(2)
        return before, w.T, w

    captured = capture(step)
    before, turned, after = captured()
    assert (before.tolist(), after.tolist()) == ([1, 1, 1], [2, 2, 2])
    captured()
    assert turned.tolist() == [2, 2, 2]
    assert w.tolist() == [4, 4, 4]


def test_detached_views_write_to_the_parameter():
    w = cf.tensor([1.0, 2.0], requires_grad=True)

    def step():
        w.data = w.data * 3
        w.detach()[0] = 7.0
        w.data.add_(1)

    captured = capture(step)
    assert w.tolist() == [1, 2]
    captured()
    assert w.tolist() == [8, 7]
    assert w.requires_grad
    assert w.is_leaf


def model_step():
    model = nn.Linear(2, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return model, step


GUARDS = {
    "fewer tensors": (lambda model, step: step(), "captured with 1 tensors, called with 0"),
    "another shape": (lambda model, step: step(cf.ones(5, 2)), "another shape or dtype"),
    "another dtype": (lambda model, step: step(cf.ones(4, 2).double()), "another shape or dtype"),
    "an argument that learns": (
        lambda model, step: step(cf.ones(4, 2, requires_grad=True)),
        "captured when requires_grad was False, now it is True",
    ),
    "an argument with a history": (
        lambda model, step: step(cf.ones(4, 2, requires_grad=True) * 2),
        "requires_grad was False",
    ),
    "a parameter that was frozen": (
        lambda model, step: (model.weight.requires_grad_(False), step(cf.ones(4, 2))),
        "captured when requires_grad was True, now it is False",
    ),
    "a parameter of another dtype": (
        lambda model, step: (model.double(), step(cf.ones(4, 2))),
        "another shape or dtype",
    ),
}


@pytest.mark.parametrize("name", GUARDS)
def test_what_changed_since_is_refused_before_any_work(name):
    call, message = GUARDS[name]
    model, step = model_step()
    captured = capture(step, cf.ones(4, 2))
    captured(cf.ones(4, 2))
    before = model.bias.tolist()
    with pytest.raises(cf.CaptureError, match=message) as caught:
        call(model, captured)
    assert "fix: " in str(caught.value) or name == "fewer tensors"
    assert model.bias.tolist() == before


def test_an_argument_with_a_history_is_refused():
    w = cf.ones(2, requires_grad=True)
    with pytest.raises(cf.CaptureError, match="would have to leave the step"):
        capture(lambda x: x.sum().backward(), w * 2)


def test_an_error_inside_leaves_everything_as_it_was():
    model, step = model_step()
    model(cf.ones(1, 2)).sum().backward()
    held, before = model.weight.grad, model.weight.detach().clone()

    def failing(x):
        step(x)
        model.bias.data = cf.zeros(1)
        return model(cf.ones(3, 7))

    state = cf.get_rng_state()
    with pytest.raises(cf.ShapeError):
        capture(failing, cf.ones(4, 2))
    assert model.weight.grad is held
    assert cf.equal(model.weight, before)
    assert cf.equal(cf.get_rng_state(), state)
    assert cf.is_grad_enabled()
    assert model(cf.ones(3, 2)).shape == (3, 1)


def test_captures_do_not_nest():
    with pytest.raises(cf.CaptureError, match="already"):
        capture(lambda x: capture(lambda y: y + 1, x), cf.ones(2))
    assert (cf.ones(2) + 1).tolist() == [2, 2]
