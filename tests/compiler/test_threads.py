"""Compiled steps on several threads: the same bits for any number, and nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import contraflow as cf
from contraflow.base import threads
from contraflow.base.tree import flatten
from contraflow.compiler import native as compiler
from contraflow.compiler.loops import Buffer, Kernel, Node, Place
from contraflow.compiler.native import Native
from contraflow.compiler.pace import Pace
from contraflow.compiler.phases import phases
from contraflow.compiler.pool import APART, BOX, pool, word
from tests.capture.test_zoo import built
from tests.capture.zoo import ZOO
from tests.compiler.test_programs import Program

MOST = 5


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    get = threads.blas_function("get")
    before = get() if get is not None else 1
    monkeypatch.setattr(threads, "_chosen", MOST)
    yield
    cf.set_num_threads(before)  # NumPy's; what was chosen before is put back behind it


@pytest.fixture
def fine(monkeypatch):
    """Kernels are divided however small they are, and every step is a team's."""
    monkeypatch.setattr(compiler, "LEAST", 0.0)
    monkeypatch.setattr(compiler, "ALONE", 0.0)
    monkeypatch.setattr(compiler, "GAIN", np.inf)


@pytest.fixture(params=["all divided", "some divided"])
def mixed(request, fine, monkeypatch):
    """The same, and once more with the smallest kernels whole."""
    if request.param == "some divided":
        monkeypatch.setattr(compiler, "LEAST", 5e-8)


@pytest.fixture
def compared(monkeypatch):
    """Each native call is made on 1, 2, 3 and 5 threads, from the same memory; counts them."""
    calls = []

    def call(self):
        arrays = [self.arrays[buffer] for buffer in self.slots if buffer in self.arrays]
        before = [a.copy() for a in arrays]
        self.run(1)
        alone = [a.tobytes() for a in arrays]
        for count in (2, 3, MOST):
            for a, b in zip(arrays, before, strict=True):
                if a.flags.writeable:
                    np.copyto(a, b)
            self.run(count)
            assert [a.tobytes() for a in arrays] == alone, f"{count} threads"
        calls.append(any(self.teams))

    monkeypatch.setattr(Native, "__call__", call)
    return calls


# ---- the same bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ZOO))
def test_steps_give_the_same_bits_on_any_number_of_threads(name, fine, compared):
    twin = built(name)
    step = cf.compile(twin.step)
    cf.manual_seed(11)
    for batch in twin.batches[:2]:
        step(*batch)
        twin.between()
    assert True in compared


@pytest.mark.parametrize("block", range(3))
def test_programs_give_the_same_bits_on_any_number_of_threads(block, mixed, compared):
    for seed in range(block * 10, block * 10 + 10):
        rng = np.random.default_rng(seed)
        step = cf.compile(Program(seed, "float32").step)
        for _ in range(2):
            step(*(cf.tensor(rng.uniform(-1, 1, s).astype("float32")) for s in [(4, 6), (6, 4)]))
    assert True in compared


SHAPES = [(7,), (32,), (33,), (47,), (100,), (3, 40), (5, 64), (2, 3, 37), (40, 3), (1, 50), (4, 1)]


NESTS = {
    "exp": lambda x: x.exp(),
    "turned": lambda x: x.transpose(0, -1).contiguous() + 1,
    "columns": lambda x: (x.exp().sum(0), x.amax(0), (x > 0).any(0)),
    "rows": lambda x: (x.exp().sum(-1), x.amin(-1)),
    "dropout": lambda x: cf.nn.functional.dropout(x, 0.3),
}


@pytest.mark.parametrize("name", NESTS)
def test_nests_and_draws_of_every_shape(name, fine, compared):
    for shape in SHAPES:
        rng = np.random.default_rng(5)
        x = cf.tensor(rng.uniform(-1, 1, shape).astype("float32"))
        cf.manual_seed(4)
        theirs = flatten(NESTS[name](x))
        cf.manual_seed(4)
        for a, b in zip(flatten(cf.compile(NESTS[name])(x)), theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, err_msg=str(shape))
    assert True in compared


