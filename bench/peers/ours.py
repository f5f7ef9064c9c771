"""contraflow: the user's lines compiled, within a native epoch, and unmodified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import contraflow as cf
from bench.peers.spelled import network, training
from bench.workloads import Workload

Run = Callable[[], Any]


def batch(w: Workload) -> tuple[Any, Any]:
    """One batch as tensors."""
    x, y = w.data()
    return cf.tensor(x), cf.tensor(y)


def loader(w: Workload, shuffle: bool = True) -> Any:
    """The batches of an epoch."""
    x, y = w.data(w.batches)
    data = cf.data.TensorDataset(cf.from_numpy(x), cf.from_numpy(y))
    return cf.data.DataLoader(data, batch_size=w.batch, shuffle=shuffle)


def step(w: Workload, mode: str = "eager") -> Run:
    """The step as a user writes it, uncompiled: "eager", or "auto" to become native by itself."""
    cf.set_default_mode(mode)
    train, (x, y) = training(cf, w, network(cf, w)), batch(w)
    return lambda: train(x, y)


def compiled(w: Workload) -> Any:
    """The step under ``cf.compile``."""
    cf.set_default_mode("eager")
    return cf.compile(training(cf, w, network(cf, w)))


def compiled_step(w: Workload) -> Run:
    """One native call on one batch."""
    train, (x, y) = compiled(w), batch(w)
    return lambda: train(x, y)


def loop(train: Any, batches: Any) -> Run:
    """The user's loop over the batches of an epoch."""

    def epoch() -> Any:
        losses = [train(x, y) for x, y in batches]
        return cf.stack(losses).mean()

    return epoch


def epoch(w: Workload, mode: str = "eager", shuffle: bool = True) -> Run:
    """The unmodified loop."""
    cf.set_default_mode(mode)
    return loop(training(cf, w, network(cf, w)), loader(w, shuffle))


def epoch_of_calls(w: Workload, shuffle: bool = True) -> Run:
    """A loop of native calls, one a step."""
    return loop(compiled(w), loader(w, shuffle))


def compiled_epoch(w: Workload, shuffle: bool = True) -> Run:
    """The whole epoch as one native call."""
    train, batches = compiled(w), loader(w, shuffle)
    return lambda: train.epoch(batches).mean()


def native_code(train: Any) -> Run:
    """What a compiled step calls, without what stands around it."""
    ((version,),) = train.versions.values()
    return version.native  # type: ignore[no-any-return]
