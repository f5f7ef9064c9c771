"""The loader: which batches come, in which order, and how a pass is interrupted and continued."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def table(n=20):
    """Rows that say which they are."""
    return TensorDataset(cf.arange(2 * n).reshape(n, 2).float(), cf.arange(n))


class Slow(Dataset):
    """The same samples, one by one: the loader cannot see the memory behind them."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def seeded(n=0):
    return cf.Generator().manual_seed(n)


def rows(loader):
    """What the batches hold, as lists, with their dtypes."""
    return [[(t.dtype.name, t.tolist()) for t in batch] for batch in loader]


def labels(loader):
    return [batch[1].tolist() for batch in loader]


# ---- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("size", "drop", "sizes"),
    [
        (1, False, [1] * 20),
        (7, False, [7, 7, 6]),
        (7, True, [7, 7]),
        (5, True, [5] * 4),
        (20, False, [20]),
        (50, False, [20]),
        (50, True, []),
    ],
)
def test_batch_sizes(size, drop, sizes, fast):
    data = table() if fast else Slow(table())
    loader = DataLoader(data, batch_size=size, drop_last=drop)
    batches = list(loader)
    assert [len(x) for x, _ in batches] == sizes
    assert len(loader) == len(sizes)
    assert [i for y in labels(loader) for i in y] == list(range(20))[: sum(sizes)]
    for x, y in batches:
        assert x.shape == (len(y), 2)
        assert x.dtype is cf.float32
        assert x[:, 0].tolist() == [2 * i for i in y.tolist()]


def test_the_default_is_one_sample_a_batch():
    assert [len(y) for y in labels(DataLoader(table(3)))] == [1, 1, 1]


@pytest.mark.parametrize("n", [0, 1])
def test_small_sets(n):
    for data in (table(n), Slow(table(n))):
        for shuffle in (False, True):
            loader = DataLoader(data, batch_size=4, shuffle=shuffle)
            assert labels(loader) == [[0]] * n
            assert len(loader) == n


# ---- in memory or one by one: the same batches ----------------------------------------------

SAMPLERS = {
    "in order": lambda d: {},
    "shuffle": lambda d: {"shuffle": True},
    "replacement": lambda d: {"sampler": RandomSampler(d, replacement=True, num_samples=33)},
    "subset": lambda d: {"sampler": SubsetRandomSampler([3, 1, 19, 4])},
    "weights": lambda d: {"sampler": WeightedRandomSampler(range(20), 15)},
    "list": lambda d: {"sampler": [5, 5, 0, -1]},
    "batches": lambda d: {"batch_sampler": [[1, 2], [3], [19, 0, -2]]},
    "batch sampler": lambda d: {"batch_sampler": BatchSampler(RandomSampler(d), 6, True)},
}


@pytest.mark.parametrize("how", SAMPLERS)
@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_fast_path_gives_what_the_slow_one_gives(how, size):
    def batches(data):
        arguments = SAMPLERS[how](data)
        if "batch_sampler" not in arguments:
            arguments["batch_size"] = size
        cf.manual_seed(5)
        loader = DataLoader(data, **arguments)
        return rows(loader) + rows(loader)

    assert batches(table()) == batches(Slow(table()))
    part = Subset(table(40), list(range(1, 40, 2)))
    assert batches(part) == batches(Slow(part))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)], ids=str)
def test_samples_of_any_shape_and_dtype(shape):
    for dtype in ("bool", "uint8", "int16", "float64"):
        array = np.random.default_rng(0).integers(0, 2, (11, *shape)).astype(dtype)
        data = TensorDataset(cf.from_numpy(array), cf.arange(11))
        for whole in (data, Slow(data)):
            x = cf.cat([x for x, _ in DataLoader(whole, batch_size=4)])
            assert x.numpy().dtype == dtype
            np.testing.assert_array_equal(x.numpy(), array)


def test_many_blocks_are_gathered_without_a_seam(monkeypatch):
    from contraflow.data import loader as module

    monkeypatch.setattr(module, "BLOCK_BYTES", 100)
    for size in (1, 3, 7, 100):
        batches = labels(DataLoader(table(100), batch_size=size, shuffle=True, generator=seeded()))
        cf.manual_seed(0)
        assert batches == labels(DataLoader(Slow(table(100)), batch_size=size, shuffle=True))


def test_a_batch_can_be_written_to():
    data = table(6)
    for fast in (data, Subset(data, [0, 1])):
        for x, _ in DataLoader(fast, batch_size=2):
            x += 100
    assert data.tensors[0][0].tolist() == [0, 1]
    (x, _), (z, _), *_ = DataLoader(data, batch_size=2)
    x += 100
    assert z.tolist() == [[4, 5], [6, 7]]


