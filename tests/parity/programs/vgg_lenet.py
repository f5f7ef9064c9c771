import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, floats, images

results = {}
cfgs = {"A": [4, "M", 8, "M", 8, 8, "M"], "B": [4, 4, "M", 8, "M"]}


def make_layers(cfg, batch_norm: bool = False) -> nn.Sequential:
    layers = []
    in_channels = 1
    for v in cfg:
        if v == "M":
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
        else:
            conv2d = nn.Conv2d(in_channels, v, kernel_size=3, padding=1)
            if batch_norm:
                layers += [conv2d, nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
            else:
                layers += [conv2d, nn.ReLU(inplace=True)]
            in_channels = v
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, features, num_classes=4, init_weights=True, dropout=0.0):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(8 * 4, 16), nn.ReLU(True), nn.Dropout(p=dropout), nn.Linear(16, num_classes)
        )
        if init_weights:
            self._initialize_weights()

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))

    def _initialize_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.data.fill_(1)
                m.bias.data.zero_()
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.xavier_uniform_(m.weight, gain=nn.init.calculate_gain("relu"))
                nn.init.uniform_(m.bias, -0.1, 0.1)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 20)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        return self.fc2(x)

    def num_flat_features(self, x):
        size = x.size()[1:]
        num_features = 1
        for s in size:
            num_features *= s
        return num_features


x, y = map(torch.from_numpy, images(0, 8))
for name, norm in (("A", True), ("B", False)):
    model = VGG(make_layers(cfgs[name], batch_norm=norm))
    fill(model, 1, 0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def train_step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    results[name] = [train_step(x, y).item() for _ in range(3)]
    results[f"{name} model"] = str(model)
net = fill(LeNet(), 2, 0.1)
input = torch.from_numpy(floats(3, 1, 1, 32, 32))
out = net(input)
net.zero_grad()
out.backward(torch.ones(1, 10))
params = list(net.parameters())
results["lenet"] = [out, len(params), params[0].size(), net.conv1.bias.grad]
output = net(input)
target = torch.arange(1.0, 11).view(1, -1)
loss = nn.MSELoss()(output, target)
net.zero_grad()
results["before"] = net.conv1.bias.grad is None
loss.backward()
learning_rate = 0.01
for f in net.parameters():
    f.data.sub_(f.grad.data * learning_rate)
results["after"] = [
    loss,
    net(input),
    loss.grad_fn is not None,
    loss.grad_fn.next_functions[0][0] is not None,
]