def test_rows_that_several_loops_visit_have_the_same_bits(fine, compared):
    x = cf.tensor(np.random.default_rng(6).standard_normal((67, 2048)).astype(np.float32))
    step = cf.compile(lambda x: cf.nn.functional.layer_norm(x, (2048,)))
    step(x)
    assert "loops" in step.explain()
    assert True in compared


# ---- what runs at the same time ----------------------------------------------------------------

KINDS = ("arena", "input", "output")


@st.composite
def kernels(draw):
    """Kernels that copy between places of a few buffers, which overlap in the arena."""
    buffers = []
    for _ in range(draw(st.integers(1, 5))):
        buffer = Buffer(draw(st.sampled_from(KINDS)), np.dtype("float32"), 12)
        buffer.offset = 4 * draw(st.integers(0, 20))
        buffers.append(buffer)
    found = []
    for _ in range(draw(st.integers(1, 12))):
        kernel = Kernel((2, 3))
        for _ in range(draw(st.integers(1, 2))):
            source, target = (draw(places(buffers)) for _ in range(2))
            kernel.stores.append((target, Node("load", (), source.buffer.dtype, source)))
        found.append(kernel)
    return found


@st.composite
def places(draw, buffers):
    strides = draw(st.sampled_from([(3, 1), (1, 2), (6, 1), (0, 1), (6, 2), (3, -1)]))
    start = draw(st.integers(2, 3)) if min(strides) < 0 else draw(st.integers(0, 2))
    return Place(draw(st.sampled_from(buffers)), start, (2, 3), strides)


def elements(kernel):
    """Every element that a kernel reads, and every one that it writes, named one by one."""

    def named(place):
        b = place.buffer
        for index in product(*map(range, place.shape)):
            at = place.offset + sum(i * s for i, s in zip(index, place.strides, strict=True))
            yield ("arena", b.offset + 4 * at) if b.kind == "arena" else (b, at)

    reads = {e for p in kernel.reads() for e in named(p)}
    return reads, {e for p in kernel.writes() for e in named(p)}


@settings(deadline=None, max_examples=150)
@given(kernels(), st.data())
def test_kernels_of_a_phase_do_not_disturb_each_other(program, data):
    size = len(program)
    spent = data.draw(st.lists(st.sampled_from([1e-7, 1e-6, 9e-6]), min_size=size, max_size=size))
    divided = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    found = phases(program, dict(enumerate(spent)), dict(enumerate(divided)))
    order = [task.number for tasks in found for task in tasks]
    assert order == list(range(size))
    touched = [elements(kernel) for kernel in program]
    for tasks in found:
        for k, late in enumerate(tasks):
            for early in tasks[:k]:
                (r1, w1), (r2, w2) = touched[early.number], touched[late.number]
                if w1 & (r2 | w2) or r1 & w2:
                    assert not early.divided
                    assert not late.divided
                    assert early.chain == late.chain  # the same thread, in this order


def test_kernels_without_conflicts_need_no_meeting():
    buffers = [Buffer("input", np.dtype("float32"), 12) for _ in range(6)]
    program = []
    for source, target in zip(buffers[::2], buffers[1::2], strict=True):
        place = Place.of(source, (2, 3))
        node = Node("load", (), source.dtype, place)
        program.append(Kernel((2, 3), stores=[(Place.of(target, (2, 3)), node)]))
    spent = {0: 1e-6, 1: 3e-6, 2: 2e-6}
    (tasks,) = phases(program, spent, dict.fromkeys(spent, False))
    assert [task.chain for task in tasks] == [2, 0, 1]  # dealt out by what they take
    (tasks,) = phases(program, spent, dict.fromkeys(spent, True))
    assert all(task.divided for task in tasks)


# ---- how many ----------------------------------------------------------------------------------


def wide():
    """A step that is worth a second thread, and what it should give."""
    rng = np.random.default_rng(1)
    x = cf.tensor(rng.uniform(-1, 1, (400, 600)).astype("float32"))
    return cf.compile(lambda x: (x.exp() * x.tanh()).sigmoid()), x


def native_of(step):
    (version,) = next(iter(step.versions.values()))
    return version.native