def test_samples_that_are_changed_on_the_way_are_asked_for():
    class Noisy(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + 1000, y

    (x, _) = next(iter(DataLoader(Noisy(cf.zeros(2, 1), cf.zeros(2)), batch_size=2)))
    assert x.tolist() == [[1000], [1000]]


def test_data_that_requires_a_gradient_gets_it():
    x = cf.ones(4, 2, requires_grad=True)
    for (batch,) in DataLoader(TensorDataset(x), batch_size=3):
        (batch * 2).sum().backward()
    assert x.grad.tolist() == [[2, 2]] * 4


def test_writes_to_the_data_are_seen_in_the_next_epoch():
    data = table(3)
    loader = DataLoader(data, batch_size=3)
    data.tensors[1].add_(10)
    assert labels(loader) == [[10, 11, 12]]


# ---- order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
def test_shuffle_differs_per_epoch_and_follows_the_seed(fast):
    data = table() if fast else Slow(table())

    def epochs(generator=None):
        loader = DataLoader(data, batch_size=6, shuffle=True, generator=generator)
        return [sum(labels(loader), []) for _ in range(3)]

    cf.manual_seed(1)
    a = epochs()
    assert all(sorted(order) == list(range(20)) for order in a)
    assert a[0] != a[1] != a[2] != a[0]
    assert epochs() != a
    cf.manual_seed(1)
    assert epochs() == a
    before = cf.get_rng_state().tolist()
    assert epochs(seeded(1)) == a
    assert cf.get_rng_state().tolist() == before  # an own generator leaves the other alone


def test_the_order_is_the_same_in_another_process():
    code = """
import contraflow as cf
cf.manual_seed(7)
data = cf.data.TensorDataset(cf.arange(10))
loader = cf.data.DataLoader(data, batch_size=3, shuffle=True)
print([x.tolist() for (x,) in loader])
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        ).stdout
        for _ in range(2)
    }
    cf.manual_seed(7)
    data = TensorDataset(cf.arange(10))
    here = [x.tolist() for (x,) in DataLoader(data, batch_size=3, shuffle=True)]
    assert found == {f"{here}\n"}


def test_the_order_follows_from_the_published_numbers_of_philox():
    """The first block of Philox 4x32-10 for key 0 and counter 0 begins 6627e8d5 e169c58d (the known
    answers of Random123); its upper 63 bits seed NumPy's SFC64; its words, cut to 54 bits, sort."""
    words = np.random.SFC64(0x6627E8D5E169C58D >> 1).random_raw(1000).tolist()
    expected = sorted(range(1000), key=lambda i: words[i] % 2**54)
    cf.manual_seed(0)
    loader = DataLoader(TensorDataset(cf.arange(1000)), batch_size=1000, shuffle=True)
    assert next(iter(loader))[0].tolist() == expected


def test_the_order_is_drawn_when_the_pass_begins():
    cf.manual_seed(0)
    loader = DataLoader(table(), batch_size=20, shuffle=True)
    passes = [iter(loader), iter(loader)]
    cf.rand(100)
    late = [next(p)[1].tolist() for p in reversed(passes)][::-1]
    cf.manual_seed(0)
    assert late == [next(iter(loader))[1].tolist() for _ in range(2)]


def test_a_sampler_of_ones_own():
    class Backwards(SequentialSampler):
        def __iter__(self):
            return reversed(range(len(self.data_source)))

    for data in (table(5), Slow(table(5))):
        assert labels(DataLoader(data, batch_size=2, sampler=Backwards(data))) == [
            [4, 3],
            [2, 1],
            [0],
        ]


def test_a_batch_sampler_of_ones_own():
    class Doubled(BatchSampler):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch + batch

    for data in (table(3), Slow(table(3))):
        loader = DataLoader(data, batch_sampler=Doubled(range(3), 2, False))
        assert labels(loader) == [[0, 1, 0, 1], [2, 2]]


@pytest.mark.parametrize("index", [5, -6])
@pytest.mark.parametrize("how", ["sampler", "batch_sampler"])
def test_an_index_outside_is_an_index_error(index, how):
    for data in (table(5), Slow(table(5))):
        wrong = [[0, index]] if how == "batch_sampler" else [0, index]
        with pytest.raises((IndexError, cf.ArgumentError), match="5"):
            list(DataLoader(data, **{how: wrong}))


# ---- collate, single samples, streams -----------------------------------------------------------


def test_collate_fn_gets_the_list_of_samples():
    seen = []

    def collate(samples):
        seen.append(samples)
        return len(samples)

    assert list(DataLoader(table(5), batch_size=2, collate_fn=collate)) == [2, 2, 1]
    assert [len(s) for s in seen] == [2, 2, 1]
    assert seen[0][1][1].item() == 1


def test_single_samples():
    assert list(DataLoader(["a", "b"], batch_size=None)) == ["a", "b"]
    loader = DataLoader(table(3), batch_size=None)
    assert [y.tolist() for _, y in loader] == [0, 1, 2]
    assert len(loader) == 3
    arrays = list(DataLoader([np.zeros(2), np.ones(2)], batch_size=None))
    assert [type(a) for a in arrays] == [cf.Tensor, cf.Tensor]
    assert list(DataLoader([1, 2], batch_size=None, collate_fn=str)) == ["1", "2"]


def test_streams():
    loader = DataLoader(Stream(5), batch_size=2)
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3
    assert [b.tolist() for b in DataLoader(Stream(5), batch_size=2, drop_last=True)] == [
        [0, 1],
        [2, 3],
    ]
    assert len(DataLoader(Stream(5), batch_size=2, drop_last=True)) == 2
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Stream(3), batch_size=None)) == 3


