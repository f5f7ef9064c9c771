"""The article's network with dropout, trained on handwritten digits.

It takes 784 numbers, a picture of 28 x 28. The bundled digits have 8 x 8 pixels: each is drawn
three times as large, and framed.
"""

import contraflow as cf
import contraflow.nn as nn

cf.manual_seed(0)


def enlarged(images):
    """[N, 1, 8, 8] -> [N, 784]"""
    large = images.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    return nn.functional.pad(large, (2, 2, 2, 2)).flatten(1)


train, test = cf.data.load_digits().train_test_split(test=0.2, seed=0)
train = cf.data.TensorDataset(enlarged(train.tensors[0]), train.tensors[1])
x_test, y_test = enlarged(test.tensors[0]), test.tensors[1]

# Dropout: randomly disable neurons during training
model = nn.Sequential(
    nn.Linear(784, 256),
    nn.ReLU(),
    nn.Dropout(0.5),  # 50% of neurons randomly zeroed during training
    nn.Linear(256, 128),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(128, 10),
)

criterion = nn.CrossEntropyLoss()
optimizer = cf.optim.Adam(model.parameters(), lr=0.001)
for _ in range(15):
    model.train()
    for x, y in cf.data.DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()

x = x_test[:1]
model.train()
print("In training, two passes of one picture differ:", not cf.equal(model(x), model(x)))
model.eval()
print("In evaluation they are equal:                 ", cf.equal(model(x), model(x)))
accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean().item()
print(f"Test accuracy: {accuracy:.1%}")
