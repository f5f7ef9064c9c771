"""How many threads a call should use: what was faster lately, tried again from time to time.

Results do not depend on it, so a step may choose anew for each call. Another program that takes a
core makes a step that waits for it several times slower, and nothing but a clock tells.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from contraflow.base.threads import chosen, get_num_threads

__all__ = ["Pace"]

SHARE = 0.01  # of the time may be lost to a team that is slower
DEEP = 20  # calls on one thread whose time the purse holds
RECENT = 8  # calls that a mean is about
SOON, LATE = 16, 512  # calls of a team between two trials of one thread
WORTH = 0.96  # of the time of one thread: a team that takes more is not worth a second core


class Pace:
    """Chooses between one thread and all of them.

    There is a purse. What a team gains goes in, what it loses is paid from it, and calls on one
    thread put in a share of their time. A team is tried when the purse holds what that will cost,
    and used while it is the faster way and the purse is not empty: over any time, a step is slower
    than on one thread by no more than that share.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.restart()

    def restart(self) -> None:
        """Know nothing yet."""
        self.ask()
        self.means = {False: 0.0, True: 0.0}  # nanoseconds of a call, alone and together
        self.purse = 0.0
        self.trials = [False, False, True, True]  # the first of each kind is cold
        self.rest = self.due = SOON

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
        means = self.means
        trial = bool(self.trials)
        together = self.trials.pop(0) if trial else self.faster() and self.purse >= 0
        start = perf_counter_ns()
        run(self.threads if together else 1)
        spent = (perf_counter_ns() - start) / calls
        if not trial or self.trials[:1] != [together]:
            self.note(together, spent, RECENT if not trial else 2)
        gained = means[False] - spent if together else SHARE * spent
        self.purse = min(self.purse + gained * calls, DEEP * means[False])
        if not self.trials:
            self.plan(together, calls)

    def faster(self) -> bool:
        """Whether a team is the faster way, as far as is known."""
        return self.means[True] < WORTH * self.means[False]

    def note(self, together: bool, spent: float, calls: int) -> None:
        """A mean moves. The odd call that takes ten times as long is the purse's business."""
        mean = self.means[together]
        if not mean:
            self.means[together] = spent
            if not together:
                self.purse = DEEP * spent / 4  # enough to begin with
        else:
            self.means[together] += (min(spent, 2 * mean) - mean) / calls

    def plan(self, together: bool, calls: int) -> None:
        """Whether the other way should be tried next."""
        alone, team = self.means[False], self.means[True]
        if self.faster():
            self.due -= calls * together
            if self.due <= 0:
                self.rest = self.due = min(2 * self.rest, LATE)
                self.ask()
                self.trials = [False, False]  # what a team leaves behind is in both cores' caches
        elif self.purse > 2 * max(team - alone, alone / 10):
            self.rest = self.due = SOON
            self.ask()
            self.trials = [True, True, False, False]
