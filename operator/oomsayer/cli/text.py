r"""Names that a process or cgroup gave itself, made fit to be shown.

A process may call itself anything: control characters that would rewrite the terminal, bytes that are no
UTF-8. Here alone such bytes become `\xNN`, four plain characters that stand for one byte.
"""

import unicodedata

_BYTE_ESCAPES = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
_ELLIPSIS = "…"


def valid(text: str) -> str:
    r"""Text with each byte that is no UTF-8, kept as a surrogate escape, written as \\xNN."""
    return text.translate(_BYTE_ESCAPES)


def harmless(text: str) -> str:
    r"""Text of printable characters alone: all others are written as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else escaped(c) for c in valid(text))


def escaped(character: str) -> str:
    r"""A character as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - what two digits hold
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - what four digits hold


def width(text: str) -> int:
    """How many columns a terminal takes for a printable text."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def shortened(text: str, columns: int) -> str:
    """Text of at most so many columns: the middle gives way, since names differ at their ends."""
    if width(text) <= columns:
        return text
    head = text[: max(columns // 3, 1)]
    if text.isascii():
        return head + _ELLIPSIS + text[len(text) - (columns - len(head) - 1) :]
    while width(head) > columns // 3 + 1:
        head = head[:-1]
    room = columns - width(head) - 1
    end = ""
    for c in text[::-1]:
        if width(end) + _columns(c) > room:
            break
        end = c + end
    return head + _ELLIPSIS + end


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