def test_datasets_that_give_many_samples_at_once():
    class Many(Dataset):
        calls = 0

        def __len__(self):
            return 5

        def __getitems__(self, indices):
            Many.calls += 1
            return [i * 10 for i in indices]

    assert [b.tolist() for b in DataLoader(Many(), batch_size=3)] == [[0, 10, 20], [30, 40]]
    assert Many.calls == 2


def test_lists_dicts_and_texts_are_datasets():
    assert [b.tolist() for b in DataLoader([1, 2, 3], batch_size=2)] == [[1, 2], [3]]
    (batch,) = DataLoader([{"x": 1.0, "name": "a"}, {"x": 2.0, "name": "b"}], batch_size=2)
    assert batch["x"].tolist() == [1, 2]
    assert batch["name"] == ["a", "b"]


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"batch_size": "all"}, "batch_size must be an integer"),
        ({"shuffle": "yes"}, "shuffle"),
        ({"drop_last": 1}, "drop_last"),
        ({"generator": 5}, "cf.Generator"),
        ({"num_workers": -1}, "num_workers"),
        ({"num_workers": 1.5}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"sampler": [0], "shuffle": True}, "exclude"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_sampler": [[0]], "shuffle": True}, "batch_sampler excludes"),
        ({"batch_sampler": [[0]], "sampler": [0]}, "batch_sampler excludes"),
        ({"batch_sampler": [[0]], "drop_last": True}, "batch_sampler excludes"),
        ({"batch_size": None, "drop_last": True}, "no last batch"),
    ],
    ids=str,
)
def test_arguments_that_are_wrong_or_exclude_each_other(arguments, says):
    with pytest.raises((cf.ArgumentError, cf.DTypeError), match=says):
        DataLoader(table(), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}]
)
def test_a_stream_has_its_own_order(arguments):
    with pytest.raises(cf.ArgumentError, match="stream"):
        DataLoader(Stream(3), **arguments)


def test_workers_are_accepted_and_change_nothing():
    called = []
    loader = DataLoader(
        table(),
        batch_size=4,
        num_workers=3,
        pin_memory=True,
        timeout=5,
        worker_init_fn=called.append,
        prefetch_factor=2,
        persistent_workers=True,
        pin_memory_device="",
        in_order=True,
        multiprocessing_context="spawn",
    )
    assert rows(loader) == rows(DataLoader(table(), batch_size=4))
    assert called == []
    assert loader.num_workers == 3


# ---- state --------------------------------------------------------------------------------------


def make_loader(how, generator=None):
    data = Slow(table()) if how.startswith("slow") else table()
    if how == "stream":
        return DataLoader(Stream(20), batch_size=3)
    if how == "batches":
        return DataLoader(data, batch_sampler=[[1, 2], [3], [4, 5], [6], [7, 8], [9], [0]])
    if how == "weights":
        sampler = WeightedRandomSampler(range(20), 20, generator=generator)
        return DataLoader(data, batch_size=3, sampler=sampler)
    if how == "single":
        sampler = RandomSampler(data, generator=generator)
        return DataLoader(data, batch_size=None, sampler=sampler)
    return DataLoader(data, 3, shuffle=how.endswith("shuffle"), generator=generator)


HOW = [
    "shuffle",
    "in order",
    "slow shuffle",
    "slow in order",
    "stream",
    "batches",
    "weights",
    "single",
]


def plain(batches):
    return [
        b.tolist()
        if isinstance(b, cf.Tensor)
        else [t.tolist() for t in b]
        if isinstance(b, list | tuple)
        else b
        for b in batches
    ]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("how", HOW)
