import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)  # fmt: skip
from torch.utils.data.dataloader import default_collate

from tests.parity.seeded import floats, integers

results = {}


class Squares(Dataset):
    def __init__(self, n, transform=None, target_transform=None):
        self.n, self.transform, self.target_transform = n, transform, target_transform

    def __len__(self):
        return self.n

    def __getitem__(self, idx):
        if torch.is_tensor(idx):
            idx = idx.tolist()
        sample = {
            "x": np.array([idx, idx + 1], dtype=np.float32),
            "y": idx * idx,
            "name": f"item{idx}",
        }
        if self.transform:
            sample = self.transform(sample)
        return sample


class ToTensor:
    def __call__(self, sample):
        return {**sample, "x": torch.from_numpy(sample["x"])}


loader = DataLoader(Squares(10, transform=ToTensor()), batch_size=4, shuffle=False, num_workers=0)
results["dicts"] = [[b["x"], b["y"], b["name"]] for b in loader]
results["len"] = [len(loader), len(loader.dataset), loader.batch_size, loader.drop_last]
sequences = [torch.arange(n) for n in (3, 1, 4, 2)]


def collate_fn(batch):
    lengths = torch.tensor([len(s) for s in batch])
    padded = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    for i, s in enumerate(batch):
        padded[i, : len(s)] = s
    mask = torch.arange(padded.size(1))[None, :] < lengths[:, None]
    return padded, lengths, mask


results["padded"] = list(DataLoader(sequences, batch_size=2, collate_fn=collate_fn))


class EvenFirst(Sampler):
    def __init__(self, data_source):
        self.n = len(data_source)

    def __iter__(self):
        return iter([*range(0, self.n, 2), *range(1, self.n, 2)])

    def __len__(self):
        return self.n


x, y = torch.from_numpy(floats(0, 12, 2)), torch.from_numpy(integers(1, 3, 12))
data = TensorDataset(x, y)
results["sampler"] = [b[1] for b in DataLoader(data, batch_size=5, sampler=EvenFirst(data))]
results["batch sampler"] = [
    b[1]
    for b in DataLoader(
        data, batch_sampler=BatchSampler(SequentialSampler(data), 5, drop_last=True)
    )
]
class_counts = torch.bincount(y, minlength=3)
weights = (1.0 / class_counts.float())[y]
sampler = WeightedRandomSampler(weights, num_samples=len(weights), replacement=True)
drawn = list(sampler)
results["weighted"] = [len(drawn), len(sampler), set(drawn) <= set(range(12)), weights]
train, val, test = random_split(data, [8, 2, 2], generator=torch.Generator().manual_seed(42))
results["split"] = [
    len(train),
    len(val),
    sorted([*train.indices, *val.indices, *test.indices]),
    train[0][0].shape,
]
fractions = random_split(range(10), [0.7, 0.3])
results["fractions"] = [len(part) for part in fractions]
subset = Subset(data, [3, 1, 2])
both = ConcatDataset([subset, data])
results["subset"] = [[t[1].item() for t in subset], len(both), both[3][1], both[-1][1]]
shuffled = torch.cat(
    [b for (b,) in DataLoader(TensorDataset(torch.arange(20)), batch_size=6, shuffle=True)]
)
results["shuffled"] = [
    shuffled.sort().values,
    len(list(RandomSampler(data))),
    sorted(SubsetRandomSampler([4, 2, 7])),
]


class Stream(IterableDataset):
    def __iter__(self):
        for i in range(7):
            yield i, float(i) / 2


results["stream"] = list(DataLoader(Stream(), batch_size=3))
results["collate"] = [
    default_collate([(1, 2.0), (3, 4.0)]),
    default_collate([{"a": torch.ones(2)}, {"a": torch.zeros(2)}]),
]
it = iter(DataLoader(data, batch_size=6))
images, labels = next(it)
results["next"] = [images.shape, labels, f"Feature batch shape: {images.size()}"]
results["added"] = len(data + data)
results["lists"] = [type(b).__name__ for b in DataLoader(data, batch_size=6)]
indices = torch.randperm(len(data))
results["perm"] = [torch.sort(indices)[0], x[indices].shape]
folds = [np.concatenate([np.arange(12)[:s], np.arange(12)[s + 4 :]]) for s in (0, 4, 8)]
results["folds"] = [x[torch.from_numpy(f)].mean(0) for f in folds]
