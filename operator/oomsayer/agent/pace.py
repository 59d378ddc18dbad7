"""How long to wait between two samples.

What a sample costs depends on the node, from 2 ms for a few dozen processes to half a second for
10,000, so the wait follows from it: the agent may spend 0.5 % of one processor while every domain has
room, and 2 % while one is near its OOM, where a forecast ages faster.
"""

CALM_SHARE = 0.005
NEAR_SHARE = 0.02

NEAR_QUICKENING = 4
"""Near an OOM the shortest wait is this many times shorter."""

LONGEST_CALM_SECONDS = 30.0
LONGEST_NEAR_SECONDS = 5.0
"""Beyond these the shares of processor time give way, so that no node is left unseen."""


class Pace:
    """Remembers what the sample before cost."""

    def __init__(self, interval_seconds: float) -> None:
        """`interval_seconds` is the shortest wait while calm."""
        self._interval_seconds = interval_seconds
        self._cost_before = 0.0

    def pause(self, cost_seconds: float, *, near: bool) -> float:
        """Seconds to wait after a sample.

        The cheaper of the last two counts: the first sample, which opens everything, and others that
        happen to cost more say nothing about the next.

        Args:
            cost_seconds: processor time that the sample took.
            near: whether some domain is near its OOM.
        """
        cost = min(cost_seconds, self._cost_before)
        self._cost_before = cost_seconds
        return pause(cost, self._interval_seconds, near=near)


def pause(cost_seconds: float, interval_seconds: float, *, near: bool) -> float:
    """Seconds to wait after a sample.

    Args:
        cost_seconds: processor time that the sample took.
        interval_seconds: the shortest wait while calm.
        near: whether some domain is near its OOM.
    """
    if near:
        shortest, share, longest = interval_seconds / NEAR_QUICKENING, NEAR_SHARE, LONGEST_NEAR_SECONDS
    else:
        shortest, share, longest = interval_seconds, CALM_SHARE, LONGEST_CALM_SECONDS
    return max(shortest, min(cost_seconds / share, longest))
