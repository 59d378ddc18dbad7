"""A log in a mail as it was sent: quoted-printable breaks lines over 76 characters and writes "=3D" for "=".

Source: RFC 2045, 6.7.
"""

import re
from collections.abc import Iterable, Iterator

from oomsayer.kernel.logtext import MOST_BYTES_A_LINE

_SIGN = b"=3D"
"""In every line of such a mail that has a "=" of its own; a kernel prints no such thing."""
_SOFT = rb"=[ \t]*\r?\n"
_BROKEN = rb"(?m)^(?:[^\n]{66,75}|[^\n]*=0A)" + _SOFT
"""A line that goes on in the next: it is as long as they get, or ends with a line feed of its own."""
_LINE = rb"(?:(?:[^\n]{66,75}|[^\n]*=0A)" + _SOFT + rb")*[^\n]*\n?"
_ENCODED = rb"=3D|=[ \t]*\r?\n"
_HARD_BLANKS = (b"\xc2\xa0", b"\xe2\x80\xaf")
"""As browsers and mail programs put for the blanks of a table; narrow ones too."""
_ENTITY = b"&nbsp;"
_ESCAPE = rb"=([0-9A-F]{2})"


def decoded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks with what is quoted-printable put right, and hard blanks; all else as it is.

    A mail or a page shows itself in the first block, so that other logs are not searched for their signs.
    """
    mail: bool | None = None
    page = False
    begun = b""
    for block in blocks:
        if mail is None:
            mail, page = _SIGN in block, _ENTITY in block
        data = begun + block
        if mail:
            end = _whole(data)
            if len(data) - end > MOST_BYTES_A_LINE:
                end = len(data)
            data, begun = data[:end], data[end:]
            if re.search(_ENCODED, data):
                data = re.sub(_LINE, _line, data)
        yield _with_blanks(data.replace(_ENTITY, b" ") if page else data)
    if begun:
        yield _with_blanks(re.sub(_LINE, _line, begun))


def _with_blanks(data: bytes) -> bytes:
    for blank in _HARD_BLANKS:
        # A byte is found faster than several.
        if blank[:1] in data:
            data = data.replace(blank, b" ")
    return data


def _whole(data: bytes) -> int:
    """Where the last line ends that does not go on in what is not there yet."""
    end = data.rfind(b"\n") + 1
    while end and len(data) - end < MOST_BYTES_A_LINE:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if not re.match(_BROKEN, data[begin:end]):
            return end
        end = begin
    return end


def _line(match: re.Match[bytes]) -> bytes:
    line = match[0]
    if _SIGN not in line and not re.match(_BROKEN, line):
        return line
    whole = re.sub(_SOFT + rb"(?=[\s\S])", b"", line)
    return re.sub(_ESCAPE, lambda code: bytes([int(code[1], 16)]), whole)
