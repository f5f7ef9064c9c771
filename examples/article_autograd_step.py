"""The article's training step in a modern framework. Only the import lines differ from PyTorch."""

import contraflow as cf
import contraflow.nn as nn

cf.manual_seed(0)
model = nn.Linear(10, 1)
criterion = nn.MSELoss()
optimizer = cf.optim.SGD(model.parameters(), lr=0.01)

# Training step
x = cf.randn(32, 10)
y = cf.randn(32, 1)

prediction = model(x)  # Forward pass
loss = criterion(prediction, y)  # Compute loss
loss.backward()  # Automatic backpropagation!
by_backward = model.weight.grad.clone()
optimizer.step()  # Update weights
optimizer.zero_grad()  # Clear gradients for next step

after = criterion(model(x), y)
print(f"Loss: {loss.item():.4f} -> {after.item():.4f}")

# What backward() found, against the formula for a linear layer: 2/n (prediction - y)^T x
with cf.no_grad():
    by_formula = 2 / len(x) * (prediction - y).T @ x
print(f"Largest difference to the formula: {(by_backward - by_formula).abs().max().item():.0e}")
