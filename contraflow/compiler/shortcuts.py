"""What need not be walked again: a module's call, backward, an optimiser's update.

The path says what happened so far. Where the same comes next as the last time, and everything that
decides it is what it was, it is left as it was left then, without running the Python that did it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import finalize, ref

from contraflow.base.changes import changes
from contraflow.base.modes import at_once, local
from contraflow.compiler.calls import Call, Watch, symbol_of
from contraflow.compiler.habit import Habit
from contraflow.compiler.memory import Back, Point, Update
from contraflow.graph.ir import Value
from contraflow.ops.record import NUMBERS
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.folded import Folded
from contraflow.tensor.pending import Pending
from contraflow.tensor.tape import OpNode
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.versions import is_shared, version_of

__all__ = ["Shortcuts"]

VARIANTS = 4  # ways of one call that are remembered at a point
PLAIN = NUMBERS | {str}
UNMET = "unmet"  # a gradient that lies in memory, and has not been read


class Shortcuts:
    """The part of the lazy interpreter that leaves what is known."""

    ripe: int
    lock: Any
    point: Point
    since: int  # when the path began
    order: list[Any]
    known: dict[int, tuple[int, Value]]
    pending: list[Pending]
    scalars: list[Callable[[], float]]
    writes: dict[int, tuple[Any, Any]]
    updated: Update | None
    folded: list[ref[Folded]]
    copies: dict[int, tuple[Any, Any]]
    watch: Watch | None
    updating: bool
    pend: Callable[[Value], Pending]
    handle: Callable[[Value], Any]
    symbol: Callable[[Any], Value]
    habit: Callable[[Any], Habit]
    settle: Callable[..., None]

    def call(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
    ) -> Any:
        """Call a module, or leave what the same call has left before (see ``calls``)."""
        if self.watch is not None or anomaly.on:
            return run(*args, **kwargs)
        with self.lock:
            given = (*args, *kwargs.values())
            key = self.call_key(module, given, kwargs)
            if key is None:
                return run(*args, **kwargs)
            calls = self.point.calls.get(key)
            if calls is None:
                calls = self.point.calls[key] = []
                forget_with(module, self.point.calls.pop, key, None)
            for call in calls:
                if call.holds(self, module, given):
                    return self.again(call, given)
        code = module._pure_code() if len(calls) < VARIANTS else None
        if code is None:
            return run(*args, **kwargs)
        watch = self.watch = Watch(self, given)
        try:
            result = run(*args, **kwargs)
        finally:
            self.watch = None
        call = Call.of(module, code, self, watch, result)
        calls.append(never if call is None else call)
        return result

    def call_key(self, module: Any, given: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What tells one call from another; None if it takes more than tensors and plain values."""
        modes = local.modes
        parts: list[Any] = [id(module), modes.grad, modes.inference]
        for a in given:
            if isinstance(a, Tensor):
                parts += self.symbol(a), a._requires_grad
            elif a is None or type(a) in PLAIN:
                parts.append(repr(a))
            else:
                return None
        return (*parts, *kwargs)

    def again(self, call: Call, given: tuple[Any, ...]) -> Any:
        """What a call leaves."""
        self.order += call.new
        self.known.update(call.known)
        for t, symbol in call.writes:
            self.overwrite(t, symbol)
        self.point = call.end
        result = self.handle(call.symbol)
        if call.template is not None:
            node = Folded(call.template, given, self.pend, result)
            self.folded.append(ref(node))
        return result

    def backward(self, root: Any, retain: bool, run: Callable[[], None]) -> None:
        """Walk the tape, or leave what the same walk left the last time.

        That is right if all of the tape was recorded since the path began: the path then says
        what the tape is.
        """
        with self.lock:
            found = self.walkable(root)
            if found is None:
                run()
                return
            nodes, leaves = found
            held = [leaf._grad for leaf in leaves]
            states = [g if g is None else self.current(g) or UNMET for g in held]
            key = (root._value.value, retain, self.overwritten(), *states)
            back = self.point.backs.get(key)
            if back is not None:
                self.replay(back, [] if retain else nodes)
            else:
                self.record_back(key, leaves, held, run)

    def record_back(
        self, key: Any, leaves: list[Any], held: list[Any], run: Callable[[], None]
    ) -> None:
        """Walk, and remember what that leaves; not if it did anything else."""
        before, since = self.point, self.since
        met, scalars, writes = len(self.order), len(self.scalars), set(self.writes)
        run()
        owners: dict[int, Any] = {
            id(g): leaf for leaf, g in zip(leaves, held, strict=True) if g is not None
        }
        new = [(owners.get(id(g)), g) for g in self.order[met:]]
        wrote = self.writes.keys() - writes
        grads = [(self.known.get(id(t)), t._grad) for t in leaves]
        if (
            len(self.scalars) != scalars
            or since != self.since
            or any(leaf is None for leaf, _ in new)
            or not wrote <= owners.keys()
            or any(at is None or g is None or symbol_of(g) is None for at, g in grads)
        ):
            return
        # in the order in which they were made, so that the results come in one order
        made = {id(p): k for k, p in enumerate(self.pending)}
        grads.sort(key=lambda pair: made[id(pair[1]._value)])
        left = [(at[0], g._value.value) for at, g in grads]  # type: ignore[index]
        more = [(self.known[id(t)][0], self.known[id(g)][1]) for t, g in new]
        before.backs[key] = Back(self.point, left, more)

    def overwritten(self) -> frozenset[int]:
        """The positions of the tensors that are to be written."""
        return frozenset([self.known[i][0] for i in self.writes])

    def walkable(self, root: Any) -> tuple[list[OpNode], list[Any]] | None:
        """The nodes under a root and their leaves, if all are this path's own and plain."""
        node = root._node
        if node is None or symbol_of(root) is None:
            return None
        nodes, leaves = below(node), {}
        for node in nodes:
            if not isinstance(node, OpNode) or node.hooks is not None:
                return None
            if node.seq < self.since or node.args is None:
                return None
            for edge in node.edges:
                if edge is not None and edge[1] < 0:
                    leaves[id(edge[0])] = edge[0]
        if self.copies.keys() & leaves.keys():
            return None
        found = list(leaves.values())
        return (nodes, found) if all(map(can_take, found)) and apart(found) else None

    def replay(self, back: Back, spent: list[OpNode]) -> None:
        """Leave the gradients that a walk left."""
        for node in spent:
            node.release()
        order, known = self.order, self.known
        for position, symbol in back.met:
            g = order[position]._grad
            known[id(g)] = len(order), symbol
            order.append(g)
        for position, value in back.grads:
            leaf = order[position]
            if leaf._grad is None:
                leaf._grad = self.handle(value)
            else:
                self.overwrite(leaf._grad, value)
        changes.tensors += 1
        self.point = back.end

    def overwrite(self, t: Any, symbol: Value) -> None:
        """A tensor has a new value, which is pending."""
        if type(t._value) is not Pending:
            self.writes[id(t)] = t, t._value
        t._value = self.pend(symbol)
        version_of(t).touch()

    def update(self, optimizer: Any, run: Callable[[], None]) -> None:
        """Update the parameters, or remember that the path has done so before; then compute."""
        if optimizer._steps < self.ripe or optimizer._plain:
            with at_once():
                run()
            return
        with self.lock:
            fixed, tensors, grads = optimizer.depends()
            symbols = list(map(symbol_of, grads))
            for update in self.point.updates:
                if update.fits(fixed, tensors, self, symbols):
                    self.order += update.met
                    self.known.update(update.known)
                    self.scalars += update.scalars
                    self.updated, self.point = update, update.end
                    break
            else:
                self.record_update(fixed, symbols, optimizer, run)
            self.settle(self.habit(optimizer))

    def record_update(
        self, fixed: Any, symbols: list[Any], optimizer: Any, run: Callable[[], None]
    ) -> None:
        before, since, known = self.point, self.since, dict(self.known)
        met, scalars = len(self.order), len(self.scalars)
        written = {i: t._value for i, (t, _) in self.writes.items()}
        places_written = self.overwritten()
        self.updating = True
        try:
            run()
        finally:
            self.updating = False
        _, tensors, _ = optimizer.depends()  # with the states that the first step makes
        own = set(map(id, tensors))
        new = self.order[met:]
        if since != self.since or None in symbols or not own.issuperset(map(id, new)):
            return
        places = [known.get(id(t)) for t in tensors]
        update = Update(self.point, fixed, tensors, places, symbols, places_written)
        update.met = new
        update.known = {id(t): self.known[id(t)] for t in new}
        update.scalars = self.scalars[scalars:]
        wrote = [t for i, (t, _) in self.writes.items() if t._value is not written.get(i)]
        update.pairs = tuple((self.known[id(t)][0], t._value.value) for t in wrote)
        update.positions = frozenset(at for at, _ in update.pairs)
        update.writer.claim(map(version_of, wrote))
        before.updates.append(update)
        forget_with(optimizer, before.updates.remove, update)

    def current(self, t: Any) -> Value | None:
        """The symbol that a tensor has now, if it has one."""
        pending = symbol_of(t)
        if pending is not None:
            return pending  # type: ignore[no-any-return]
        known = self.known.get(id(t))
        return known and known[1]


