"""Sentences for people."""


def capital(sentence: str) -> str:
    """The sentence as it begins a note."""
    return sentence[:1].upper() + sentence[1:]
