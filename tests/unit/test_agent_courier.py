import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.agent import courier
from oomsayer.agent.apiserver import NotWritten
from oomsayer.agent.courier import (
    LONGEST_BACKOFF_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    Courier,
    backoff,
)


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6), st.floats(0, 1))
def test_backoff_grows_within_its_bounds(failures: int, retry_after: float | None, chance: float) -> None:
    wait = backoff(failures, retry_after, chance)

    assert 0.5 <= wait <= max(LONGEST_BACKOFF_SECONDS, LONGEST_RETRY_AFTER_SECONDS)
    if retry_after is None:
        assert wait <= LONGEST_BACKOFF_SECONDS
        assert wait <= backoff(failures + 1, None, chance)
    else:
        assert wait >= min(retry_after, LONGEST_RETRY_AFTER_SECONDS)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_newest_is_delivered_once_the_way_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "FIRST_BACKOFF_SECONDS", 0.01)
    newest, free, delivered, failures = ["old"], threading.Event(), [], []

    def deliver() -> None:
        if not free.is_set():
            raise NotWritten("away")
        delivered.append(newest[0])

    one = Courier(deliver, lambda error, _: failures.append(str(error)))
    one.start()
    one.send()
    eventually(lambda: len(failures) > 1)
    assert one.busy
    newest[0] = "new"
    free.set()
    eventually(lambda: not one.busy)
    one.stop(10)

    assert delivered == ["new"]
    assert not one.alive


def test_stopping_does_not_wait_for_the_next_attempt() -> None:
    failed = threading.Event()

    def deliver() -> None:
        raise NotWritten("away", retry_after=100)

    one = Courier(deliver, lambda _, wait: failed.set() if wait >= 100 else None)
    one.start()
    one.send()
    assert failed.wait(10)
    began = time.monotonic()
    one.stop(10)

    assert not one.alive
    assert time.monotonic() - began < 5