def test_an_interrupted_epoch_continues_where_it_was(how, own):
    cf.manual_seed(3)
    loader = make_loader(how, seeded(1) if own else None)
    list(loader)  # one whole epoch before
    for taken in range(len(loader) + 1):
        epoch = iter(loader)
        for _ in range(taken):
            next(epoch)
        state = json.loads(json.dumps(loader.state_dict()))
        rng = cf.get_rng_state()
        rest, following = plain(epoch), plain(loader)
        after = cf.get_rng_state()

        cf.manual_seed(100)
        again = make_loader(how, seeded(100) if own else None)
        again.load_state_dict(state)
        assert again.state_dict() == state
        cf.set_rng_state(rng)
        assert plain(again) == rest
        assert plain(again) == following
        assert len(following) == len(loader)
        assert cf.get_rng_state().tolist() == after.tolist()


def test_a_fresh_process_continues_to_the_same_bits(tmp_path):
    setup = """
import sys
import contraflow as cf
data = cf.data.TensorDataset(cf.arange(100).reshape(50, 2).float() / 7, cf.arange(50))
generator = cf.Generator().manual_seed(11)
loader = cf.data.DataLoader(data, batch_size=4, shuffle=True, generator=generator)
def digest(batches):
    print([(x.numpy().tobytes().hex(), y.tolist()) for x, y in batches])
"""
    path = str(tmp_path / "state")
    first = f"""{setup}
for number, batch in enumerate(loader):
    if number == 5:
        cf.save(loader.state_dict(), sys.argv[1])
        break
state = loader.state_dict()
loader.load_state_dict(state)
digest(loader); digest(loader)
"""
    second = f"""{setup}
generator.manual_seed(0)
loader.load_state_dict(cf.load(sys.argv[1]))
digest(loader); digest(loader)
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True
        ).stdout
        for code in (first, second)
    ]
    assert outputs[0] == outputs[1]
    rest, following = map(eval, outputs[0].splitlines())
    assert (len(rest), len(following)) == (13 - 6, 13)


def test_the_state_between_two_epochs():
    loader = DataLoader(table(), batch_size=6, shuffle=True, generator=seeded())
    list(loader)
    state = loader.state_dict()
    assert state["position"] is None
    again = DataLoader(table(), batch_size=6, shuffle=True, generator=seeded(9))
    again.load_state_dict(state)
    assert labels(again) == labels(loader)


def test_saving_in_the_last_batch_leaves_nothing_of_that_epoch():
    loader = DataLoader(table(), batch_size=10)
    for _ in loader:
        state = loader.state_dict()
    again = DataLoader(table(), batch_size=10)
    again.load_state_dict(state)
    assert labels(again) == []
    assert labels(again) == labels(loader)


def test_two_passes_at_once_do_not_disturb_each_other():
    loader = DataLoader(table(), batch_size=10, shuffle=True, generator=seeded())
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert sorted(sum((a for a, _ in pairs), [])) == list(range(20))
    assert sorted(sum((b for _, b in pairs), [])) == list(range(20))
    outer = iter(loader)
    next(outer)
    list(loader)  # a whole pass inside another one
    kept = next(outer)[1].tolist()
    assert len(kept) == 10
    # the state is that of the pass that gave the last batch
    outer, inner = iter(loader), iter(loader)
    next(inner), next(outer)
    state, rest = loader.state_dict(), labels(outer)
    loader.load_state_dict(state)
    assert labels(loader) == rest


def test_a_pass_that_was_left_is_forgotten_by_the_next():
    loader = DataLoader(table(), batch_size=5)
    next(iter(loader))
    assert labels(loader) == labels(DataLoader(table(), batch_size=5))


@pytest.mark.parametrize(
    "other",
    [
        lambda: DataLoader(table(21), batch_size=6, shuffle=True),
        lambda: DataLoader(table(20), batch_size=5, shuffle=True),
        lambda: DataLoader(table(20), batch_sampler=BatchSampler(RandomSampler(table()), 4, False)),
    ],
)
def test_the_state_of_another_kind_of_loader_is_refused(other):
    loader = DataLoader(table(), batch_size=6, shuffle=True)
    next(iter(loader))
    target = other()
    before = target.state_dict()
    with pytest.raises(cf.StateError, match="samples|batch_size"):
        target.load_state_dict(loader.state_dict())
    assert target.state_dict() == before


@pytest.mark.parametrize(
    "change",
    [
        {"position": -1},
        {"position": 1.5},
        {"position": True},
        {"samples": "20"},
        {"start": 5},
        {"start": [1]},
        {"start": [1, 2.0]},
        {"start": [1, 2**63]},
        {"generator": "ab"},
        {"batch_size": -6},
        {"more": 1},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_one_is_refused(change):
    loader = DataLoader(table(), batch_size=6, shuffle=True, generator=seeded())
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(cf.StateError, match="not the state of a DataLoader"):
        loader.load_state_dict(before | change)
    assert loader.state_dict() == before
    for nonsense in (None, [], "state", {}, {1: 2}):
        with pytest.raises(cf.StateError):
            loader.load_state_dict(nonsense)
