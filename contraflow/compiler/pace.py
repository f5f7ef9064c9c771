"""How many threads a call should use: what was faster lately, tried again from time to time.

Results do not depend on it, so a step may choose anew for each call. Another program that takes a
core makes a step that waits for it several times slower, and nothing but a clock tells.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter_ns

from contraflow.base.threads import chosen, get_num_threads

__all__ = ["Pace"]

SHARE = 0.01  # of the time may be lost to a team that is slower
DEEP = 20  # calls on one thread whose time the purse holds
RECENT = 8  # calls that a mean is about
SOON, LATE = 8, 512  # calls between two trials of the other way
WORTH = 0.96  # of the time of one thread: a team that takes more is not worth a second core
FAR = 2.0  # times the time of one thread: a team that takes more needs not be tried once more


class Pace:
    """Chooses between one thread and all of them.

    There is a purse, full at the beginning. What a team gains goes in, what it loses is paid from
    it, and calls on one thread put in a share of their time. A team is tried when the purse holds
    what that will cost, and used while it is the faster way and the purse is not empty: over any
    time, a step is slower than on one thread by no more than that share, and what the purse held.
    A way that lost is tried again after a few calls, then ever more rarely: what it lost by may
    have passed.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.restart()

    def restart(self) -> None:
        """Know nothing yet."""
        self.ask()
        self.means = {False: 0.0, True: 0.0}  # nanoseconds of a call, alone and together
        self.purse = inf
        self.team = False  # it was the faster way the last time
        self.rest = self.due = SOON
        self.attempt([False, False, True, True, True])

    def attempt(self, trials: list[bool]) -> None:
        """What the next calls are to find out; the first of each kind is cold."""
        self.trials, self.best = trials, {False: inf, True: inf}

    def ask(self) -> None:
        """Look how many threads are allowed now."""
        self.said = chosen()
        self.threads = min(get_num_threads(), self.most)

    def __call__(self, run: Callable[[int], None], calls: int = 1) -> None:
        """``run(threads)``, with as many threads as seem best now; it does what ``calls`` do."""
        if chosen() != self.said:
            self.restart()
        if self.threads == 1:
            run(1)
            return
        trial = bool(self.trials)
        together = self.trials.pop(0) if trial else self.faster() and self.purse >= 0
        first = not self.means[together]  # code and threads are made ready: it costs nobody
        start = perf_counter_ns()
        run(self.threads if together else 1)
        spent = (perf_counter_ns() - start) / calls
        if trial:
            self.tried(together, spent, first)
        else:
            self.note(together, spent)
        if not first:
            alone = self.means[False]
            gained = alone - spent if together else SHARE * spent
            self.purse = min(self.purse + gained * calls, DEEP * alone)
        if not self.trials:
            self.plan(calls)

    def faster(self) -> bool:
        """Whether a team is the faster way, as far as is known."""
        return self.means[True] < WORTH * self.means[False]

    def tried(self, together: bool, spent: float, first: bool) -> None:
        """The best call of a trial says what a way takes now."""
        self.best[together] = self.means[together] = min(self.best[together], spent)
        if together and not first and spent > FAR * self.means[False]:
            self.trials = [kind for kind in self.trials if not kind]

    def note(self, together: bool, spent: float) -> None:
        """A mean moves. The odd call that takes ten times as long is the purse's business."""
        mean = self.means[together]
        self.means[together] += (min(spent, 2 * mean) - mean) / RECENT

    def plan(self, calls: int) -> None:
        """Whether the other way should be tried next."""
        if self.faster() is not self.team:
            self.team, self.rest, self.due = not self.team, SOON, SOON
            return
        self.due -= calls
        alone, lost = self.means[False], self.means[True] - self.means[False]
        cost = min(2 * max(lost, alone / 10), alone)  # what it lost by more may have passed
        if self.due > 0 or not (self.team or self.purse > cost):
            return
        self.rest = self.due = min(2 * self.rest, LATE)
        self.ask()
        # what a team leaves behind is in both cores' caches: one thread is measured anew after it
        self.attempt([False, False] if self.team else [True, True, False, False])