def forget_with(holder: Any, forget: Callable[..., Any], *what: Any) -> None:
    """What is remembered of a module or an optimiser goes when it goes."""
    finalize(holder, forget, *what).atexit = False


class Never:
    """Stands for a call that cannot be remembered."""

    def holds(self, lazy: Any, module: Any, given: Any) -> bool:
        return False


never = Never()


def below(node: Any) -> list[Any]:
    """The nodes under a root, folded as they are."""
    order = [node]
    seen = {node}
    for node in order:
        for edge in node.edges:
            if edge is not None and edge[1] >= 0 and edge[0] not in seen:
                seen.add(edge[0])
                order.append(edge[0])
    return order


def can_take(leaf: Any) -> bool:
    """Whether a leaf gets its gradient without anybody being asked: it has none, or one that is a
    plain tensor."""
    g = leaf._grad
    if leaf._hooks or not leaf._requires_grad:
        return False
    if g is None:
        return True
    if is_shared(g):
        return False
    if type(g._value) is Pending and g._value.array is not None:
        g._value = g._value.array
    return g._node is None and g._parent is None and not g._requires_grad and not g._hooks


def apart(leaves: list[Any]) -> bool:
    """Whether no two leaves have one gradient, and no gradient is a leaf."""
    held = [id(leaf._grad) for leaf in leaves if leaf._grad is not None]
    return len({*held, *map(id, leaves)}) == len(held) + len(leaves)
