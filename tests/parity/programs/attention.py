import math

import torch
import torch.nn as nn
from torch.nn import functional as F

from tests.parity.seeded import fill, floats, integers

results = {}
block_size, n_embd, n_head, vocab = 8, 12, 3, 10


class Head(nn.Module):
    def __init__(self, head_size):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        B, T, C = x.shape
        k, q = self.key(x), self.query(x)
        wei = q @ k.transpose(-2, -1) * C**-0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        wei = self.dropout(F.softmax(wei, dim=-1))
        return wei @ self.value(x)


class MultiHead(nn.Module):
    def __init__(self, num_heads, head_size):
        super().__init__()
        self.heads = nn.ModuleList([Head(head_size) for _ in range(num_heads)])
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        return self.proj(torch.cat([h(x) for h in self.heads], dim=-1))


class CausalSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.register_buffer(
            "bias",
            torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size),
        )

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(n_embd, dim=2)
        k = k.view(B, T, n_head, C // n_head).transpose(1, 2)
        q = q.view(B, T, n_head, C // n_head).transpose(1, 2)
        v = v.view(B, T, n_head, C // n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = att @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.sa = attention
        self.ffwd = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd)
        )
        self.ln1, self.ln2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)

    def forward(self, x):
        x = x + self.sa(self.ln1(x))
        return x + self.ffwd(self.ln2(x))


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocab, n_embd)
        self.position_embedding_table = nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(
            Block(MultiHead(n_head, n_embd // n_head)), Block(CausalSelfAttention())
        )
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None):
        B, T = idx.shape
        tok_emb = self.token_embedding_table(idx)
        pos_emb = self.position_embedding_table(torch.arange(T, device=idx.device))
        x = self.blocks(tok_emb + pos_emb)
        logits = self.lm_head(self.ln_f(x))
        if targets is None:
            return logits, None
        B, T, C = logits.shape
        return logits, F.cross_entropy(logits.view(B * T, C), targets.view(B * T))

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, top_k=None):
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -block_size:])
            logits = logits[:, -1, :]
            if top_k is not None:
                v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            idx_next = torch.multinomial(probs, num_samples=1)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx


data = torch.from_numpy(integers(0, vocab, 200))


def get_batch(seed):
    ix = torch.from_numpy(integers(seed, len(data) - block_size, 4))
    x = torch.stack([data[i : i + block_size] for i in ix])
    y = torch.stack([data[i + 1 : i + block_size + 1] for i in ix])
    return x, y


model = fill(LanguageModel(), scale=0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-4)


def train_step(xb, yb):
    logits, loss = model(xb, yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss


results["losses"] = [train_step(*get_batch(i)).item() for i in range(6)]
context = torch.zeros((1, 1), dtype=torch.long)
results["greedy"] = model.generate(context, max_new_tokens=10, top_k=1)[0].tolist()
results["params"] = f"{sum(p.numel() for p in model.parameters()) / 1e6:.4f} M parameters"


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=16):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(0)]


q, k, v = (torch.from_numpy(floats(i, 2, 3, 5, 4)) for i in range(3))
scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(4)
mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), diagonal=1)
attention = torch.softmax(scores.masked_fill(mask, -1e9), dim=-1)
out = torch.einsum("bhqk,bhkd->bhqd", attention, v)
results["einsum"] = [out, attention.sum(-1), PositionalEncoding(6)(torch.zeros(5, 2, 6))]
results["merged"] = torch.einsum("bhqd->bqhd", out).reshape(2, 5, -1).mean(-1)
# patches as a vision transformer takes them
img = torch.from_numpy(floats(5, 2, 3, 8, 8))
patches = F.unfold(img, kernel_size=4, stride=4).transpose(1, 2)
other = img.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 4, -1)
results["patches"] = [
    patches.shape,
    torch.equal(patches, other),
    F.fold(patches.transpose(1, 2), (8, 8), 4, stride=4),
]
cls = nn.Parameter(torch.zeros(1, 1, 48))
tokens = torch.cat((cls.expand(2, -1, -1), patches), dim=1)
results["tokens"] = tokens.shape
freqs = torch.outer(torch.arange(5).float(), 1.0 / (10000 ** (torch.arange(0, 4, 2).float() / 4)))
rotated = torch.stack(
    [
        q[..., ::2] * freqs.cos() - q[..., 1::2] * freqs.sin(),
        q[..., ::2] * freqs.sin() + q[..., 1::2] * freqs.cos(),
    ],
    -1,
)
results["rotary"] = rotated.flatten(-2)
