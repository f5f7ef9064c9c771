"""What may be compiled, passed and returned: methods, containers, objects; and what is refused, with
words that help."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import pytest

import contraflow as cf
from contraflow import nn
from contraflow.nn import functional as F
from tests.compiler.training import versions


class Trainer:
    scale = 2.0

    def __init__(self, start=1.0):
        self.w = cf.full((3,), start, requires_grad=True)

    @cf.compile
    def step(self, x):
        self.w.grad = None
        loss = (self.w * x).sum() * self.scale
        loss.backward()
        with cf.no_grad():
            self.w.sub_(self.w.grad)
        return loss

    @cf.compile
    @staticmethod
    def twice(x):
        return x * 2.0

    @classmethod
    @cf.compile
    def scaled(cls, x):
        return x * cls.scale


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)

    @cf.compile
    def forward(self, x):
        return F.dropout(self.first(x), 0.5, training=self.training).detach()


@dataclass
class Batch:
    x: cf.Tensor
    y: cf.Tensor
    scale: float = 1.0


class Holder:
    def __init__(self, x):
        self.x = x


# ---- what may be compiled ----------------------------------------------------------------------


def test_methods_of_each_instance():
    one, other, x = Trainer(), Trainer(5.0), cf.ones(3)
    assert [one.step(x).item(), other.step(x).item(), one.step(x).item()] == [6.0, 30.0, -6.0]
    assert one.w.tolist() == [-3.0] * 3
    assert one.twice(x).tolist() == Trainer.twice(x).tolist() == Trainer.scaled(x).tolist()
    assert versions(Trainer.step) >= 2


def test_a_method_of_a_module_sees_its_mode():
    model, x = Gated(), cf.ones(4, 3)
    model.eval()
    assert model(x).tolist() == model.first(x).tolist()
    model.train()
    cf.manual_seed(0)
    compiled = model(x)
    cf.manual_seed(0)
    assert compiled.tolist() == F.dropout(model.first(x), 0.5).tolist()


def test_what_a_compiled_module_has_is_the_modules():
    model = nn.Sequential(nn.Linear(3, 2))
    compiled = cf.compile(model)
    assert list(compiled.parameters()) == list(model.parameters())
    compiled.eval()
    assert not model.training
    with pytest.raises(AttributeError, match="nonsense"):
        compiled.nonsense  # noqa: B018


def test_a_copy_compiles_for_itself():
    trainer = Trainer()
    trainer.own = cf.compile(lambda x: x * 3.0)
    trainer.own(cf.ones(2))
    twin = copy.deepcopy(trainer)
    assert twin.own(cf.ones(2)).tolist() == [3.0, 3.0]
    assert twin.own is not trainer.own


def test_what_cannot_run_at_once_is_not_compiled():
    def generator(x):
        yield x

    async def coroutine(x):
        return x

    for wrong in (generator, coroutine, 3):
        with pytest.raises(cf.CaptureError, match="compile takes a"):
            cf.compile(wrong)


# ---- what may be passed and returned -----------------------------------------------------------


def test_dataclasses_are_containers():
    @cf.compile
    def step(batch):
        return Batch(batch.x * batch.scale, batch.x + batch.y)

    batch = Batch(cf.ones(2), cf.ones(2), 3.0)
    for factor in (1.0, 2.0):
        batch.x = cf.ones(2) * factor
        found = step(batch)
        assert type(found) is Batch
        assert found.x.tolist() == [3.0 * factor] * 2
        assert found.y.tolist() == [factor + 1.0] * 2
    assert versions(step) == 1
    step(Batch(cf.ones(2), cf.ones(2), 4.0))
    assert step.all_versions()[-1].reason == "batch.scale: 3.0 -> 4.0"


def test_dicts_of_other_classes_stay_what_they_are():
    step = cf.compile(lambda d: d)
    with_default = step(defaultdict(list, x=cf.ones(2)))
    assert with_default["missing"] == []
    assert with_default["x"].tolist() == [1.0, 1.0]
    assert type(step(OrderedDict(x=cf.ones(2)))) is OrderedDict


@pytest.mark.parametrize(
    "make", [lambda: slice(1, 3), lambda: range(2), lambda: {1, 2}, lambda: frozenset([3]),
             lambda: 2 + 1j],
    ids=["slice", "range", "set", "frozenset", "complex"],
)  # fmt: skip
def test_equal_arguments_are_the_same(make):
    step = cf.compile(lambda x, other: x + 1.0)
    for _ in range(3):
        step(cf.ones(2), make())
    assert versions(step) == 1


def test_a_set_that_grew_is_another_argument():
    step, names = cf.compile(lambda x, names: x * len(names)), {1}
    assert step(cf.ones(1), names).item() == 1.0
    names.add(2)
    assert step(cf.ones(1), names).item() == 2.0


@pytest.mark.parametrize("wrong", [lambda x: (row for row in x), lambda x: Holder(x * 2.0)])
def test_what_would_hide_tensors_is_not_returned(wrong):
    with pytest.raises(cf.CaptureError, match=r"(?s)the step returns a .*fix: return tensors"):
        cf.compile(wrong)(cf.ones(2))


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "instead"),
    [
        (lambda x: print(x), lambda x: x),
        (lambda x: f"{x}", lambda x: x),
        (lambda x: x[x > 0.0].sum(), lambda x: cf.where(x > 0.0, x, 0.0).sum()),
        (lambda x: x[x > 0.0].mean(), lambda x: (x * (x > 0.0)).sum() / (x > 0.0).sum()),
        (lambda x: cf.tensor([x.sum(), x.max()]), lambda x: cf.stack([x.sum(), x.max()])),
        (lambda x: cf.bincount(x.long()), lambda x: F.one_hot(x.long(), 3).sum(0)),
        (lambda x: copy.deepcopy(x), lambda x: x.clone()),
        (lambda x: x if x.sum() > 0.0 else -x, lambda x: cf.where(x.sum() > 0.0, x, -x)),
    ],
)
def test_what_looks_at_a_value_names_what_to_write_instead(look, instead, capsys):
    x = cf.tensor([0.0, 1.0, 2.0])
    with pytest.raises(cf.CaptureError, match=r"(?s)test_arguments\.py.*fix: "):
        cf.compile(look)(x)
    assert capsys.readouterr().out == ""
    found = cf.compile(instead)(x)
    wanted = look(x)
    if isinstance(wanted, cf.Tensor):
        assert found.tolist() == wanted.tolist()


def test_a_value_that_was_not_shown_is_not_passed_over():
    def step(x):
        try:
            return x * x.sum().item()
        except Exception:
            return x

    with pytest.raises(cf.CaptureError, match="item"):
        cf.compile(step)(cf.ones(2))


def test_tensors_that_were_kept_outside_are_refused_as_arguments_and_inside():
    kept = []
    part = nn.Identity()
    part.register_forward_hook(lambda module, given, result: kept.append(result * 2.0))
    step = cf.compile(part)
    step(cf.ones(2))
    for use in (step, cf.compile(lambda x: x + kept[0])):
        with pytest.raises(cf.CaptureError, match="kept outside"):
            use(kept[0] if use is step else cf.ones(2))


@pytest.mark.parametrize("make", [
    lambda o: cf.optim.lr_scheduler.StepLR(o, 2),
    lambda o: cf.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    lambda o: cf.optim.lr_scheduler.SequentialLR(
        o, [cf.optim.lr_scheduler.ConstantLR(o), cf.optim.lr_scheduler.StepLR(o, 2)], [3]),
    lambda o: cf.optim.lr_scheduler.ChainedScheduler([cf.optim.lr_scheduler.StepLR(o, 2)]),
])  # fmt: skip
def test_a_schedule_is_stepped_outside(make):
    w = cf.ones(2, requires_grad=True)
    optimizer = cf.optim.SGD([w], lr=0.1)
    scheduler = make(optimizer)
    before = scheduler.state_dict()

    @cf.compile
    def step():
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
        scheduler.step()

    with pytest.raises(cf.CaptureError, match=r"(?s)would run once.*step\(x, y\); scheduler\.step"):
        step()
    assert scheduler.state_dict() == before


def test_a_lazy_layer_meets_its_first_input_outside():
    model = nn.Sequential(nn.LazyLinear(2), nn.Tanh())
    step, x = cf.compile(lambda x: model(x).detach()), cf.ones(1, 3)
    with pytest.raises(cf.CaptureError, match=r"(?s)LazyLinear meets its first.*model\(x\)"):
        step(x)
    wanted = model(x)
    assert model[0].weight.shape == (2, 3)
    assert step(x)[0].tolist() == pytest.approx(wanted[0].tolist(), rel=1e-6)


def test_the_line_is_the_users_also_where_the_library_calls_back():
    model = nn.Linear(2, 2)
    with pytest.raises(cf.CaptureError, match=r"test_arguments\.py.*deepcopy\(model\)"):
        cf.compile(lambda x: copy.deepcopy(model)(x))(cf.ones(1, 2))