def test_a_small_step_is_left_to_one_thread():
    step = cf.compile(lambda x: x * 2)
    step(cf.ones(4))
    assert not any(native_of(step).teams)
    assert native_of(step).most == 1


def test_the_number_of_threads_may_change_between_calls(monkeypatch):
    seen = []
    step, x = wide()
    first = step(x).numpy()
    native = native_of(step)
    assert any(native.teams)
    monkeypatch.setattr(type(native), "run", lambda self, count: seen.append(count))
    for count in (1, 3, MOST, MOST + 3):
        cf.set_num_threads(count)
        seen.clear()
        for _ in range(4):
            step(x)
        assert max(seen) == min(count, native.most)
    monkeypatch.undo()
    for count in (1, 2, 3, MOST):
        native.run(count)
        np.testing.assert_array_equal(step(x).numpy(), first)


def test_quotas_of_control_groups(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert list(threads.quotas(tmp_path))[:1] == [1.5]
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert list(threads.quotas(tmp_path)) == []


@pytest.mark.parametrize(
    ("variable", "said"), [("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")]
)
def test_the_environment_limits_the_threads(variable, said, monkeypatch):
    monkeypatch.setattr(threads, "_chosen", None)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert cf.get_num_threads() == threads.available()
    monkeypatch.setenv(variable, said)
    assert cf.get_num_threads() == 1


class Clock:
    """A machine on which a call on one thread takes 1 ms."""

    def __init__(self, monkeypatch):
        self.now, self.together, self.counts = 0, 0.5e6, {1: 0, MOST: 0}
        monkeypatch.setattr("contraflow.compiler.pace.perf_counter_ns", lambda: self.now)

    def run(self, count):
        self.counts[count] += 1
        self.now += int(1e6 if count == 1 else self.together)


def test_a_core_that_somebody_takes_is_given_up_and_found_again(monkeypatch):
    clock = Clock(monkeypatch)
    pace = Pace(MOST)

    def spent(calls):
        begin = clock.now
        for _ in range(calls):
            pace(clock.run)
        return (clock.now - begin) / calls

    spent(20)
    assert spent(500) < 0.52e6  # both cores are free
    clock.together = 6e6  # another program takes one
    spent(10)
    assert spent(5000) < 1.03e6  # no more than three per cent above one thread
    clock.together = 0.5e6
    spent(5000)
    assert spent(500) < 0.52e6


class Paced:
    """A pace on such a machine."""

    def __init__(self, monkeypatch):
        self.clock, self.pace = Clock(monkeypatch), Pace(MOST)

    def spent(self, calls, together):
        """Nanoseconds a call, when a team takes so many."""
        self.clock.together, begin = together, self.clock.now
        for _ in range(calls):
            self.pace(self.clock.run)
        return (self.clock.now - begin) / calls


def test_the_first_call_of_a_team_says_nothing_about_the_next(monkeypatch):
    paced = Paced(monkeypatch)
    paced.spent(3, 30e6)  # two on one thread, and the one for which threads are started
    assert paced.spent(50, 0.5e6) < 0.55e6


@pytest.mark.parametrize("bad", [1.2e6, 1.9e6, 5e6, 20e6])
def test_a_team_whose_first_tries_went_badly_is_tried_again_soon(bad, monkeypatch):
    paced = Paced(monkeypatch)
    paced.spent(8, bad)
    paced.spent(40, 0.5e6)
    assert paced.spent(50, 0.5e6) < 0.6e6


@pytest.mark.parametrize("slow", [1.0e6, 1.05e6, 1.3e6, 1.9e6, 2.5e6, 6e6, 30e6])
def test_a_step_that_is_faster_on_one_thread_loses_little_to_trials(slow, monkeypatch):
    paced = Paced(monkeypatch)
    first = paced.spent(2000, slow)
    assert first - 1e6 < 0.02e6 + 3 * (slow - 1e6) / 2000  # but for the very first tries
    assert paced.spent(3000, slow) < 1.02e6


def test_calls_that_take_now_longer_now_shorter_find_the_faster_way(monkeypatch):
    random = np.random.default_rng(0)
    paced = Paced(monkeypatch)
    usual = paced.clock.run

    def noisy(count):
        usual(count)
        paced.clock.now += int(random.exponential(2e5) + 5e6 * (random.random() < 0.02))

    paced.clock.run = noisy
    paced.spent(100, 0.5e6)
    paced.clock.counts = {1: 0, MOST: 0}
    paced.spent(2000, 0.5e6)
    assert paced.clock.counts[MOST] > 1700
    paced.spent(100, 1.2e6)
    paced.clock.counts = {1: 0, MOST: 0}
    paced.spent(2000, 1.2e6)
    assert paced.clock.counts[1] > 1700


# ---- nobody waits for ever ---------------------------------------------------------------------


def test_two_python_threads_call_at_once():
    steps = [wide() for _ in range(2)]
    expected = [step(x).numpy() for step, x in steps]
    wrong = []

    def call(step, x, right):
        for _ in range(200):
            native_of(step).run(3)
            if not np.array_equal(step(x).numpy(), right):
                wrong.append(step)

    callers = [
        threading.Thread(target=call, args=(step, x, right))
        for (step, x), right in zip(steps, expected, strict=True)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert not wrong


def test_workers_sleep_and_wake():
    step, x = wide()
    step(x)
    native = native_of(step)
    for pause in (0, 0.001, 0.05):
        until = time.monotonic() + 20
        time.sleep(pause)
        while pool().run(native.teams[0], native.address, 3) < 3:  # one has not yet left
            assert time.monotonic() < until
            time.sleep(pause)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux where threads run")
def test_workers_keep_off_the_core_of_their_caller():
    step, x = wide()
    step(x)
    native = native_of(step)
    allowed = os.sched_getaffinity(0)
    until = time.monotonic() + 20
    while pool().run(native.teams[0], native.address, 3) < 3:
        assert time.monotonic() < until
    for k, worker in enumerate(pool().workers[:2]):
        core = word(pool().boxes + BOX * k + APART).value  # where the caller was
        assert core in allowed
        assert os.sched_getaffinity(worker.native_id) == (allowed - {core} or allowed)
    assert os.sched_getaffinity(0) == allowed


CHILD = """
import os, sys, time
import numpy as np
import contraflow as cf
from tests.compiler.test_threads import native_of, wide

cf.set_num_threads(3)
step, x = wide()
right = step(x).numpy()
native = native_of(step)
native.run(3)
"""
FORK = """
child = os.fork()
if child == 0:
    native.run(3)
    same = np.array_equal(step(x).numpy(), right)
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
native.run(3)
assert np.array_equal(step(x).numpy(), right)
print(os.waitstatus_to_exitcode(status))
"""
STOPPED = """
import signal
signal.signal(signal.SIGALRM, signal.default_int_handler)
caught = 0
for k in range(20):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.0003 * k)
        while True:
            native.run(3)
    except KeyboardInterrupt:
        caught += 1
native.run(3)
assert np.array_equal(step(x).numpy(), right)
print(caught)
"""


def ran(program):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD + program], capture_output=True, text=True,
        timeout=120, cwd=Path(__file__).parents[2], env={**os.environ, "CONTRAFLOW_CACHE": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_workers_of_its_own():
    assert ran(FORK) == "0"


@pytest.mark.skipif(os.name != "posix", reason="signals to oneself are POSIX's")
def test_interrupts_leave_everything_as_it_was():
    assert ran(STOPPED) == "20"


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_the_interpreter_ends_while_workers_look_or_sleep(pause):
    assert ran(f"time.sleep({pause}); print('end')") == "end"


BUSY = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


def test_a_busy_process_on_one_core_does_not_stop_a_step():
    """Coarse: a team that waited for the busy core all the time would be several times slower."""
    step, x = wide()
    step(x)
    native = native_of(step)

    def best(*runs):
        found = [[] for _ in runs]
        for _ in range(15):  # in turn: others are busy now and then
            for run, spent in zip(runs, found, strict=True):
                start = time.perf_counter()
                for _ in range(20):
                    run()
                spent.append(time.perf_counter() - start)
        return map(min, found)

    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        for _ in range(200):
            native()
        chosen, alone = best(native, lambda: native.run(1))
        assert chosen < 2 * alone
    finally:
        busy.kill()
        busy.wait()
