"""The article's listings: as it prints them, and its network by hand against autograd."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# ---- the listings, word for word, with the indentation that the printed ones have -----------------

ADAM = """
import torch.optim as optim
optimizer = optim.Adam(model.parameters(), lr=0.001)
for epoch in range(100):
    optimizer.zero_grad() # Clear old gradients
    output = model(input_data) # Forward pass
    loss = criterion(output, target) # Compute loss
    loss.backward() # Backpropagation!
    optimizer.step() # Update weights
"""

DROPOUT = """
# Dropout: randomly disable neurons during training
model = nn.Sequential(
    nn.Linear(784, 256),
    nn.ReLU(),
    nn.Dropout(0.5), # 50% of neurons randomly zeroed during training
    nn.Linear(256, 128),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(128, 10),
)
"""

STEP = """
import torch
import torch.nn as nn
model = nn.Linear(10, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
# Training step
x = torch.randn(32, 10)
y = torch.randn(32, 1)
prediction = model(x) # Forward pass
loss = criterion(prediction, y) # Compute loss
loss.backward() # Automatic backpropagation!
optimizer.step() # Update weights
optimizer.zero_grad() # Clear gradients for next step
"""

MINIBATCH = """
# Mini-batch training
batch_size = 32
for epoch in range(100):
    # Shuffle the dataset
    indices = np.random.permutation(len(X_train))
    for i in range(0, len(X_train), batch_size):
        batch_idx = indices[i:i + batch_size]
        X_batch = X_train[batch_idx]
        y_batch = y_train[batch_idx]
        # Forward pass on batch
        predictions = network.forward(X_batch)
        # Compute loss and gradients on batch
        loss = compute_loss(predictions, y_batch)
        gradients = compute_gradients(loss)
        # Update weights
        network.update_weights(gradients, learning_rate)
"""


def execute(listing, **names):
    """Run a listing after replacing its imports of torch, and nothing else."""
    ours = re.sub(r"^import torch\.(\w+) as", r"import contraflow.\1 as", listing, flags=re.M)
    ours = re.sub(r"^import torch$", "import contraflow as torch", ours, flags=re.M)
    cf.manual_seed(0)
    exec(compile(ours, "listing", "exec"), names)
    return names


def code_of(listing):
    """Its statements without comments and blank lines, however they are indented and spaced."""
    bare = (line.split("#")[0].strip().replace(" ", "") for line in listing.split("\n"))
    return [line for line in bare if line]


def test_the_adam_loop_trains():
    cf.manual_seed(1)
    x = cf.linspace(-1, 1, 32).reshape(-1, 1)
    model = cf.nn.Sequential(cf.nn.Linear(1, 16), cf.nn.Tanh(), cf.nn.Linear(16, 1))
    criterion = cf.nn.MSELoss()
    first = criterion(model(x), 2 * x).item()
    found = execute(ADAM, model=model, criterion=criterion, input_data=x, target=2 * x)
    assert found["loss"].item() < 0.6 * first


def test_the_dropout_network_trains_on_784_pixels():
    model = execute(DROPOUT, nn=cf.nn)["model"]
    assert sum(p.numel() for p in model.parameters()) == 235_146  # 784*256+256+256*128+128+1290
    x, y = cf.rand(64, 784), cf.arange(64) % 10
    optimizer = cf.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = cf.nn.CrossEntropyLoss()(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert not cf.equal(model(x), model(x))
    assert cf.equal(model.eval()(x), model(x))


def test_half_of_the_neurons_are_zeroed_in_training_and_none_in_evaluation():
    model = execute(DROPOUT, nn=cf.nn)["model"]
    dropped = model[2](cf.ones(100_000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert set(dropped.tolist()) == {0.0, 2.0}  # those that stay are scaled: the mean stays
    assert (model.eval()[2](cf.ones(1000)) == 1).all()


def test_the_autograd_step_is_the_formula_of_the_linear_layer():
    found = execute(STEP)
    model, x, y = found["model"], found["x"].numpy(), found["y"].numpy()
    assert model.weight.grad is None
    error = found["prediction"].detach().numpy() - y
    gradient = 2 / 32 * error.T @ x
    cf.manual_seed(0)
    before = cf.nn.Linear(10, 1).weight.detach().numpy()  # the same draw as the listing's
    np.testing.assert_allclose(
        model.weight.detach().numpy(), before - 0.01 * gradient, rtol=1e-5, atol=1e-7
    )


def test_the_mini_batch_loop_trains():
    cf.manual_seed(0)
    x = cf.randn(320, 3)
    y = x @ cf.tensor([[1.0], [-2.0], [0.5]]) + 0.3

    class Network(cf.nn.Linear):
        def update_weights(self, gradients, learning_rate):
            with cf.no_grad():
                for weight, gradient in zip(self.parameters(), gradients, strict=True):
                    weight -= learning_rate * gradient

    network = Network(3, 1)
    names = {
        "np": np,
        "X_train": x,
        "y_train": y,
        "network": network,
        "learning_rate": 0.05,
        "compute_loss": cf.nn.MSELoss(),
        "compute_gradients": lambda loss: cf.autograd.grad(loss, list(network.parameters())),
    }
    assert execute(MINIBATCH, **names)["loss"].item() < 1e-10
    np.testing.assert_allclose(network.weight.detach().numpy(), [[1.0, -2.0, 0.5]], atol=1e-5)
    np.testing.assert_allclose(network.bias.item(), 0.3, atol=1e-5)


@pytest.mark.parametrize(
    ("listing", "name"),
    [(ADAM, "adam"), (DROPOUT, "dropout"), (STEP, "autograd_step"), (MINIBATCH, "minibatch")],
)
def test_the_examples_differ_from_the_listings_in_their_imports_only(listing, name):
    shown = code_of((EXAMPLES / f"article_{name}.py").read_text())
    wanted = [
        line.replace("torch.optim.SGD", "cf.optim.SGD").replace("torch.randn", "cf.randn")
        for line in code_of(listing)
        if not line.startswith("import")
    ]
    missing = [line for line in wanted if line not in shown]
    assert not missing


# ---- the 2-2-1 network ----------------------------------------------------------------------------


def run_quietly(name):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        return runpy.run_path(str(EXAMPLES / f"{name}.py")), printed.getvalue()


@pytest.fixture(scope="module")
def both():
    return run_quietly("article_by_hand"), run_quietly("article_autograd")


def test_prediction_and_loss_of_the_first_step(both):
    for names, printed in both:
        loss, prediction = names["history"][0]
        assert f"{prediction:.4f}" == "0.6795"
        assert f"{loss:.4f}" == "0.1027"
        assert printed.startswith("Prediction: 0.6795\nLoss: 0.1027\n")


def test_both_print_the_same(both):
    (_, by_hand), (_, by_autograd) = both
    assert by_hand == by_autograd
    assert by_hand.count("\n") == 11


def test_the_loss_falls_and_the_prediction_comes_near_one(both):
    for names, _ in both:
        losses, predictions = zip(*names["history"], strict=True)
        assert all(np.diff(losses) < 0)
        assert all(np.diff(predictions) > 0)
        assert predictions[-1] > 0.96


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(x, W1, b1, W2, b2):
    """Prediction, loss and the four gradients, derived with the chain rule on paper."""
    hidden_raw = x @ W1 + b1
    hidden = sigmoid(hidden_raw)
    prediction = sigmoid(hidden @ W2 + b2)
    d_output = 2 * (prediction - 1.0) * prediction * (1 - prediction)
    d_hidden = d_output * W2[:, 0] * hidden * (1 - hidden)
    gradients = np.outer(x, d_hidden), d_hidden, hidden[:, None] * d_output, d_output
    return prediction, (prediction[0] - 1.0) ** 2, gradients


def start():
    return [
        np.array([[0.3, 0.7], [0.5, 0.2]]),
        np.array([0.1, 0.1]),
        np.array([[0.4], [0.6]]),
        np.array([0.1]),
    ]


def off_by(ours, theirs):
    """The largest relative difference."""
    return np.max(np.abs(ours - theirs) / np.abs(theirs))


def test_by_hand_against_autograd_for_1000_steps():
    x = np.array([0.5, 0.8])
    weights, tensors = start(), [cf.tensor(w, requires_grad=True) for w in start()]
    optimizer = cf.optim.SGD(tensors, lr=0.1)
    V1, c1, V2, c2 = tensors
    worst = np.zeros(4)
    for _ in range(1000):
        prediction, loss, gradients = by_hand(x, *weights)
        ours = cf.sigmoid(cf.sigmoid(cf.tensor(x) @ V1 + c1) @ V2 + c2)
        our_loss = ((ours - 1.0) ** 2).sum()
        optimizer.zero_grad()
        our_loss.backward()
        slopes = [off_by(t.grad.numpy(), g) for t, g in zip(tensors, gradients, strict=True)]
        optimizer.step()
        weights = [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)]
        places = [off_by(t.detach().numpy(), w) for t, w in zip(tensors, weights, strict=True)]
        now = off_by(ours.detach().numpy(), prediction), off_by(our_loss.item(), loss)
        worst = np.maximum(worst, [*now, max(slopes), max(places)])
    assert dict(zip(["prediction", "loss", "gradient", "weight"], worst < 1e-12, strict=True)) == {
        "prediction": True, "loss": True, "gradient": True, "weight": True,
    }  # fmt: skip
    assert loss < 0.0013


def test_gradients_of_the_first_step_are_the_known_numbers():
    tensors = [cf.tensor(w, requires_grad=True) for w in start()]
    V1, c1, V2, c2 = tensors
    x = cf.tensor([0.5, 0.8], dtype=cf.float64)
    ((cf.sigmoid(cf.sigmoid(x @ V1 + c1) @ V2 + c2) - 1.0) ** 2).sum().backward()
    known = [
        [[-0.00629095, -0.00955225], [-0.01006552, -0.01528359]],
        [-0.01258190, -0.01910449],
        [[-0.09170765], [-0.09044167]],
        [-0.13958323],
    ]
    for tensor, gradient in zip(tensors, known, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=5e-9)


def test_a_layer_model_is_the_same_network():
    model = cf.nn.Sequential(
        cf.nn.Linear(2, 2), cf.nn.Sigmoid(), cf.nn.Linear(2, 1), cf.nn.Sigmoid()
    ).double()
    W1, b1, W2, b2 = start()
    model.load_state_dict(
        {
            name: cf.tensor(v)
            for name, v in zip(model.state_dict(), (W1.T, b1, W2.T, b2), strict=True)
        }
    )
    prediction = model(cf.tensor([0.5, 0.8], dtype=cf.float64))
    loss = cf.nn.MSELoss()(prediction, cf.ones(1, dtype=cf.float64))
    loss.backward()
    _, expected, gradients = by_hand(np.array([0.5, 0.8]), W1, b1, W2, b2)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    for p, g in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g.T, rtol=1e-12)
