"""What all tests need."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What a shell starts in the background ignores SIGINT, and so would programs that tests interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
