"""How many threads a call should use: what was faster lately, tried again from time to time.

Results do not depend on it, so a step may choose anew for each call. Another program that takes a
core makes a step that waits for it several times slower, and nothing but a clock tells.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from contraflow.base.threads import chosen, get_num_threads

__all__ = ["Pace"]

SHARE = 0.01  # of the time may be lost with trying what was slower
RECENT = 8  # calls that a mean is about


class Pace:
    """Chooses between one thread and all of them.

    Trials are paid from a purse into which each call puts a share of its time: however slow the
    other way is, it costs no more than that, and what it has cost is waited for.
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
        together = self.trials.pop(0) if trial else means[True] < means[False]
        start = perf_counter_ns()
        run(self.threads if together else 1)
        spent = perf_counter_ns() - start
        if trial:
            self.tried(together, spent / calls, calls)
        else:
            means[together] += (spent / calls - means[together]) / RECENT
            self.purse += SHARE * spent
            if self.purse > self.price(not together):
                self.ask()
                self.trials = [True, True] if not together else [False]

    def price(self, together: bool) -> float:
        """What a trial will cost, as far as one knows."""
        more = max(self.means[together] - self.means[not together], self.means[not together] / 10)
        return more * (2 if together else 1)

    def tried(self, together: bool, spent: float, calls: int) -> None:
        """Note a trial; the first of two only wakes the workers, but is paid for."""
        usual, mean = self.means[not together], self.means[together]
        if usual:
            self.purse -= (spent - usual) * calls
        if self.trials[:1] != [together]:
            self.means[together] = (mean + spent) / 2 if mean else spent
