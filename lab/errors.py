"""The one exception that the lab raises for people to read."""


class LabError(Exception):
    """Something the lab needs is missing or has failed; the text says what, and what to do."""
