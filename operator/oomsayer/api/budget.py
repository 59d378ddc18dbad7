"""How much may be written to the API server: a token bucket, as client-go's rate limiter is one."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Full at first. Times are seconds of a monotonic clock.

    Attributes:
        capacity: tokens it holds when full.
        seconds: how long one token takes to come back.
        tokens: what it holds, None before it was first asked.
        filled_at: when that was.
    """

    capacity: float
    seconds: float
    tokens: float | None = None
    filled_at: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token to take, 0 where there is one."""
        return max(1.0 - self._fill(now), 0.0) * self.seconds

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        tokens = self._fill(now)
        if tokens < 1.0:
            return False
        self.tokens = tokens - 1.0
        return True

    def _fill(self, now: float) -> float:
        gained = max(now - self.filled_at, 0.0) / self.seconds
        self.tokens = self.capacity if self.tokens is None else min(self.capacity, self.tokens + gained)
        self.filled_at = now
        return self.tokens
