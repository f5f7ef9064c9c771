"""How much is each weight responsible for the error? Ask the gradient, then ask the network itself.

Each of the nine numbers of the article's network is nudged alone. The gradient says beforehand what
the loss will do (slope times nudge); the network, run again, says what it really did.
"""

import contraflow as cf

NAMES = ["W1[0,0]", "W1[0,1]", "W1[1,0]", "W1[1,1]", "b1[0]", "b1[1]", "W2[0]", "W2[1]", "b2"]
x = cf.tensor([0.5, 0.8], dtype=cf.float64)
weights = cf.tensor([0.3, 0.7, 0.5, 0.2, 0.1, 0.1, 0.4, 0.6, 0.1], dtype=cf.float64)


def loss_of(w):
    """The loss of the 2-2-1 network whose nine weights are ``w``; the right answer is 1."""
    hidden = cf.sigmoid(x @ w[0:4].reshape(2, 2) + w[4:6])
    prediction = cf.sigmoid(hidden @ w[6:8] + w[8])
    return (prediction - 1.0) ** 2


def table(nudge):
    """(name, gradient, promised change of the loss, real change) for each weight."""
    gradient, loss = cf.func.grad_and_value(loss_of)(weights)
    rows = []
    for i, name in enumerate(NAMES):
        moved = weights.clone()
        moved[i] += nudge
        real = (loss_of(moved) - loss).item()
        rows.append((name, gradient[i].item(), gradient[i].item() * nudge, real))
    return rows


if __name__ == "__main__":
    print(f"Loss: {loss_of(weights).item():.6f}")
    for nudge in (0.1, 0.001):
        print(f"\nEach weight alone, nudged by {nudge}")
        print(f"{'weight':<9} {'gradient':>10} {'promised':>12} {'real':>12}   off by")
        for name, slope, promised, real in table(nudge):
            off = abs(promised / real - 1)
            print(f"{name:<9} {slope:10.6f} {promised:12.8f} {real:12.8f}   {off:.2%}")

    gradient = cf.func.grad(loss_of)(weights)
    step = -0.1 * gradient
    promised = (gradient * step).sum().item()
    real = (loss_of(weights + step) - loss_of(weights)).item()
    print(f"\nAll together, a step of gradient descent: promised {promised:.6f}, real {real:.6f}")
