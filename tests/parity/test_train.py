"""``fit`` against the same training written in PyTorch: the course of the loss and the weights."""

import numpy as np
import pytest

import contraflow as cf
from contraflow import train as t

torch = pytest.importorskip("torch")


def data():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(48, 6))
    return x, x[:, :4].argmax(1)


def sizes(nn):
    return [nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 4)]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_the_course_is_pytorchs(name, accumulate):
    x, y = data()
    options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.01}
    cf.manual_seed(0)
    ours = cf.nn.Sequential(*sizes(cf.nn)).double()
    theirs = torch.nn.Sequential(*sizes(torch.nn)).double()
    start = {k: torch.tensor(v.detach().numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(start)

    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 48, 8)]
    optimizer = getattr(cf.optim, name)(ours.parameters(), **options)
    schedule = cf.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    history = t.fit(
        ours, cf.nn.CrossEntropyLoss(), optimizer,
        [(cf.tensor(a), cf.tensor(b)) for a, b in batches], 5, metrics=[t.accuracy],
        validation=[(cf.tensor(x), cf.tensor(y))], accumulate=accumulate,
        callbacks=[t.ClipGradNorm(0.7), t.Schedule(schedule)],
    )  # fmt: skip

    losses, held, right = by_torch(theirs, name, options, batches, accumulate, x, y)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-6)
    np.testing.assert_allclose(history["validation_loss"], held, rtol=1e-6)
    np.testing.assert_allclose(history["validation_accuracy"], right)
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(
            value.detach().numpy(), theirs.state_dict()[key].numpy(), rtol=1e-5, atol=1e-8
        )


def by_torch(model, name, options, batches, accumulate, x, y):
    """The plain PyTorch loop with clipping, accumulation and a schedule."""
    optimizer = getattr(torch.optim, name)(model.parameters(), **options)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    loss_of = torch.nn.CrossEntropyLoss()
    losses, held, right = [], [], []
    for _ in range(5):
        model.train()
        total = 0.0
        for begin in range(0, len(batches), accumulate):
            optimizer.zero_grad()
            for a, b in batches[begin : begin + accumulate]:
                loss = loss_of(model(torch.tensor(a)), torch.tensor(b))
                (loss / accumulate).backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
            optimizer.step()
        losses.append(total / len(batches))
        model.eval()
        with torch.no_grad():
            scores = model(torch.tensor(x))
            held.append(loss_of(scores, torch.tensor(y)).item())
            right.append((scores.argmax(1).numpy() == y).mean())
        schedule.step()
    return losses, held, right
