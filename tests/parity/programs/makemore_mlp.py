import torch
import torch.nn.functional as F

from tests.parity.seeded import floats, integers

results = {}
words = [
    "emma",
    "olivia",
    "ava",
    "isabella",
    "sophia",
    "mia",
    "amelia",
    "ella",
    "luna",
    "ada",
    "ruth",
    "alma",
    "iris",
    "june",
    "ivy",
]
chars = sorted(list(set("".join(words))))
stoi = {s: i + 1 for i, s in enumerate(chars)}
stoi["."] = 0
itos = {i: s for s, i in stoi.items()}
vocab_size = len(itos)
block_size = 3


def build_dataset(words):
    X, Y = [], []
    for w in words:
        context = [0] * block_size
        for ch in w + ".":
            ix = stoi[ch]
            X.append(context)
            Y.append(ix)
            context = context[1:] + [ix]
    X = torch.tensor(X)
    Y = torch.tensor(Y)
    return X, Y


X, Y = build_dataset(words)
results["data"] = [X.shape, Y.shape, X.dtype, X[:4]]
n_embd, n_hidden = 4, 20
C = torch.tensor(floats(0, vocab_size, n_embd))
W1 = (
    torch.tensor(floats(1, n_embd * block_size, n_hidden))
    * (5 / 3)
    / ((n_embd * block_size) ** 0.5)
)
W2 = torch.tensor(floats(2, n_hidden, vocab_size)) * 0.01
b2 = torch.zeros(vocab_size)
bngain = torch.ones((1, n_hidden))
bnbias = torch.zeros((1, n_hidden))
bnmean_running = torch.zeros((1, n_hidden))
bnstd_running = torch.ones((1, n_hidden))
parameters = [C, W1, W2, b2, bngain, bnbias]
for p in parameters:
    p.requires_grad = True
results["count"] = sum(p.nelement() for p in parameters)
lossi, ud = [], []
for i in range(40):
    ix = torch.tensor(integers(i, X.shape[0], 16))
    Xb, Yb = X[ix], Y[ix]
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hpreact = embcat @ W1
    bnmeani = hpreact.mean(0, keepdim=True)
    bnstdi = hpreact.std(0, keepdim=True)
    hpreact = bngain * (hpreact - bnmeani) / bnstdi + bnbias
    with torch.no_grad():
        bnmean_running = 0.999 * bnmean_running + 0.001 * bnmeani
        bnstd_running = 0.999 * bnstd_running + 0.001 * bnstdi
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Yb)
    for p in parameters:
        p.grad = None
    h.retain_grad()
    loss.backward()
    lr = 0.1 if i < 30 else 0.01
    for p in parameters:
        p.data += -lr * p.grad
    lossi.append(loss.log10().item())
    with torch.no_grad():
        ud.append(
            [
                ((lr * p.grad).std() / p.data.std()).log10().item()
                for p in parameters
                if p.ndim == 2 and p is not b2
            ]
        )
results["lossi"], results["ud"] = lossi, ud[-1]
results["smooth"] = torch.tensor(lossi).view(-1, 10).mean(1)
results["running"] = [bnmean_running, bnstd_running]
results["h"] = [h.grad, (h.abs() > 0.97).float().mean(), f"mean {h.mean().item():+f}"]


@torch.no_grad()
def split_loss(split):
    x, y = {"train": (X, Y), "val": (X[:20], Y[:20])}[split]
    emb = C[x]
    hpreact = emb.view(emb.shape[0], -1) @ W1
    hpreact = bngain * (hpreact - bnmean_running) / bnstd_running + bnbias
    logits = torch.tanh(hpreact) @ W2 + b2
    return F.cross_entropy(logits, y).item()


results["split"] = [split_loss("train"), split_loss("val")]

# backward by hand, compared with the tape's
logits = torch.tensor(floats(9, 16, vocab_size), requires_grad=True)
logit_maxes = logits.max(1, keepdim=True).values
counts = (logits - logit_maxes).exp()
counts_sum = counts.sum(1, keepdims=True)
probs = counts * counts_sum**-1
loss = -probs.log()[range(16), Yb].mean()
loss.backward()
dlogits = F.softmax(logits, 1)
dlogits[range(16), Yb] -= 1
dlogits /= 16


def cmp(s, dt, t):
    ex = torch.all(dt == t.grad).item()
    app = torch.allclose(dt, t.grad, atol=1e-7)
    maxdiff = (dt - t.grad).abs().max().item()
    return [s, app, maxdiff < 1e-6, isinstance(ex, bool)]


results["by hand"] = cmp("logits", dlogits, logits)
out = []
context = [0] * block_size
for _ in range(10):
    emb = C[torch.tensor([context])]
    h = torch.tanh(bngain * (emb.view(1, -1) @ W1 - bnmean_running) / bnstd_running + bnbias)
    ix = torch.argmax(F.softmax(h @ W2 + b2, dim=1)).item()
    context = context[1:] + [ix]
    out.append(ix)
results["out"] = "".join(itos[i] for i in out)
hist, edges = torch.histogram(h.detach().view(-1), bins=5, density=False)
results["histogram"] = [hist, edges]
