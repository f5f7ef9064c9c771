"""The article's mini-batch loop, on 1,437 handwritten digits.

The loop is the article's. What it takes for granted is written out first: the data, a network with
``forward`` and ``update_weights``, ``compute_loss`` and ``compute_gradients``.
"""

import numpy as np

import contraflow as cf
from contraflow import nn

cf.manual_seed(0)
np.random.seed(0)

train, test = cf.data.load_digits().train_test_split(test=0.2, seed=0)
X_train, y_train = train.tensors
X_test, y_test = test.tensors


class Network(nn.Sequential):
    def update_weights(self, gradients, learning_rate):
        with cf.no_grad():
            for weight, gradient in zip(self.parameters(), gradients, strict=True):
                weight -= learning_rate * gradient


network = Network(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
compute_loss = nn.CrossEntropyLoss()
learning_rate = 0.1


def compute_gradients(loss):
    return cf.autograd.grad(loss, list(network.parameters()))


# Mini-batch training
batch_size = 32
for epoch in range(100):
    # Shuffle the dataset
    indices = np.random.permutation(len(X_train))

    for i in range(0, len(X_train), batch_size):
        batch_idx = indices[i : i + batch_size]
        X_batch = X_train[batch_idx]
        y_batch = y_train[batch_idx]

        # Forward pass on batch
        predictions = network.forward(X_batch)

        # Compute loss and gradients on batch
        loss = compute_loss(predictions, y_batch)
        gradients = compute_gradients(loss)

        # Update weights
        network.update_weights(gradients, learning_rate)

accuracy = (network(X_test).argmax(dim=1) == y_test).float().mean().item()
print(f"Loss of the last batch: {loss.item():.4f}")
print(f"Test accuracy: {accuracy:.1%}")
