import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.parity.seeded import fill, floats, images

results = {}
x, y = map(torch.from_numpy, images(0, 24))
x = x.flatten(1)
teacher = fill(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4)), 0)
student = fill(nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4)), 1)
optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
T, alpha = 2.0, 0.7
ce_loss, kl = nn.CrossEntropyLoss(), nn.KLDivLoss(reduction="batchmean")
teacher.eval()


def train_step(inputs, labels):
    with torch.no_grad():
        teacher_logits = teacher(inputs)
    student_logits = student(inputs)
    soft_targets = F.softmax(teacher_logits / T, dim=-1)
    soft_prob = F.log_softmax(student_logits / T, dim=-1)
    by_hand = (
        torch.sum(soft_targets * (soft_targets.log() - soft_prob)) / soft_prob.size()[0] * (T**2)
    )
    distill = kl(soft_prob, soft_targets) * T * T
    loss = alpha * distill + (1 - alpha) * ce_loss(student_logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, by_hand - distill


results["losses"] = [train_step(x, y)[0].item() for _ in range(6)]


class FocalLoss(nn.Module):
    def __init__(self, gamma=2.0, weight=None, reduction="mean"):
        super().__init__()
        self.gamma, self.reduction = gamma, reduction
        self.register_buffer("weight", weight)

    def forward(self, input, target):
        log_pt = F.log_softmax(input, dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
        pt = log_pt.exp()
        loss = -((1 - pt) ** self.gamma) * log_pt
        if self.weight is not None:
            loss = loss * self.weight[target]
        return loss.mean() if self.reduction == "mean" else loss.sum()


def sigmoid_focal_loss(inputs, targets, alpha: float = 0.25, gamma: float = 2):
    p = torch.sigmoid(inputs)
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    return (alpha_t * ce * ((1 - p_t) ** gamma)).mean()


class LabelSmoothing(nn.Module):
    def __init__(self, smoothing=0.1):
        super().__init__()
        self.confidence, self.smoothing = 1.0 - smoothing, smoothing

    def forward(self, x, target):
        logprobs = F.log_softmax(x, dim=-1)
        nll_loss = -logprobs.gather(dim=-1, index=target.unsqueeze(1)).squeeze(1)
        smooth_loss = -logprobs.mean(dim=-1)
        return (self.confidence * nll_loss + self.smoothing * smooth_loss).mean()


logits = student(x)
focal = FocalLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0]))
results["focal"] = [
    focal(logits, y),
    sigmoid_focal_loss(logits, F.one_hot(y, 4).float()),
    list(focal.state_dict()),
]
results["smooth"] = [
    LabelSmoothing()(logits, y),
    nn.CrossEntropyLoss(label_smoothing=0.1)(logits, y),
]


def mixup_data(x, y, lam, index):
    return lam * x + (1 - lam) * x[index, :], y, y[index]


def mixup_criterion(criterion, pred, y_a, y_b, lam):
    return lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)


mixed, y_a, y_b = mixup_data(x, y, 0.3, torch.arange(23, -1, -1))
results["mixup"] = mixup_criterion(ce_loss, student(mixed), y_a, y_b, 0.3)
soft = 0.3 * F.one_hot(y_a, 4) + 0.7 * F.one_hot(y_b, 4)
results["soft labels"] = [
    F.cross_entropy(student(mixed), soft),
    -(soft * F.log_softmax(student(mixed), -1)).sum(-1).mean(),
]
z1, z2 = F.normalize(logits, dim=1), F.normalize(teacher(x), dim=1)
sim = torch.mm(torch.cat([z1, z2]), torch.cat([z1, z2]).t()) / 0.5
sim.masked_fill_(torch.eye(48, dtype=torch.bool), float("-inf"))
results["contrastive"] = F.cross_entropy(sim, torch.cat([torch.arange(24, 48), torch.arange(24)]))
a, b = torch.from_numpy(floats(3, 6, 5)), torch.from_numpy(floats(4, 6, 5))
sign = torch.tensor([1, -1, 1, -1, 1, -1])
results["others"] = [
    nn.CosineEmbeddingLoss(margin=0.2)(a, b, sign), nn.MarginRankingLoss(margin=0.1)(a[:, 0], b[:, 0], sign.float()),
    nn.HingeEmbeddingLoss()(a[:, 0], sign), nn.L1Loss(reduction="sum")(a, b), nn.PoissonNLLLoss()(a, b.abs()),
    nn.MultiLabelSoftMarginLoss()(a, (b > 0).float()), nn.MultiMarginLoss()(a, torch.tensor([0, 1, 2, 3, 4, 0])),
    nn.GaussianNLLLoss()(a, b, b.abs() + 0.1), nn.SoftMarginLoss()(a, torch.sign(b)),
    ce_loss(a.view(1, 6, 5).transpose(1, 2), torch.tensor([[0, 1, 2, 3, 4, -100]])),
]  # fmt: skip
