"""F5: datasets, samplers, the loader, whole-batch transforms, readers and the bundled real sets.

>>> import contraflow as cf
>>> train, test = cf.data.load_digits().train_test_split(test=0.2, seed=0)
>>> x, y = next(iter(cf.data.DataLoader(train, batch_size=32, shuffle=True)))
>>> x.shape, y.shape
(contraflow.Size([32, 1, 8, 8]), contraflow.Size([32]))
"""

from __future__ import annotations

from contraflow.data.bundled_sets import (
    Bundle,
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
)
from contraflow.data.collate import default_collate, default_convert
from contraflow.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from contraflow.data.erase import Cutout, RandomErasing
from contraflow.data.loader import DataLoader
from contraflow.data.mix import CutMix, MixUp
from contraflow.data.readers import MNIST, read_idx, read_npy, read_npz
from contraflow.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from contraflow.data.spatial import (
    CenterCrop,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from contraflow.data.transforms import Compose, GaussianNoise, Normalize, Transform

__all__ = [
    # datasets
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset",
    "TensorDataset", "random_split",
    # samplers and the loader
    "BatchSampler", "DataLoader", "RandomSampler", "Sampler", "SequentialSampler",
    "SubsetRandomSampler", "WeightedRandomSampler", "default_collate", "default_convert",
    # transforms of whole batches
    "CenterCrop", "Compose", "CutMix", "Cutout", "GaussianNoise", "MixUp", "Normalize",
    "RandomAffine", "RandomCrop", "RandomErasing", "RandomHorizontalFlip", "RandomRotation",
    "RandomVerticalFlip", "Transform",
    # bundled sets and readers
    "Bundle", "MNIST", "load_breast_cancer", "load_digits", "load_iris", "load_wine", "read_idx",
    "read_npy", "read_npz",
]  # fmt: skip
