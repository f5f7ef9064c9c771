import torch

from tests.parity.seeded import floats

results = {}
centres = torch.tensor([[0.0, 0.0], [4.0, 4.0], [-4.0, 4.0]])
X = (centres[:, None] + 0.5 * torch.from_numpy(floats(0, 3, 20, 2))).reshape(-1, 2)


def kmeans(X, centroids, num_iters=10):
    for _ in range(num_iters):
        distances = torch.cdist(X, centroids)
        labels = distances.argmin(dim=1)
        new = torch.stack([X[labels == j].mean(dim=0) for j in range(len(centroids))])
        if torch.allclose(new, centroids):
            break
        centroids = new
    return labels, centroids


labels, centroids = kmeans(X, X[[0, 25, 45]])
results["kmeans"] = [
    labels,
    centroids,
    torch.bincount(labels, minlength=3),
    torch.unique(labels, return_counts=True),
]
sums = torch.zeros(3, 2).index_add_(0, labels, X)
counts = torch.zeros(3).scatter_add_(0, labels, torch.ones(len(X)))
results["scatter"] = [sums / counts.unsqueeze(1), counts]
d2 = (X**2).sum(1, keepdim=True) - 2 * X @ centroids.T + (centroids**2).sum(1)
results["d2"] = d2.clamp_min(0).sqrt().min(1)[0]

# principal components
Y = X - X.mean(0)
U, S, Vh = torch.linalg.svd(Y, full_matrices=False)
results["svd"] = [S, (Vh[0] * torch.sign(Vh[0, 0])).abs(), (U * S @ Vh - Y).abs().max() < 1e-4]
C = torch.cov(Y.T)
eigenvalues, eigenvectors = torch.linalg.eigh(C)
results["eigh"] = [eigenvalues, torch.allclose(eigenvalues.flip(0), S**2 / (len(X) - 1), rtol=1e-4)]
explained = eigenvalues.flip(0) / eigenvalues.sum()
results["explained"] = [explained, explained.cumsum(0)]
order = torch.argsort(eigenvalues, descending=True)
projected = Y @ eigenvectors[:, order[:1]]
results["projected"] = [projected.abs()[:4], projected.shape]
whitened = Y @ eigenvectors / (eigenvalues + 1e-5).sqrt()
results["whitened"] = whitened.T.cov()

# confusion matrix and metrics
pred, true = labels, torch.arange(3).repeat_interleave(20)
cm = torch.bincount(true * 3 + pred, minlength=9).reshape(3, 3)
results["confusion"] = cm
tp = cm.diag()
precision = tp / cm.sum(0).clamp(min=1)
recall = tp.float() / cm.sum(1)
f1 = 2 * precision * recall / (precision + recall)
results["metrics"] = [
    precision,
    recall,
    torch.nan_to_num(f1),
    cm.trace() / cm.sum(),
    cm.float().div(cm.sum(1, keepdim=True)),
]
matrix = torch.zeros(3, 3, dtype=torch.int64)
for t, p in zip(true.view(-1), pred.view(-1)):
    matrix[t.long(), p.long()] += 1
results["same"] = torch.equal(matrix, cm)
scores = torch.from_numpy(floats(3, 60)).sigmoid()
truth = true == 1
ranks = scores.argsort().argsort() + 1
n1 = truth.sum()
results["auc"] = (ranks[truth].sum() - n1 * (n1 + 1) / 2) / (n1 * (~truth).sum())
thresholds = torch.linspace(0, 1, 5)
tpr = ((scores[None] >= thresholds[:, None]) & truth).sum(1) / truth.sum()
results["tpr"] = [tpr, torch.trapz(tpr, thresholds), torch.searchsorted(thresholds, scores[:4])]
knn = torch.cdist(X[:5], X).topk(4, largest=False).indices[:, 1:]
results["knn"] = torch.mode(labels[knn], dim=1).values
results["quantiles"] = [
    X.quantile(0.25, dim=0),
    X.median(dim=0).values,
    torch.median(X),
    X.amin(),
    X.var(unbiased=False),
]
