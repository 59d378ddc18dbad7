"""Chance, to spread what would else happen in step; the module random takes an eighth of a mebibyte more."""

import os


def chance() -> float:
    """A number from 0 to 1, any of 256."""
    return os.urandom(1)[0] / 255
