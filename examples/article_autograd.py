"""The article's network, two inputs, two hidden neurons, one output: every gradient by backward().

The numbers are those of article_by_hand.py, to the last digits of float64.
"""

import contraflow as cf

W1 = cf.tensor([[0.3, 0.7], [0.5, 0.2]], dtype=cf.float64, requires_grad=True)
b1 = cf.tensor([0.1, 0.1], dtype=cf.float64, requires_grad=True)
W2 = cf.tensor([[0.4], [0.6]], dtype=cf.float64, requires_grad=True)
b2 = cf.tensor([0.1], dtype=cf.float64, requires_grad=True)

input_data = cf.tensor([0.5, 0.8], dtype=cf.float64)
true_label = 1.0
optimizer = cf.optim.SGD([W1, b1, W2, b2], lr=0.1)

history = []
for epoch in range(1000):
    hidden = cf.sigmoid(input_data @ W1 + b1)
    prediction = cf.sigmoid(hidden @ W2 + b2)
    loss = ((prediction - true_label) ** 2).sum()

    optimizer.zero_grad()
    loss.backward()  # this line is the twelve lines of chain rule of the other file
    if epoch == 0:
        print(f"Prediction: {prediction.item():.4f}")
        print(f"Loss: {loss.item():.4f}")
        print(f"Gradient for W2: {W2.grad.flatten().numpy()}")
        print(f"Gradient for W1: {W1.grad.numpy()}")
    optimizer.step()

    history.append((loss.item(), prediction.item()))
    if epoch % 200 == 0:
        print(f"Epoch {epoch}: Loss = {loss.item():.6f}, Prediction = {prediction.item():.4f}")

print(f"After 1000 steps: Loss = {loss.item():.6f}, Prediction = {prediction.item():.4f}")
