"""How long to wait between two samples.

What a sample costs depends on the node, from 2 ms for a few dozen processes to half a second for
10,000, so the wait follows from it: samples may take 0.4 % of one processor while every domain has
room, and 2 % while a forecast ages faster: near an OOM, and while what just started or ended settles.

No wait is quite like the one before. Memory that comes and goes about as often as the agent looks would
otherwise seem to creep, as a wheel does in a film (H. S. Shapiro and R. A. Silverman, "Alias-free sampling of
random noise", 1960).
"""

from oomsayer.agent.chance import chance

CALM_SHARE = 0.004
"""The rest of half a percent goes into reports and metrics."""
LIVELY_SHARE = 0.02

LIVELY_QUICKENING = 4
"""In lively times the shortest wait is this many times shorter."""

LONGEST_CALM_SECONDS = 24.0
LONGEST_LIVELY_SECONDS = 4.0
"""Beyond these the shares of processor time give way, so that no node is left unseen."""

UNEVENNESS = 0.25
"""Share of itself by which a wait is shorter or longer, by chance."""


class Pace:
    """Remembers what the sample before cost."""

    def __init__(self, interval_seconds: float) -> None:
        """`interval_seconds` is the shortest wait while calm, but for its unevenness."""
        self._interval_seconds = interval_seconds
        self._cost_before = 0.0

    def pause(self, cost_seconds: float, *, lively: bool) -> float:
        """Seconds to wait after a sample.

        The cheaper of the last two counts: the first sample, which opens everything, and others that
        happen to cost more say nothing about the next.

        Args:
            cost_seconds: processor time that the sample took.
            lively: whether some domain is near its OOM, or another victim was just told.
        """
        cost = min(cost_seconds, self._cost_before)
        self._cost_before = cost_seconds
        return unevenly(pause(cost, self._interval_seconds, lively=lively))


def unevenly(seconds: float) -> float:
    """About as long: by chance up to UNEVENNESS shorter or longer."""
    return seconds * (1 - UNEVENNESS + 2 * UNEVENNESS * chance())


def pause(cost_seconds: float, interval_seconds: float, *, lively: bool) -> float:
    """Seconds to wait after a sample, on average.

    Args:
        cost_seconds: processor time that the sample took.
        interval_seconds: the shortest wait while calm.
        lively: whether some domain is near its OOM, or another victim was just told.
    """
    if lively:
        shortest, share, longest = interval_seconds / LIVELY_QUICKENING, LIVELY_SHARE, LONGEST_LIVELY_SECONDS
    else:
        shortest, share, longest = interval_seconds, CALM_SHARE, LONGEST_CALM_SECONDS
    return max(shortest, min(cost_seconds / share, longest))
