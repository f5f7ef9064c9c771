"""The article's Adam loop, on half a sine wave. Only the import lines differ from PyTorch."""

import contraflow as cf
import contraflow.nn as nn
import contraflow.optim as optim

cf.manual_seed(0)
input_data = cf.linspace(0, 3, 64).reshape(-1, 1)
target = cf.sin(input_data)
model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
criterion = nn.MSELoss()

optimizer = optim.Adam(model.parameters(), lr=0.001)

losses = []
for epoch in range(100):
    optimizer.zero_grad()  # Clear old gradients
    output = model(input_data)  # Forward pass
    loss = criterion(output, target)  # Compute loss
    loss.backward()  # Backpropagation!
    optimizer.step()  # Update weights
    losses.append(loss.item())

print(f"Loss: {losses[0]:.4f} -> {losses[-1]:.4f}")

# Adam gives each weight a rate of its own: one step moves them by about lr, whatever the gradient
before = model[0].weight.detach().clone()
fresh = optim.Adam(model.parameters(), lr=0.001)
fresh.step()
moved = (model[0].weight.detach() - before).abs()
sizes = model[0].weight.grad.abs()
print(f"Gradients from {sizes.min().item():.1e} to {sizes.max().item():.1e}")
print(f"Steps     from {moved.min().item():.1e} to {moved.max().item():.1e}")
