"""The article's network, two inputs, two hidden neurons, one output: every gradient by hand.

Plain NumPy; article_autograd.py is the same with nothing derived by hand.
"""

import numpy as np

# Initialize weights and biases
W1 = np.array([[0.3, 0.7], [0.5, 0.2]])  # Input -> Hidden
b1 = np.array([0.1, 0.1])
W2 = np.array([[0.4], [0.6]])  # Hidden -> Output
b2 = np.array([0.1])

input_data = np.array([0.5, 0.8])
true_label = 1.0
learning_rate = 0.1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_derivative(x):
    s = sigmoid(x)
    return s * (1 - s)


history = []
for epoch in range(1000):
    # Forward pass
    hidden_raw = np.dot(input_data, W1) + b1
    hidden_activated = sigmoid(hidden_raw)
    output_raw = np.dot(hidden_activated, W2) + b2
    prediction = sigmoid(output_raw)

    # Loss
    loss = (prediction[0] - true_label) ** 2

    # Backward pass (compute gradients): the chain rule, from the loss to the first weight
    d_loss = 2 * (prediction[0] - true_label)
    d_output = d_loss * sigmoid_derivative(output_raw[0])
    d_W2 = hidden_activated.reshape(-1, 1) * d_output
    d_b2 = d_output
    d_hidden = d_output * W2.flatten() * sigmoid_derivative(hidden_raw)
    d_W1 = np.outer(input_data, d_hidden)
    d_b1 = d_hidden

    if epoch == 0:
        print(f"Prediction: {prediction[0]:.4f}")
        print(f"Loss: {loss:.4f}")
        print(f"Gradient for W2: {d_W2.flatten()}")
        print(f"Gradient for W1: {d_W1}")

    # Update weights
    W2 -= learning_rate * d_W2
    b2 -= learning_rate * d_b2
    W1 -= learning_rate * d_W1
    b1 -= learning_rate * d_b1

    history.append((loss, prediction[0]))
    if epoch % 200 == 0:
        print(f"Epoch {epoch}: Loss = {loss:.6f}, Prediction = {prediction[0]:.4f}")

print(f"After 1000 steps: Loss = {loss:.6f}, Prediction = {prediction[0]:.4f}")
